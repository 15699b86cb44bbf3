/* Qwen 1.5 and 2 with experts: the layers of Qwen 2, each with a router, experts whose weights are not scaled to one,
 * and a gated shared expert. Source: transformers models/qwen2_moe; llama.cpp conversion/qwen.py. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

static const pare_hf_class classes[] = {
    {"Qwen2MoeForCausalLM", "qwen2_moe", PARE_WINDOW_SWITCHED_IN_TURN,
     .absent = {.n_ctx = 32768,
                .norm_eps = 1e-6f,
                .n_head_kv = 16,
                .window = 4096,
                .window_first = 28,
                .n_expert = 60,
                .n_expert_used = 4,
                .n_ff_expert = 1408,
                .n_ff_shared = 5632},
     .experts = "num_experts", .norm_topk_key = true},
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
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
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

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    hp->attn_bias = true;
    return pare_json_bool(config, path, "qkv_bias", &hp->attn_bias, &found, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const names[][2] = {{"attention_bias", "qkv_bias"}, {NULL, NULL}};
    (void)hp;
    return pare_config_rename(config, names) ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_qwen2moe = {
    .name = "qwen2moe",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .expert_ff_key = true,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_config = to_config,
};
