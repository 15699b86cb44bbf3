/* Gemma 2: norms before and after attention and FFN, stored minus one; soft caps on attention scores and logits; every
 * other layer sees a window; embeddings times sqrt(width). Sources: transformers models/gemma2; llama.cpp
 * conversion/gemma.py, src/models/gemma2.cpp. */
#include "core/json.h"
#include "model/arch.h"

#include <inttypes.h>
#include <math.h>

/* The 27B model divides queries by the square root of width / heads, not of the head size; a GGUF file tells it by its
 * layers. */
enum { DEFAULT_WINDOW = 4096, LAYERS_27B = 46 };

static const pare_hf_class classes[] = {
    {"Gemma2ForCausalLM", "gemma2", PARE_WINDOW_ALWAYS,
     .absent =
         {.n_ctx = 8192, .norm_eps = 1e-6f, .n_head_kv = 4, .head_dim = 256, .window = DEFAULT_WINDOW, .tied = true},
     .head_dim_key = true},
    {0},
};

static const pare_arch_weight weights[] = {
    {PARE_W_TOKEN_EMBD, "model.embed_tokens", {PARE_DIM_VOCAB, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_OUTPUT_NORM, "model.norm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_ATTN_NORM, "model.layers.%u.input_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_ATTN_Q, "model.layers.%u.self_attn.q_proj", {PARE_DIM_Q, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_K, "model.layers.%u.self_attn.k_proj", {PARE_DIM_K, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_V, "model.layers.%u.self_attn.v_proj", {PARE_DIM_V, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_OUT, "model.layers.%u.self_attn.o_proj", {PARE_DIM_EMBD, PARE_DIM_O}, PARE_MAP_SAME, 0},
    {PARE_W_ATTN_POST_NORM, "model.layers.%u.post_attention_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_FFN_NORM, "model.layers.%u.pre_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
    {PARE_W_FFN_GATE, "model.layers.%u.mlp.gate_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_UP, "model.layers.%u.mlp.up_proj", {PARE_DIM_FF, PARE_DIM_EMBD}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_DOWN, "model.layers.%u.mlp.down_proj", {PARE_DIM_EMBD, PARE_DIM_FF}, PARE_MAP_SAME, 0},
    {PARE_W_FFN_POST_NORM, "model.layers.%u.post_feedforward_layernorm", {PARE_DIM_EMBD}, PARE_MAP_PLUS_ONE, 0},
};

static const char *const ignored[] = {"lm_head.weight", NULL}; /* always the embeddings */

static const char *const meta_keys[] = {"gemma2.context_length",
                                        "gemma2.embedding_length",
                                        "gemma2.block_count",
                                        "gemma2.feed_forward_length",
                                        "gemma2.attention.head_count",
                                        "gemma2.attention.head_count_kv",
                                        "gemma2.attention.layer_norm_rms_epsilon",
                                        "gemma2.attention.key_length",
                                        "gemma2.attention.value_length",
                                        "general.file_type",
                                        "gemma2.attn_logit_softcapping",
                                        "gemma2.final_logit_softcapping",
                                        "gemma2.attention.sliding_window",
                                        "general.quantization_version",
                                        NULL};

/* What q.k is multiplied by when only the shapes are known. */
static float usual_scale(const pare_hparams *hp)
{
    uint32_t n = hp->n_layer == LAYERS_27B ? hp->n_embd / hp->n_head : hp->head_dim_k;
    return n > 0 ? (float)(1.0 / sqrt((double)n)) : 0;
}

/* A cap: absent gives the default, null none. */
static pare_status read_cap(const json_t *config, const char *path, const char *key, double usual, float *out,
                            pare_error *err)
{
    bool found = false;
    double cap = json_object_get(config, key) == NULL ? usual : 0;
    pare_status st = pare_json_f64(config, path, key, &cap, &found, err);
    if (st == PARE_OK && !(cap >= 0 && cap <= 1e9))
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed are 0 to 1e9", path, key, cap);
    *out = (float)cap;
    return st;
}

static pare_status from_config(pare_hparams *hp, const json_t *config, const char *path, pare_error *err)
{
    bool found = false;
    double scalar = 256;
    pare_status st = read_cap(config, path, "attn_logit_softcapping", 50, &hp->attn_softcap, err);
    if (st == PARE_OK)
        st = read_cap(config, path, "final_logit_softcapping", 30, &hp->final_softcap, err);
    if (st == PARE_OK)
        st = pare_json_f64(config, path, "query_pre_attn_scalar", &scalar, &found, err);
    if (st == PARE_OK && !(scalar > 0 && scalar <= 1e9))
        return pare_fail(err, PARE_ERR_RANGE, "%s: 'query_pre_attn_scalar' is %g, allowed is above 0 up to 1e9", path,
                         scalar);
    hp->attn_scale = (float)(1.0 / sqrt(scalar));
    hp->attn_scale_not_in_gguf = hp->attn_scale != usual_scale(hp);
    hp->embd_scale = sqrtf((float)hp->n_embd);
    return st;
}

/* Absent: no cap. */
static pare_status meta_float(const pare_meta *meta, const char *path, const char *key, float *out, pare_error *err)
{
    bool found = false;
    double v = (double)*out;
    pare_status st = pare_meta_f64(meta, path, key, &v, &found, err);
    if (st == PARE_OK && !(v >= 0 && v <= 1e9))
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed are 0 to 1e9", path, key, v);
    *out = (float)v;
    return st;
}

static pare_status from_meta(pare_hparams *hp, const pare_meta *meta, const char *path, pare_error *err)
{
    hp->attn_softcap = 50;
    hp->final_softcap = 30;
    hp->attn_scale = usual_scale(hp);
    hp->embd_scale = sqrtf((float)hp->n_embd);
    pare_status st = meta_float(meta, path, "gemma2.attn_logit_softcapping", &hp->attn_softcap, err);
    if (st == PARE_OK)
        st = meta_float(meta, path, "gemma2.final_logit_softcapping", &hp->final_softcap, err);
    return st == PARE_OK ? meta_float(meta, path, "gemma2.attention.scale", &hp->attn_scale, err) : st;
}

/* attention.scale is one of GGUF's keys that stock does not read for this family; it stands only where it is needed. */
static pare_status to_meta(const pare_hparams *hp, pare_meta *meta, pare_error *err)
{
    pare_status st = pare_meta_set_f32(meta, "gemma2.attn_logit_softcapping", hp->attn_softcap, err);
    if (st == PARE_OK)
        st = pare_meta_set_f32(meta, "gemma2.final_logit_softcapping", hp->final_softcap, err);
    if (st == PARE_OK && hp->attn_scale != usual_scale(hp))
        st = pare_meta_set_f32(meta, "gemma2.attention.scale", hp->attn_scale, err);
    return st;
}

static pare_status to_config(const pare_hparams *hp, json_t *config, pare_error *err)
{
    double scalar = 1.0 / ((double)hp->attn_scale * (double)hp->attn_scale), whole = round(scalar);
    bool is_whole = fabs(scalar - whole) < 1e-4 * whole; /* but for a float's rounding; transformers wants an integer */
    json_t *caps[2] = {hp->attn_softcap > 0 ? pare_json_float(hp->attn_softcap) : json_null(),
                       hp->final_softcap > 0 ? pare_json_float(hp->final_softcap) : json_null()};
    bool ok = json_object_set_new(config, "attn_logit_softcapping", caps[0]) == 0;
    ok = json_object_set_new(config, "final_logit_softcapping", caps[1]) == 0 && ok;
    ok = json_object_set_new(config, "query_pre_attn_scalar",
                             is_whole ? json_integer((json_int_t)whole) : json_real(scalar)) == 0 &&
         ok;
    ok = json_object_set_new(config, "hidden_activation", json_string("gelu_pytorch_tanh")) == 0 && ok;
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a config.json");
}

const pare_arch pare_arch_gemma2 = {
    .name = "gemma2",
    .hf_classes = classes,
    .wiring = {.norm = PARE_NORM_RMS, .act = PARE_ACT_GELU_TANH, .rope = PARE_ROPE_HALVES, .gated_ffn = true},
    .window_key = true,
    .window_absent = DEFAULT_WINDOW,
    .window_period = 2,
    .space_prefix_key = true,
    .meta_keys = meta_keys,
    .weights = weights,
    .n_weights = sizeof weights / sizeof *weights,
    .hf_ignored = ignored,
    .from_config = from_config,
    .from_meta = from_meta,
    .to_meta = to_meta,
    .to_config = to_config,
};
