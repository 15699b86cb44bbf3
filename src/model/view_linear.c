/* Weights of linear attention between the Hub's form and GGUF's. */
#include "core/scratch.h"
#include "model/view.h"
#include "quant/registry.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct fused {
    pare_tensor part[2];   /* the whole, or heads of q, k and v, and the gate of what comes out */
    uint64_t group, dk, v; /* rows of a key head's group, of its q and of its k, of its v and of its z */
    uint64_t keys;         /* rows of all q */
    bool gate;             /* which part a view of the whole is */
} fused;

/* Where row r of GGUF's heads of q, k, v (or of the gate) stands in the whole. */
static uint64_t hub_row(const fused *f, uint64_t r)
{
    if (f->gate)
        return r / f->v * f->group + 2 * f->dk + f->v + r % f->v;
    if (r < 2 * f->keys)
        return r % f->keys / f->dk * f->group + (r < f->keys ? 0 : f->dk) + r % f->dk;
    r -= 2 * f->keys;
    return r / f->v * f->group + 2 * f->dk + r % f->v;
}

static pare_status read_part(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const fused *f = t->ctx;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++)
        st = pare_tensor_read(&f->part[0], hub_row(f, row + i), 1, (uint8_t *)dst + i * t->row_bytes, err);
    return st;
}

static pare_status read_whole(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const fused *f = t->ctx;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        uint64_t head = (row + i) / f->group, at = (row + i) % f->group, z = 2 * f->dk + f->v, r;
        if (at < 2 * f->dk)
            r = (at < f->dk ? 0 : f->keys) + head * f->dk + at % f->dk;
        else
            r = (at < z ? 2 * f->keys + at - 2 * f->dk : at - z) + head * f->v;
        st = pare_tensor_read(&f->part[at >= z], r, 1, (uint8_t *)dst + i * t->row_bytes, err);
    }
    return st;
}

/* A view over src; whole: how many rows all heads have together. */
static fused *start(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                    uint64_t *whole, pare_error *err)
{
    const pare_linear_attention *a = &hp->linear;
    fused *f = pare_arena_alloc(arena, sizeof *f, err);
    if (f == NULL)
        return NULL;
    *f = (fused){.part = {*src},
                 .dk = a->head_dim_k,
                 .v = (uint64_t)(a->n_head_v / a->n_head_k) * a->head_dim_v,
                 .keys = (uint64_t)a->n_head_k * a->head_dim_k};
    f->group = 2 * f->dk + 2 * f->v;
    *whole = a->n_head_k * f->group;
    *out = *src;
    out->data = NULL;
    out->release = NULL;
    out->ctx = f;
    out->base = &f->part[0];
    return f;
}

pare_status pare_view_linear_part(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                                  bool gate, pare_error *err)
{
    uint64_t whole = 0;
    fused *f = start(arena, out, src, hp, &whole, err);
    if (f == NULL)
        return PARE_ERR_MEMORY;
    if (src->n_dims != 2 || src->dim[0] != whole)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s' has %" PRIu64 " rows, the heads of linear attention have %" PRIu64, src->name,
                         src->n_rows, whole);
    f->gate = gate;
    out->read = read_part;
    out->dim[0] = gate ? whole - 2 * f->keys - hp->linear.n_head_k * f->v : 2 * f->keys + hp->linear.n_head_k * f->v;
    return pare_tensor_set_shape(out, src->name, err);
}

pare_status pare_view_linear_unite(pare_arena *arena, pare_tensor *out, const pare_tensor parts[2],
                                   const pare_hparams *hp, pare_error *err)
{
    uint64_t whole = 0;
    fused *f = start(arena, out, &parts[0], hp, &whole, err);
    if (f == NULL)
        return PARE_ERR_MEMORY;
    f->part[1] = parts[1];
    if (parts[0].n_rows + parts[1].n_rows != whole || parts[0].row_bytes != parts[1].row_bytes ||
        parts[0].type != parts[1].type)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensors '%s' and '%s' have %" PRIu64 " and %" PRIu64 " rows, or types that differ; the heads "
                         "of linear attention have %" PRIu64,
                         parts[0].name, parts[1].name, parts[0].n_rows, parts[1].n_rows, whole);
    out->read = read_whole;
    out->dim[0] = whole;
    return pare_tensor_set_shape(out, parts[0].name, err);
}

static pare_status read_minus_exp(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    float *y = dst;
    pare_status st = pare_tensor_read_f32(t->base, row, n_rows, y, err);
    for (size_t i = 0; st == PARE_OK && i < (size_t)(n_rows * t->row_len); i++)
        y[i] = (float)-exp((double)y[i]);
    return st;
}

static pare_status read_log_minus(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    float *y = dst;
    pare_status st = pare_tensor_read_f32(t->base, row, n_rows, y, err);
    for (size_t i = 0; st == PARE_OK && i < (size_t)(n_rows * t->row_len); i++) {
        if (!(y[i] < 0))
            st = pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': element %zu is %g, only negative numbers are -e^x",
                           t->name, i, (double)y[i]);
        y[i] = (float)log(-(double)y[i]);
    }
    return st;
}

pare_status pare_view_minus_exp(pare_arena *arena, pare_tensor *out, const pare_tensor *src, bool to_gguf,
                                pare_error *err)
{
    pare_tensor *base = pare_arena_alloc(arena, sizeof *base, err);
    if (base == NULL)
        return PARE_ERR_MEMORY;
    *base = *out = *src;
    out->data = NULL;
    out->release = NULL;
    out->type = PARE_TYPE_F32;
    out->base = base;
    out->read = to_gguf ? read_minus_exp : read_log_minus;
    return pare_tensor_set_shape(out, src->name, err);
}

static pare_status refuse_shape(const pare_tensor *src, const char *wanted, pare_error *err)
{
    return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' has %" PRIu32 " dimensions, expected is %s", src->name,
                     src->n_dims, wanted);
}

pare_status pare_view_squeeze(pare_tensor *out, const pare_tensor *src, pare_error *err)
{
    *out = *src;
    if (src->n_dims == 2)
        return PARE_OK;
    if (src->n_dims != 3 || src->dim[1] != 1)
        return refuse_shape(src, "[n, 1, m]", err);
    out->n_dims = 2;
    out->dim[1] = src->dim[2];
    return PARE_OK;
}

pare_status pare_view_unsqueeze(pare_tensor *out, const pare_tensor *src, pare_error *err)
{
    *out = *src;
    if (src->n_dims != 2)
        return refuse_shape(src, "a matrix", err);
    out->n_dims = 3;
    out->dim[1] = 1;
    out->dim[2] = src->dim[1];
    return PARE_OK;
}

/* ---- value heads in another order ---- */

typedef struct tiles {
    pare_tensor src;
    uint64_t lead, unit; /* rows, or elements, before the value heads, and of a head */
    uint32_t n_head_k, share;
    bool to_gguf;
} tiles;

/* Where row or element r stands in src. */
static uint64_t tile_source(const tiles *t, uint64_t r)
{
    if (r < t->lead)
        return r;
    uint64_t head = (r - t->lead) / t->unit, at = (r - t->lead) % t->unit;
    uint64_t from = t->to_gguf ? head % t->n_head_k * t->share + head / t->n_head_k
                               : head % t->share * t->n_head_k + head / t->share;
    return t->lead + from * t->unit + at;
}

static pare_status read_tiled_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const tiles *v = t->ctx;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++)
        st = pare_tensor_read(&v->src, tile_source(v, row + i), 1, (uint8_t *)dst + i * t->row_bytes, err);
    return st;
}

static pare_status read_tiled_elements(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const tiles *v = t->ctx;
    size_t size = (size_t)(t->row_bytes / t->row_len); /* of an element: the type stores no blocks */
    uint8_t *scratch = pare_scratch_alloc((size_t)t->row_bytes);
    pare_status st = scratch != NULL ? PARE_OK
                                     : pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " bytes",
                                                 t->name, t->row_bytes);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        uint8_t *to = (uint8_t *)dst + i * t->row_bytes;
        st = pare_tensor_read(&v->src, row + i, 1, scratch, err);
        for (uint64_t c = 0; st == PARE_OK && c < t->row_len; c++)
            memcpy(to + c * size, scratch + tile_source(v, c) * size, size);
    }
    pare_scratch_free(scratch, (size_t)t->row_bytes);
    return st;
}

pare_status pare_view_linear_tiles(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                                   bool columns, bool to_gguf, pare_error *err)
{
    const pare_linear_attention *a = &hp->linear;
    bool elements = columns || src->n_dims == 1;
    uint64_t n = elements ? src->row_len : src->n_rows, heads = (uint64_t)a->n_head_v * a->head_dim_v;
    uint64_t lead = n == heads || n == a->n_head_v ? 0 : 2 * (uint64_t)a->n_head_k * a->head_dim_k;
    if (elements && pare_type_get(src->type)->block_len != 1)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "tensor '%s': the inputs of weights of type %s cannot be put into another order", src->name,
                         pare_type_get(src->type)->name);
    if (n - lead != heads && n - lead != a->n_head_v)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' has %" PRIu64 " %s for %" PRIu32 " value heads of %" PRIu32,
                         src->name, n, elements ? "elements" : "rows", a->n_head_v, a->head_dim_v);
    tiles *t = pare_arena_alloc(arena, sizeof *t, err);
    if (t == NULL)
        return PARE_ERR_MEMORY;
    *t = (tiles){*src, lead, (n - lead) / a->n_head_v, a->n_head_k, a->n_head_v / a->n_head_k, to_gguf};
    *out = *src;
    out->data = NULL;
    out->release = NULL;
    out->ctx = t;
    out->base = &t->src;
    out->read = elements ? read_tiled_elements : read_tiled_rows;
    out->scratch_bytes = src->scratch_bytes + (elements ? (size_t)src->row_bytes : 0);
    return PARE_OK;
}
