/* DeepSeek MoE (v1): the attention of Llama, leading dense layers, then experts by softmax, whose weights are not
 * scaled to a sum of one, and shared ones. Its class is published with the models. Sources:
 * deepseek-ai/deepseek-moe-16b-base, modeling_deepseek.py; llama.cpp conversion/deepseek.py, src/models/deepseek.cpp.
 */
#include "core/json.h"
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"DeepseekForCausalLM", "deepseek", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-6f},
     .experts = "n_routed_experts", .expert_score = PARE_EXPERT_SOFTMAX, .norm_topk_key = true},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_ROPE_Q, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_ROPE_K, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_DENSE_ONLY},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_DENSE_ONLY},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, PARE_DENSE_ONLY},
    {PARE_W_FFN_GATE_INP,
     "model.layers.%u.mlp.gate",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_GATE_EXPS,
     "model.layers.%u.mlp.experts.%e.gate_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_UP_EXPS,
     "model.layers.%u.mlp.experts.%e.up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_DOWN_EXPS,
     "model.layers.%u.mlp.experts.%e.down_proj",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD, PARE_DIM_FF_EXPERT},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_GATE_SHEXP,
     "model.layers.%u.mlp.shared_experts.gate_proj",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_IF_SHARED},
    {PARE_W_FFN_UP_SHEXP,
     "model.layers.%u.mlp.shared_experts.up_proj",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_IF_SHARED},
    {PARE_W_FFN_DOWN_SHEXP,
     "model.layers.%u.mlp.shared_experts.down_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF_SHARED},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_IF_SHARED},
};

static const char *const meta_keys[] = {"deepseek.block_count",
                                        "deepseek.context_length",
                                        "deepseek.embedding_length",
                                        "deepseek.feed_forward_length",
                                        "deepseek.attention.head_count",
                                        "deepseek.attention.head_count_kv",
                                        "deepseek.rope.scaling.factor",
                                        "deepseek.rope.scaling.original_context_length",
                                        "deepseek.rope.scaling.yarn_attn_factor",
                                        "deepseek.rope.scaling.yarn_beta_fast",
                                        "deepseek.rope.scaling.yarn_beta_slow",
                                        "deepseek.rope.freq_base",
                                        "deepseek.attention.layer_norm_rms_epsilon",
                                        "deepseek.expert_count",
                                        "deepseek.expert_used_count",
                                        "deepseek.expert_group_count",
                                        "deepseek.expert_group_used_count",
                                        "deepseek.expert_gating_func",
                                        "deepseek.attention.key_length",
                                        "deepseek.attention.value_length",
                                        "general.file_type",
                                        "deepseek.rope.dimension_count",
                                        "deepseek.rope.scaling.type",
                                        "deepseek.leading_dense_block_count",
                                        "deepseek.vocab_size",
                                        "deepseek.expert_feed_forward_length",
                                        "deepseek.expert_weights_scale",
                                        "deepseek.expert_shared_count",
                                        "general.quantization_version",
                                        NULL};

/* Stock's runtime scales no weights of this family, by whatever key. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    (void)config;
    if (hp->expert_norm)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'norm_topk_prob' is true, which GGUF has no key for in this family", path);
    hp->expert_scale = 1;
    return PARE_OK;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_u32(meta, "deepseek.vocab_size", hp->n_vocab, err);
    if (st == PARE_OK && hp->rope_scaling == PARE_ROPE_PLAIN)
        st = pare_meta_set_str(meta, "deepseek.rope.scaling.type", (pare_str){"none", 4}, err);
    return st;
}

const pare_arch pare_arch_deepseek = {
    .name = "deepseek",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .partial_rotary = true,
    .expert_ff_key = true,
    .routing_keys = true,
    .meta_keys = meta_keys,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_meta = to_meta,
};
