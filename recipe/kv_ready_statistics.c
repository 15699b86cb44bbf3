/* Statistics of a model whose values are rotated (recipe/kv_ready.h). */
#include "core/bytes.h"
#include "core/checked.h"
#include "recipe/kv_ready.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Rows of the triangle as rows of the whole matrix. */
static float product(const pare_gram *g, uint64_t i, uint64_t j)
{
    const uint64_t row = i > j ? i : j, column = i > j ? j : i;
    return pare_load_f32le(g->lower + 4 * (row * (row + 1) / 2 + column));
}

/* H' = R H R^T, head by head: dim rows of R H R^T need these rows of H alone. x [dim, n], y [dim] */
static void turn_head(const pare_kv_ready_layer *l, uint32_t layer, const pare_gram *g, uint64_t head, float *x,
                      float *y, uint8_t *to)
{
    const size_t n = (size_t)g->n_columns, dim = l->dim_v;
    for (size_t i = 0; i < dim; i++) {
        for (size_t c = 0; c < n; c++)
            x[i * n + c] = product(g, head * dim + i, c);
        pare_kv_ready_turn(l, layer, x + i * n, n / dim);
    }
    for (size_t c = 0; c < n; c++) {
        for (size_t i = 0; i < dim; i++)
            y[i] = x[i * n + c];
        pare_kv_ready_turn(l, layer, y, 1);
        for (size_t i = 0; i < dim; i++) {
            const uint64_t row = head * dim + i;
            if (c <= row)
                pare_store_f32le(to + 4 * (row * (row + 1) / 2 + c), y[i]);
        }
    }
}

static pare_status turn_gram(const pare_kv_ready_layer *l, uint32_t layer, pare_gram *g, uint8_t *to, pare_error *err)
{
    size_t n, bytes;
    float *x = NULL;
    if (pare_mul_size((size_t)g->n_columns + 1, l->dim_v, &n) && pare_mul_size(n, sizeof *x, &bytes))
        x = malloc(bytes);
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory to rotate statistics of '%s'", g->name);
    for (uint64_t head = 0; head < g->n_columns / l->dim_v; head++)
        turn_head(l, layer, g, head, x, x + (size_t)g->n_columns * l->dim_v, to);
    g->lower = to;
    g->own = NULL;
    free(x);
    return PARE_OK;
}

/* Sums and sums of squares; without products of columns as if what is beyond the means varied alone. */
static void turn_entry(const pare_kv_ready_layer *l, uint32_t layer, pare_imatrix_entry *e, const pare_gram *g)
{
    const double count = e->counts[0];
    const bool has_mean = e->sum != NULL && count > 0;
    for (uint64_t at = 0; at < e->n_columns; at += l->dim_v) {
        double beyond = 0;
        for (uint64_t i = at; i < at + l->dim_v; i++)
            beyond += (double)e->sum2[i] - (has_mean ? (double)e->sum[i] * (double)e->sum[i] / count : 0);
        beyond = beyond > 0 ? beyond / l->dim_v : 0;
        if (e->sum != NULL)
            pare_kv_ready_turn(l, layer, e->sum + at, 1);
        for (uint64_t i = at; i < at + l->dim_v; i++) {
            const double mean2 = has_mean ? (double)e->sum[i] * (double)e->sum[i] / count : 0;
            const double own = g != NULL ? (double)product(g, i, i) * (count / g->count) : beyond + mean2;
            e->sum2[i] = (float)(own > 0 ? own : 0);
        }
    }
}

/* Layers whose attention output reads rotated values, in turn; false: no more. */
static bool next_turned(const pare_kv_ready *r, const pare_model *m, uint32_t *layer, const pare_kv_ready_layer **l,
                        const pare_tensor **o, uint32_t *of)
{
    for (; *layer < r->n_layer; ++*layer) {
        *of = pare_layer_of_keys(&m->hp, *layer);
        *l = &r->layers[*of];
        *o = pare_model_weight(m, PARE_W_ATTN_OUT, *layer, "weight");
        if ((*l)->values && *o != NULL)
            return true;
    }
    return false;
}

static pare_gram *gram_of(const pare_imatrix *im, const char *name)
{
    const pare_gram *g = pare_grams_find(&im->grams, name);
    return g != NULL ? &im->grams.list[g - im->grams.list] : NULL;
}

/* Bytes of all triangles that will be made. */
static pare_status all_bytes(const pare_kv_ready *r, const pare_model *m, const pare_imatrix *im, uint64_t *out,
                             pare_error *err)
{
    const pare_kv_ready_layer *l;
    const pare_tensor *o;
    uint32_t of;
    *out = 0;
    for (uint32_t i = 0; next_turned(r, m, &i, &l, &o, &of); i++) {
        const pare_gram *g = gram_of(im, o->name);
        uint64_t bytes = 0;
        if (g == NULL)
            continue;
        if (g->n_columns != o->row_len || g->n_experts > 1)
            return pare_fail(err, PARE_ERR_RANGE, "%s: second-order statistics of '%s' have another shape", im->path,
                             o->name);
        if (!pare_gram_bytes(g->n_columns, &bytes) || !pare_add_u64(*out, bytes, out))
            return pare_fail(err, PARE_ERR_RANGE, "%s: second-order statistics do not fit into 64 bits", im->path);
    }
    return PARE_OK;
}

pare_status pare_kv_ready_statistics(const pare_kv_ready *r, const pare_model *m, pare_imatrix *im, const char *beside,
                                     uint32_t *n_spread, pare_error *err)
{
    const pare_kv_ready_layer *l;
    const pare_tensor *o;
    uint64_t size = 0, at = 0, bytes = 0;
    uint32_t of;
    pare_status st = all_bytes(r, m, im, &size, err);
    *n_spread = 0;
    assert(im->spool.size == 0);
    if (st == PARE_OK && size > 0)
        st = pare_spool_open(&im->spool, beside, size, err);
    for (uint32_t i = 0; st == PARE_OK && next_turned(r, m, &i, &l, &o, &of); i++) {
        const pare_imatrix_entry *found = pare_imatrix_find(im, o->name);
        pare_gram *g = gram_of(im, o->name);
        if (g != NULL && (st = turn_gram(l, of, g, im->spool.data + at, err)) == PARE_OK &&
            pare_gram_bytes(g->n_columns, &bytes))
            at += bytes;
        if (st != PARE_OK || found == NULL)
            continue;
        pare_imatrix_entry *e = &im->entries[found - im->entries];
        if (e->n_columns != o->row_len || e->n_experts != 1)
            return pare_fail(err, PARE_ERR_RANGE, "%s: the entry of '%s' has another shape", im->path, o->name);
        turn_entry(l, of, e, g);
        *n_spread += g == NULL;
    }
    return st;
}
