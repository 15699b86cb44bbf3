/* OLMo 1: Llama's layers with LayerNorms that have no weights, and queries, keys and values that may be clamped. GGUF
 * stores the rows of q and k so that RoPE turns neighbours. Sources: transformers models/olmo; llama.cpp
 * conversion/olmo.py, src/models/olmo.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

static const pare_hf_class classes[] = {
    {"OlmoForCausalLM", "olmo", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-5f}},
    {"OLMoForCausalLM", "olmo", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-5f}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_ROPE_Q, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_ROPE_K, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    return pare_config_cap(config, path, "clip_qkv", 0, &hp->qkv_clamp, err);
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    return pare_meta_cap(meta, path, "olmo.attention.clamp_kqv", &hp->qkv_clamp, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    return hp->qkv_clamp > 0 ? pare_meta_set_f32(meta, "olmo.attention.clamp_kqv", hp->qkv_clamp, err) : PARE_OK;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const unknown[] = {"mlp_bias", "layer_norm_eps", NULL}; /* the class takes 1e-5 for granted */
    pare_config_drop(config, unknown);
    bool ok = pare_cap_to_config(config, "clip_qkv", hp->qkv_clamp);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_olmo = {
    .name = "olmo",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_INTERLEAVED,
               .gated_ffn = true,
               .bare_norms = true},
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
