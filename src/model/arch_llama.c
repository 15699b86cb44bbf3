/* Llama 1 to 3, Mistral 7B and Mixtral: RMS norm, rotary positions, grouped queries, SwiGLU, in Mixtral several of
 * these of which a token takes two. GGUF stores the rows of q and k so that RoPE turns neighbours. Sources:
 * transformers models/llama, models/mistral, models/mixtral; llama.cpp conversion/llama.py. */
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"LlamaForCausalLM", "llama", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-6f}, .head_dim_key = true},
    {"LLaMAForCausalLM", "llama", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-6f}, .head_dim_key = true},
    {"MistralForCausalLM", "mistral", PARE_WINDOW_ALWAYS,
     .absent = {.n_ctx = 131072, .norm_eps = 1e-6f, .n_head_kv = 8, .window = 4096}, .head_dim_key = true},
    {"MixtralForCausalLM", "mixtral", PARE_WINDOW_ALWAYS,
     .absent =
         {.n_ctx = 131072, .norm_eps = 1e-5f, .rope_base = 1e6f, .n_head_kv = 8, .n_expert = 8, .n_expert_used = 2},
     .experts = "num_local_experts"},
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
    {PARE_W_FFN_GATE,
     "model.layers.%u.mlp.gate_proj",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_DENSE_ONLY},
    {PARE_W_FFN_UP,
     "model.layers.%u.mlp.up_proj",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_DENSE_ONLY},
    {PARE_W_FFN_DOWN,
     "model.layers.%u.mlp.down_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_DENSE_ONLY},
    {PARE_W_FFN_GATE_INP,
     "model.layers.%u.block_sparse_moe.gate",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_GATE_EXPS,
     "model.layers.%u.block_sparse_moe.experts.%e.w1",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_UP_EXPS,
     "model.layers.%u.block_sparse_moe.experts.%e.w3",
     {PARE_DIM_EXPERT, PARE_DIM_FF_EXPERT, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
    {PARE_W_FFN_DOWN_EXPS,
     "model.layers.%u.block_sparse_moe.experts.%e.w2",
     {PARE_DIM_EXPERT, PARE_DIM_EMBD, PARE_DIM_FF_EXPERT},
     PARE_MAP_STACK,
     PARE_EXPERTS_ONLY},
};

/* RoPE turns whole heads in this family; other values cannot be permuted back either. */
static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    (void)meta;
    if (hp->n_rot != hp->head_dim_k)
        return pare_fail(err, PARE_ERR_RANGE, "%s: 'llama.rope.dimension_count' is %u, the key heads have %u elements",
                         path, hp->n_rot, hp->head_dim_k);
    return PARE_OK;
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_u32(meta, "llama.vocab_size", hp->n_vocab, err);
    return st == PARE_OK ? pare_meta_set_u32(meta, "llama.rope.dimension_count", hp->n_rot, err) : st;
}

const pare_arch pare_arch_llama = {
    .name = "llama",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .stock_ffn_factor = true,
    .expert_norm = true,
    .from_meta = from_meta,
    .to_meta = to_meta,
};
