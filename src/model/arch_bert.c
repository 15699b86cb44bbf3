/* BERT, and its kin whose states are computed alike: RoBERTa, XLM-RoBERTa, CamemBERT. Attention looks both ways, each
 * part of a layer is normalised after it was added, positions and token types are learned. What is left of the heads
 * (pooler, masked words) is no part of an embedding. Sources: transformers models/bert, roberta, xlm_roberta,
 * camembert; llama.cpp conversion/bert.py, src/models/bert.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

#define USUAL .absent = {.n_ctx = 512, .norm_eps = 1e-12f, .tied = true}

static const pare_hf_class classes[] = {
    {"BertModel", "bert", PARE_WINDOW_NONE, USUAL},
    {"BertForMaskedLM", "bert", PARE_WINDOW_NONE, USUAL},
    {"BertForPreTraining", "bert", PARE_WINDOW_NONE, USUAL},
    {"RobertaModel", "roberta", PARE_WINDOW_NONE, USUAL, .skips_pad_positions = true},
    {"RobertaForMaskedLM", "roberta", PARE_WINDOW_NONE, USUAL, .skips_pad_positions = true},
    {"XLMRobertaModel", "xlm-roberta", PARE_WINDOW_NONE, USUAL, .skips_pad_positions = true},
    {"XLMRobertaForMaskedLM", "xlm-roberta", PARE_WINDOW_NONE, USUAL, .skips_pad_positions = true},
    {"CamembertModel", "camembert", PARE_WINDOW_NONE, USUAL, .skips_pad_positions = true},
    {"CamembertForMaskedLM", "camembert", PARE_WINDOW_NONE, USUAL, .skips_pad_positions = true},
    {0},
};

#define LAYER "encoder.layer.%u."
static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "embeddings.word_embeddings", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_POS_EMBD, "embeddings.position_embeddings", {PARE_DIM_CTX, PARE_DIM_EMBD}, PARE_MAP_POSITIONS, 0},
    {PARE_W_TOKEN_TYPES, "embeddings.token_type_embeddings", {PARE_DIM_TOKEN_TYPES, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_TOKEN_EMBD_NORM, "embeddings.LayerNorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_Q, LAYER "attention.self.query", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_K, LAYER "attention.self.key", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_V, LAYER "attention.self.value", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_OUT, LAYER "attention.output.dense", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_OUT_NORM, LAYER "attention.output.LayerNorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_UP, LAYER "intermediate.dense", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_DOWN, LAYER "output.dense", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_LAYER_OUT_NORM, LAYER "output.LayerNorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
};

static const char *const prefixes[] = {"", "bert.", "roberta.", NULL};
static const char *const ignored[] = {
    "*embeddings.position_ids", "*embeddings.token_type_ids", "*pooler.dense.*", "cls.*", "lm_head.*", NULL};

static const char *const meta_keys[] = {"bert.block_count",
                                        "bert.context_length",
                                        "bert.embedding_length",
                                        "bert.feed_forward_length",
                                        "bert.attention.head_count",
                                        "bert.attention.layer_norm_epsilon",
                                        "general.file_type",
                                        "bert.attention.causal",
                                        "bert.pooling_type",
                                        "general.quantization_version",
                                        NULL};

static const pare_config_switch encoder[] = {{"is_decoder", false}, {"add_cross_attention", false}};

/* Attention of another kind, which GGUF has no word for. */
static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    (void)hp;
    bool found = false;
    pare_str kind = {"absolute", 8};
    pare_status st = pare_json_str(config, path, "position_embedding_type", &kind, &found, err);
    if (st == PARE_OK && !pare_str_equal(kind, "absolute"))
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'position_embedding_type' is '%.*s', supported is absolute",
                       path, (int)(kind.len < 64 ? kind.len : 64), kind.data);
    return st == PARE_OK ? pare_config_expect(config, path, "bert", encoder, 2, err) : st;
}

/* Numbers that the class knows nothing of. */
static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const unknown[] = {"num_key_value_heads", "rope_theta", "rope_scaling",
                                          "attention_bias",      "mlp_bias",   NULL};
    (void)hp;
    pare_config_drop(config, unknown);
    bool ok = json_object_set_new(config, "position_embedding_type", json_string("absolute")) == 0;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_bert = {
    .name = "bert",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_LAYER, .act = PARE_ACT_GELU_ERF, .encoder = true},
    .meta_keys = meta_keys,
    .hf_prefixes = prefixes,
    .gamma_beta = true,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_ignored = ignored,
    .from_config = from_config,
    .to_config = to_config,
};
