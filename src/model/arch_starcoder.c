/* GPT BigCode (SantaCoder, StarCoder 1): GPT-2 with one key/value head for all queries and matrices stored [out, in].
 * Sources: transformers models/gpt_bigcode; llama.cpp conversion/starcoder.py, src/models/starcoder.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

static const pare_hf_class classes[] = {
    {"GPTBigCodeForCausalLM", "gpt_bigcode", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 1024, .norm_eps = 1e-5f, .ff_factor = 4, .tied = true}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "transformer.wte", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_POS_EMBD, "transformer.wpe", {PARE_DIM_CTX, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "transformer.ln_f", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM, "transformer.h.%u.ln_1", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_QKV, "transformer.h.%u.attn.c_attn", {PARE_DIM_QKV, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_OUT, "transformer.h.%u.attn.c_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_NORM, "transformer.h.%u.ln_2", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_UP, "transformer.h.%u.mlp.c_fc", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_DOWN, "transformer.h.%u.mlp.c_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
};

static const char *const meta_keys[] = {"starcoder.context_length",
                                        "starcoder.embedding_length",
                                        "starcoder.feed_forward_length",
                                        "starcoder.block_count",
                                        "starcoder.attention.head_count",
                                        "starcoder.attention.head_count_kv",
                                        "starcoder.attention.layer_norm_epsilon",
                                        "general.file_type",
                                        "general.quantization_version",
                                        NULL};

static const char *const prefixes[] = {"transformer.", "", NULL};

static const char *const ignored[] = {"*.attn.bias", "*.attn.masked_bias", NULL}; /* the causal mask */

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const pare_config_switch switches[] = {
        {"multi_query", true}, {"scale_attn_weights", true}, {"add_cross_attention", false}};
    hp->n_head_kv = 1;
    return pare_config_expect(config, path, "starcoder", switches, sizeof switches / sizeof *switches, err);
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
    static const char *const not_here[] = {"num_key_value_heads", "rope_theta", "rope_scaling",
                                           "attention_bias",      "mlp_bias",   NULL};
    (void)hp;
    bool ok = json_object_set_new(config, "multi_query", json_true()) == 0;
    ok = pare_config_rename(config, names) && ok;
    pare_config_drop(config, not_here);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_starcoder = {
    .name = "starcoder",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_NONE},
    .hf_prefixes = prefixes,
    .hf_ignored = ignored,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .meta_keys = meta_keys,
    .from_config = from_config,
    .to_config = to_config,
};
