/* Hunyuan without experts (0.5B to 7B): heads of q and k are normalised behind RoPE. Sources: transformers
 * models/hunyuan_v1_dense; llama.cpp conversion/hunyuan.py, src/models/hunyuan-dense.cpp. */
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-5f}},
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
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.query_layernorm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_NORM, "model.layers.%u.self_attn.key_layernorm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

const pare_arch pare_arch_hunyuan_dense = {
    .name = "hunyuan-dense",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .qk_norm_last = true},
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
};
