#include "eval/forward_parts.h"

#include "core/checked.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static pare_status reserve(pare_cache *c, void **out, uint64_t n_rows, uint64_t row_bytes, pare_error *err)
{
    uint64_t bytes;
    if (!pare_mul_u64(n_rows, row_bytes, &bytes) || bytes > SIZE_MAX / 2)
        return pare_fail(err, PARE_ERR_MEMORY,
                         "%s: keys and values of %" PRIu32 " sequences of %" PRIu32 " tokens do not fit in memory",
                         c->f->m->path, c->n_seq, c->n_ctx);
    if (bytes == 0)
        bytes = sizeof(float);
    if ((*out = c->f->b->alloc(c->f->b, (size_t)bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    c->n_bytes += bytes;
    return PARE_OK;
}

/* Bytes that a sequence has on one side of a layer: *all, and those that its first n tokens need, from the beginning.
 */
static uint64_t bytes_of(const pare_cache *c, uint32_t layer, pare_kv_side which, uint32_t n, uint64_t *all)
{
    const bool keys = which == PARE_KV_KEYS;
    if (pare_forward_is_recurrent(&c->f->layers[layer])) {
        *all = (keys ? pare_forward_past_size(c->f) : pare_forward_state_size(c->f)) * sizeof(float);
        return *all;
    }
    if (!keys && pare_forward_values_in_keys(c->f)) {
        *all = 0;
        return 0;
    }
    if (c->f->kv.on)
        return pare_forward_kept_bytes(c->f, layer, which, c->n_ctx, n, all);
    const pare_forward_widths of = pare_forward_widths_of(c->f, layer);
    const uint64_t row = (keys ? of.n_k : of.n_v) * sizeof(float);
    *all = c->n_ctx * row;
    return n * row;
}

static pare_status reserve_layers(pare_cache *c, pare_error *err)
{
    uint64_t k, v;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < c->f->m->hp.n_layer && st == PARE_OK; i++) {
        if (pare_layer_of_keys(&c->f->m->hp, i) != i)
            continue;
        (void)bytes_of(c, i, PARE_KV_KEYS, 0, &k);
        (void)bytes_of(c, i, PARE_KV_VALUES, 0, &v);
        if ((st = reserve(c, &c->k[i], c->n_seq, k, err)) == PARE_OK && v > 0)
            st = reserve(c, &c->v[i], c->n_seq, v, err);
    }
    if (st == PARE_OK)
        st = pare_forward_reserve_view(c->f, c, err);
    return st;
}

pare_status pare_cache_open(pare_cache *c, pare_forward *f, uint32_t n_seq, pare_error *err)
{
    uint32_t n_layer = f->m->hp.n_layer;
    *c = (pare_cache){.f = f, .n_seq = n_seq, .n_ctx = f->n_ctx};
    if (f->m->hp.both_ways)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: attention looks both ways, so a text cannot be continued: what came before would change",
                         f->m->path);
    if (n_seq == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: a cache of no sequences", f->m->path);
    c->n = calloc(n_seq, sizeof *c->n);
    c->last = calloc(n_seq, sizeof *c->last);
    c->k = calloc((size_t)n_layer + 1, sizeof *c->k);
    c->v = calloc((size_t)n_layer + 1, sizeof *c->v);
    pare_status st = PARE_OK;
    if (c->n == NULL || c->last == NULL || c->k == NULL || c->v == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " sequences", f->m->path, n_seq);
    if (st == PARE_OK)
        st = reserve_layers(c, err);
    if (st != PARE_OK)
        pare_cache_close(c);
    return st;
}

void pare_cache_close(pare_cache *c)
{
    if (c->f == NULL)
        return;
    pare_backend *b = c->f->b;
    for (uint32_t i = 0; c->k != NULL && c->v != NULL && i < c->f->m->hp.n_layer; i++) {
        b->release(b, c->k[i]);
        b->release(b, c->v[i]);
    }
    b->release(b, c->view[0]);
    b->release(b, c->view[1]);
    free(c->k);
    free(c->v);
    free(c->n);
    free(c->last);
    free(c->positions);
    *c = (pare_cache){0};
}

bool pare_cache_keeps_states(const pare_cache *c)
{
    return c->f->m->hp.linear.n_head_v > 0 || pare_forward_keeps_recent(c->f);
}

pare_status pare_cache_cut(pare_cache *c, uint32_t seq, uint32_t n, pare_error *err)
{
    if (seq >= c->n_seq || n >= c->n[seq])
        return PARE_OK;
    if (n > 0 && pare_cache_keeps_states(c))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %s, which cannot go back from %" PRIu32 " tokens to %" PRIu32,
                         c->f->m->path,
                         pare_forward_keeps_recent(c->f) ? "recent tokens are kept apart"
                                                         : "linear attention keeps one state a sequence",
                         c->n[seq], n);
    c->n[seq] = n;
    return PARE_OK;
}

static pare_status copy_side(pare_cache *c, uint32_t layer, pare_kv_side which, uint32_t from, uint32_t to, uint32_t n,
                             pare_error *err)
{
    char *rows = (which == PARE_KV_KEYS ? c->k : c->v)[layer];
    uint64_t all, bytes = bytes_of(c, layer, which, n, &all);
    if (rows == NULL) /* it has none of its own */
        return PARE_OK;
    return c->f->b->copy(c->f->b, rows + to * all, rows + from * all, (size_t)bytes, err);
}

pare_status pare_cache_copy(pare_cache *c, uint32_t from, uint32_t to, uint32_t n, pare_error *err)
{
    bool part = n > 0 && from < c->n_seq && n != c->n[from] && pare_cache_keeps_states(c);
    if (from >= c->n_seq || to >= c->n_seq || from == to || n > c->n[from] || part)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %" PRIu32 " tokens of sequence %" PRIu32 " copied to %" PRIu32,
                         c->f->m->path, n, from, to);
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < c->f->m->hp.n_layer && st == PARE_OK && n > 0; i++) {
        st = copy_side(c, i, PARE_KV_KEYS, from, to, n, err);
        if (st == PARE_OK)
            st = copy_side(c, i, PARE_KV_VALUES, from, to, n, err);
    }
    c->n[to] = st == PARE_OK ? n : 0;
    return st;
}

/* May these sequences be extended so? The number of all tokens goes to *total. */
static pare_status check(pare_cache *c, const pare_extension *list, uint32_t n_list, uint32_t *total, pare_error *err)
{
    const char *path = c->f->m->path;
    uint32_t *seen = c->last; /* lends its room; pare_cache_extend fills it anew */
    memset(seen, 0, c->n_seq * sizeof *seen);
    *total = 0;
    for (uint32_t i = 0; i < n_list; i++) {
        const pare_extension *e = &list[i];
        if (e->seq >= c->n_seq || seen[e->seq]++ != 0)
            return pare_fail(err, PARE_ERR_USAGE,
                             "%s: sequence %" PRIu32 " of %" PRIu32 " is absent, or extended twice", path, e->seq,
                             c->n_seq);
        if (e->n == 0 || e->n > c->n_ctx - c->n[e->seq])
            return pare_fail(err, PARE_ERR_USAGE,
                             "%s: %" PRIu32 " tokens behind the %" PRIu32 " of sequence %" PRIu32
                             "; the context holds %" PRIu32,
                             path, e->n, c->n[e->seq], e->seq, c->n_ctx);
        if (e->n > c->f->max_tokens - *total)
            return pare_fail(err, PARE_ERR_USAGE, "%s: more than the %" PRIu32 " tokens at once that were prepared for",
                             path, c->f->max_tokens);
        *total += e->n;
    }
    return PARE_OK;
}

pare_status pare_cache_extend(pare_cache *c, const pare_extension *list, uint32_t n_list, pare_error *err)
{
    uint32_t total;
    c->n_last = 0;
    pare_forward_begin(c->f, c);
    pare_status st = check(c, list, n_list, &total, err);
    if (st != PARE_OK || total == 0)
        return st;
    int32_t *ids = malloc(total * sizeof *ids);
    if (ids == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " tokens", c->f->m->path, total);
    for (uint32_t i = 0, row = 0; i < n_list; row += list[i++].n) {
        const pare_extension *e = &list[i];
        pare_forward_add(c->f, e->n, c->n[e->seq], (size_t)e->seq * c->n_ctx);
        memcpy(ids + row, e->ids, e->n * sizeof *ids);
        c->last[i] = row + e->n - 1;
    }
    if ((st = pare_forward_pass(c->f, ids, err)) == PARE_OK) {
        c->n_last = n_list;
        for (uint32_t i = 0; i < n_list; i++)
            c->n[list[i].seq] += list[i].n;
    } else if (pare_cache_keeps_states(c)) { /* some layers have gone on */
        for (uint32_t i = 0; i < n_list; i++)
            c->n[list[i].seq] = 0;
    }
    free(ids);
    return st;
}

pare_status pare_cache_logits(pare_cache *c, float *out, pare_error *err)
{
    pare_forward *f = c->f;
    size_t n_embd = f->m->hp.n_embd;
    if (f->cache != c || c->n_last == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: logits of a cache that was not extended", f->m->path);
    /* Move the last rows together at the front. They ascend, so none is overwritten before it moves. */
    for (uint32_t i = 0; i < c->n_last; i++) {
        pare_status st = PARE_OK;
        if (c->last[i] != i)
            st = f->b->copy(f->b, f->x + i * n_embd, f->x + c->last[i] * n_embd, n_embd * sizeof(float), err);
        if (st != PARE_OK)
            return st;
        c->last[i] = i;
    }
    f->n = c->n_last;
    return pare_forward_logits(f, 0, 0, f->n, out, err);
}
