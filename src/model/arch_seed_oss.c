/* Seed-OSS: Llama with biases on q, k and v; GGUF calls the norm in front of the FFN post_attention_norm. Sources:
 * transformers models/seed_oss; llama.cpp src/models/seed-oss.cpp. */
#include "core/json.h"
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"SeedOssForCausalLM", "seed_oss", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 524288, .norm_eps = 1e-6f, .n_head_kv = 8, .head_dim = 128}, .head_dim_key = true},
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
     PARE_BIAS_OPTIONAL | PARE_STOCK_LACKS_BIAS},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE,
     "model.layers.%u.mlp.gate_proj",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_FFN_UP,
     "model.layers.%u.mlp.up_proj",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_STOCK_LACKS_BIAS},
    {PARE_W_FFN_DOWN,
     "model.layers.%u.mlp.down_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_STOCK_LACKS_BIAS},
};

/* Biases of q, k and v unless the config says otherwise. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    hp->attn_bias = true;
    return pare_json_bool(config, path, "attention_bias", &hp->attn_bias, &found, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    (void)hp;
    bool ok = json_object_set_new(config, "attention_out_bias", json_false()) == 0;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_seed_oss = {
    .name = "seed_oss",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS,
               .act = PARE_ACT_SILU,
               .rope = PARE_ROPE_HALVES,
               .gated_ffn = true,
               .post_norm_feeds_ffn = true},
    .bias_key = "'attention_out_bias' or 'mlp_bias'",
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_config = to_config,
};
