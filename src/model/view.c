#include "model/view.h"
#include "core/checked.h"
#include "core/scratch.h"
#include "quant/registry.h"

#include <inttypes.h>
#include <string.h>

typedef struct view {
    pare_tensor src;
    uint64_t (*source_row)(const struct view *v, uint64_t r); /* where row r of the result stands in src */
    uint32_t head_dim, n_head, n_head_kv;
    bool to_gguf;
    float add;
} view;

/* Copy src into a new view and make out a tensor of the same shape that is read through it. */
static view *start(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_read_fn read, pare_error *err)
{
    view *v = pare_arena_alloc(arena, sizeof *v, err);
    if (v == NULL)
        return NULL;
    v->src = *src;
    *out = *src;
    out->data = NULL;
    out->read = read;
    out->release = NULL;
    out->ctx = v;
    out->base = &v->src;
    out->scratch_bytes = src->scratch_bytes + (size_t)src->row_bytes + (size_t)src->row_len * sizeof(float);
    return v;
}

static pare_status refuse_blocks(const pare_tensor *src, const char *what, pare_error *err)
{
    const pare_type_info *info = pare_type_get(src->type);
    if (info->block_len == 1)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "tensor '%s': %s of type %s, whose weights come in blocks of %" PRIu32,
                     src->name, what, info->name, info->block_len);
}

static uint64_t rope_source(const view *v, uint64_t r)
{
    uint64_t half = v->head_dim / 2, at = r % v->head_dim, head = r - at;
    if (v->to_gguf)
        return head + at % 2 * half + at / 2;
    return head + at % half * 2 + at / half;
}

/* Of n_head q heads, each kv head has `share`; a group of the Hub has share + 2 heads. */
static uint64_t qkv_source(const view *v, uint64_t r)
{
    uint64_t at = r % v->head_dim, head = r / v->head_dim, from;
    uint64_t share = v->n_head / v->n_head_kv, group = share + 2;
    if (v->to_gguf && head < v->n_head)
        from = head / share * group + head % share;
    else if (v->to_gguf)
        from = (head - v->n_head) % v->n_head_kv * group + share + (head - v->n_head) / v->n_head_kv;
    else if (head % group < share)
        from = head / group * share + head % group;
    else
        from = v->n_head + (head % group - share) * v->n_head_kv + head / group;
    return from * v->head_dim + at;
}

static pare_status read_moved_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const view *v = t->ctx;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++)
        st = pare_tensor_read(&v->src, v->source_row(v, row + i), 1, (uint8_t *)dst + i * t->row_bytes, err);
    return st;
}

/* The whole of src into a new scratch buffer. */
static pare_status read_all(const pare_tensor *src, uint8_t **out, pare_error *err)
{
    *out = pare_scratch_alloc((size_t)src->n_bytes);
    if (*out == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " bytes", src->name, src->n_bytes);
    return pare_tensor_read(src, 0, src->n_rows, *out, err);
}

static pare_status read_moved_vector(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const view *v = t->ctx;
    size_t size = pare_type_get(t->type)->block_bytes;
    uint8_t *all = NULL;
    (void)row; /* a vector is one row */
    if (n_rows == 0)
        return PARE_OK;
    pare_status st = read_all(&v->src, &all, err);
    for (uint64_t i = 0; i < t->row_len && st == PARE_OK; i++)
        memcpy((uint8_t *)dst + i * size, all + v->source_row(v, i) * size, size);
    pare_scratch_free(all, (size_t)v->src.n_bytes);
    return st;
}

/* out: src's rows, or elements of a vector, in the order that how->source_row says. */
static pare_status show_moved(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const view *how,
                              pare_error *err)
{
    bool vector = src->n_dims == 1;
    if (src->n_dims < 1 || src->n_dims > 2 || how->head_dim == 0 || src->dim[0] % how->head_dim != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s' of %" PRIu32 " dimensions with %" PRIu64 " rows is not made of heads of %" PRIu32,
                         src->name, src->n_dims, src->n_dims > 0 ? src->dim[0] : 0, how->head_dim);
    pare_status st = vector ? refuse_blocks(src, "a vector", err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    view *v = start(arena, out, src, vector ? read_moved_vector : read_moved_rows, err);
    if (v == NULL)
        return PARE_ERR_MEMORY;
    *v = *how;
    v->src = *src;
    return PARE_OK;
}

pare_status pare_view_rope(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint32_t head_dim,
                           bool to_pairs, pare_error *err)
{
    if (head_dim % 2 != 0)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': heads of %" PRIu32 " elements are not made of pairs",
                         src->name, head_dim);
    view how = {.source_row = rope_source, .head_dim = head_dim, .to_gguf = to_pairs};
    return show_moved(arena, out, src, &how, err);
}

pare_status pare_view_qkv(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                          bool to_parts, pare_error *err)
{
    uint64_t n_heads = (uint64_t)hp->n_head + 2 * (uint64_t)hp->n_head_kv;
    if (hp->head_dim_k != hp->head_dim_v || src->n_dims == 0 || src->dim[0] != n_heads * hp->head_dim_k)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s' with %" PRIu64 " rows is not made of %" PRIu32 " q heads and %" PRIu32
                         " k and v heads of one size",
                         src->name, src->n_dims > 0 ? src->dim[0] : 0, hp->n_head, hp->n_head_kv);
    view how = {.source_row = qkv_source,
                .head_dim = hp->head_dim_k,
                .n_head = hp->n_head,
                .n_head_kv = hp->n_head_kv,
                .to_gguf = to_parts};
    return show_moved(arena, out, src, &how, err);
}

/* Row by row of the source, because a mapped file is read fastest in its own order. */
static pare_status read_transposed(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const view *v = t->ctx;
    size_t size = pare_type_get(t->type)->block_bytes;
    uint8_t *from = pare_scratch_alloc((size_t)v->src.row_bytes);
    if (from == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %" PRIu64 " bytes", t->name,
                         v->src.row_bytes);
    pare_status st = PARE_OK;
    for (uint64_t j = 0; j < t->row_len && st == PARE_OK; j++) {
        st = pare_tensor_read(&v->src, j, 1, from, err);
        for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++)
            memcpy((uint8_t *)dst + i * t->row_bytes + j * size, from + (row + i) * size, size);
    }
    pare_scratch_free(from, (size_t)v->src.row_bytes);
    return st;
}

pare_status pare_view_transpose(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_error *err)
{
    if (src->n_dims != 2)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' has %" PRIu32 " dimensions, only a matrix is transposed",
                         src->name, src->n_dims);
    pare_status st = refuse_blocks(src, "a transposed matrix", err);
    if (st != PARE_OK)
        return st;
    if (start(arena, out, src, read_transposed, err) == NULL)
        return PARE_ERR_MEMORY;
    out->dim[0] = src->dim[1];
    out->dim[1] = src->dim[0];
    return pare_tensor_set_shape(out, src->name, err);
}

/* ---- experts: several matrices in one tensor ---- */

typedef struct stack {
    const pare_tensor *parts;
    uint64_t part_rows;
} stack;

static pare_status read_stack(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const stack *s = t->ctx;
    pare_status st = PARE_OK;
    for (uint64_t done = 0, n = 0; done < n_rows && st == PARE_OK; done += n) {
        uint64_t at = (row + done) % s->part_rows;
        n = s->part_rows - at < n_rows - done ? s->part_rows - at : n_rows - done;
        st = pare_tensor_read(&s->parts[(row + done) / s->part_rows], at, n, (uint8_t *)dst + done * t->row_bytes, err);
    }
    return st;
}

static void release_stack(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const stack *s = t->ctx;
    for (uint64_t done = 0, n = 0; done < n_rows; done += n) {
        uint64_t at = (row + done) % s->part_rows;
        n = s->part_rows - at < n_rows - done ? s->part_rows - at : n_rows - done;
        pare_tensor_release(&s->parts[(row + done) / s->part_rows], at, n);
    }
}

static pare_status check_part(const pare_tensor *part, const pare_tensor *first, pare_error *err)
{
    if (part->type != first->type)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "tensor '%s' has type %s, '%s', with which it makes one tensor, %s",
                         part->name, pare_type_get(part->type)->name, first->name, pare_type_get(first->type)->name);
    if (part->n_dims == first->n_dims && memcmp(part->dim, first->dim, first->n_dims * sizeof *first->dim) == 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "tensor '%s' of %" PRIu64 " rows of %" PRIu64 " has another shape than '%s' of %" PRIu64
                     " rows of %" PRIu64 ", with which it makes one tensor",
                     part->name, part->n_rows, part->row_len, first->name, first->n_rows, first->row_len);
}

pare_status pare_view_stack(pare_arena *arena, pare_tensor *out, const pare_tensor *parts, uint64_t n, pare_error *err)
{
    size_t bytes = 0, scratch = 0;
    pare_status st = PARE_OK;
    if (n == 0 || parts[0].n_rows == 0 || parts[0].n_dims >= PARE_MAX_DIMS)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': no rows to make one tensor of", n > 0 ? parts->name : "");
    stack *s = pare_arena_alloc(arena, sizeof *s, err);
    pare_tensor *copy = NULL;
    if (s != NULL && pare_mul_size((size_t)n, sizeof *copy, &bytes))
        copy = pare_arena_alloc(arena, bytes, err);
    if (copy == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " parts", parts->name, n);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++) {
        st = check_part(&parts[i], &parts[0], err);
        scratch = parts[i].scratch_bytes > scratch ? parts[i].scratch_bytes : scratch;
    }
    if (st != PARE_OK)
        return st;
    memcpy(copy, parts, bytes);
    *s = (stack){copy, parts->n_rows};
    *out = *parts;
    out->data = NULL;
    out->read = read_stack;
    out->release = release_stack;
    out->ctx = s;
    out->base = NULL;
    out->scratch_bytes = scratch;
    out->n_dims = parts->n_dims + 1;
    out->dim[0] = n;
    memcpy(out->dim + 1, parts->dim, parts->n_dims * sizeof *parts->dim);
    return pare_tensor_set_shape(out, parts->name, err);
}

typedef struct part {
    pare_tensor src;
    uint64_t first; /* row of src */
} part;

static pare_status read_part(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const part *p = t->ctx;
    return pare_tensor_read(&p->src, p->first + row, n_rows, dst, err);
}

static void release_part(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const part *p = t->ctx;
    pare_tensor_release(&p->src, p->first + row, n_rows);
}

pare_status pare_view_part(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t i, pare_error *err)
{
    if (src->n_dims != 3 || i >= src->dim[0])
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' of %" PRIu32 " dimensions has no matrix %" PRIu64, src->name,
                         src->n_dims, i);
    part *p = pare_arena_alloc(arena, sizeof *p, err);
    if (p == NULL)
        return PARE_ERR_MEMORY;
    *p = (part){*src, i * src->dim[1]};
    *out = *src;
    out->data = NULL;
    out->read = read_part;
    out->release = release_part;
    out->ctx = p;
    out->base = NULL;
    out->n_dims = 2;
    memcpy(out->dim, src->dim + 1, 2 * sizeof *src->dim);
    return pare_tensor_set_shape(out, src->name, err);
}

pare_status pare_view_row(pare_tensor *out, const pare_tensor *src, pare_error *err)
{
    if (src->n_rows != 1)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' with %" PRIu64 " rows is no vector", src->name, src->n_rows);
    *out = *src;
    out->n_dims = 2;
    out->dim[0] = 1;
    out->dim[1] = src->row_len;
    return pare_tensor_set_shape(out, src->name, err);
}

static pare_status read_sum(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const view *v = t->ctx;
    float *x = dst;
    pare_status st = pare_tensor_read_f32(&v->src, row, n_rows, x, err);
    for (uint64_t i = 0; i < n_rows * t->row_len && st == PARE_OK; i++)
        x[i] += v->add;
    return st;
}

pare_status pare_view_add(pare_arena *arena, pare_tensor *out, const pare_tensor *src, float add, pare_error *err)
{
    view *v = start(arena, out, src, read_sum, err);
    if (v == NULL)
        return PARE_ERR_MEMORY;
    v->add = add;
    out->type = PARE_TYPE_F32;
    return pare_tensor_set_shape(out, src->name, err);
}

static pare_status read_cast(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const view *v = t->ctx;
    pare_error inner = {0};
    float *x = pare_scratch_alloc((size_t)t->row_len * sizeof *x);
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %" PRIu64 " floats", t->name,
                         t->row_len);
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++) {
        if ((st = pare_tensor_read_f32(&v->src, row + i, 1, x, err)) != PARE_OK)
            break;
        st = pare_encode_rows(t->type, x, 1, (size_t)t->row_len, NULL, PARE_EFFORT_DEFAULT,
                              (uint8_t *)dst + i * t->row_bytes, &inner);
        if (st != PARE_OK)
            pare_fail(err, st, "tensor '%s', row %" PRIu64 ": %s", t->name, row + i, inner.text);
    }
    pare_scratch_free(x, (size_t)t->row_len * sizeof *x);
    return st;
}

pare_status pare_view_cast(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_type type, pare_error *err)
{
    const pare_type_info *info = pare_type_get(type);
    if (info->block_len != 1 || pare_encoder(type) == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "tensor '%s': cannot be written as %s", src->name, info->name);
    if (start(arena, out, src, read_cast, err) == NULL)
        return PARE_ERR_MEMORY;
    out->type = type;
    return pare_tensor_set_shape(out, src->name, err);
}
