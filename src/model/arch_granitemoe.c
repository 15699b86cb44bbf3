/* Granite with experts, and perhaps a shared one that every token goes through: the factors of Granite; gate and up of
 * all experts stand one above the other in one tensor a layer. Sources: transformers models/granitemoe,
 * models/granitemoeshared; llama.cpp conversion/granite.py, src/models/granite.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

#define ABSENT                                                                                                         \
    {                                                                                                                  \
        .n_ctx = 2048, .norm_eps = 1e-6f, .n_expert = 8, .n_expert_used = 2                                            \
    }

static const pare_hf_class classes[] = {
    {"GraniteMoeForCausalLM", "granitemoe", PARE_WINDOW_NONE, .absent = ABSENT, .experts = "num_local_experts"},
    {"GraniteMoeSharedForCausalLM", "granitemoeshared", PARE_WINDOW_NONE, .absent = ABSENT,
     .experts = "num_local_experts", .shared = "shared_intermediate_size"},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_ROPE_FREQS, NULL, {PARE_DIM_ROT_HALF}, PARE_MAP_SAME, PARE_WEIGHT_MADE},
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_ROPE_Q, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_ROPE_K, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE_INP,
     "model.layers.%u.block_sparse_moe.router.layer",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     0},
    {PARE_W_FFN_GATE_EXPS,
     "model.layers.%u.block_sparse_moe.input_linear",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_SHARE(0, 2)},
    {PARE_W_FFN_UP_EXPS,
     "model.layers.%u.block_sparse_moe.input_linear",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_SHARE(1, 2)},
    {PARE_W_FFN_DOWN_EXPS,
     "model.layers.%u.block_sparse_moe.output_linear",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD, PARE_DIM_FF_EXPERT},
     PARE_MAP_SAME,
     0},
    {PARE_W_FFN_GATE_SHEXP,
     "model.layers.%u.shared_mlp.input_linear",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_IF_SHARED | PARE_SHARE(0, 2)},
    {PARE_W_FFN_UP_SHEXP,
     "model.layers.%u.shared_mlp.input_linear",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_IF_SHARED | PARE_SHARE(1, 2)},
    {PARE_W_FFN_DOWN_SHEXP,
     "model.layers.%u.shared_mlp.output_linear",
     {PARE_DIM_EMBD, PARE_DIM_FF_SHARED},
     PARE_MAP_SAME,
     PARE_IF_SHARED},
};

static const char *const meta_keys[] = {"granitemoe.block_count",
                                        "granitemoe.context_length",
                                        "granitemoe.embedding_length",
                                        "granitemoe.feed_forward_length",
                                        "granitemoe.attention.head_count",
                                        "granitemoe.attention.head_count_kv",
                                        "granitemoe.rope.scaling.type",
                                        "granitemoe.rope.scaling.factor",
                                        "granitemoe.rope.freq_base",
                                        "granitemoe.attention.layer_norm_rms_epsilon",
                                        "granitemoe.expert_count",
                                        "granitemoe.expert_used_count",
                                        "general.file_type",
                                        "granitemoe.vocab_size",
                                        "granitemoe.rope.dimension_count",
                                        "granitemoe.attention.scale",
                                        "granitemoe.embedding_scale",
                                        "granitemoe.residual_scale",
                                        "granitemoe.logit_scale",
                                        "granitemoe.expert_shared_feed_forward_length",
                                        "general.quantization_version",
                                        NULL};

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    return pare_multipliers_from_meta(hp, meta, "granitemoe", path, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return pare_multipliers_to_meta(hp, meta, "granitemoe", err);
}

const pare_arch pare_arch_granitemoe = {
    .name = "granitemoe",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .expert_norm = true,
    .meta_keys = meta_keys,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = pare_multipliers_from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = pare_multipliers_to_config,
};
