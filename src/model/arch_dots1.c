/* dots.llm1: norms on each q and k head, leading dense layers, then experts scored by a sigmoid with a bias for the
 * choice, and shared ones. Sources: transformers models/dots1; llama.cpp conversion/dots1.py, src/models/dots1.cpp. */
#include "core/json.h"
#include "model/arch.h"

#include <inttypes.h>
#include <string.h>

static const pare_hf_class classes[] = {
    {"Dots1ForCausalLM", "dots1", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-6f, .n_expert_group = 1, .n_expert_group_used = 1, .expert_scale = 1},
     .experts = "n_routed_experts", .expert_score = PARE_EXPERT_SIGMOID, .norm_topk_key = true},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL | PARE_STOCK_WANTS},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
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
    {PARE_W_EXPERT_BIAS,
     "model.layers.%u.mlp.gate.e_score_correction_bias",
     {PARE_DIM_EXPERT},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY | PARE_BIAS_ALONE | PARE_BIAS_OPTIONAL | PARE_NO_SUFFIX},
};

static const char *const meta_keys[] = {"dots1.block_count",
                                        "dots1.context_length",
                                        "dots1.embedding_length",
                                        "dots1.feed_forward_length",
                                        "dots1.attention.head_count",
                                        "dots1.attention.head_count_kv",
                                        "dots1.rope.scaling.type",
                                        "dots1.rope.scaling.factor",
                                        "dots1.rope.scaling.original_context_length",
                                        "dots1.rope.scaling.yarn_attn_factor",
                                        "dots1.rope.scaling.yarn_beta_fast",
                                        "dots1.rope.scaling.yarn_beta_slow",
                                        "dots1.rope.freq_base",
                                        "dots1.attention.layer_norm_rms_epsilon",
                                        "dots1.expert_count",
                                        "dots1.expert_used_count",
                                        "dots1.expert_group_count",
                                        "dots1.expert_group_used_count",
                                        "dots1.expert_gating_func",
                                        "dots1.attention.key_length",
                                        "dots1.attention.value_length",
                                        "general.file_type",
                                        "dots1.expert_feed_forward_length",
                                        "dots1.leading_dense_block_count",
                                        "dots1.expert_shared_count",
                                        "dots1.expert_weights_scale",
                                        "dots1.expert_weights_norm",
                                        "general.quantization_version",
                                        NULL};

/* Windows stand in the words of the class, but no published model has them, nor a key in GGUF. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    const json_t *types = json_object_get(config, "layer_types");
    uint64_t window = 0, first = hp->n_layer;
    bool found = false;
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0)
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'layer_types' entry %zu is '%s', known is full_attention",
                             path, i, type != NULL ? type : "no string");
    }
    if (json_is_array(types))
        return PARE_OK;
    pare_status st = pare_json_u64(config, path, "sliding_window", 0, UINT32_MAX, &window, &found, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "max_window_layers", 0, UINT32_MAX, &first, &found, err);
    if (st == PARE_OK && window > 0 && first < hp->n_layer)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'max_window_layers' is %" PRIu64 " of %" PRIu32 " layers; windows are not supported",
                         path, first, hp->n_layer);
    return st;
}

const pare_arch pare_arch_dots1 = {
    .name = "dots1",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .expert_ff_key = true,
    .expert_score = PARE_EXPERT_SIGMOID,
    .routing_keys = true,
    .meta_keys = meta_keys,
    .stock_own_kv = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
};
