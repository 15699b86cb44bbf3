#include "recipe/refine_key.h"

#include "core/scratch.h"
#include "recipe/calibration.h"
#include "recipe/derive.h"

#include <string.h>

enum { SLICE_BYTES = 1 << 20 };

/* Zeroed where there is nothing: its length goes first, so that nothing runs into what follows. */
static pare_status add(pare_hasher *h, const void *data, uint64_t n, pare_error *err)
{
    pare_status st = pare_hasher_add(h, &n, sizeof n, err);
    return st == PARE_OK && n > 0 ? pare_hasher_add(h, data, (size_t)n, err) : st;
}

static pare_status add_rows(pare_hasher *h, const pare_tensor *t, pare_error *err)
{
    uint64_t n = t->row_bytes < SLICE_BYTES ? SLICE_BYTES / t->row_bytes : 1;
    size_t bytes = (size_t)(n * t->row_bytes);
    uint8_t *rows = pare_scratch_alloc(bytes);
    pare_status st =
        rows != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for rows of tensor '%s'", t->name);
    for (uint64_t row = 0; row < t->n_rows && st == PARE_OK; row += n) {
        uint64_t some = n < t->n_rows - row ? n : t->n_rows - row;
        if ((st = pare_check_interrupt(err)) == PARE_OK)
            st = pare_tensor_read(t, row, some, rows, err);
        if (st == PARE_OK)
            st = pare_hasher_add(h, rows, (size_t)(some * t->row_bytes), err);
        pare_tensor_release(t, row, some);
    }
    pare_scratch_free(rows, bytes);
    return st;
}

/* e: zeroed where there is none. */
static pare_status add_entry(pare_hasher *h, const pare_imatrix_entry *e, pare_error *err)
{
    uint64_t n = e->n_experts * e->n_columns;
    pare_status st = add(h, e->sum2, n * sizeof *e->sum2, err);
    if (st == PARE_OK)
        st = add(h, e->sum, e->sum != NULL ? n * sizeof *e->sum : 0, err);
    return st == PARE_OK ? add(h, e->counts, e->n_counts * sizeof *e->counts, err) : st;
}

/* Of the tensor, and of the matrix that the products of experts are named after: they go by its tokens, too. */
static pare_status add_importances(pare_hasher *h, const pare_tensor *t, const pare_imatrix *im, const pare_gram *g,
                                   pare_error *err)
{
    pare_imatrix_entry e = {0};
    const pare_imatrix_entry *like = g != NULL && g->n_experts > 1 ? pare_imatrix_find(im, g->name) : NULL;
    pare_status st = add_entry(h, pare_calibration_find(im, t, &e) ? &e : &(pare_imatrix_entry){0}, err);
    return st == PARE_OK && like != NULL ? add_entry(h, like, err) : st;
}

pare_status pare_refine_key(pare_state_key *out, const pare_tensor *t, const pare_imatrix *im, const pare_gram *g,
                            pare_error *err)
{
    const pare_tensor *source = t->base;
    const uint64_t about[] = {(uint64_t)source->type, source->n_rows, source->row_len};
    uint64_t triangle = 0;
    pare_hasher h = {0};
    pare_digest digest;
    pare_status st = pare_hasher_open(&h, PARE_HASH_XXH3, err);
    if (st == PARE_OK)
        st = pare_hasher_add(&h, about, sizeof about, err);
    if (st == PARE_OK)
        st = add_rows(&h, source, err);
    if (st == PARE_OK)
        st = add(&h, source->factor, source->factor != NULL ? pare_tensor_matrices(source) * sizeof(float) : 0, err);
    if (st == PARE_OK && (st = pare_derive_find_factor(t, err)) == PARE_OK)
        st = add(&h, t->factor, t->factor != NULL ? pare_tensor_matrices(t) * sizeof(float) : 0, err);
    if (st == PARE_OK)
        st = add_importances(&h, source, im, g, err);
    if (st == PARE_OK && g != NULL && pare_gram_all_bytes(g, &triangle))
        st = add(&h, g->lower, triangle, err);
    if (st == PARE_OK)
        st = add(&h, g != NULL ? &g->count : NULL, g != NULL ? sizeof g->count : 0, err);
    if (st == PARE_OK)
        st = pare_hasher_finish(&h, &digest, err);
    if (st == PARE_OK)
        memcpy(out->xxh3_128, digest.xxh3_128, sizeof out->xxh3_128);
    pare_hasher_close(&h);
    return st;
}
