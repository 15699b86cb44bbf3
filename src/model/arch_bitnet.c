/* BitNet b1.58: Llama with a norm in front of each matrix that ends a part of a layer, squared ReLU and ternary
 * weights. Stock's runtime knows SiLU alone for this family. Sources: transformers models/bitnet; llama.cpp
 * conversion/bitnet.py, src/models/bitnet.cpp; Ma et al., The Era of 1-bit LLMs, arXiv 2402.17764. */
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"BitNetForCausalLM", "bitnet", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .n_head_kv = 5, .rope_base = 500000.0f}, .act_absent = "relu2"},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q,
     "model.layers.%u.self_attn.q_proj",
     {PARE_DIM_Q, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_K,
     "model.layers.%u.self_attn.k_proj",
     {PARE_DIM_K, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_V,
     "model.layers.%u.self_attn.v_proj",
     {PARE_DIM_V, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_SUB_NORM, "model.layers.%u.self_attn.attn_sub_norm", {PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_SUB_NORM, "model.layers.%u.mlp.ffn_sub_norm", {PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

/* Stock's converter says so in every file; it changes nothing. */
static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    if (hp->rope_scaling != PARE_ROPE_PLAIN)
        return PARE_OK;
    pare_status st = pare_meta_set_str(meta, "bitnet.rope.scaling.type", (pare_str){"linear", 6}, err);
    return st == PARE_OK ? pare_meta_set_f32(meta, "bitnet.rope.scaling.factor", 1, err) : st;
}

static const char *stock_differs(const pare_hparams *hp)
{
    return hp->tied_output ? NULL
                           : "does not load it: in architecture 'bitnet' it has no place for an output matrix "
                             "('tie_word_embeddings')";
}

const pare_arch pare_arch_bitnet = {
    .name = "bitnet",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .stock_head_dim = true,
    .stock_output_is_embd = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .to_meta = to_meta,
    .stock_differs = stock_differs,
};
