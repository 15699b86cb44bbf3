/* Gemma 3n: Gemma 3's attention (queries not scaled, values normalised, the last layers without keys of their own), an
 * FFN whose gates are cut to a few in the first layers, and what eval/forward_streams.c describes: streams beside the
 * residual stream, LAuReL, and input vectors of each layer. What the class that sees and hears has beside the language
 * model is left out. Sources: transformers models/gemma3n; llama.cpp conversion/gemma.py, src/models/gemma3n.cpp, whose
 * runtime knows the numbers of the published models alone. */
#include "core/json.h"
#include "model/arch.h"
#include "model/arch_words.h"
#include "model/hparams_limits.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STREAMS = 64, SPARSE_LAYERS = 10, OWN_KEYS = 20 };
enum {
    STREAMS = 4,
    LAUREL_RANK = 64,
    LAYER_EMBD = 256
}; /* of the published models, which stock's runtime has built in */

static const float CUT_DEVIATIONS = 1.6448536f; /* above the mean: 0.95 of a normal distribution lies below; also */

#define ABSENT                                                                                                         \
    .absent = {.n_vocab = 262400,                                                                                      \
               .n_head = 8,                                                                                            \
               .n_head_kv = 2,                                                                                         \
               .n_ff = 16384,                                                                                          \
               .head_dim = 256,                                                                                        \
               .n_ctx = 32768,                                                                                         \
               .norm_eps = 1e-6f,                                                                                      \
               .rope_base = 1e6f,                                                                                      \
               .window = 512,                                                                                          \
               .tied = true},                                                                                          \
    .head_dim_key = true

static const pare_hf_class classes[] = {
    {"Gemma3nForCausalLM", "gemma3n_text", PARE_WINDOW_ALWAYS, ABSENT},
    {"Gemma3nForConditionalGeneration", "gemma3n", PARE_WINDOW_ALWAYS, ABSENT, .section = "text_config"},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_LAYER_EMBD, "model.embed_tokens_per_layer", {PARE_DIM_VOCAB, PARE_DIM_EMBD_LAYERS}, PARE_MAP_FILL_ROWS, 0},
    {PARE_W_LAYER_MODEL_PROJ,
     "model.per_layer_model_projection",
     {PARE_DIM_EMBD_LAYERS, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     0},
    {PARE_W_LAYER_PROJ_NORM, "model.per_layer_projection_norm", {PARE_DIM_EMBD_LAYER}, PARE_MAP_SAME, 0},
    {PARE_W_ALTUP_PROJ,
     "model.altup_projections.%e",
     {PARE_DIM_STREAM_MORE, PARE_DIM_EMBD, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     0},
    {PARE_W_ALTUP_UNEMBD,
     "model.altup_unembed_projections.%e",
     {PARE_DIM_STREAM_MORE, PARE_DIM_EMBD, PARE_DIM_EMBD},
     PARE_MAP_STACK,
     0},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q, /* in layers with another one's keys */
     "model.layers.%u.self_attn.q_proj",
     {PARE_DIM_Q, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_STOCK_NO_FACTOR},
    {PARE_W_ATTN_K,
     "model.layers.%u.self_attn.k_proj",
     {PARE_DIM_K, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_OWN_KEYS | PARE_STOCK_WANTS},
    {PARE_W_ATTN_V,
     "model.layers.%u.self_attn.v_proj",
     {PARE_DIM_V, PARE_DIM_EMBD},
     PARE_MAP_SAME,
     PARE_OWN_KEYS | PARE_STOCK_WANTS},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_Q_NORM, "model.layers.%u.self_attn.q_norm", {PARE_DIM_HEAD_K}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K_NORM,
     "model.layers.%u.self_attn.k_norm",
     {PARE_DIM_HEAD_K},
     PARE_MAP_SAME,
     PARE_OWN_KEYS | PARE_STOCK_WANTS},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.pre_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_LAYER_GATE, "model.layers.%u.per_layer_input_gate", {PARE_DIM_EMBD_LAYER, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_LAYER_PROJ, "model.layers.%u.per_layer_projection", {PARE_DIM_EMBD, PARE_DIM_EMBD_LAYER}, PARE_MAP_SAME, 0},
    {PARE_W_LAYER_INPUT_NORM, "model.layers.%u.post_per_layer_input_norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ALTUP_ROUTER, "model.layers.%u.altup.modality_router", {PARE_DIM_STREAM, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ALTUP_ROUTER_NORM, "model.layers.%u.altup.router_norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ALTUP_PREDICT,
     "model.layers.%u.altup.prediction_coefs",
     {PARE_DIM_STREAM_PAIR, PARE_DIM_STREAM},
     PARE_MAP_SAME,
     0},
    {PARE_W_ALTUP_CORRECT,
     "model.layers.%u.altup.correction_coefs",
     {PARE_DIM_STREAM, PARE_DIM_STREAM},
     PARE_MAP_SAME,
     0},
    {PARE_W_ALTUP_SCALE, "model.layers.%u.altup.correct_output_scale", {PARE_DIM_EMBD}, PARE_MAP_SAME, PARE_NO_SUFFIX},
    {PARE_W_LAUREL_L, "model.layers.%u.laurel.linear_left", {PARE_DIM_LAUREL, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_LAUREL_R, "model.layers.%u.laurel.linear_right", {PARE_DIM_EMBD, PARE_DIM_LAUREL}, PARE_MAP_SAME, 0},
    {PARE_W_LAUREL_NORM, "model.layers.%u.laurel.post_laurel_norm", {PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
};

static const char *const prefixes[] = {"model.", "model.language_model.", "language_model.model.", NULL};
static const char *const ignored[] = {"lm_head.weight", "*.lm_head.weight", NULL}; /* the embeddings */
static const char *const left_out[] = {"model.vision_tower.*", "model.audio_tower.*", "model.embed_vision.*",
                                       "model.embed_audio.*", NULL};

static const char *const meta_keys[] = {"gemma3n.block_count",
                                        "gemma3n.context_length",
                                        "gemma3n.embedding_length",
                                        "gemma3n.feed_forward_length",
                                        "gemma3n.attention.head_count",
                                        "gemma3n.attention.head_count_kv",
                                        "gemma3n.rope.scaling.type",
                                        "gemma3n.rope.scaling.factor",
                                        "gemma3n.rope.freq_base",
                                        "gemma3n.rope.freq_base_swa",
                                        "gemma3n.attention.layer_norm_rms_epsilon",
                                        "gemma3n.attention.key_length",
                                        "gemma3n.attention.value_length",
                                        "general.file_type",
                                        "gemma3n.final_logit_softcapping",
                                        "gemma3n.attention.sliding_window",
                                        "gemma3n.altup.active_idx",
                                        "gemma3n.altup.num_inputs",
                                        "gemma3n.embedding_length_per_layer_input",
                                        "gemma3n.attention.shared_kv_layers",
                                        "gemma3n.activation_sparsity_scale",
                                        "gemma3n.attention.sliding_window_pattern",
                                        "general.quantization_version",
                                        NULL};

/* How many standard deviations above the mean of a normal distribution the part p of it lies below; p in (0, 1). */
static float deviations_of(double p)
{
    double low = -40, high = 40;
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2.0)) < p)
            low = middle;
        else
            high = middle;
    }
    return (float)high;
}

/* activation_sparsity_pattern: the part of gates that a layer cuts away, 0 for none; one number or one a layer. Layers
 * that cut must cut the same. */
static pare_status read_sparsity(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    static const char key[] = "activation_sparsity_pattern";
    const json_t *list = json_object_get(config, key);
    bool said = list != NULL && !json_is_null(list);
    double found = 0;
    if (json_is_array(list) && json_array_size(list) != hp->n_layer)
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' has %zu entries for %" PRIu32 " layers", path, key,
                         json_array_size(list), hp->n_layer);
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        const json_t *v = json_is_array(list) ? json_array_get(list, i) : list;
        double part = json_number_value(v);
        if (!said)
            part = hp->n_layer > SPARSE_LAYERS && i < SPARSE_LAYERS ? 0.95 : 0;
        else if (!json_is_number(v) || !(part >= 0 && part < 1))
            return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' of layer %" PRIu32 " is no number from 0 to below 1", path,
                             key, i);
        if (part > 0 && found > 0 && part != found)
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' has %g and %g; one number above 0 is supported", path,
                             key, found, part);
        if (part > 0) {
            pare_layers_add(&hp->sparse, i);
            found = part;
        }
    }
    hp->ffn_sparsity = found > 0 ? deviations_of(found) : 0;
    return PARE_OK;
}

static pare_status read_count(const json_t *config, const char *path, const char *key, uint64_t least, uint64_t most,
                              uint64_t absent, uint32_t *out, pare_error *err)
{
    bool found = false;
    pare_status st = pare_json_u64(config, path, key, least, most, &absent, &found, err);
    *out = (uint32_t)absent;
    return st;
}

/* What follows from the family, whatever the source. */
static void set_fixed(pare_hparams *hp)
{
    hp->embd_scale = sqrtf((float)hp->n_embd);
    hp->attn_scale = 1;
}

static const pare_config_switch scaled = {"altup_correct_scale", true};

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    uint32_t active = 0;
    pare_status st;
    set_fixed(hp);
    if ((st = pare_config_cap(config, path, "final_logit_softcapping", 30, &hp->final_softcap, err)) != PARE_OK ||
        (st = read_count(config, path, "hidden_size_per_layer_input", 1, PARE_MAX_EMBD, 256, &hp->n_embd_layer, err)) !=
            PARE_OK ||
        (st = read_count(config, path, "vocab_size_per_layer_input", 1, hp->n_vocab,
                         hp->n_vocab < 262144 ? hp->n_vocab : 262144, &hp->n_vocab_layer, err)) != PARE_OK ||
        (st = read_count(config, path, "num_kv_shared_layers", 0, hp->n_layer - 1, 15, &hp->n_layer_shared_kv, err)) !=
            PARE_OK ||
        (st = read_count(config, path, "altup_num_inputs", 2, MAX_STREAMS, 4, &hp->n_stream, err)) != PARE_OK ||
        (st = read_count(config, path, "altup_active_idx", 0, MAX_STREAMS, 0, &active, err)) != PARE_OK ||
        (st = read_count(config, path, "laurel_rank", 1, PARE_MAX_EMBD, 64, &hp->laurel_rank, err)) != PARE_OK ||
        (st = pare_config_expect(config, path, "gemma3n", &scaled, 1, err)) != PARE_OK ||
        (st = read_sparsity(hp, config, path, err)) != PARE_OK)
        return st;
    if (active != 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: 'altup_active_idx' is %" PRIu32 ", supported is 0", path,
                         active);
    return pare_config_want_tied(hp, path, err);
}

/* activation_sparsity_scale: deviations above the mean, minus infinity in layers that cut nothing. */
static pare_status read_scales(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    static const char key[] = "gemma3n.activation_sparsity_scale";
    const pare_meta_value *v = pare_meta_find(meta, key);
    if (v == NULL)
        return PARE_OK;
    if (v->type != PARE_META_ARRAY || v->elem != PARE_META_F32 || v->n < hp->n_layer)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: offset %" PRIu64 ": '%s' is no array of a float for each of %" PRIu32 " layers", path,
                         v->offset, key, hp->n_layer);
    for (uint32_t i = 0; i < hp->n_layer; i++) {
        float scale;
        memcpy(&scale, (const uint8_t *)v->v.data + i * sizeof scale, sizeof scale);
        if (isinf(scale) && scale < 0)
            continue;
        if (!isfinite(scale) || scale == 0 || (hp->ffn_sparsity != 0 && hp->ffn_sparsity != scale))
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: '%s' of layer %" PRIu32 " is %g; one number that is not 0, or minus infinity, is "
                             "supported",
                             path, key, i, (double)scale);
        hp->ffn_sparsity = scale;
        pare_layers_add(&hp->sparse, i);
    }
    return PARE_OK;
}

static pare_status meta_count(const pare_meta *meta, const char *path, const char *key, uint64_t least, uint64_t most,
                              uint32_t *out, pare_error *err)
{
    bool found = false;
    uint64_t v = *out;
    pare_status st = pare_meta_u64(meta, path, key, least, most, &v, &found, err);
    *out = (uint32_t)v;
    return st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    uint32_t active = 0;
    pare_status st;
    set_fixed(hp);
    hp->final_softcap = 30;
    hp->n_stream = 4;
    hp->n_embd_layer = 256;
    hp->n_layer_shared_kv = hp->n_layer > OWN_KEYS ? hp->n_layer - OWN_KEYS : 0;
    if ((st = pare_meta_cap(meta, path, "gemma3n.final_logit_softcapping", &hp->final_softcap, err)) != PARE_OK ||
        (st = meta_count(meta, path, "gemma3n.altup.num_inputs", 2, MAX_STREAMS, &hp->n_stream, err)) != PARE_OK ||
        (st = meta_count(meta, path, "gemma3n.altup.active_idx", 0, 0, &active, err)) != PARE_OK ||
        (st = meta_count(meta, path, "gemma3n.embedding_length_per_layer_input", 1, PARE_MAX_EMBD, &hp->n_embd_layer,
                         err)) != PARE_OK ||
        (st = meta_count(meta, path, "gemma3n.attention.shared_kv_layers", 0, hp->n_layer - 1, &hp->n_layer_shared_kv,
                         err)) != PARE_OK)
        return st;
    return read_scales(hp, meta, path, err);
}

static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    float scales[PARE_MAX_LAYERS];
    for (uint32_t i = 0; i < hp->n_layer; i++)
        scales[i] = pare_layers_have(&hp->sparse, i) ? hp->ffn_sparsity : -INFINITY;
    pare_status st;
    if ((st = pare_meta_set_f32(meta, "gemma3n.final_logit_softcapping", hp->final_softcap, err)) != PARE_OK ||
        (st = pare_meta_set_u32(meta, "gemma3n.altup.active_idx", 0, err)) != PARE_OK ||
        (st = pare_meta_set_u32(meta, "gemma3n.altup.num_inputs", hp->n_stream, err)) != PARE_OK ||
        (st = pare_meta_set_u32(meta, "gemma3n.embedding_length_per_layer_input", hp->n_embd_layer, err)) != PARE_OK ||
        (st = pare_meta_set_u32(meta, "gemma3n.attention.shared_kv_layers", hp->n_layer_shared_kv, err)) != PARE_OK)
        return st;
    return pare_meta_set_array(meta, "gemma3n.activation_sparsity_scale", PARE_META_F32, scales, hp->n_layer, err);
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    const double part = 0.5 * erfc(-(double)hp->ffn_sparsity / sqrt(2.0));
    json_t *parts = json_array();
    bool ok = parts != NULL;
    for (uint32_t i = 0; i < hp->n_layer && ok; i++) /* but for a float's rounding: 0.95 */
        ok = json_array_append_new(parts, json_real(pare_layers_have(&hp->sparse, i) ? round(part * 1e6) / 1e6 : 0)) ==
             0;
    const struct {
        const char *key;
        json_t *value;
    } members[] = {
        {"activation_sparsity_pattern", parts},
        {"final_logit_softcapping", pare_json_float(hp->final_softcap)},
        {"hidden_size_per_layer_input", json_integer(hp->n_embd_layer)},
        {"vocab_size_per_layer_input", json_integer(hp->n_vocab_layer > 0 ? hp->n_vocab_layer : hp->n_vocab)},
        {"num_kv_shared_layers", json_integer(hp->n_layer_shared_kv)},
        {"altup_num_inputs", json_integer(hp->n_stream)},
        {"altup_active_idx", json_integer(0)},
        {"laurel_rank", json_integer(hp->laurel_rank)},
        {"hidden_activation", json_string("gelu_pytorch_tanh")}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        ok = json_object_set_new(config, members[i].key, members[i].value) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

static const char *stock_differs(const pare_hparams *hp)
{
    uint32_t n_sparse = 0;
    if (hp->n_stream != STREAMS || hp->laurel_rank != LAUREL_RANK || hp->n_embd_layer != LAYER_EMBD)
        return "does not load it: it wants the published models' 'altup_num_inputs' 4, 'laurel_rank' 64 and "
               "'hidden_size_per_layer_input' 256";
    if (hp->n_layer - hp->n_layer_shared_kv != OWN_KEYS)
        return "computes something else: it takes 20 layers with keys of their own ('num_kv_shared_layers')";
    while (n_sparse < hp->n_layer && pare_layers_have(&hp->sparse, n_sparse))
        n_sparse++;
    if (n_sparse != SPARSE_LAYERS || fabsf(hp->ffn_sparsity - CUT_DEVIATIONS) > 1e-4f)
        return "computes something else: it cuts 0.95 of the gates of the first 10 layers "
               "('activation_sparsity_pattern')";
    return NULL;
}

const pare_arch pare_arch_gemma3n = {
    .name = "gemma3n",
    .hf_classes = classes,
    .wiring =
        {.norm = PARE_NORM_RMS, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_HALVES, .gated_ffn = true, .v_norm = true},
    .window_key = true,
    .window_period = 5,
    .window_pattern_key = true,
    .rope_base_window = 10000,
    .window_rope_plain = true,
    .space_prefix_key = true,
    .meta_keys = meta_keys,
    .hf_prefixes = prefixes,
    .stock_window = true,
    .stock_rows = PARE_STOCK_ROWS_BEFORE_NORM,
    .stock_output_twice = true,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_ignored = ignored,
    .hf_left_out = left_out,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
    .stock_differs = stock_differs,
};
