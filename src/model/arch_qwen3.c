/* Qwen 3: Llama's layers with an RMS norm on every q and k head and a head size of its own. Source: transformers
 * models/qwen3. */
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"Qwen3ForCausalLM", "qwen3", PARE_WINDOW_SWITCHED,
     .absent =
         {.n_ctx = 32768, .norm_eps = 1e-6f, .n_head_kv = 32, .head_dim = 128, .window = 4096, .window_first = 28},
     .head_dim_key = true},
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
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

const pare_arch pare_arch_qwen3 = {
    .name = "qwen3",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .stock_ffn_factor = true,
};
