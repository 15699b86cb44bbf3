#include "model/view.h"
#include "core/checked.h"
#include "core/scratch.h"
#include "model/transpose.h"
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

/* ---- transposed matrices ---- */

typedef struct transposed {
    pare_tensor src;      /* [in, out], or one such matrix an expert */
    pare_hf_share share;  /* of the columns of src */
    uint64_t n_in, n_out; /* n_out: of the result */
} transposed;

/* The column of src that is row i of the result. */
static uint64_t source_column(const transposed *v, uint64_t i)
{
    return v->share.in_turn ? i * v->share.count + v->share.index : v->share.index * v->n_out + i;
}

/* Rows [first, first + n) of a matrix whose bytes are mapped. */
static void transpose_mapped(const transposed *v, const uint8_t *matrix, size_t size, uint64_t first, uint64_t n,
                             uint8_t *dst)
{
    const pare_turned what = {.src = matrix,
                              .size = size,
                              .n_rows = v->n_in,
                              .row_len = v->src.row_len,
                              .first = source_column(v, first),
                              .step = v->share.in_turn ? v->share.count : 1,
                              .n_columns = n};
    pare_transpose(&what, dst);
}

/* The same row by row of a source that has to be made. */
static pare_status transpose_made(const transposed *v, uint64_t matrix, size_t size, uint64_t first, uint64_t n,
                                  uint8_t *dst, pare_error *err)
{
    size_t from_bytes = (size_t)v->src.row_bytes;
    uint8_t *from = pare_scratch_alloc(from_bytes);
    pare_status st = PARE_OK;
    if (from == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %zu bytes", v->src.name,
                         from_bytes);
    for (uint64_t j = 0; j < v->n_in && st == PARE_OK; j++) {
        st = pare_tensor_read(&v->src, matrix * v->n_in + j, 1, from, err);
        for (uint64_t i = 0; i < n && st == PARE_OK; i++)
            memcpy(dst + (i * v->n_in + j) * size, from + source_column(v, first + i) * size, size);
    }
    pare_scratch_free(from, from_bytes);
    return st;
}

static pare_status read_transposed(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const transposed *v = t->ctx;
    size_t size = pare_type_get(t->type)->block_bytes;
    pare_status st = PARE_OK;
    for (uint64_t done = 0, n = 0; done < n_rows && st == PARE_OK; done += n) {
        uint64_t matrix = (row + done) / v->n_out, first = (row + done) % v->n_out;
        uint8_t *to = (uint8_t *)dst + done * t->row_bytes;
        n = v->n_out - first < n_rows - done ? v->n_out - first : n_rows - done;
        if (v->src.data != NULL)
            transpose_mapped(v, v->src.data + matrix * v->n_in * v->src.row_bytes, size, first, n, to);
        else
            st = transpose_made(v, matrix, size, first, n, to, err);
    }
    return st;
}

/* The pages of the matrices whose last row is among these: those before have been read. A share that another one
 * follows may be read in turn with it (model/stream.h), which needs them still: it is a matrix late. */
static void release_transposed(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const transposed *v = t->ctx;
    uint64_t late = v->share.index + 1 < v->share.count;
    for (uint64_t m = row / v->n_out; (m + 1) * v->n_out <= row + n_rows; m++)
        if (m >= late)
            pare_tensor_release(&v->src, (m - late) * v->n_in, v->n_in);
}

pare_status pare_view_transpose(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_hf_share share,
                                pare_error *err)
{
    uint64_t n_in = src->n_dims >= 2 ? src->dim[src->n_dims - 2] : 0, n_columns = src->row_len;
    if (share.count == 0)
        share.count = 1;
    if (src->n_dims < 2 || src->n_dims > 3)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' has %" PRIu32 " dimensions, only matrices are transposed",
                         src->name, src->n_dims);
    if (n_columns == 0 || n_columns % share.count != 0)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' with %" PRIu64 " columns is not made of %d equal shares",
                         src->name, n_columns, (int)share.count);
    pare_status st = refuse_blocks(src, "a transposed matrix", err);
    transposed *v = st == PARE_OK ? pare_arena_alloc(arena, sizeof *v, err) : NULL;
    if (v == NULL)
        return st == PARE_OK ? PARE_ERR_MEMORY : st;
    *v = (transposed){.src = *src, .share = share, .n_in = n_in, .n_out = n_columns / share.count};
    *out = *src;
    out->data = NULL;
    out->read = read_transposed;
    out->shared = src->data;
    out->release = release_transposed;
    out->ctx = v;
    out->base = &v->src;
    out->scratch_bytes = src->scratch_bytes + (size_t)src->row_bytes;
    out->dim[src->n_dims - 2] = v->n_out;
    out->dim[src->n_dims - 1] = n_in;
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

/* The factors of the parts, one behind the other; NULL where no part has one. */
static pare_status stack_factors(pare_arena *arena, pare_tensor *out, const pare_tensor *parts, uint64_t n,
                                 pare_error *err)
{
    bool any = false;
    for (uint64_t i = 0; i < n; i++)
        any = any || parts[i].factor != NULL;
    out->factor = NULL;
    if (!any)
        return PARE_OK;
    float *factors = pare_arena_alloc(arena, (size_t)n * sizeof *factors, err); /* less than the copy of the parts */
    for (uint64_t i = 0; i < n && factors != NULL; i++)
        factors[i] = parts[i].factor != NULL ? *parts[i].factor : 1;
    out->factor = factors;
    return factors != NULL ? PARE_OK : PARE_ERR_MEMORY;
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
    out->shared = NULL;
    out->ctx = s;
    out->base = NULL;
    out->scratch_bytes = scratch;
    out->n_dims = parts->n_dims + 1;
    out->dim[0] = n;
    memcpy(out->dim + 1, parts->dim, parts->n_dims * sizeof *parts->dim);
    st = stack_factors(arena, out, parts, n, err);
    return st == PARE_OK ? pare_tensor_set_shape(out, parts->name, err) : st;
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

/* Rows from `first` on; the caller gives the shape. */
static pare_status show_part(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t first,
                             pare_error *err)
{
    part *p = pare_arena_alloc(arena, sizeof *p, err);
    if (p == NULL)
        return PARE_ERR_MEMORY;
    *p = (part){*src, first};
    *out = *src;
    out->data = NULL;
    out->read = read_part;
    out->release = release_part;
    out->shared = NULL;
    out->ctx = p;
    out->base = NULL;
    return PARE_OK;
}

pare_status pare_view_part(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t i, pare_error *err)
{
    if (src->n_dims < 2 || src->n_dims > 3 || i >= src->dim[0])
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' of %" PRIu32 " dimensions has no part %" PRIu64, src->name,
                         src->n_dims, i);
    pare_status st = show_part(arena, out, src, i * (src->n_rows / src->dim[0]), err);
    if (st != PARE_OK)
        return st;
    out->factor = src->factor != NULL ? src->factor + i : NULL;
    out->n_dims = src->n_dims - 1;
    memcpy(out->dim, src->dim + 1, out->n_dims * sizeof *src->dim);
    return pare_tensor_set_shape(out, src->name, err);
}

/* ---- weights that share a tensor ---- */

/* src has `rows` rows a matrix where the whole is; a share, or part, has rows / count of them. */
typedef struct sharing {
    pare_tensor src;          /* of a share */
    const pare_tensor *parts; /* of the whole */
    pare_hf_share share;
    uint64_t n; /* rows of a matrix of one share, or elements of its rows */
} sharing;

/* Element or row i of a share, counted in the whole. */
static uint64_t place_of(const sharing *s, uint64_t index, uint64_t i)
{
    return s->share.in_turn ? i * s->share.count + index : index * s->n + i;
}

/* Rows of a share that lie together in src are read together. */
static pare_status read_share(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const sharing *s = t->ctx;
    pare_status st = PARE_OK;
    for (uint64_t done = 0, n = 1; done < n_rows && st == PARE_OK; done += n) {
        uint64_t matrix = (row + done) / s->n, at = (row + done) % s->n;
        if (!s->share.in_turn)
            n = s->n - at < n_rows - done ? s->n - at : n_rows - done;
        st = pare_tensor_read(&s->src, matrix * s->n * s->share.count + place_of(s, s->share.index, at), n,
                              (uint8_t *)dst + done * t->row_bytes, err);
    }
    return st;
}

/* The pages of all shares of these rows. A share in turn that another one follows may be read in turn with it
 * (model/stream.h), which needs them still: it is a matrix late. */
static void release_share(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const sharing *s = t->ctx;
    uint64_t late = s->share.in_turn && s->share.index + 1 < s->share.count ? s->n : 0;
    n_rows = row + n_rows <= late ? 0 : row < late ? row + n_rows - late : n_rows;
    row = row < late ? 0 : row - late;
    uint64_t count = s->share.count, first = row / s->n, last = n_rows > 0 ? (row + n_rows - 1) / s->n : first;
    if (n_rows == 0)
        return;
    for (uint64_t m = first; m <= last; m++) {
        uint64_t from = m == first ? row % s->n : 0, to = m == last ? (row + n_rows - 1) % s->n + 1 : s->n;
        uint64_t at = m * s->n * count + (s->share.in_turn ? from * count : s->share.index * s->n + from);
        pare_tensor_release(&s->src, at, (to - from) * (s->share.in_turn ? count : 1));
    }
}

static pare_status read_shared_elements(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const sharing *s = t->ctx;
    size_t size = pare_type_get(t->type)->block_bytes, from_bytes = (size_t)s->src.row_bytes;
    uint8_t *from = pare_scratch_alloc(from_bytes);
    pare_status st = PARE_OK;
    if (from == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %zu bytes", t->name, from_bytes);
    for (uint64_t r = 0; r < n_rows && st == PARE_OK; r++) {
        st = pare_tensor_read(&s->src, row + r, 1, from, err);
        for (uint64_t i = 0; i < s->n && st == PARE_OK; i++)
            memcpy((uint8_t *)dst + r * t->row_bytes + i * size, from + place_of(s, s->share.index, i) * size, size);
    }
    pare_scratch_free(from, from_bytes);
    return st;
}

static pare_status check_shares(const pare_tensor *t, uint64_t n, pare_hf_share share, bool per_element,
                                pare_error *err)
{
    uint32_t dims = per_element ? 1 : 2;
    if (t->n_dims < dims || t->n_dims > dims + 1 || n == 0 || n % share.count != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s' of %" PRIu32 " dimensions with %" PRIu64 " %s is not made of %d equal shares",
                         t->name, t->n_dims, n, per_element ? "elements" : "rows", (int)share.count);
    return per_element ? refuse_blocks(t, "a bias", err) : PARE_OK;
}

pare_status pare_view_share(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_hf_share share,
                            bool per_element, pare_error *err)
{
    uint32_t axis = src->n_dims - (per_element ? 1 : 2); /* checked before it is used */
    uint64_t n = src->n_dims >= (per_element ? 1u : 2u) ? src->dim[axis] : 0;
    pare_status st = check_shares(src, n, share, per_element, err);
    sharing *s = st == PARE_OK ? pare_arena_alloc(arena, sizeof *s, err) : NULL;
    if (s == NULL)
        return st == PARE_OK ? PARE_ERR_MEMORY : st;
    *s = (sharing){.src = *src, .share = share, .n = n / share.count};
    *out = *src;
    out->data = NULL;
    out->read = per_element ? read_shared_elements : read_share;
    out->release = per_element ? NULL : release_share;
    out->shared = NULL;
    if (!per_element && share.in_turn) /* whatever tells what lies behind src from the rest */
        out->shared = src->data != NULL ? src->data : src->ctx;
    out->ctx = s;
    out->base = &s->src;
    out->scratch_bytes = src->scratch_bytes + (per_element ? (size_t)src->row_bytes : 0);
    out->dim[axis] = s->n;
    return pare_tensor_set_shape(out, src->name, err);
}

static pare_status read_united(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const sharing *s = t->ctx;
    uint64_t whole = s->n * s->share.count;
    pare_status st = PARE_OK;
    for (uint64_t done = 0, n = 1; done < n_rows && st == PARE_OK; done += n) {
        uint64_t matrix = (row + done) / whole, at = (row + done) % whole;
        uint64_t index = s->share.in_turn ? at % s->share.count : at / s->n;
        uint64_t from = s->share.in_turn ? at / s->share.count : at % s->n;
        if (!s->share.in_turn)
            n = s->n - from < n_rows - done ? s->n - from : n_rows - done;
        st = pare_tensor_read(&s->parts[index], matrix * s->n + from, n, (uint8_t *)dst + done * t->row_bytes, err);
    }
    return st;
}

static pare_status read_united_elements(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const sharing *s = t->ctx;
    size_t size = pare_type_get(t->type)->block_bytes, from_bytes = (size_t)s->parts->row_bytes;
    uint8_t *from = pare_scratch_alloc(from_bytes);
    pare_status st = PARE_OK;
    if (from == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %zu bytes", t->name, from_bytes);
    for (uint64_t r = 0; r < n_rows && st == PARE_OK; r++)
        for (uint8_t k = 0; k < s->share.count && st == PARE_OK; k++) {
            st = pare_tensor_read(&s->parts[k], row + r, 1, from, err);
            for (uint64_t i = 0; i < s->n && st == PARE_OK; i++)
                memcpy((uint8_t *)dst + r * t->row_bytes + place_of(s, k, i) * size, from + i * size, size);
        }
    pare_scratch_free(from, from_bytes);
    return st;
}

pare_status pare_view_unite(pare_arena *arena, pare_tensor *out, const pare_tensor *parts, pare_hf_share how,
                            bool per_element, pare_error *err)
{
    uint32_t axis = parts->n_dims - (per_element ? 1 : 2);
    uint64_t n = parts->n_dims >= (per_element ? 1u : 2u) ? parts->dim[axis] : 0;
    pare_hf_share one = {.count = 1};
    pare_status st = check_shares(parts, n, one, per_element, err);
    for (uint8_t i = 1; i < how.count && st == PARE_OK; i++)
        st = check_part(&parts[i], &parts[0], err);
    if (st != PARE_OK)
        return st;
    sharing *s = pare_arena_alloc(arena, sizeof *s, err);
    pare_tensor *copy = pare_arena_alloc(arena, how.count * sizeof *copy, err);
    if (s == NULL || copy == NULL)
        return PARE_ERR_MEMORY;
    *s = (sharing){.parts = copy, .share = how, .n = n};
    *out = *parts;
    out->data = NULL;
    out->read = per_element ? read_united_elements : read_united;
    out->release = NULL;
    out->shared = NULL;
    out->ctx = s;
    out->base = NULL;
    out->scratch_bytes = 0;
    for (uint8_t i = 0; i < how.count; i++) {
        copy[i] = parts[i];
        if (parts[i].scratch_bytes > out->scratch_bytes)
            out->scratch_bytes = parts[i].scratch_bytes;
    }
    out->scratch_bytes += per_element ? (size_t)parts->row_bytes : 0;
    if (!pare_mul_u64(n, how.count, &out->dim[axis]))
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': %d shares of %" PRIu64 " overflow", parts->name,
                         (int)how.count, n);
    return pare_tensor_set_shape(out, parts->name, err);
}

pare_status pare_view_rows(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t first, pare_error *err)
{
    if (src->n_dims != 2 || first >= src->n_rows)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' with %" PRIu64 " rows has none behind the first %" PRIu64,
                         src->name, src->n_rows, first);
    *out = *src;
    pare_status st = first > 0 ? show_part(arena, out, src, first, err) : PARE_OK;
    out->dim[0] -= first;
    return st == PARE_OK ? pare_tensor_set_shape(out, src->name, err) : st;
}

static pare_status read_behind_zeros(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const part *p = t->ctx; /* first: how many rows of zeros */
    uint64_t n_zeros = row >= p->first ? 0 : p->first - row < n_rows ? p->first - row : n_rows;
    memset(dst, 0, (size_t)(n_zeros * t->row_bytes));
    if (n_zeros == n_rows)
        return PARE_OK;
    return pare_tensor_read(&p->src, row + n_zeros - p->first, n_rows - n_zeros,
                            (uint8_t *)dst + n_zeros * t->row_bytes, err);
}

static void release_behind_zeros(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const part *p = t->ctx;
    uint64_t n_zeros = row >= p->first ? 0 : p->first - row < n_rows ? p->first - row : n_rows;
    if (n_zeros < n_rows)
        pare_tensor_release(&p->src, row + n_zeros - p->first, n_rows - n_zeros);
}

pare_status pare_view_zeros_before(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t n,
                                   pare_error *err)
{
    const part *cut = src->read == read_part ? src->ctx : NULL;
    *out = *src;
    if (n == 0)
        return PARE_OK;
    if (src->n_dims != 2 || n > UINT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' of %" PRIu32 " dimensions with %" PRIu64 " rows before it",
                         src->name, src->n_dims, n);
    if (cut != NULL && cut->first == n) { /* the rows that were cut off are still there */
        *out = cut->src;
        return PARE_OK;
    }
    pare_status st = show_part(arena, out, src, n, err);
    out->read = read_behind_zeros;
    out->release = release_behind_zeros;
    out->dim[0] += n;
    return st == PARE_OK ? pare_tensor_set_shape(out, src->name, err) : st;
}

static pare_status read_filled(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const part *p = t->ctx; /* first: the rows that src has */
    uint64_t n = row >= p->first ? 0 : p->first - row < n_rows ? p->first - row : n_rows;
    pare_status st = n > 0 ? pare_tensor_read(&p->src, row, n, dst, err) : PARE_OK;
    for (; n < n_rows && st == PARE_OK; n++)
        st = pare_tensor_read(&p->src, 0, 1, (uint8_t *)dst + n * t->row_bytes, err);
    return st;
}

static void release_filled(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    const part *p = t->ctx;
    if (row < p->first)
        pare_tensor_release(&p->src, row, p->first - row < n_rows ? p->first - row : n_rows);
}

pare_status pare_view_fill_rows(pare_arena *arena, pare_tensor *out, const pare_tensor *src, uint64_t n_rows,
                                pare_error *err)
{
    *out = *src;
    if (src->n_dims != 2 || src->n_rows == 0 || src->n_rows > n_rows)
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s' of %" PRIu32 " dimensions with %" PRIu64 " rows, of which %" PRIu64
                         " are to be made",
                         src->name, src->n_dims, src->n_rows, n_rows);
    if (src->n_rows == n_rows)
        return PARE_OK;
    pare_status st = show_part(arena, out, src, src->n_rows, err);
    out->read = read_filled;
    out->release = release_filled;
    out->dim[0] = n_rows;
    return st == PARE_OK ? pare_tensor_set_shape(out, src->name, err) : st;
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
    out->factor = NULL; /* is in the values that are read */
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
    out->factor = NULL; /* is in the values that are read */
    out->type = type;
    return pare_tensor_set_shape(out, src->name, err);
}
