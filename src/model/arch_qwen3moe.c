/* Qwen 3 with experts: the layers of Qwen 3, each with a router and experts in place of one FFN. Source: transformers
 * models/qwen3_moe; llama.cpp conversion/qwen.py. */
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"Qwen3MoeForCausalLM", "qwen3_moe", PARE_WINDOW_SWITCHED_ALL,
     .absent = {.n_ctx = 32768,
                .norm_eps = 1e-6f,
                .n_head_kv = 4,
                .window = 4096,
                .n_expert = 128,
                .n_expert_used = 8,
                .n_ff_expert = 768},
     .experts = "num_experts", .norm_topk_key = true},
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
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.k_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
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
};

const pare_arch pare_arch_qwen3moe = {
    .name = "qwen3moe",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .expert_ff_key = true,
    .expert_norm = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .stock_ffn_factor = true,
};
