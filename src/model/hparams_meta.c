#include "model/hparams_encoder.h"
#include "model/hparams_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const float default_rope_base = 10000.0f; /* where a file says none */
static const double yarn_log_unit = 0.1;         /* rope.scaling.yarn_log_multiplier of mscale_all_dim 1 */

/* Where values come from: "<arch>.<suffix>" in meta. */
typedef struct source {
    const pare_meta *meta;
    const char *path, *arch;
    uint32_t n_layer;
    bool kinds;    /* layers may differ: hparams_kinds.c says how */
    char key[160]; /* the last key that was built */
} source;

static const char *make_key(source *s, const char *suffix)
{
    snprintf(s->key, sizeof s->key, "%s.%s", s->arch, suffix);
    return s->key;
}

bool pare_meta_element_u64(const pare_meta_value *v, uint64_t i, uint64_t *out)
{
    const uint8_t *p = (const uint8_t *)v->v.data + i * pare_meta_type_size(v->elem);
    uint64_t raw = 0;
    for (size_t b = 0; b < pare_meta_type_size(v->elem); b++)
        raw |= (uint64_t)p[b] << 8 * b;
    *out = raw;
    switch (v->elem) {
    case PARE_META_U8:
    case PARE_META_U16:
    case PARE_META_U32:
    case PARE_META_U64:
        return true;
    case PARE_META_I8:
        return raw < UINT64_C(1) << 7;
    case PARE_META_I16:
        return raw < UINT64_C(1) << 15;
    case PARE_META_I32:
        return raw < UINT64_C(1) << 31;
    case PARE_META_I64:
        return raw < UINT64_C(1) << 63;
    default:
        return false;
    }
}

/* A value that GGUF gives once or once a layer: of layers that differ, where they may, the last one's. */
static pare_status layer_array(const source *s, const pare_meta_value *v, uint64_t max, uint32_t *out, pare_error *err)
{
    uint64_t first = 0, other = 0;
    if (v->n != s->n_layer)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: offset %" PRIu64 ": '%s' has %" PRIu64 " elements, there are %" PRIu32 " layers", s->path,
                         v->offset, s->key, v->n, s->n_layer);
    for (uint64_t i = 0; i < v->n; i++) {
        if (v->elem == PARE_META_STRING || !pare_meta_element_u64(v, i, &other) || other == 0 || other > max)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: offset %" PRIu64 ": element %" PRIu64 " of '%s' is no integer from 1 to %" PRIu64,
                             s->path, v->offset, i, s->key, max);
        if (i > 0 && other != first && !s->kinds)
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: '%s' differs from layer to layer (%" PRIu64 " and %" PRIu64
                             "), which is not supported",
                             s->path, s->key, first, other);
        first = other;
    }
    *out = (uint32_t)first;
    return PARE_OK;
}

/* Absent leaves *out as it is. */
static pare_status get_u32(source *s, const char *suffix, uint64_t min, uint64_t max, uint32_t *out, pare_error *err)
{
    const pare_meta_value *v = pare_meta_find(s->meta, make_key(s, suffix));
    uint64_t n = *out;
    bool found = false;
    if (v != NULL && v->type == PARE_META_ARRAY && s->n_layer > 0)
        return layer_array(s, v, max, out, err);
    pare_status st = pare_meta_u64(s->meta, s->path, s->key, min, max, &n, &found, err);
    if (st == PARE_OK)
        *out = (uint32_t)n;
    return st;
}

/* The count that a key gives layer i, or all layers; 0: absent, or none that can be read. */
static uint64_t of_layer(source *s, const char *suffix, uint32_t i)
{
    const pare_meta_value *v = pare_meta_find(s->meta, make_key(s, suffix));
    uint64_t n = 0;
    if (v != NULL && v->type == PARE_META_ARRAY)
        return v->elem != PARE_META_STRING && i < v->n && pare_meta_element_u64(v, i, &n) ? n : 0;
    return v != NULL && pare_meta_u64(s->meta, s->path, s->key, 0, UINT32_MAX, &n, NULL, NULL) == PARE_OK ? n : 0;
}

/* What no layer may say, looked at where layers differ, which alone is not supported. */
static pare_status check_layer_heads(source *s, uint32_t n_embd, pare_error *err)
{
    static const char heads[] = "attention.head_count", kv[] = "attention.head_count_kv";
    const bool sized = pare_meta_find(s->meta, make_key(s, "attention.key_length")) != NULL;
    for (uint32_t i = 0; i < s->n_layer; i++) {
        const uint64_t n = of_layer(s, heads, i), n_kv = of_layer(s, kv, i);
        const bool bad_kv = n > 0 && n_kv > 0 && n % n_kv != 0, bad = n > 0 && !sized && n_embd % n != 0;
        const pare_meta_value *v = pare_meta_find(s->meta, make_key(s, bad_kv ? kv : heads));
        if (bad_kv)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: offset %" PRIu64 ": '%s': layer %" PRIu32 ": %" PRIu64
                             " key/value heads do not divide %" PRIu64 " attention heads",
                             s->path, v->offset, s->key, i, n_kv, n);
        if (bad)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: offset %" PRIu64 ": '%s': layer %" PRIu32 ": a width of %" PRIu32
                             " is not divisible by %" PRIu64 " attention heads, and no head size is given",
                             s->path, v->offset, s->key, i, n_embd, n);
    }
    return PARE_OK;
}

static pare_status need_u32(source *s, const char *suffix, uint64_t max, uint32_t *out, pare_error *err)
{
    *out = 0;
    pare_status st = get_u32(s, suffix, 1, max, out, err);
    if (st == PARE_OK && *out == 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: metadata key '%s' is missing", s->path, s->key);
    return st;
}

/* A positive finite number; absent leaves *out as it is. */
static pare_status get_f32(source *s, const char *suffix, double max, float *out, pare_error *err)
{
    double v = 0;
    bool found = false;
    pare_status st = pare_meta_f64(s->meta, s->path, make_key(s, suffix), &v, &found, err);
    if (st == PARE_OK && found && !pare_hparams_positive(v, max))
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset %" PRIu64 ": '%s' is %g, allowed is above 0 up to %g",
                         s->path, pare_meta_find(s->meta, s->key)->offset, s->key, v, max);
    if (st == PARE_OK && found)
        *out = (float)v;
    return st;
}

static pare_status read_counts(source *s, pare_hparams *hp, pare_error *err)
{
    pare_status st = need_u32(s, "block_count", PARE_MAX_LAYERS, &hp->n_layer, err);
    s->n_layer = hp->n_layer;
    const struct {
        const char *suffix;
        uint64_t max;
        uint32_t *out;
        bool required;
    } counts[] = {
        {"context_length", PARE_MAX_CTX, &hp->n_ctx_train, true},
        {"embedding_length", PARE_MAX_EMBD, &hp->n_embd, true},
        {"feed_forward_length", PARE_MAX_FF, &hp->n_ff, true},
        {"attention.head_count", PARE_MAX_HEADS, &hp->n_head, true},
        {"attention.head_count_kv", PARE_MAX_HEADS, &hp->n_head_kv, false},
        {"attention.key_length", PARE_MAX_HEAD_DIM, &hp->head_dim_k, false},
        {"attention.value_length", PARE_MAX_HEAD_DIM, &hp->head_dim_v, false},
        {"rope.dimension_count", PARE_MAX_HEAD_DIM, &hp->n_rot, false},
        {"vocab_size", PARE_MAX_VOCAB, &hp->n_vocab, false},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts && st == PARE_OK; i++)
        st = counts[i].required ? need_u32(s, counts[i].suffix, counts[i].max, counts[i].out, err)
                                : get_u32(s, counts[i].suffix, 1, counts[i].max, counts[i].out, err);
    if (st == PARE_ERR_UNSUPPORTED && check_layer_heads(s, hp->n_embd, err) != PARE_OK)
        st = PARE_ERR_RANGE;
    return st;
}

/* Whether stock's converter writes the width of an expert or of the shared one is the family's; its reader takes a
 * share of the FFN's width for an expert's where the key is missing. */
static pare_status read_experts(source *s, const pare_arch *arch, pare_hparams *hp, pare_error *err)
{
    bool found = false;
    pare_status st = pare_arch_needs_experts(arch)
                         ? need_u32(s, "expert_count", PARE_MAX_EXPERTS, &hp->n_expert, err)
                         : get_u32(s, "expert_count", 0, PARE_MAX_EXPERTS, &hp->n_expert, err);
    if (st == PARE_OK)
        st = get_u32(s, "expert_used_count", 0, hp->n_expert, &hp->n_expert_used, err);
    if (st != PARE_OK || hp->n_expert == 0)
        return st;
    if (arch->expert_ff_key) {
        hp->n_ff_expert = hp->n_expert_used > 0 ? hp->n_ff / hp->n_expert_used : 0;
        st = get_u32(s, "expert_feed_forward_length", 1, PARE_MAX_FF, &hp->n_ff_expert, err);
    }
    const pare_arch_weight *shared = pare_arch_weight_of(arch, PARE_W_FFN_UP_SHEXP);
    if (st == PARE_OK && shared != NULL) {
        hp->n_ff_shared = shared->flags & PARE_IF_SHARED ? 0 : hp->n_ff;
        st = get_u32(s, "expert_shared_feed_forward_length", 1, PARE_MAX_FF, &hp->n_ff_shared, err);
    }
    hp->expert_norm = arch->expert_norm;
    if (st == PARE_OK)
        st = pare_meta_bool(s->meta, s->path, make_key(s, "expert_weights_norm"), &hp->expert_norm, &found, err);
    return st;
}

/* The magnitude of what YaRN turns, as stock's runtime makes it: yarn_attn_factor, which its converter writes, changes
 * nothing there. */
static pare_status read_yarn_magnitude(source *s, const pare_arch *arch, pare_hparams *hp, pare_error *err)
{
    double attn_factor = hp->rope_attn_factor != 0 ? (double)hp->rope_attn_factor : 1, log_mul = 0;
    bool found = false;
    if (!arch->yarn_scores) {
        if (hp->rope_attn_factor != 0)
            hp->rope_attn_factor = (float)(attn_factor * pare_yarn_magnitude(hp, 0, 0));
        return PARE_OK;
    }
    pare_status st =
        pare_meta_f64(s->meta, s->path, make_key(s, "rope.scaling.yarn_log_multiplier"), &log_mul, &found, err);
    if (st == PARE_OK && !(fabs(log_mul) <= 1e3))
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %g, allowed are -1000 to 1000", s->path, s->key, log_mul);
    double mul = log_mul / yarn_log_unit, decimal = round(mul * 1e6) / 1e6; /* as a config.json had it, most likely */
    pare_yarn_from_stock(hp, attn_factor, (float)(yarn_log_unit * decimal) == (float)log_mul ? decimal : mul);
    return st;
}

/* llama.cpp writes "none", "linear", "yarn", "longrope"; a factor without a type is linear (old files). */
static pare_status read_rope(source *s, const pare_arch *arch, pare_hparams *hp, pare_error *err)
{
    static const char *const names[] = {[PARE_ROPE_PLAIN] = "none",
                                        [PARE_ROPE_LINEAR] = "linear",
                                        [PARE_ROPE_YARN] = "yarn",
                                        [PARE_ROPE_LONGROPE] = "longrope"};
    const size_t n_names = sizeof names / sizeof *names;
    pare_str type = {"linear", 6};
    bool found = false;
    hp->rope_base = default_rope_base;
    hp->rope_base_window = arch->rope_base_window;
    pare_status st = get_f32(s, "rope.freq_base", 1e30, &hp->rope_base, err);
    if (st == PARE_OK)
        st = get_f32(s, "rope.freq_base_swa", 1e30, &hp->rope_base_window, err);
    if (st == PARE_OK)
        st = get_f32(s, "rope.scale_linear", 1e9, &hp->rope_factor, err);
    if (st == PARE_OK)
        st = get_f32(s, "rope.scaling.factor", 1e9, &hp->rope_factor, err);
    if (st == PARE_OK)
        st = get_u32(s, "rope.scaling.original_context_length", 1, PARE_MAX_CTX, &hp->rope_ctx_orig, err);
    if (st == PARE_OK)
        st = get_f32(s, "rope.scaling.attn_factor", 1e9, &hp->rope_attn_factor, err);
    if (st == PARE_OK)
        st = get_f32(s, "rope.scaling.yarn_attn_factor", 1e9, &hp->yarn_attn_key, err);
    if (st == PARE_OK)
        st = get_f32(s, "rope.scaling.yarn_beta_fast", 1e9, &hp->yarn_beta_fast, err);
    if (st == PARE_OK)
        st = get_f32(s, "rope.scaling.yarn_beta_slow", 1e9, &hp->yarn_beta_slow, err);
    if (st == PARE_OK)
        st = pare_meta_name(s->meta, s->path, make_key(s, "rope.scaling.type"), &type, &found, err);
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i < n_names; i++)
        if (pare_str_equal(type, names[i])) {
            hp->rope_scaling = (pare_rope_scaling)i;
            if (hp->rope_scaling == PARE_ROPE_LINEAR && (hp->rope_factor == 0.0f || hp->rope_factor == 1.0f))
                hp->rope_scaling = PARE_ROPE_PLAIN;
            return hp->rope_scaling == PARE_ROPE_YARN ? read_yarn_magnitude(s, arch, hp, err) : PARE_OK;
        }
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: '%s' is '%.*s', known are none, linear, yarn, longrope", s->path,
                     s->key, (int)(type.len < 64 ? type.len : 64), type.data);
}

static pare_status read_norm(source *s, const pare_arch *arch, pare_hparams *hp, pare_error *err)
{
    const char *suffix =
        arch->wiring.norm == PARE_NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    pare_status st = get_f32(s, suffix, 1, &hp->norm_eps, err);
    if (st == PARE_OK && hp->norm_eps == 0.0f)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: metadata key '%s' is missing or too small", s->path, s->key);
    return st;
}

/* A key of GGUF that stock reads in a few families only; pare writes it where the activation is not the family's. */
static pare_status read_act(source *s, const pare_arch *arch, pare_hparams *hp, pare_error *err)
{
    pare_str name = {0};
    bool found = false;
    pare_status st = pare_meta_name(s->meta, s->path, make_key(s, "hidden_activation"), &name, &found, err);
    return st == PARE_OK && found ? pare_hparams_set_act(hp, arch, name, s->path, s->key, err) : st;
}

static void set_place(char *out, size_t size, source *s, const char *suffix)
{
    const pare_meta_value *v = pare_meta_find(s->meta, make_key(s, suffix));
    if (v != NULL)
        snprintf(out, size, "offset %" PRIu64 ": '%s'", v->offset, s->key);
    else
        snprintf(out, size, "'%s'", s->key);
}

static pare_status settle(source *s, pare_hparams *hp, pare_error *err)
{
    pare_hparams_places at = {.path = s->path};
    set_place(at.embd, sizeof at.embd, s, "embedding_length");
    set_place(at.heads_kv, sizeof at.heads_kv, s, "attention.head_count_kv");
    set_place(at.rot, sizeof at.rot, s, "rope.dimension_count");
    return pare_hparams_settle(hp, &at, err);
}

pare_status pare_hparams_from_meta(pare_hparams *hp, const pare_arch *arch, const pare_meta *meta, const char *path,
                                   pare_error *err)
{
    source s = {.meta = meta, .path = path, .arch = arch->name, .kinds = arch->window_heads};
    *hp = (pare_hparams){0};
    pare_status st = read_counts(&s, hp, err);
    if (st == PARE_OK)
        st = read_experts(&s, arch, hp, err);
    if (st == PARE_OK)
        st = read_norm(&s, arch, hp, err);
    if (st == PARE_OK)
        st = read_act(&s, arch, hp, err);
    if (st == PARE_OK)
        st = read_rope(&s, arch, hp, err);
    if (st == PARE_OK)
        st = pare_window_from_meta(hp, arch, meta, path, err);
    if (st == PARE_OK)
        st = pare_latent_from_meta(hp, arch, meta, path, err);
    if (st == PARE_OK)
        st = pare_routing_from_meta(hp, arch, meta, path, err);
    if (st == PARE_OK)
        st = pare_kinds_from_meta(hp, arch, meta, path, err);
    const pare_meta_value *tokens = pare_meta_find(meta, "tokenizer.ggml.tokens");
    if (st == PARE_OK && hp->n_vocab == 0 && tokens != NULL && tokens->type == PARE_META_ARRAY &&
        tokens->n <= PARE_MAX_VOCAB)
        hp->n_vocab = (uint32_t)tokens->n;
    hp->head_dim_key = !arch->latent && pare_meta_find(meta, make_key(&s, "attention.key_length")) != NULL;
    if (st == PARE_OK)
        st = settle(&s, hp, err);
    if (st == PARE_OK)
        st = pare_hparams_encoder_from_meta(hp, arch, meta, path, err);
    if (st == PARE_OK && arch->from_meta != NULL)
        st = arch->from_meta(hp, meta, path, err);
    return st;
}

void pare_hparams_guess(pare_hparams *hp, const char *arch_name, const pare_meta *meta)
{
    source s = {.meta = meta, .path = "", .arch = arch_name};
    *hp = (pare_hparams){0};
    const struct {
        const char *suffix;
        uint32_t *out;
    } counts[] = {{"block_count", &hp->n_layer},
                  {"attention.head_count", &hp->n_head},
                  {"attention.head_count_kv", &hp->n_head_kv},
                  {"expert_count", &hp->n_expert}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        const pare_meta_value *v = pare_meta_find(meta, make_key(&s, counts[i].suffix));
        uint64_t n = 0;
        if (v != NULL && v->type == PARE_META_ARRAY) {
            if (v->elem != PARE_META_STRING && v->n > 0 && pare_meta_element_u64(v, 0, &n) && n <= UINT32_MAX)
                *counts[i].out = (uint32_t)n;
        } else if (v != NULL && pare_meta_u64(meta, "", s.key, 0, UINT32_MAX, &n, NULL, NULL) == PARE_OK)
            *counts[i].out = (uint32_t)n;
    }
}

bool pare_hparams_positive(double v, double max)
{
    return isfinite(v) && v > 0.0 && v <= max;
}

pare_status pare_hparams_settle(pare_hparams *hp, const pare_hparams_places *at, pare_error *err)
{
    const char *path = at->path;
    if (hp->n_head_kv == 0)
        hp->n_head_kv = hp->n_head;
    if (hp->n_head_kv > hp->n_head || hp->n_head % hp->n_head_kv != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %s: %" PRIu32 " key/value heads do not divide %" PRIu32 " attention heads", path,
                         at->heads_kv, hp->n_head_kv, hp->n_head);
    if ((hp->head_dim_k == 0 || hp->head_dim_v == 0) && hp->n_embd % hp->n_head != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %s: a width of %" PRIu32 " is not divisible by %" PRIu32
                         " attention heads, and no head size is given",
                         path, at->embd, hp->n_embd, hp->n_head);
    if (hp->head_dim_k == 0)
        hp->head_dim_k = hp->n_embd / hp->n_head;
    if (hp->head_dim_v == 0)
        hp->head_dim_v = hp->n_embd / hp->n_head;
    if (hp->n_rot == 0)
        hp->n_rot = hp->head_dim_k;
    if (hp->n_rot > hp->head_dim_k || hp->n_rot % 2 != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %s: RoPE over %" PRIu32 " elements of heads of %" PRIu32 ", must be even and not more",
                         path, at->rot, hp->n_rot, hp->head_dim_k);
    if (hp->n_layer_shared_kv >= hp->n_layer && hp->n_layer_shared_kv > 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu32 " of %" PRIu32 " layers without keys of their own", path,
                         hp->n_layer_shared_kv, hp->n_layer);
    for (uint32_t i = hp->n_layer - hp->n_layer_shared_kv; i < hp->n_layer; i++)
        if (pare_layer_of_keys(hp, i) == i)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: layer %" PRIu32 " has no earlier one of its kind to share keys with", path, i);
    if ((uint64_t)hp->n_layer * hp->n_embd_layer > PARE_MAX_FF)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: inputs of %" PRIu32 " elements for each of %" PRIu32
                         " layers; up to %d in all are allowed",
                         path, hp->n_embd_layer, hp->n_layer, PARE_MAX_FF);
    if ((hp->n_expert == 0) != (hp->n_expert_used == 0) || hp->n_expert_used > hp->n_expert)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu32 " of %" PRIu32 " experts used", path, hp->n_expert_used,
                         hp->n_expert);
    if (hp->n_expert > 0 && hp->n_ff_expert == 0)
        hp->n_ff_expert = hp->n_ff;
    if (hp->rope_longrope.n != 0 && hp->rope_longrope.n != hp->n_rot / 2)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %" PRIu32 " 'long_factor's of RoPE, but it turns %" PRIu32 " pairs of a head", path,
                         hp->rope_longrope.n, hp->n_rot / 2);
    if (hp->rope_scaling == PARE_ROPE_YARN && hp->rope_factor == 0.0f)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: RoPE scaling 'yarn' without a factor", path);
    return PARE_OK;
}

static pare_status put_u32(const pare_arch *arch, pare_meta *meta, const char *suffix, uint32_t v, pare_error *err)
{
    char key[160];
    snprintf(key, sizeof key, "%s.%s", arch->name, suffix);
    return pare_meta_set_u32(meta, key, v, err);
}

static pare_status put_f32(const pare_arch *arch, pare_meta *meta, const char *suffix, float v, pare_error *err)
{
    char key[160];
    snprintf(key, sizeof key, "%s.%s", arch->name, suffix);
    return v == 0.0f ? PARE_OK : pare_meta_set_f32(meta, key, v, err);
}

static pare_status put_str(const pare_arch *arch, pare_meta *meta, const char *suffix, const char *v, pare_error *err)
{
    char key[160];
    snprintf(key, sizeof key, "%s.%s", arch->name, suffix);
    return pare_meta_set_str(meta, key, (pare_str){v, strlen(v)}, err);
}

/* Whether stock's converter writes the key ("block_count", or with "general." in front) for the family. */
static bool lists_key(const pare_arch *arch, const char *suffix)
{
    size_t n = strlen(arch->name);
    if (arch->meta_keys == NULL)
        return true;
    for (const char *const *key = arch->meta_keys; *key != NULL; key++)
        if (strcmp(*key, suffix) == 0 || (strncmp(*key, arch->name, n) == 0 && strcmp(*key + n + 1, suffix) == 0))
            return true;
    return false;
}

/* The magnitudes of YaRN in the words of stock's runtime. */
static pare_status write_yarn_magnitude(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err)
{
    double attn_factor = pare_rope_magnitude(hp) / pare_yarn_magnitude(hp, 0, 0), log_mul = 0;
    if (arch->yarn_scores)
        pare_yarn_to_stock(hp, &attn_factor, &log_mul);
    pare_status st = PARE_OK;
    if (fabs(attn_factor - 1) > 1e-6)
        st = put_f32(arch, meta, "rope.scaling.attn_factor", (float)attn_factor, err);
    return st == PARE_OK
               ? put_f32(arch, meta, "rope.scaling.yarn_log_multiplier", (float)(yarn_log_unit * log_mul), err)
               : st;
}

static pare_status write_rope_scaling(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err)
{
    static const char *const names[] = {
        [PARE_ROPE_LINEAR] = "linear", [PARE_ROPE_YARN] = "yarn", [PARE_ROPE_LONGROPE] = "longrope"};
    if (hp->rope_scaling == PARE_ROPE_PLAIN)
        return PARE_OK;
    const char *name = names[hp->rope_scaling];
    bool longrope = hp->rope_scaling == PARE_ROPE_LONGROPE;
    pare_status st = PARE_OK;
    if (!longrope || lists_key(arch, "rope.scaling.type")) /* the factors' tensors say it as well */
        st = put_str(arch, meta, "rope.scaling.type", name, err);
    if (st == PARE_OK && !longrope)
        st = put_f32(arch, meta, "rope.scaling.factor", hp->rope_factor, err);
    if (st == PARE_OK && longrope)
        st = put_f32(arch, meta, "rope.scaling.attn_factor", hp->rope_attn_factor, err);
    if (st == PARE_OK && longrope)
        st = put_u32(arch, meta, "rope.scaling.original_context_length", hp->rope_ctx_orig, err);
    if (st != PARE_OK || hp->rope_scaling != PARE_ROPE_YARN)
        return st;
    if (hp->rope_ctx_orig != 0)
        st = put_u32(arch, meta, "rope.scaling.original_context_length", hp->rope_ctx_orig, err);
    if (st == PARE_OK)
        st = put_f32(arch, meta, "rope.scaling.yarn_attn_factor", hp->yarn_attn_key, err);
    if (st == PARE_OK)
        st = put_f32(arch, meta, "rope.scaling.yarn_beta_fast", hp->yarn_beta_fast, err);
    if (st == PARE_OK)
        st = put_f32(arch, meta, "rope.scaling.yarn_beta_slow", hp->yarn_beta_slow, err);
    return st == PARE_OK ? write_yarn_magnitude(hp, arch, meta, err) : st;
}

/* The widths of experts, and how their weights are made where that is not the family's way (a key that stock reads for
 * other families). */
static pare_status write_expert_widths(const pare_hparams *hp, const pare_arch *arch, pare_meta *meta, pare_error *err)
{
    char key[160];
    pare_status st = PARE_OK;
    snprintf(key, sizeof key, "%s.expert_weights_norm", arch->name);
    if (hp->n_expert == 0)
        return PARE_OK;
    if (arch->expert_ff_key)
        st = put_u32(arch, meta, "expert_feed_forward_length", hp->n_ff_expert, err);
    if (st == PARE_OK && hp->n_ff_shared > 0 && !arch->routing_keys)
        st = put_u32(arch, meta, "expert_shared_feed_forward_length", hp->n_ff_shared, err);
    if (st == PARE_OK && hp->expert_norm != arch->expert_norm)
        st = pare_meta_set_bool(meta, key, hp->expert_norm, err);
    return st;
}

static pare_status write_all(const pare_hparams *hp, const pare_arch *arch, uint32_t file_type, pare_meta *meta,
                             pare_error *err)
{
    const struct {
        const char *suffix;
        uint32_t v;
    } counts[] = {
        {"block_count", hp->n_layer},      {"context_length", hp->n_ctx_train},  {"embedding_length", hp->n_embd},
        {"feed_forward_length", hp->n_ff}, {"attention.head_count", hp->n_head},
    };
    bool rms = arch->wiring.norm == PARE_NORM_RMS;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof counts / sizeof *counts && st == PARE_OK; i++)
        st = put_u32(arch, meta, counts[i].suffix, counts[i].v, err);
    if (st == PARE_OK && (lists_key(arch, "attention.head_count_kv") || hp->n_head_kv != hp->n_head))
        st = put_u32(arch, meta, "attention.head_count_kv", pare_stored_heads(hp), err);
    if (st == PARE_OK)
        st = write_rope_scaling(hp, arch, meta, err);
    bool turns = arch->wiring.rope != PARE_ROPE_NONE;
    if (st == PARE_OK && turns && (lists_key(arch, "rope.freq_base") || hp->rope_base != default_rope_base))
        st = put_f32(arch, meta, "rope.freq_base", hp->rope_base, err);
    if (st == PARE_OK && turns)
        st = put_f32(arch, meta, "rope.freq_base_swa", hp->rope_base_window, err);
    if (st == PARE_OK && arch->partial_rotary)
        st = put_u32(arch, meta, "rope.dimension_count", hp->n_rot, err);
    if (st == PARE_OK)
        st = put_f32(arch, meta, rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
                     hp->norm_eps, err);
    if (st == PARE_OK && hp->n_expert > 0)
        st = put_u32(arch, meta, "expert_count", hp->n_expert, err);
    if (st == PARE_OK && hp->n_expert > 0)
        st = put_u32(arch, meta, "expert_used_count", hp->n_expert_used, err);
    if (st == PARE_OK && hp->head_dim_key)
        st = put_u32(arch, meta, "attention.key_length", hp->head_dim_k, err);
    if (st == PARE_OK && hp->head_dim_key)
        st = put_u32(arch, meta, "attention.value_length", hp->head_dim_v, err);
    if (st == PARE_OK && lists_key(arch, "general.file_type"))
        st = pare_meta_set_u32(meta, "general.file_type", file_type, err);
    if (st == PARE_OK)
        st = pare_window_to_meta(hp, arch, meta, err);
    if (st == PARE_OK)
        st = write_expert_widths(hp, arch, meta, err);
    if (st == PARE_OK)
        st = pare_hparams_encoder_to_meta(hp, arch, meta, err);
    if (st == PARE_OK && hp->act != 0)
        st = put_str(arch, meta, "hidden_activation", pare_activation_name(pare_arch_act(arch, hp)), err);
    if (st == PARE_OK)
        st = pare_latent_to_meta(hp, arch, meta, err);
    if (st == PARE_OK)
        st = pare_routing_to_meta(hp, arch, meta, err);
    if (st == PARE_OK)
        st = pare_kinds_to_meta(hp, arch, meta, err);
    if (st == PARE_OK && arch->to_meta != NULL)
        st = arch->to_meta(hp, meta, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(meta, "general.quantization_version", 2, err);
    if (st == PARE_OK)
        st = pare_hparams_token_types_to_meta(hp, meta, err);
    return st;
}

pare_status pare_hparams_to_meta(const pare_hparams *hp, const pare_arch *arch, uint32_t file_type, pare_meta *meta,
                                 pare_error *err)
{
    static const char *const none[] = {NULL};
    pare_meta all = {0};
    pare_status st = write_all(hp, arch, file_type, &all, err);
    for (const char *const *key = arch->meta_keys != NULL ? arch->meta_keys : none; *key != NULL; key++) {
        const pare_meta_value *v = pare_meta_find(&all, *key);
        if (st == PARE_OK && v != NULL)
            st = pare_meta_set(meta, v, err);
    }
    for (size_t i = 0; i < all.n && st == PARE_OK; i++)
        st = pare_meta_set(meta, &all.values[i], err); /* those that are there already stay in their place */
    pare_meta_close(&all);
    return st;
}
