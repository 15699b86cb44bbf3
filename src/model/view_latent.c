#include "core/scratch.h"
#include "model/transpose.h"
#include "model/view.h"

#include <inttypes.h>
#include <string.h>

/* One head of the Hub's matrix: n_k rows that make keys, n_v that make values. */
typedef struct latent {
    pare_tensor src;    /* the Hub's matrix, or GGUF's for keys */
    pare_tensor values; /* GGUF's for values */
    uint64_t n_k, n_v, rank;
} latent;

static latent *start(pare_arena *arena, pare_tensor *out, const pare_tensor *src, pare_read_fn read, pare_error *err)
{
    latent *l = pare_arena_alloc(arena, sizeof *l, err);
    if (l == NULL)
        return NULL;
    *l = (latent){.src = *src};
    *out = *src;
    out->data = NULL;
    out->read = read;
    out->release = NULL;
    out->ctx = l;
    out->base = NULL;
    return l;
}

/* Rows [first, first + n) of src, read at once and transposed into dst; the scratch is given back. */
static pare_status read_transposed(const pare_tensor *src, uint64_t first, uint64_t n, uint8_t *dst, pare_error *err)
{
    size_t bytes = (size_t)(n * src->row_bytes), size = pare_type_get(src->type)->block_bytes;
    uint8_t *from = pare_scratch_alloc(bytes);
    if (from == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes", src->name, bytes);
    pare_status st = pare_tensor_read(src, first, n, from, err);
    const pare_turned what = {
        .src = from, .size = size, .n_rows = n, .row_len = src->row_len, .step = 1, .n_columns = src->row_len};
    if (st == PARE_OK)
        pare_transpose(&what, dst);
    pare_scratch_free(from, bytes);
    return st;
}

/* Rows of whole heads go straight to their place; of the others, the head is made beside it. */
static pare_status read_keys(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const latent *l = t->ctx;
    size_t head_bytes = (size_t)(l->rank * t->row_bytes);
    uint8_t *head = pare_scratch_alloc(head_bytes);
    if (head == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes", t->name, head_bytes);
    pare_status st = PARE_OK;
    for (uint64_t done = 0, n = 0; done < n_rows && st == PARE_OK; done += n) {
        uint64_t h = (row + done) / l->rank, at = (row + done) % l->rank;
        n = l->rank - at < n_rows - done ? l->rank - at : n_rows - done;
        if ((st = read_transposed(&l->src, h * (l->n_k + l->n_v), l->n_k, head, err)) == PARE_OK)
            memcpy((uint8_t *)dst + done * t->row_bytes, head + at * t->row_bytes, (size_t)(n * t->row_bytes));
    }
    pare_scratch_free(head, head_bytes);
    return st;
}

static pare_status read_values(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const latent *l = t->ctx;
    pare_status st = PARE_OK;
    for (uint64_t done = 0, n = 0; done < n_rows && st == PARE_OK; done += n) {
        uint64_t h = (row + done) / l->n_v, at = (row + done) % l->n_v;
        n = l->n_v - at < n_rows - done ? l->n_v - at : n_rows - done;
        st = pare_tensor_read(&l->src, h * (l->n_k + l->n_v) + l->n_k + at, n, (uint8_t *)dst + done * t->row_bytes,
                              err);
    }
    return st;
}

pare_status pare_view_latent_part(pare_arena *arena, pare_tensor *out, const pare_tensor *src, const pare_hparams *hp,
                                  bool keys, pare_error *err)
{
    uint64_t n_k = hp->head_dim_k - hp->n_rot, n_v = hp->head_dim_v;
    if (src->n_dims != 2 || n_k == 0 || n_v == 0 || src->dim[0] != hp->n_head * (n_k + n_v))
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s' with %" PRIu64 " rows is not made of %" PRIu32 " heads of %" PRIu64
                         " and %" PRIu64,
                         src->name, src->n_dims > 0 ? src->dim[0] : 0, hp->n_head, n_k, n_v);
    pare_tensor plain = *src;
    pare_status st = PARE_OK;
    if (keys && pare_type_get(src->type)->block_len > 1)
        st = pare_view_cast(arena, &plain, src, PARE_TYPE_F32, err);
    latent *l = st == PARE_OK ? start(arena, out, &plain, keys ? read_keys : read_values, err) : NULL;
    if (l == NULL)
        return st == PARE_OK ? PARE_ERR_MEMORY : st;
    l->n_k = n_k;
    l->n_v = n_v;
    l->rank = src->dim[1];
    out->n_dims = 3;
    out->dim[0] = hp->n_head;
    out->dim[1] = keys ? l->rank : n_v;
    out->dim[2] = keys ? n_k : l->rank;
    return pare_tensor_set_shape(out, src->name, err);
}

static pare_status read_united(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const latent *l = t->ctx;
    size_t head_bytes = (size_t)(l->n_k * t->row_bytes);
    uint8_t *head = pare_scratch_alloc(head_bytes);
    if (head == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes", t->name, head_bytes);
    pare_status st = PARE_OK;
    for (uint64_t done = 0, n = 0; done < n_rows && st == PARE_OK; done += n) {
        uint64_t h = (row + done) / (l->n_k + l->n_v), at = (row + done) % (l->n_k + l->n_v);
        bool key = at < l->n_k;
        uint64_t left = (key ? l->n_k : l->n_k + l->n_v) - at;
        uint8_t *to = (uint8_t *)dst + done * t->row_bytes;
        n = left < n_rows - done ? left : n_rows - done;
        if (!key)
            st = pare_tensor_read(&l->values, h * l->n_v + at - l->n_k, n, to, err);
        else if ((st = read_transposed(&l->src, h * l->rank, l->rank, head, err)) == PARE_OK)
            memcpy(to, head + at * t->row_bytes, (size_t)(n * t->row_bytes));
    }
    pare_scratch_free(head, head_bytes);
    return st;
}

pare_status pare_view_latent_unite(pare_arena *arena, pare_tensor *out, const pare_tensor *keys,
                                   const pare_tensor *values, pare_error *err)
{
    if (keys->n_dims != 3 || values->n_dims != 3 || keys->dim[0] != values->dim[0] || keys->dim[1] != values->dim[2] ||
        keys->type != values->type || pare_type_get(keys->type)->block_len != 1)
        return pare_fail(err, PARE_ERR_RANGE, "tensors '%s' and '%s' are not the keys and values of one matrix",
                         keys->name, values->name);
    latent *l = start(arena, out, keys, read_united, err);
    if (l == NULL)
        return PARE_ERR_MEMORY;
    l->values = *values;
    l->n_k = keys->dim[2];
    l->n_v = values->dim[1];
    l->rank = keys->dim[1];
    out->n_dims = 2;
    out->dim[0] = keys->dim[0] * (l->n_k + l->n_v);
    out->dim[1] = l->rank;
    return pare_tensor_set_shape(out, keys->name, err);
}
