/* StarCoder 2: LayerNorm with biases, an FFN without a gate, biases on every projection unless use_bias is false.
 * Source: transformers models/starcoder2. */
#include "core/json.h"
#include "model/arch.h"

static const pare_hf_class classes[] = {
    {"Starcoder2ForCausalLM", "starcoder2", PARE_WINDOW_ALWAYS,
     .absent = {.n_ctx = 4096, .norm_eps = 1e-5f, .n_head_kv = 2, .tied = true}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_ATTN_OUT,
     "model.layers.%u.self_attn.o_proj",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_ATTN | PARE_STOCK_WANTS_BIAS},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_UP,
     "model.layers.%u.mlp.c_fc",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_STOCK_WANTS_BIAS},
    {PARE_W_FFN_DOWN,
     "model.layers.%u.mlp.c_proj",
     {PARE_DIM_EMBD, PARE_DIM_FF},
     PARE_MAP_SAME,
     PARE_BIAS_FFN | PARE_STOCK_WANTS_BIAS},
};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false, biases = true;
    pare_status st = pare_json_bool(config, path, "use_bias", &biases, &found, err);
    hp->attn_bias = hp->ffn_bias = biases;
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    if (hp->attn_bias != hp->ffn_bias)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "biases of attention alone, or of the FFN alone, have no key in config.json");
    json_object_del(config, "attention_bias");
    json_object_del(config, "mlp_bias");
    json_object_del(config, "layer_norm_eps");
    if (json_object_set_new(config, "use_bias", json_boolean(hp->attn_bias)) != 0 ||
        json_object_set_new(config, "norm_epsilon", pare_json_float(hp->norm_eps)) != 0)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
    return PARE_OK;
}

const pare_arch pare_arch_starcoder2 = {
    .name = "starcoder2",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_HALVES},
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_config = to_config,
};
