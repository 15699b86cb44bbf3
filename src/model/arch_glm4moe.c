/* GLM 4.5 and 4.6: grouped queries with biases, RoPE on half of a head, perhaps norms on q and k; a leading dense
 * layer, then experts scored by a sigmoid with a bias for the choice, and a shared one. Layers that predict further
 * tokens are left out. Sources: transformers models/glm4_moe; llama.cpp conversion/glm.py, src/models/glm4-moe.cpp. */
#include "core/json.h"
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"Glm4MoeForCausalLM", "glm4_moe", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 131072,
                .norm_eps = 1e-5f,
                .n_head_kv = 8,
                .partial_rotary = 0.5f,
                .n_expert = 128,
                .n_expert_used = 8,
                .n_ff_expert = 1408,
                .n_expert_shared = 1,
                .n_layer_dense = 1,
                .n_expert_group = 1,
                .n_expert_group_used = 1,
                .expert_scale = 1,
                .norm_topk = true},
     .experts = "n_routed_experts", .expert_score = PARE_EXPERT_SIGMOID, .norm_topk_key = true},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, PARE_IF_QK_NORM},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, PARE_IF_QK_NORM},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
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
     PARE_EXPERTS_ONLY | PARE_BIAS_ALONE | PARE_BIAS_REQUIRED | PARE_NO_SUFFIX},
};

static const char *const meta_keys[] = {"glm4moe.block_count",
                                        "glm4moe.context_length",
                                        "glm4moe.embedding_length",
                                        "glm4moe.feed_forward_length",
                                        "glm4moe.attention.head_count",
                                        "glm4moe.attention.head_count_kv",
                                        "glm4moe.rope.scaling.type",
                                        "glm4moe.rope.scaling.factor",
                                        "glm4moe.rope.scaling.original_context_length",
                                        "glm4moe.rope.scaling.yarn_attn_factor",
                                        "glm4moe.rope.scaling.yarn_beta_fast",
                                        "glm4moe.rope.scaling.yarn_beta_slow",
                                        "glm4moe.rope.freq_base",
                                        "glm4moe.attention.layer_norm_rms_epsilon",
                                        "glm4moe.expert_count",
                                        "glm4moe.expert_used_count",
                                        "glm4moe.expert_group_count",
                                        "glm4moe.expert_group_used_count",
                                        "glm4moe.expert_gating_func",
                                        "glm4moe.attention.key_length",
                                        "glm4moe.attention.value_length",
                                        "general.file_type",
                                        "glm4moe.rope.dimension_count",
                                        "glm4moe.expert_feed_forward_length",
                                        "glm4moe.expert_shared_count",
                                        "glm4moe.leading_dense_block_count",
                                        "glm4moe.expert_weights_scale",
                                        "glm4moe.expert_weights_norm",
                                        "general.quantization_version",
                                        NULL};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    return pare_json_bool(config, path, "use_qk_norm", &hp->qk_norm, &found, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    bool ok = json_object_set_new(config, "use_qk_norm", json_boolean(hp->qk_norm)) == 0;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_glm4moe = {
    .name = "glm4moe",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .post_norm_feeds_ffn = true},
    .partial_rotary = true,
    .expert_ff_key = true,
    .expert_score = PARE_EXPERT_SIGMOID,
    .routing_keys = true,
    .extra_layers = true,
    .meta_keys = meta_keys,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_config = to_config,
};
