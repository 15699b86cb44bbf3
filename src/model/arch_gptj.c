/* GPT-J: LayerNorm, attention and FFN in parallel from one norm, RoPE on neighbours in a part of each head, a bias of
 * the output. GGUF has the name; stock's runtime does not run it. Source: transformers models/gptj. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"
#include "model/hparams_limits.h"

static const pare_hf_class classes[] = {
    {"GPTJForCausalLM", "gptj", PARE_WINDOW_NONE, .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .ff_factor = 4}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "transformer.wte", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT,
     "lm_head",
     {PARE_DIM_VOCAB, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_WEIGHT_OPTIONAL | PARE_BIAS_REQUIRED},
    {PARE_W_OUTPUT_NORM, "transformer.ln_f", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM, "transformer.h.%u.ln_1", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_Q, "transformer.h.%u.attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K, "transformer.h.%u.attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_V, "transformer.h.%u.attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT, "transformer.h.%u.attn.out_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "transformer.h.%u.mlp.fc_in", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_DOWN, "transformer.h.%u.mlp.fc_out", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
};

static const char *const ignored[] = {"*.attn.bias", "*.attn.masked_bias", NULL}; /* the causal mask */

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    uint64_t n_rot = 64;
    pare_status st = pare_json_u64(config, path, "rotary_dim", 2, PARE_MAX_HEAD_DIM, &n_rot, &found, err);
    hp->n_rot = (uint32_t)n_rot;
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const names[][2] = {{"num_hidden_layers", "n_layer"},
                                           {"max_position_embeddings", "n_positions"},
                                           {"hidden_size", "n_embd"},
                                           {"intermediate_size", "n_inner"},
                                           {"num_attention_heads", "n_head"},
                                           {"hidden_act", "activation_function"},
                                           {"layer_norm_eps", "layer_norm_epsilon"},
                                           {NULL, NULL}};
    static const char *const not_here[] = {
        "num_key_value_heads",   "rope_theta", "rope_scaling", "attention_bias", "mlp_bias",
        "partial_rotary_factor", NULL};
    bool ok = json_object_set_new(config, "rotary_dim", json_integer(hp->n_rot)) == 0;
    ok = pare_config_rename(config, names) && ok;
    pare_config_drop(config, not_here);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

static const char *stock_differs(const pare_hparams *hp)
{
    (void)hp;
    return "does not load it: it does not know architecture 'gptj'";
}

const pare_arch pare_arch_gptj = {
    .name = "gptj",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER,
               .act = PARE_ACT_GELU_TANH,
               .rope = PARE_ROPE_INTERLEAVED,
               .parallel_residual = true},
    .partial_rotary = true,
    .hf_ignored = ignored,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_config = to_config,
    .stock_differs = stock_differs,
};
