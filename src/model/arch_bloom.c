/* BLOOM: LayerNorm, ALiBi in place of rotary positions, a norm behind the embeddings, q, k and v fused head by head.
 * Sources: transformers models/bloom; llama.cpp conversion/bloom.py, src/models/bloom.cpp. */
#include "model/arch.h"
#include "model/arch_words.h"

static const pare_hf_class classes[] = {
    {"BloomForCausalLM", "bloom", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .ff_factor = 4, .tied = true}},
    {"BloomModel", "bloom", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .ff_factor = 4, .tied = true}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "transformer.word_embeddings", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_TOKEN_EMBD_NORM,
     "transformer.word_embeddings_layernorm",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "transformer.ln_f", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM, "transformer.h.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_QKV,
     "transformer.h.%u.self_attention.query_key_value",
     {PARE_DIM_QKV, PARE_DIM_EMBD},
     PARE_MAP_QKV_GROUPS,
     PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_OUT,
     "transformer.h.%u.self_attention.dense",
     {PARE_DIM_EMBD, PARE_DIM_O},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
    {PARE_W_FFN_NORM, "transformer.h.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_UP,
     "transformer.h.%u.mlp.dense_h_to_4h",
     {PARE_DIM_FF, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
    {PARE_W_FFN_DOWN,
     "transformer.h.%u.mlp.dense_4h_to_h",
     {PARE_DIM_EMBD, PARE_DIM_FF},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED},
};

static const char *const meta_keys[] = {"bloom.context_length",
                                        "bloom.embedding_length",
                                        "bloom.feed_forward_length",
                                        "bloom.block_count",
                                        "bloom.attention.head_count",
                                        "bloom.attention.head_count_kv",
                                        "bloom.attention.layer_norm_epsilon",
                                        "general.file_type",
                                        "general.quantization_version",
                                        NULL};

static const char *const prefixes[] = {"transformer.", "", NULL};

enum { BIAS_MAX = 8 }; /* of ALiBi, in every model */

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const pare_config_switch switches[] = {{"apply_residual_connection_post_layernorm", false}};
    hp->alibi_max = BIAS_MAX;
    return pare_config_expect(config, path, "bloom", switches, 1, err);
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    (void)meta;
    (void)path;
    (void)err;
    hp->alibi_max = BIAS_MAX;
    return PARE_OK;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const names[][2] = {{"num_hidden_layers", "n_layer"},
                                           {"max_position_embeddings", "seq_length"},
                                           {"num_attention_heads", "n_head"},
                                           {"layer_norm_eps", "layer_norm_epsilon"},
                                           {NULL, NULL}};
    static const char *const not_here[] = {"num_key_value_heads", "rope_theta", "rope_scaling",
                                           "attention_bias",      "mlp_bias",   "intermediate_size",
                                           "hidden_act",          NULL};
    if (hp->n_ff != 4 * hp->n_embd)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "config.json has no word for an FFN that is not 4 times as wide");
    bool ok = pare_config_rename(config, names);
    pare_config_drop(config, not_here);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_bloom = {
    .name = "bloom",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_NONE},
    .hf_prefixes = prefixes,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .meta_keys = meta_keys,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_config = to_config,
};
