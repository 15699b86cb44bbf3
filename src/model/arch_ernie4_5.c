/* ERNIE 4.5 without experts: Llama whose rows of q and k are in the order of neighbours on the Hub too. Sources:
 * transformers models/ernie4_5; llama.cpp conversion/ernie.py, src/models/ernie4-5.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

static const pare_hf_class classes[] = {
    {"Ernie4_5ForCausalLM", "ernie4_5", PARE_WINDOW_NONE,
     .absent =
         {.n_ctx = 131072, .norm_eps = 1e-5f, .rope_base = 500000.0f, .n_head_kv = 2, .head_dim = 128, .tied = true},
     .head_dim_key = true},
    {"Ernie4_5_ForCausalLM", "ernie4_5", PARE_WINDOW_NONE,
     .absent =
         {.n_ctx = 131072, .norm_eps = 1e-5f, .rope_base = 500000.0f, .n_head_kv = 2, .head_dim = 128, .tied = true},
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
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, PARE_BIAS_ATTN},
    {PARE_W_FFN_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
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

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false, biases = false;
    pare_status st = pare_json_bool(config, path, "use_bias", &biases, &found, err);
    hp->attn_bias = hp->ffn_bias = biases;
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const not_here[] = {"attention_bias", "mlp_bias", NULL};
    if (hp->attn_bias != hp->ffn_bias)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "biases of attention alone, or of the FFN alone, have no key in config.json");
    pare_config_drop(config, not_here);
    bool ok = json_object_set_new(config, "use_bias", json_boolean(hp->attn_bias)) == 0;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_ernie4_5 = {
    .name = "ernie4_5",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_SILU, .rope = PARE_ROPE_INTERLEAVED, .gated_ffn = true},
    .bias_key = "'use_bias'",
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_config = to_config,
};
