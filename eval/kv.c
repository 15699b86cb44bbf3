#include "eval/kv.h"

#include "core/checked.h"

#include <inttypes.h>

static const uint64_t SIGNS = 0x70617265; /* any seed: "pare" */
enum { LLAMA_BLOCK = 64, MIDRISE_BLOCK = 32 };

static bool is_latent(const pare_model *m)
{
    return m->arch->latent && !m->hp.latent_whole;
}

bool pare_kv_has_layer(const pare_model *m, uint32_t layer)
{
    return pare_model_weight(m, PARE_W_SSM_CONV1D, layer, "weight") == NULL &&
           pare_layer_of_keys(&m->hp, layer) == layer;
}

pare_kv_shape pare_kv_shape_of(const pare_model *m, uint32_t layer)
{
    const pare_layer_shape of = pare_layer_shape_of(&m->hp, layer);
    if (is_latent(m))
        return (pare_kv_shape){1, m->hp.n_lora_kv + m->hp.n_rot, m->hp.n_lora_kv};
    return (pare_kv_shape){of.n_head_kv, of.head_dim_k, of.head_dim_v};
}

uint32_t pare_kv_mean_width(const pare_model *m)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const pare_kv_shape of = pare_kv_shape_of(m, i);
        most = of.n_head * of.dim_k > most ? of.n_head * of.dim_k : most;
    }
    return most;
}

/* Nothing is kept more exactly beside it. */
static bool is_exact(const pare_kv_codec *c)
{
    return c == NULL || c->type == PARE_TYPE_F16 || c->type == PARE_TYPE_F32;
}

uint32_t pare_kv_recent(const pare_kv_form *form, const pare_kv_codec *c)
{
    if (is_exact(c))
        return 0;
    return form->recent > c->recent ? form->recent : c->recent;
}

uint32_t pare_kv_sinks(const pare_kv_form *form, const pare_kv_codec *c)
{
    if (is_exact(c))
        return 0;
    const uint64_t whole = ((uint64_t)form->sinks + c->group - 1) / c->group * c->group;
    return whole < UINT32_MAX ? (uint32_t)whole : UINT32_MAX / c->group * c->group;
}

static bool is_plain(const pare_kv_codec *c)
{
    return c == NULL || c->family == PARE_KV_PLAIN;
}

static pare_rotation rotation_of(const pare_kv_codec *c, pare_kv_turn turn, pare_kv_side side, uint32_t dim,
                                 const pare_model *m)
{
    const pare_rotation none = {0};
    if (is_plain(c) || c->group > 1 || c->before_rope || c->family == PARE_KV_TRANSFORM || turn == PARE_KV_TURN_OFF ||
        dim > PARE_ROTATION_MAX_DIM)
        return none;
    if (turn == PARE_KV_TURN_FULL) {
        bool midrise = c->family == PARE_KV_MIDRISE;
        return (pare_rotation){dim, midrise ? MIDRISE_BLOCK : PARE_ROTATION_MAX_DIM, midrise ? 0 : SIGNS};
    }
    /* It holds layers with a window in a cache of their own, and asks the first layer's heads for both. */
    const pare_kv_shape first = pare_kv_shape_of(m, 0);
    const uint32_t asked = side == PARE_KV_KEYS ? first.dim_k : first.dim_v;
    if (c->family != PARE_KV_BLOCKS || dim % LLAMA_BLOCK != 0 || asked % LLAMA_BLOCK != 0 || is_latent(m))
        return none;
    uint32_t block = LLAMA_BLOCK;
    while (side == PARE_KV_KEYS && dim % (2 * block) == 0)
        block *= 2;
    return (pare_rotation){dim, block, 0};
}

bool pare_kv_is_end(const pare_kv_form *form, const pare_model *m, uint32_t layer)
{
    return layer < form->first || m->hp.n_layer - layer <= form->last;
}

pare_kv_layer pare_kv_layer_of(const pare_kv_form *form, const pare_model *m, uint32_t layer)
{
    const pare_kv_shape of = pare_kv_shape_of(m, layer);
    const bool end = pare_kv_is_end(form, m, layer);
    pare_kv_layer l = {.k = form->k, .v = is_latent(m) ? form->k : form->v};
    if (l.k != NULL && form->layers_k != NULL)
        l.k = &form->layers_k[layer];
    if (l.v != NULL && form->layers_v != NULL)
        l.v = &form->layers_v[layer];
    if (end && form->k != NULL)
        l.k = pare_kv_codec_find("f16", PARE_KV_KEYS);
    if (end && l.v != NULL)
        l.v = pare_kv_codec_find("f16", PARE_KV_VALUES);
    l.turn_k = rotation_of(l.k, form->turn_k, PARE_KV_KEYS, of.dim_k, m);
    l.turn_v = rotation_of(l.v, is_latent(m) ? PARE_KV_TURN_OFF : form->turn_v, PARE_KV_VALUES, of.dim_v, m);
    if (is_latent(m)) /* values are elements of the keys, which therefore cannot be rotated beyond them */
        l.turn_k = (pare_rotation){0};
    return l;
}

/* One side of one layer. */
static pare_status check_side(const pare_kv_form *form, const pare_model *m, const pare_kv_codec *c,
                              const pare_rotation *turn, pare_kv_side side, uint32_t layer, uint32_t dim,
                              pare_error *err)
{
    const char *name = side == PARE_KV_KEYS ? "keys" : "values";
    if (c == NULL)
        return PARE_OK;
    if ((c->sides & side) == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %s is not for %s: %s", m->path, c->name, name, c->what);
    if (pare_kv_unit_bytes(c, dim) == 0)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: layer %" PRIu32 " has %s of %" PRIu32 " elements a head; %s takes %s", m->path, layer,
                         name, dim, c->name, pare_kv_wants(c));
    if (!pare_kv_is_ready(c) && !form->calibrates)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: %s is calibrated by a text, and the %s of layer %" PRIu32 " are not: --cache-text",
                         m->path, c->name, name, layer);
    if (c->wants_rotation && turn->dim == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %s is for rotated %s, and those of layer %" PRIu32 " are not",
                         m->path, c->name, name, layer);
    return PARE_OK;
}

/* What a codec does that the pass of some families cannot. */
static pare_status check_family(const pare_kv_form *form, const pare_model *m, pare_error *err)
{
    const pare_kv_codec *const sides[] = {form->k, form->v};
    if (m->arch == NULL)
        return pare_arch_refuse_unknown(m, err);
    if (m->hp.both_ways)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: attention looks both ways: no cache is kept", m->path);
    for (int i = 0; i < 2; i++) {
        if (sides[i] == NULL)
            continue;
        if (pare_kv_recent(form, sides[i]) > 0 && (m->hp.n_layer_shared_kv > 0 || m->arch->latent))
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: %s with recent tokens kept exact, which pare does not do where %s", m->path,
                             sides[i]->name, m->arch->latent ? "attention is latent" : "layers share keys");
        if (sides[i]->before_rope && (m->arch->wiring.qk_norm_last || m->arch->latent))
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %s keeps keys before RoPE, which %s here", m->path,
                             sides[i]->name, m->arch->latent ? "turns only a part of them" : "a norm follows");
    }
    if (is_latent(m) && form->v != NULL && form->v != form->k)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: %s for values alone: latent attention keeps one vector for keys and values", m->path,
                         form->v->name);
    if (form->key_mean != NULL &&
        (m->hp.attn_softcap != 0 || m->arch->latent || pare_model_weight(m, PARE_W_ATTN_SINKS, 0, "weight") != NULL ||
         (form->k != NULL && form->k->before_rope)))
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: keys cannot be kept without their mean: scores would not all change alike", m->path);
    return PARE_OK;
}

pare_status pare_kv_check(const pare_kv_form *form, const pare_model *m, pare_error *err)
{
    bool any = false;
    pare_status st = check_family(form, m, err);
    for (uint32_t i = 0; i < m->hp.n_layer && st == PARE_OK; i++) {
        if (!pare_kv_has_layer(m, i))
            continue;
        const pare_kv_layer l = pare_kv_layer_of(form, m, i);
        const pare_kv_shape of = pare_kv_shape_of(m, i);
        any = true;
        st = check_side(form, m, l.k, &l.turn_k, PARE_KV_KEYS, i, of.dim_k, err);
        if (st == PARE_OK)
            st = check_side(form, m, l.v, &l.turn_v, PARE_KV_VALUES, i, of.dim_v, err);
    }
    if (st == PARE_OK && !any)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: no layer has keys and values", m->path);
    return st;
}

/* Adds what n tokens take on one side of a layer. */
static bool add_side(const pare_kv_form *form, const pare_kv_codec *c, uint32_t n_head, uint32_t dim, uint64_t n,
                     uint64_t *sum)
{
    uint64_t exact = 0, groups = 0, bytes;
    uint64_t exact_bytes = c == NULL ? sizeof(float) : sizeof(uint16_t);
    if (c == NULL) {
        exact = n;
    } else {
        const uint64_t first = pare_kv_sinks(form, c), recent = pare_kv_recent(form, c);
        const uint64_t end = n > recent ? (n - recent) / c->group * c->group : 0;
        groups = end > first ? (end - first) / c->group : 0;
        exact = n - groups * c->group;
    }
    return pare_mul_u64(exact, exact_bytes * n_head * dim, &bytes) && pare_add_u64(*sum, bytes, sum) &&
           (groups == 0 ||
            (pare_mul_u64(groups, pare_kv_unit_bytes(c, dim) * n_head, &bytes) && pare_add_u64(*sum, bytes, sum)));
}

pare_status pare_kv_bytes(const pare_kv_form *form, const pare_model *m, uint64_t n, uint64_t n_window, uint64_t *out,
                          pare_error *err)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const pare_kv_layer l = pare_kv_layer_of(form, m, i);
        const pare_kv_shape of = pare_kv_shape_of(m, i);
        if (!pare_kv_has_layer(m, i))
            continue;
        const uint64_t kept = pare_layer_window(&m->hp, i) > 0 ? n_window : n;
        if (!add_side(form, l.k, of.n_head, of.dim_k, kept, &sum) ||
            (!is_latent(m) && !add_side(form, l.v, of.n_head, of.dim_v, kept, &sum)))
            return pare_fail(err, PARE_ERR_RANGE, "%s: keys and values of %" PRIu64 " tokens do not fit into 64 bits",
                             m->path, n);
    }
    *out = sum;
    return PARE_OK;
}
