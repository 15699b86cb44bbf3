/* Falcon: attention and FFN in parallel, q, k and v fused group by group, no biases but of the norms. The larger models
 * normalise the inputs of attention and of the FFN each by itself. Sources: transformers models/falcon; llama.cpp
 * conversion/falcon.py, src/models/falcon.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"
#include "model/hparams_limits.h"

static const pare_hf_class classes[] = {
    {"FalconForCausalLM", "falcon", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .ff_factor = 4, .tied = true}},
    {"RWForCausalLM", "RefinedWeb", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-5f, .ff_factor = 4, .tied = true}},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "transformer.word_embeddings", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT, "lm_head", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_WEIGHT_OPTIONAL},
    {PARE_W_OUTPUT_NORM, "transformer.ln_f", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_NORM,
     "transformer.h.%u.input_layernorm",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED | PARE_IF_ONE_NORM},
    {PARE_W_ATTN_NORM,
     "transformer.h.%u.ln_mlp",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED | PARE_IF_NORM_PAIR},
    {PARE_W_ATTN_NORM_2,
     "transformer.h.%u.ln_attn",
     {PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_BIAS_REQUIRED | PARE_IF_NORM_PAIR},
    {PARE_W_ATTN_QKV,
     "transformer.h.%u.self_attention.query_key_value",
     {PARE_DIM_QKV, PARE_DIM_EMBD},
     PARE_MAP_QKV_GROUPS,
     0},
    {PARE_W_ATTN_OUT, "transformer.h.%u.self_attention.dense", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "transformer.h.%u.mlp.dense_h_to_4h", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "transformer.h.%u.mlp.dense_4h_to_h", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
};

static const char *const meta_keys[] = {"falcon.context_length",
                                        "falcon.tensor_data_layout",
                                        "falcon.embedding_length",
                                        "falcon.feed_forward_length",
                                        "falcon.block_count",
                                        "falcon.attention.head_count",
                                        "falcon.attention.head_count_kv",
                                        "falcon.attention.layer_norm_epsilon",
                                        "general.file_type",
                                        "general.quantization_version",
                                        NULL};

/* The number of key/value heads has had two names, and counts only in the newer decoder; before, one serves all
 * queries (multi_query), or each has its own. */
static pare_status read_kv_heads(pare_hparams *hp, const json_t *config, const char *path, bool newer, pare_error *err)
{
    bool found = false, multi_query = true;
    uint64_t n = hp->n_head;
    pare_status st = pare_json_bool(config, path, "multi_query", &multi_query, &found, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "n_head_kv", 1, hp->n_head, &n, &found, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "num_kv_heads", 1, hp->n_head, &n, &found, err);
    hp->n_head_kv = newer ? (uint32_t)n : multi_query ? 1 : hp->n_head;
    return st;
}

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const pare_config_switch switches[] = {{"alibi", false},
                                                  {"parallel_attn", true},
                                                  {"bias", false},
                                                  {"apply_residual_connection_post_layernorm", false}};
    bool found = false, newer = json_object_get(config, "n_head_kv") != NULL;
    uint64_t n_norms = 2, n_ff = hp->n_ff;
    pare_status st = pare_config_expect(config, path, "falcon", switches, sizeof switches / sizeof *switches, err);
    if (st == PARE_OK)
        st = pare_json_bool(config, path, "new_decoder_architecture", &newer, &found, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "num_ln_in_parallel_attn", 1, 2, &n_norms, &found, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "ffn_hidden_size", 1, PARE_MAX_FF, &n_ff, &found, err);
    hp->n_ff = (uint32_t)n_ff;
    hp->norm_pair = newer && n_norms == 2;
    return st == PARE_OK ? read_kv_heads(hp, config, path, newer, err) : st;
}

/* The name of the order that q, k and v have in GGUF. */
static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    (void)hp;
    return pare_meta_set_str(meta, "falcon.tensor_data_layout", (pare_str){"jploski", 7}, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const names[][2] = {{"layer_norm_eps", "layer_norm_epsilon"},
                                           {"intermediate_size", "ffn_hidden_size"},
                                           {"hidden_act", "activation"},
                                           {"num_key_value_heads", "num_kv_heads"},
                                           {NULL, NULL}};
    static const char *const not_here[] = {"attention_bias", "mlp_bias", NULL};
    bool one = hp->n_head_kv == 1, each = hp->n_head_kv == hp->n_head, newer = hp->norm_pair || (!one && !each);
    const struct {
        const char *key;
        bool on;
    } members[] = {{"new_decoder_architecture", newer},
                   {"multi_query", one || newer},
                   {"parallel_attn", true},
                   {"alibi", false},
                   {"bias", false}};
    bool ok = pare_config_rename(config, names);
    pare_config_drop(config, not_here);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        ok = ok && json_object_set_new(config, members[i].key, json_boolean(members[i].on)) == 0;
    if (newer)
        ok = ok && json_object_set_new(config, "num_ln_in_parallel_attn", json_integer(hp->norm_pair ? 2 : 1)) == 0;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_falcon = {
    .name = "falcon",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_ERF, .rope = PARE_ROPE_HALVES, .parallel_residual = true},
    .meta_keys = meta_keys,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .from_config = from_config,
    .to_meta = to_meta,
    .to_config = to_config,
};
