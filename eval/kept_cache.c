/* Keys and values of texts that are continued, as a form keeps them (eval/kv.h): a sequence's bytes on one side of a
 * layer are
 *
 *   | rows of units: whole groups from token `first` on | rows of F16: the first tokens, then a ring |
 *
 * The ring has the tokens that are not coded yet, token t at (t - first) % ring: recent ones, what is left of a group,
 * and those of a step. How many of n tokens are coded follows from n, so nothing else is remembered. Attention reads a
 * view of floats, of one layer, that is made from them, or blocks where they lie. */
#include "eval/kept_side.h"

#include "core/checked.h"

#include <inttypes.h>
#include <stdlib.h>

typedef pare_kept_side side;

/* How a sequence lies in a cache. */
typedef struct room {
    uint64_t unit, n_units; /* bytes of a row of units, rows */
    uint64_t half, n_half;
    uint32_t ring; /* rows */
} room;

static uint64_t width_of(const side *s)
{
    return (uint64_t)s->n_head * s->dim;
}

static bool is_before_rope(const side *s)
{
    return s->codec != NULL && s->codec->before_rope;
}

/* Tokens of n that are coded, but for the first ones. */
static uint32_t coded_of(const side *s, uint32_t n)
{
    const uint32_t step = s->f->kv.form.step;
    if (s->recent > 0)
        n = n > 0 ? pare_kept_before(s, (n - 1) / step * step) : 0;
    return n > s->first ? n - s->first : 0;
}

static room room_of(const side *s, uint32_t n_ctx)
{
    const uint32_t group = s->codec != NULL ? s->codec->group : 1;
    room r = {.unit = width_of(s) * sizeof(float), .half = width_of(s) * sizeof(uint16_t)};
    uint64_t ring = 0;
    if (s->codec != NULL)
        r.unit = pare_kv_unit_bytes(s->codec, s->dim) * s->n_head;
    if (s->recent > 0)
        ring = ((uint64_t)s->recent + s->f->kv.form.step + 2 * (group - 1)) / group * group;
    r.n_units = coded_of(s, n_ctx) / group;
    r.n_half = s->first + ring < n_ctx ? s->first + ring : n_ctx;
    r.ring = (uint32_t)(ring < UINT32_MAX ? ring : UINT32_MAX);
    return r;
}

static uint64_t bytes_of(const room *r)
{
    return r->unit * r->n_units + r->half * r->n_half;
}

/* Attention reads blocks and floats where they are, but of latent attention, whose values are taken out of floats. */
static bool is_read_in_place(const side *s)
{
    if (s->codec == NULL)
        return true;
    return s->first == 0 && s->recent == 0 && !s->codec->before_rope && s->codec->type != PARE_TYPE_NONE &&
           !pare_forward_values_in_keys(s->f);
}

/* One sequence of the run's cache. */
typedef struct place {
    uint8_t *units, *half;
    float *view; /* its row 0; NULL where attention needs none */
    room r;
} place;

static place place_of(const side *s, const pare_attention_span *p)
{
    const pare_cache *c = s->f->cache;
    place at = {.r = room_of(s, c->n_ctx)};
    at.units = (uint8_t *)(s->which == 0 ? c->k : c->v)[s->layer] + p->kv_row / c->n_ctx * bytes_of(&at.r);
    at.half = at.units + at.r.unit * at.r.n_units;
    if (c->view[s->which] != NULL)
        at.view = c->view[s->which] + p->kv_row * width_of(s);
    return at;
}

/* The row of F16 of token t, and of how many of the *n tokens from it on the rows follow. */
static uint8_t *half_at(const side *s, const place *at, uint32_t t, uint32_t *n)
{
    const uint32_t row = t < s->first ? t : s->first + (t - s->first) % at->r.ring;
    const uint32_t room = (t < s->first ? s->first : s->first + at->r.ring) - row;
    *n = *n < room ? *n : room;
    return at->half + row * at->r.half;
}

/* Tokens [from, to) into F16, rows being that of the first one; and out of it. */
static pare_status put_half(const side *s, const place *at, uint32_t from, uint32_t to, const float *rows,
                            pare_error *err)
{
    pare_backend *b = s->f->b;
    const pare_kv_codec *half = pare_kv_codec_find("f16", PARE_KV_KEYS);
    pare_status st = PARE_OK;
    for (uint32_t n = 0; from < to && st == PARE_OK; from += n) {
        n = to - from;
        uint8_t *dst = half_at(s, at, from, &n);
        st = pare_kept_failed(s, b->kv_encode(b, half, rows, n, s->n_head, s->dim, dst, err), err);
        rows += n * width_of(s);
    }
    return st;
}

static pare_status get_half(const side *s, const place *at, uint32_t from, uint32_t to, pare_error *err)
{
    pare_backend *b = s->f->b;
    const pare_kv_codec *half = pare_kv_codec_find("f16", PARE_KV_KEYS);
    pare_status st = PARE_OK;
    for (uint32_t n = 0; from < to && st == PARE_OK; from += n) {
        n = to - from;
        const uint8_t *src = half_at(s, at, from, &n);
        st = b->kv_decode(b, half, src, n, s->n_head, s->dim, at->view + from * width_of(s), err);
    }
    return st;
}

/* Tokens [from, to) of the view as RoPE leaves them. */
static pare_status turn(const side *s, const place *at, uint32_t from, uint32_t to, pare_error *err)
{
    if (!is_before_rope(s) || from >= to)
        return PARE_OK;
    return pare_kept_turn(s, s->f->cache->positions + from, at->view + from * width_of(s), to - from, err);
}

/* Rows of floats that the run has of the span's tokens. */
static const float *rows_of(const side *s, const float *all, const pare_forward_slice *slice,
                            const pare_attention_span *p)
{
    return all + (slice->first + p->row) * width_of(s);
}

pare_status pare_kept_put(const pare_kept_side *s, const pare_forward_slice *slice, pare_error *err)
{
    pare_backend *b = s->f->b;
    pare_status st = PARE_OK;
    if (s->recent > 0) /* their steps put them in */
        return is_before_rope(s) ? PARE_OK : pare_kept_round(s, s->view + slice->first * width_of(s), slice->n, err);
    for (const pare_attention_span *p = slice->spans; p < slice->spans + slice->n_spans && st == PARE_OK; p++) {
        const place at = place_of(s, p);
        const float *from = rows_of(s, s->source, slice, p);
        const uint32_t end = p->n_past + p->n, first = s->first < end ? s->first : end,
                       coded = p->n_past > first ? p->n_past : first;
        uint8_t *to = at.units + (coded - first) * at.r.unit;
        if (first > p->n_past)
            st = put_half(s, &at, p->n_past, first, from, err);
        if (st != PARE_OK || coded == end)
            continue;
        from += (coded - p->n_past) * width_of(s);
        st = s->codec == NULL
                 ? b->copy(b, to, from, (end - coded) * at.r.unit, err)
                 : pare_kept_failed(s, b->kv_encode(b, s->codec, from, end - coded, s->n_head, s->dim, to, err), err);
    }
    return st;
}

/* The view of a span's sequence: what is stored of it, and its tokens of the slice. */
static pare_status read_sequence(const side *s, const pare_forward_slice *slice, const pare_attention_span *p,
                                 pare_error *err)
{
    pare_backend *b = s->f->b;
    const place at = place_of(s, p);
    const uint32_t n = s->recent > 0 ? p->n_past : p->n_past + p->n, coded = coded_of(s, n);
    const uint32_t first = s->first < n ? s->first : n;
    pare_status st = get_half(s, &at, 0, first, err);
    if (st == PARE_OK && coded > 0)
        st = b->kv_decode(b, s->codec, at.units, coded / s->codec->group, s->n_head, s->dim,
                          at.view + first * width_of(s), err);
    if (st == PARE_OK)
        st = get_half(s, &at, first + coded, n, err);
    if (st == PARE_OK)
        st = turn(s, &at, 0, n, err);
    if (st == PARE_OK && s->recent > 0)
        st = b->copy(b, at.view + n * width_of(s), rows_of(s, s->view, slice, p), p->n * width_of(s) * sizeof(float),
                     err);
    return st;
}

pare_status pare_kept_read(const pare_kept_side *s, const pare_forward_slice *slice, const void **out, pare_type *type,
                           pare_error *err)
{
    const pare_cache *c = s->f->cache;
    pare_status st = PARE_OK;
    if (is_read_in_place(s)) {
        *out = (s->which == 0 ? c->k : c->v)[s->layer];
        *type = s->codec != NULL ? s->codec->type : PARE_TYPE_F32;
        return PARE_OK;
    }
    for (const pare_attention_span *p = slice->spans; p < slice->spans + slice->n_spans && st == PARE_OK; p++)
        st = read_sequence(s, slice, p, err);
    *out = c->view[s->which];
    *type = PARE_TYPE_F32;
    return st;
}

/* Whole groups from token `from` on, below `to`, out of the ring into units; the view has what comes back. */
static pare_status code(const side *s, const place *at, uint32_t from, uint32_t to, pare_error *err)
{
    pare_backend *b = s->f->b;
    const uint32_t n = (to - from) / s->codec->group;
    float *view = at->view + from * width_of(s);
    uint8_t *units = at->units + (from - s->first) / s->codec->group * at->r.unit;
    pare_status st = get_half(s, at, from, to, err);
    if (st == PARE_OK)
        st = pare_kept_failed(s, b->kv_encode(b, s->codec, view, n, s->n_head, s->dim, units, err), err);
    if (st == PARE_OK)
        st = b->kv_decode(b, s->codec, units, n, s->n_head, s->dim, view, err);
    return st == PARE_OK ? turn(s, at, from, to, err) : st;
}

pare_status pare_kept_step(const pare_kept_side *s, const pare_forward_slice *slice, const pare_attention_span *p,
                           uint32_t at, uint32_t n, pare_error *err)
{
    const place to = place_of(s, p);
    const uint32_t had = s->first + coded_of(s, at), has = s->first + coded_of(s, at + n);
    pare_status st = has > had ? code(s, &to, had, has, err) : PARE_OK;
    return st == PARE_OK
               ? put_half(s, &to, at, at + n, rows_of(s, s->source, slice, p) + (at - p->n_past) * width_of(s), err)
               : st;
}

uint64_t pare_forward_kept_bytes(pare_forward *f, uint32_t layer, pare_kv_side which, uint32_t n_ctx, uint32_t n,
                                 uint64_t *all)
{
    const side s = pare_kept_side_of(f, layer, which);
    const room r = room_of(&s, n_ctx);
    *all = bytes_of(&r);
    return r.n_half > 0 ? *all : n * r.unit;
}

bool pare_forward_keeps_recent(const pare_forward *f)
{
    const pare_kv_form *form = &f->kv.form;
    return f->kv.on && (pare_kv_recent(form, form->k) > 0 || pare_kv_recent(form, form->v) > 0);
}

static pare_status reserve_view(pare_forward *f, pare_cache *c, size_t which, uint32_t width, pare_error *err)
{
    uint64_t bytes;
    if (c->view[which] != NULL)
        return PARE_OK;
    if (!pare_mul_u64((uint64_t)c->n_seq * c->n_ctx, width * sizeof(float), &bytes) || bytes > SIZE_MAX / 2)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: %" PRIu32 " sequences of %" PRIu32 " tokens do not fit", f->m->path,
                         c->n_seq, c->n_ctx);
    c->view[which] = f->b->alloc(f->b, (size_t)bytes, err);
    return c->view[which] != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

static pare_status reserve_positions(pare_forward *f, pare_cache *c, pare_error *err)
{
    if (c->positions != NULL)
        return PARE_OK;
    if ((c->positions = calloc(c->n_ctx, sizeof *c->positions)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " positions", f->m->path, c->n_ctx);
    for (uint32_t i = 0; i < c->n_ctx; i++)
        c->positions[i] = (int32_t)i;
    return PARE_OK;
}

/* The views of a layer whose keys and values a form keeps. */
static pare_status reserve_layer(pare_forward *f, pare_cache *c, uint32_t layer, pare_error *err)
{
    const side keys = pare_kept_side_of(f, layer, PARE_KV_KEYS), values = pare_kept_side_of(f, layer, PARE_KV_VALUES);
    pare_status st = PARE_OK;
    if (!is_read_in_place(&keys))
        st = reserve_view(f, c, 0, f->n_k, err);
    if (st == PARE_OK && is_before_rope(&keys))
        st = reserve_positions(f, c, err);
    return st == PARE_OK && !is_read_in_place(&values) ? reserve_view(f, c, 1, f->n_v, err) : st;
}

pare_status pare_forward_reserve_view(pare_forward *f, pare_cache *c, pare_error *err)
{
    pare_status st = pare_forward_values_in_keys(f) ? reserve_view(f, c, 1, f->n_v, err) : PARE_OK;
    for (uint32_t i = 0; i < f->m->hp.n_layer && f->kv.on && st == PARE_OK; i++)
        if (pare_kv_has_layer(f->m, i))
            st = reserve_layer(f, c, i, err);
    return st;
}
