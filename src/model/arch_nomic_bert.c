/* Nomic BERT (nomic-embed-text): BERT's layers with RoPE in place of learned positions, a gated FFN, q, k and v fused,
 * and no biases. The Hub's files carry code of their own with these names; transformers has the class since 5. Sources:
 * transformers models/nomic_bert, conversion_mapping.py; llama.cpp conversion/bert.py, src/models/bert.cpp. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"

#include <string.h>

static const pare_hf_class classes[] = {
    {"NomicBertModel", "nomic_bert", PARE_WINDOW_NONE,
     .absent = {.n_ctx = 2048, .norm_eps = 1e-12f, .rope_base = 1000, .tied = true}},
    {0},
};

#define LAYER "encoder.layers.%u."
static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "embeddings.word_embeddings", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_TOKEN_TYPES, "embeddings.token_type_embeddings", {PARE_DIM_TOKEN_TYPES, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_TOKEN_EMBD_NORM, "emb_ln", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_ATTN_QKV, LAYER "attn.Wqkv", {PARE_DIM_QKV, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT, LAYER "attn.out_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT_NORM, LAYER "norm1", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
    {PARE_W_FFN_UP, LAYER "mlp.fc11", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, LAYER "mlp.fc12", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, LAYER "mlp.fc2", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_LAYER_OUT_NORM, LAYER "norm2", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_BIAS_REQUIRED},
};

static const char *const prefixes[] = {"", "bert.", "nomic_bert.", NULL};
static const char *const ignored[] = {"*pooler.dense.*", "cls.*", "*rotary_emb.*", NULL};

static const char *const meta_keys[] = {"nomic-bert.block_count",
                                        "nomic-bert.context_length",
                                        "nomic-bert.embedding_length",
                                        "nomic-bert.feed_forward_length",
                                        "nomic-bert.attention.head_count",
                                        "nomic-bert.rope.freq_base",
                                        "nomic-bert.attention.layer_norm_epsilon",
                                        "general.file_type",
                                        "nomic-bert.attention.causal",
                                        "nomic-bert.pooling_type",
                                        "general.quantization_version",
                                        NULL};

/* What the published code can do besides, and the weights that it has only with it. */
static const pare_config_switch switches[] = {{"prenorm", false},        {"causal", false},
                                              {"parallel_block", false}, {"qkv_proj_bias", false},
                                              {"mlp_fc1_bias", false},   {"mlp_fc2_bias", false},
                                              {"use_rms_norm", false},   {"rotary_emb_interleaved", false},
                                              {"is_decoder", false},     {"add_cross_attention", false}};

/* Beyond the positions that it was trained on the published code stretches RoPE; stock's converter takes those alone.
 */
static pare_status read_trained(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    uint64_t trained = hp->n_ctx_train;
    bool found = false;
    pare_status st = pare_json_u64(config, path, "max_trained_positions", 1, UINT32_MAX, &trained, &found, err);
    if (st == PARE_OK && trained < hp->n_ctx_train)
        hp->n_ctx_train = (uint32_t)trained;
    return st;
}

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    uint64_t every = 0;
    bool found = false;
    pare_status st = pare_config_expect(config, path, "nomic-bert", switches, sizeof switches / sizeof *switches, err);
    if (st == PARE_OK)
        st = pare_json_u64(config, path, "moe_every_n_layers", 0, UINT32_MAX, &every, &found, err);
    if (st == PARE_OK && every > 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: 'moe_every_n_layers' is %d: experts in this family are not "
                         "supported",
                         path, (int)every);
    return st == PARE_OK ? read_trained(hp, config, path, err) : st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    static const char *const unknown[] = {"num_key_value_heads", "attention_bias", "mlp_bias", NULL};
    (void)hp;
    (void)err;
    pare_config_drop(config, unknown);
    return PARE_OK;
}

const pare_arch pare_arch_nomic_bert = {
    .name = "nomic-bert",
    .hf_classes = classes,
    .wiring =
        {.norm = PARE_NORM_LAYER, .act = PARE_ACT_SILU, .rope = PARE_ROPE_HALVES, .gated_ffn = true, .encoder = true},
    .meta_keys = meta_keys,
    .hf_prefixes = prefixes,
    .stock_head_dim = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_ignored = ignored,
    .from_config = from_config,
    .to_config = to_config,
};
