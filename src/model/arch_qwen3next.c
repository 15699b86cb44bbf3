/* Qwen3-Next: three layers of linear attention by the gated delta rule for one of attention, whose output has a gate;
 * in each layer experts and a gated shared expert; norms stored minus one. The layers that predict further tokens (mtp)
 * are left out. Sources: transformers models/qwen3_next; llama.cpp conversion/qwen.py, src/models/qwen3next.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/hparams_linear.h"

static const pare_linear_attention absent = {
    .n_head_k = 16, .n_head_v = 32, .head_dim_k = 128, .head_dim_v = 128, .kernel = 4};

static const pare_hf_class classes[] = {
    {"Qwen3NextForCausalLM", "qwen3_next", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 32768,
                .norm_eps = 1e-6f,
                .n_head_kv = 2,
                .head_dim = 256,
                .partial_rotary = 0.25f,
                .n_expert = 512,
                .n_expert_used = 10,
                .n_ff_expert = 512,
                .n_ff_shared = 512},
     .head_dim_key = true, .experts = "num_experts", .norm_topk_key = true},
    {0},
};

#define ATTENTION PARE_ATTENTION_ONLY
#define LINEAR PARE_LINEAR_ONLY

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q_GATED, PARE_DIM_EMBD}, PARE_MAP_SAME, ATTENTION},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, ATTENTION},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, ATTENTION},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, ATTENTION},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_HEAD_K}, PARE_MAP_PLUS_ONE, ATTENTION},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_HEAD_K}, PARE_MAP_PLUS_ONE, ATTENTION},
    {PARE_W_ATTN_QKV,
     "model.layers.%u.linear_attn.in_proj_qkvz",
     {PARE_DIM_LINEAR_QKV, PARE_DIM_EMBD},
     PARE_MAP_LINEAR,
     LINEAR | PARE_SHARE(0, 2) | PARE_STOCK_NO_FACTOR},
    {PARE_W_ATTN_GATE,
     "model.layers.%u.linear_attn.in_proj_qkvz",
     {PARE_DIM_LINEAR_V, PARE_DIM_EMBD},
     PARE_MAP_LINEAR,
     LINEAR | PARE_SHARE(1, 2)},
    {PARE_W_SSM_BETA_ALPHA,
     "model.layers.%u.linear_attn.in_proj_ba",
     {PARE_DIM_LINEAR_HEADS2, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     LINEAR},
    {PARE_W_SSM_CONV1D,
     "model.layers.%u.linear_attn.conv1d",
     {PARE_DIM_LINEAR_QKV, PARE_DIM_LINEAR_KERNEL},
     PARE_MAP_SQUEEZE,
     LINEAR},
    {PARE_W_SSM_DT,
     "model.layers.%u.linear_attn.dt_bias",
     {PARE_DIM_LINEAR_HEADS},
     PARE_MAP_SAME,
     LINEAR | PARE_NO_SUFFIX | PARE_BIAS_ALONE | PARE_BIAS_REQUIRED},
    {PARE_W_SSM_A,
     "model.layers.%u.linear_attn.A_log",
     {PARE_DIM_LINEAR_HEADS},
     PARE_MAP_MINUS_EXP,
     LINEAR | PARE_NO_SUFFIX},
    {PARE_W_SSM_NORM, "model.layers.%u.linear_attn.norm", {PARE_DIM_LINEAR_HEAD_V}, PARE_MAP_SAME, LINEAR},
    {PARE_W_SSM_OUT, "model.layers.%u.linear_attn.out_proj", {PARE_DIM_EMBD, PARE_DIM_LINEAR_V}, PARE_MAP_SAME, LINEAR},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_FFN_GATE_INP, "model.layers.%u.mlp.gate", {PARE_DIM_EXPERT, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE_EXPS,
     "model.layers.%u.mlp.experts.%e.gate_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     0},
    {PARE_W_FFN_UP_EXPS,
     "model.layers.%u.mlp.experts.%e.up_proj",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     0},
    {PARE_W_FFN_DOWN_EXPS,
     "model.layers.%u.mlp.experts.%e.down_proj",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD, PARE_DIM_FF_EXPERT},
     PARE_MAP_STACK,
     0},
    {PARE_W_FFN_GATE_INP_SHEXP,
     "model.layers.%u.mlp.shared_expert_gate",
     {PARE_DIM_ONE, PARE_DIM_EMBD},
     PARE_MAP_ROW,
     0},
    {PARE_W_FFN_GATE_SHEXP,
     "model.layers.%u.mlp.shared_expert.gate_proj",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     0},
    {PARE_W_FFN_UP_SHEXP,
     "model.layers.%u.mlp.shared_expert.up_proj",
     {PARE_DIM_FF_SHARED, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     0},
    {PARE_W_FFN_DOWN_SHEXP,
     "model.layers.%u.mlp.shared_expert.down_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF_SHARED},
     PARE_MAP_SAME,
     0},
};

static const char *const left_out[] = {"mtp.*", NULL};

static const char *const meta_keys[] = {"qwen3next.block_count",
                                        "qwen3next.context_length",
                                        "qwen3next.embedding_length",
                                        "qwen3next.feed_forward_length",
                                        "qwen3next.attention.head_count",
                                        "qwen3next.attention.head_count_kv",
                                        "qwen3next.rope.scaling.type",
                                        "qwen3next.rope.scaling.factor",
                                        "qwen3next.rope.scaling.original_context_length",
                                        "qwen3next.rope.freq_base",
                                        "qwen3next.attention.layer_norm_rms_epsilon",
                                        "qwen3next.expert_count",
                                        "qwen3next.expert_used_count",
                                        "qwen3next.attention.key_length",
                                        "qwen3next.attention.value_length",
                                        "general.file_type",
                                        "qwen3next.expert_feed_forward_length",
                                        "qwen3next.expert_shared_feed_forward_length",
                                        "qwen3next.ssm.conv_kernel",
                                        "qwen3next.ssm.state_size",
                                        "qwen3next.ssm.group_count",
                                        "qwen3next.ssm.time_step_rank",
                                        "qwen3next.ssm.inner_size",
                                        "qwen3next.attention.recurrent_layers",
                                        "qwen3next.full_attention_interval",
                                        "qwen3next.rope.dimension_count",
                                        "general.quantization_version",
                                        NULL};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    if (json_object_get(config, "norm_topk_prob") == NULL)
        hp->expert_norm = true;
    hp->expert_norm_not_in_gguf = !hp->expert_norm;
    return pare_linear_from_config(hp, &absent, config, path, err);
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    return pare_linear_from_meta(hp, "qwen3next", meta, path, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return pare_linear_to_meta(hp, "qwen3next", meta, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    return pare_linear_to_config(hp, config) ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_qwen3next = {
    .name = "qwen3next",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .post_norm_feeds_ffn = true,
               .attn_gated = true},
    .partial_rotary = true,
    .expert_ff_key = true,
    .expert_norm = true,
    .meta_keys = meta_keys,
    .stock_rows = PARE_STOCK_ROWS_NORMED,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_left_out = left_out,
    .stock_ffn_factor = true,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
