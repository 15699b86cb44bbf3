/* Keys and values of the forward pass as a form keeps them (eval/kv.h).
 *
 * What attention reads are rows of floats, the view: f->k and f->v, or those of a cache. A row of the view holds what
 * the pass made until its token is stored; then what comes back out of the store takes its place:
 *
 *   tokens    0 ....... first ......... done ........... now
 *   view      | sinks, F16 | as decoded   | F16, recent    |
 *   store                  | units        |                            first, done: whole groups */
#include "eval/kept_side.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEP = 32 };

typedef pare_kept_side side;

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Bytes of a token in a store of whole groups, at most, in layer `layer`. */
static uint64_t token_bytes(const pare_kv_codec *c, uint32_t n_head, uint32_t dim)
{
    return c == NULL ? 0 : (pare_kv_unit_bytes(c, dim) * n_head + c->group - 1) / c->group;
}

static pare_status reserve_store(pare_forward *f, pare_error *err)
{
    uint64_t k = 0, v = 0, half = 0;
    for (uint32_t i = 0; i < f->m->hp.n_layer; i++) {
        const pare_kv_layer l = pare_kv_layer_of(&f->kv.form, f->m, i);
        const pare_kv_shape of = pare_kv_shape_of(f->m, i);
        k = larger(k, token_bytes(l.k, of.n_head, of.dim_k));
        v = larger(v, token_bytes(l.v, of.n_head, of.dim_v));
        half = larger(half, (uint64_t)of.n_head * larger(of.dim_k, of.dim_v) * sizeof(uint16_t));
    }
    const uint64_t whole = sizeof(float);
    pare_status st = pare_forward_share(f, &f->kv.k, f->max_tokens, (k + whole - 1) / whole, err);
    if (st == PARE_OK)
        st = pare_forward_share(f, &f->kv.v, f->max_tokens, (v + whole - 1) / whole, err);
    if (st == PARE_OK)
        st = pare_forward_share(f, &f->kv.half, f->slice_tokens, (half + whole - 1) / whole, err);
    if (st == PARE_OK && f->kv.form.k != NULL && f->kv.form.k->before_rope)
        st = pare_forward_share(f, &f->kv.raw, f->max_tokens, f->n_k, err);
    return st;
}

static pare_status load_mean(pare_forward *f, pare_error *err)
{
    const size_t bytes = sizeof(float) * f->m->hp.n_layer * pare_kv_mean_width(f->m);
    if (f->kv.form.key_mean == NULL)
        return PARE_OK;
    if ((f->kv.mean = f->b->alloc(f->b, bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    f->n_bytes += bytes;
    return f->b->upload(f->b, f->kv.mean, f->kv.form.key_mean, bytes, err);
}

/* Bases of one side in device memory; the form's codecs become those that have them. */
static pare_status load_bases(pare_forward *f, pare_kv_side which, const pare_kv_codec **given, pare_error *err)
{
    const int i = which == PARE_KV_KEYS ? 0 : 1;
    pare_kv_codec *codecs = *given != NULL ? calloc(f->m->hp.n_layer, sizeof *codecs) : NULL;
    pare_status st = PARE_OK;
    if (*given == NULL)
        return PARE_OK;
    if ((f->kv.codecs[i] = codecs) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the codecs of layers", f->m->path);
    for (uint32_t k = 0; k < f->m->hp.n_layer && st == PARE_OK; k++) {
        const pare_kv_shape of = pare_kv_shape_of(f->m, k);
        const size_t floats = of.n_head * pare_kv_basis_floats(i == 0 ? of.dim_k : of.dim_v);
        codecs[k] = (*given)[k];
        codecs[k].basis = NULL;
        if ((*given)[k].basis == NULL)
            continue;
        float *basis = f->b->alloc(f->b, floats * sizeof *basis, err);
        if ((codecs[k].basis = basis) == NULL)
            return PARE_ERR_MEMORY;
        f->n_bytes += floats * sizeof *basis;
        st = f->b->upload(f->b, basis, (*given)[k].basis, floats * sizeof *basis, err);
    }
    *given = codecs;
    return st;
}

pare_status pare_forward_keep(pare_forward *f, const pare_kv_form *form, pare_error *err)
{
    f->kv.form = *form;
    f->kv.form.calibrates = false;
    pare_status st = pare_kv_check(&f->kv.form, f->m, err);
    if (st != PARE_OK)
        return st;
    if (f->kv.form.step == 0)
        f->kv.form.step = STEP;
    f->kv.seqs = calloc(f->max_tokens, sizeof *f->kv.seqs);
    f->kv.spans = calloc(f->slice_tokens, sizeof *f->kv.spans);
    if (f->kv.seqs == NULL || f->kv.spans == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " sequences", f->m->path, f->max_tokens);
    f->kv.on = true;
    st = load_bases(f, PARE_KV_KEYS, &f->kv.form.layers_k, err);
    if (st == PARE_OK)
        st = load_bases(f, PARE_KV_VALUES, &f->kv.form.layers_v, err);
    if (st == PARE_OK && (st = reserve_store(f, err)) == PARE_OK)
        st = load_mean(f, err);
    return st;
}

pare_status pare_forward_watch(pare_forward *f, pare_watch_fn fn, void *user, pare_error *err)
{
    if (!f->kv.on)
        return pare_fail(err, PARE_ERR_USAGE, "%s: nothing is kept of keys and values that could be watched",
                         f->m->path);
    f->kv.watch = fn;
    f->kv.watch_user = user;
    pare_status st = pare_forward_share(f, &f->kv.exact_k, f->max_tokens, f->n_k, err);
    if (st == PARE_OK)
        st = pare_forward_share(f, &f->kv.exact_v, f->max_tokens, f->n_v, err);
    return st == PARE_OK ? pare_forward_share(f, &f->kv.exact_o, f->slice_tokens, f->n_o, err) : st;
}

void pare_forward_observe_keys(pare_forward *f, pare_keys_fn fn, void *user)
{
    f->keys = fn;
    f->keys_user = user;
}

void pare_forward_observe_queries(pare_forward *f, pare_keys_fn fn, void *user)
{
    f->queries = fn;
    f->queries_user = user;
}

void pare_forward_observe_heads(pare_forward *f, pare_heads_fn fn, void *user)
{
    f->heads = fn;
    f->heads_user = user;
}

void pare_forward_release_kv(pare_forward *f)
{
    f->b->release(f->b, f->kv.mean);
    for (int i = 0; i < 2; i++) {
        for (uint32_t k = 0; k < f->m->hp.n_layer && f->kv.codecs[i] != NULL; k++)
            f->b->release(f->b, (void *)f->kv.codecs[i][k].basis);
        free(f->kv.codecs[i]);
    }
    free(f->kv.seqs);
    free(f->kv.spans);
}

/* Tokens that are coded together, by whichever side codes most. */
static uint32_t group_of(const pare_forward *f)
{
    uint32_t k = f->kv.form.k != NULL ? f->kv.form.k->group : 1, v = f->kv.form.v != NULL ? f->kv.form.v->group : 1;
    return k > v ? k : v;
}

void pare_forward_add_sequence(pare_forward *f, uint32_t n, size_t kv_row)
{
    uint64_t group = 0;
    if (!f->kv.on)
        return;
    if (f->kv.n_seqs > 0) {
        const pare_kv_sequence *last = &f->kv.seqs[f->kv.n_seqs - 1];
        group = last->group + last->n / group_of(f);
    }
    f->kv.seqs[f->kv.n_seqs++] = (pare_kv_sequence){.kv_row = kv_row, .n = n, .group = group};
}

static int by_row(const void *key, const void *item)
{
    const size_t row = *(const size_t *)key, at = ((const pare_kv_sequence *)item)->kv_row;
    return row < at ? -1 : row > at;
}

static pare_kv_sequence *sequence_of(const pare_forward *f, const pare_attention_span *p)
{
    return bsearch(&p->kv_row, f->kv.seqs, f->kv.n_seqs, sizeof *f->kv.seqs, by_row);
}

pare_kept_side pare_kept_side_of(pare_forward *f, uint32_t layer, pare_kv_side which)
{
    const pare_kv_layer l = pare_kv_layer_of(&f->kv.form, f->m, layer);
    const pare_kv_shape of = pare_kv_shape_of(f->m, layer);
    bool keys = which == PARE_KV_KEYS;
    side s = {.f = f,
              .codec = keys ? l.k : l.v,
              .name = keys ? "keys" : "values",
              .layer = layer,
              .n_head = of.n_head,
              .dim = keys ? of.dim_k : of.dim_v,
              .view = keys ? pare_forward_keys(f, layer) : pare_forward_values(f, layer),
              .store = (uint8_t *)(keys ? f->kv.k : f->kv.v),
              .which = keys ? 0 : 1};
    s.first = pare_kv_sinks(&f->kv.form, s.codec);
    s.recent = pare_kv_recent(&f->kv.form, s.codec);
    s.source = s.codec != NULL && s.codec->before_rope ? f->kv.raw : s.view;
    return s;
}

pare_status pare_kept_failed(const side *s, pare_status st, pare_error *err)
{
    char where[PARE_ERROR_TEXT / 2];
    if (st != PARE_ERR_NUMBER)
        return st;
    snprintf(where, sizeof where, "%s: %s of layer %" PRIu32, s->f->m->path, s->name, s->layer);
    return pare_fail_in(err, st, where);
}

pare_status pare_kept_round(const side *s, float *rows, uint32_t n, pare_error *err)
{
    pare_backend *b = s->f->b;
    const pare_kv_codec *half = pare_kv_codec_find("f16", PARE_KV_KEYS);
    pare_status st = b->kv_encode(b, half, rows, n, s->n_head, s->dim, s->f->kv.half, err);
    return st == PARE_OK ? b->kv_decode(b, half, s->f->kv.half, n, s->n_head, s->dim, rows, err)
                         : pare_kept_failed(s, st, err);
}

pare_status pare_kept_turn(const side *s, const int32_t *positions, float *rows, uint32_t n, pare_error *err)
{
    const pare_rope rope =
        pare_forward_rope_of(s->f, s->layer, s->n_head, &(pare_forward_slice){.positions = positions, .n = n});
    return rope.n_rot == 0 || n == 0 ? PARE_OK : s->f->b->rope(s->f->b, &rope, rows, err);
}

/* Tokens from row `at` of the view on, n rows of units behind `store`. */
typedef struct stretch {
    size_t at;
    uint8_t *store;
    uint32_t n;
} stretch;

/* Tokens of a sequence below `limit` that are not stored yet, which from now on they are. */
static stretch next_stretch(const side *s, pare_kv_sequence *seq, uint32_t limit)
{
    const pare_kv_codec *c = s->codec;
    const uint32_t done = seq->done[s->which] > s->first ? seq->done[s->which] : s->first;
    const size_t unit = pare_kv_unit_bytes(c, s->dim) * s->n_head;
    stretch t = {.at = seq->kv_row + done, .n = limit > done ? (limit - done) / c->group : 0};
    t.store = s->store + ((c->group > 1 ? seq->group : seq->kv_row) + done / c->group) * unit;
    if (limit > done)
        seq->done[s->which] = done + t.n * c->group;
    return t;
}

/* Encode a stretch, and let the view have what comes back. */
static pare_status keep_stretch(const side *s, const stretch *t, pare_error *err)
{
    pare_backend *b = s->f->b;
    const pare_kv_codec *c = s->codec;
    const size_t width = (size_t)s->n_head * s->dim;
    if (t->n == 0)
        return PARE_OK;
    pare_status st = b->kv_encode(b, c, s->source + t->at * width, t->n, s->n_head, s->dim, t->store, err);
    if (st != PARE_OK)
        return pare_kept_failed(s, st, err);
    st = b->kv_decode(b, c, t->store, t->n, s->n_head, s->dim, s->view + t->at * width, err);
    if (st != PARE_OK || !c->before_rope)
        return st;
    return pare_kept_turn(s, s->f->positions + t->at, s->view + t->at * width, t->n * c->group, err);
}

/* b behind a, if it is that in the view and in the store: a device waits for each call. */
static bool join(const side *s, stretch *a, const stretch *b)
{
    const size_t unit = pare_kv_unit_bytes(s->codec, s->dim) * s->n_head;
    if (a->at + (size_t)a->n * s->codec->group != b->at || a->store + a->n * unit != b->store)
        return false;
    a->n += b->n;
    return true;
}

static pare_status advance(const side *s, pare_kv_sequence *seq, uint32_t limit, pare_error *err)
{
    const stretch t = next_stretch(s, seq, limit);
    return keep_stretch(s, &t, err);
}

uint32_t pare_kept_before(const side *s, uint32_t at)
{
    return at > s->recent ? (at - s->recent) / s->codec->group * s->codec->group : 0;
}

static pare_status keep_side(const side *s, const pare_forward_slice *slice, pare_error *err)
{
    pare_status st = PARE_OK;
    stretch all = {0};
    if (s->codec == NULL)
        return PARE_OK;
    for (const pare_attention_span *p = slice->spans; p < slice->spans + slice->n_spans && st == PARE_OK; p++) {
        pare_kv_sequence *seq = sequence_of(s->f, p);
        const uint32_t end = p->n_past + p->n;
        uint32_t exact = s->recent > 0 || s->first > end ? end : s->first; /* tokens below it: F16 for now */
        float *rows = s->view + (seq->kv_row + p->n_past) * s->n_head * s->dim;
        if (p->n_past == 0)
            seq->done[s->which] = 0;
        if (exact > p->n_past && s->source == s->view)
            st = pare_kept_round(s, rows, exact - p->n_past, err);
        if (st != PARE_OK || s->recent > 0)
            continue;
        const stretch more = next_stretch(s, seq, end);
        if (!join(s, &all, &more)) {
            st = keep_stretch(s, &all, err);
            all = more;
        }
    }
    return st == PARE_OK ? keep_stretch(s, &all, err) : st;
}

pare_status pare_forward_keep_raw(pare_forward *f, uint32_t layer, const pare_forward_slice *s, float *k,
                                  pare_error *err)
{
    const side keys = pare_kept_side_of(f, layer, PARE_KV_KEYS);
    const size_t width = (size_t)keys.n_head * keys.dim, bytes = s->n * width * sizeof(float);
    if (keys.codec == NULL || !keys.codec->before_rope)
        return PARE_OK;
    pare_status st = pare_kept_round(&keys, k, s->n, err);
    return st == PARE_OK ? f->b->copy(f->b, f->kv.raw + s->first * width, k, bytes, err) : st;
}

static pare_status turn(pare_forward *f, const pare_rotation *r, const float *shift, float *x, uint32_t n,
                        uint32_t n_head, uint32_t dim, bool back, pare_error *err)
{
    const pare_turn t = {*r, shift, x, n, n_head, dim, back};
    return r->dim == 0 && shift == NULL ? PARE_OK : f->b->turn(f->b, &t, err);
}

/* Copies of a slice's keys and values for whoever watches. */
static pare_status keep_exact(const side *keys, const side *values, const pare_forward_slice *s, pare_error *err)
{
    pare_forward *f = keys->f;
    const size_t n_k = (size_t)keys->n_head * keys->dim, n_v = (size_t)values->n_head * values->dim;
    pare_status st =
        f->b->copy(f->b, f->kv.exact_k + s->first * n_k, keys->view + s->first * n_k, s->n * n_k * sizeof(float), err);
    return st == PARE_OK ? f->b->copy(f->b, f->kv.exact_v + s->first * n_v, values->view + s->first * n_v,
                                      s->n * n_v * sizeof(float), err)
                         : st;
}

pare_status pare_forward_keep_slice(pare_forward *f, uint32_t layer, const pare_forward_slice *s, pare_error *err)
{
    const pare_kv_layer l = pare_kv_layer_of(&f->kv.form, f->m, layer);
    const side keys = pare_kept_side_of(f, layer, PARE_KV_KEYS), values = pare_kept_side_of(f, layer, PARE_KV_VALUES);
    float *k = keys.view + s->first * keys.n_head * keys.dim, *v = values.view + s->first * values.n_head * values.dim;
    const float *mean = f->kv.mean != NULL ? f->kv.mean + (size_t)layer * pare_kv_mean_width(f->m) : NULL;
    pare_status st = f->kv.watch != NULL && f->cache == NULL ? keep_exact(&keys, &values, s, err) : PARE_OK;
    if (st == PARE_OK)
        st = turn(f, &l.turn_k, mean, k, s->n, keys.n_head, keys.dim, false, err);
    if (st == PARE_OK)
        st = turn(f, &l.turn_v, NULL, v, s->n, values.n_head, values.dim, false, err);
    if (st == PARE_OK && f->cache != NULL) {
        st = pare_kept_put(&keys, s, err);
        return st == PARE_OK && f->cache->v[layer] != NULL ? pare_kept_put(&values, s, err) : st;
    }
    if (st == PARE_OK)
        st = keep_side(&keys, s, err);
    return st == PARE_OK ? keep_side(&values, s, err) : st;
}

/* The parts of the slice's spans that belong to the step that begins at or holds position `at` of each: *n of them in
 * f->kv.spans. What they do not read in F16 any more is stored before. */
static pare_status next_step(pare_forward *f, const side *sides, const pare_forward_slice *s, uint32_t *done,
                             uint32_t *n, pare_error *err)
{
    const uint32_t step = f->kv.form.step;
    pare_status st = PARE_OK;
    *n = 0;
    for (uint32_t i = 0; i < s->n_spans && st == PARE_OK; i++) {
        const pare_attention_span *p = &s->spans[i];
        uint32_t at = p->n_past + done[i], start = at / step * step, end = p->n_past + p->n;
        if (at >= end)
            continue;
        uint32_t part = (end - start < step ? end : start + step) - at;
        for (int k = 0; k < 2 && st == PARE_OK; k++)
            if (sides[k].recent > 0)
                st = f->cache != NULL ? pare_kept_step(&sides[k], s, p, at, part, err)
                                      : advance(&sides[k], sequence_of(f, p), pare_kept_before(&sides[k], start), err);
        f->kv.spans[(*n)++] = (pare_attention_span){p->row + done[i], part, at, p->kv_row};
        done[i] += part;
    }
    return st;
}

/* Attention of a slice, step by step. */
static pare_status attend_steps(pare_forward *f, const side *sides, const pare_forward_slice *s, pare_attention *a,
                                pare_error *err)
{
    uint32_t *done = calloc(s->n_spans > 0 ? s->n_spans : 1, sizeof *done);
    pare_status st = done != NULL ? PARE_OK
                                  : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " sequences",
                                              f->m->path, s->n_spans);
    while (st == PARE_OK) {
        a->spans = f->kv.spans;
        st = next_step(f, sides, s, done, &a->n_spans, err);
        if (st != PARE_OK || a->n_spans == 0)
            break;
        st = f->b->attention(f->b, a, err);
    }
    free(done);
    return st;
}

pare_status pare_forward_attend_kept(pare_forward *f, uint32_t layer, const pare_forward_slice *s, pare_attention *a,
                                     pare_error *err)
{
    const uint32_t of_keys = pare_layer_of_keys(&f->m->hp, layer);
    const pare_kv_layer l = pare_kv_layer_of(&f->kv.form, f->m, of_keys);
    const side sides[] = {pare_kept_side_of(f, of_keys, PARE_KV_KEYS), pare_kept_side_of(f, of_keys, PARE_KV_VALUES)};
    const bool steps = sides[0].recent > 0 || sides[1].recent > 0;
    pare_status st = PARE_OK;
    bool watched = f->kv.watch != NULL && f->cache == NULL && of_keys == layer;
    if (watched) {
        pare_attention exact = *a;
        exact.k = f->kv.exact_k;
        exact.v = f->kv.exact_v;
        exact.out = f->kv.exact_o;
        st = f->b->attention(f->b, &exact, err);
    }
    if (st == PARE_OK)
        st = turn(f, &l.turn_k, NULL, (float *)a->q, s->n, a->n_head, a->head_dim_k, false, err);
    if (st == PARE_OK && f->cache != NULL)
        st = pare_kept_read(&sides[0], s, &a->k, &a->type_k, err);
    if (st == PARE_OK && f->cache != NULL && pare_forward_values_in_keys(f))
        st = pare_forward_take_values(f, a->k, s, a, err);
    else if (st == PARE_OK && f->cache != NULL)
        st = pare_kept_read(&sides[1], s, &a->v, &a->type_v, err);
    if (st == PARE_OK)
        st = steps ? attend_steps(f, sides, s, a, err) : f->b->attention(f->b, a, err);
    if (st == PARE_OK)
        st = turn(f, &l.turn_v, NULL, a->out, s->n, a->n_head, a->head_dim_v, true, err);
    return st == PARE_OK && watched
               ? f->kv.watch(layer, s->n, a->n_head, a->head_dim_v, f->kv.exact_o, a->out, f->kv.watch_user, err)
               : st;
}
