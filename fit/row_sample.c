#include "fit/row_sample.h"

#include "core/random.h"

#include <stdlib.h>
#include <string.h>

enum { SEED = 1 };

static uint64_t weights_of(const pare_tensor *t)
{
    return t->n_rows * t->row_len;
}

static bool is_large(const pare_tensor *t, uint64_t n_weights)
{
    return n_weights > 0 && t->n_dims > 1 && weights_of(t) / PARE_ROW_SAMPLE_LEAST > n_weights;
}

/* One row out of each stretch of each matrix. (Rows at equal distances would meet the same place of each head.) */
static pare_status read_rows(const pare_tensor *t, uint64_t n_matrices, uint64_t n_each, uint8_t *to, pare_error *err)
{
    const uint64_t n_of = t->n_rows / n_matrices;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < n_matrices * n_each && st == PARE_OK; i++) {
        const uint64_t k = i % n_each, lo = n_of * k / n_each, hi = n_of * (k + 1) / n_each;
        const uint64_t row = i / n_each * n_of + lo + pare_random_below(SEED, i, hi - lo);
        st = pare_tensor_read(t, row, 1, to + i * t->row_bytes, err);
    }
    return st;
}

static pare_status add(pare_row_sample *s, const pare_tensor *t, size_t number, uint64_t n_weights, pare_error *err)
{
    const size_t i = s->model.n_tensors;
    const uint64_t n_matrices = pare_tensor_matrices(t), n = n_weights / t->row_len / n_matrices,
                   n_each = n > 0 ? n : 1;
    pare_tensor *few = NULL;
    pare_status st = pare_model_add(&s->model, t, &few, err);
    if (st != PARE_OK)
        return st;
    s->of[i] = number;
    s->rows[i] = malloc((size_t)(n_matrices * n_each * t->row_bytes));
    if (s->rows[i] == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for rows of tensor '%s'", t->name);
    st = read_rows(t, n_matrices, n_each, s->rows[i], err);
    few->dim[few->n_dims - 2] = n_each;
    return st == PARE_OK ? pare_tensor_replace(few, t->type, t->factor, s->rows[i], s->model.path, err) : st;
}

pare_status pare_row_sample_open(pare_row_sample *s, const pare_model *m, const bool *wanted, uint64_t n_weights,
                                 pare_error *err)
{
    *s = (pare_row_sample){
        .model = {.format = m->format, .path = m->path, .meta = m->meta, .alignment = m->alignment, .arch = m->arch},
        .of = calloc(m->n_tensors + 1, sizeof *s->of),
        .rows = calloc(m->n_tensors + 1, sizeof *s->rows)};
    s->model.hp = m->hp;
    pare_status st = s->of != NULL && s->rows != NULL
                         ? pare_model_reserve(&s->model, m->n_tensors, err)
                         : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", m->n_tensors);
    for (size_t i = 0; i < m->n_tensors && st == PARE_OK; i++)
        if (wanted[i] && is_large(&m->tensors[i], n_weights))
            st = add(s, &m->tensors[i], i, n_weights, err);
    return st;
}

void pare_row_sample_close(pare_row_sample *s)
{
    for (size_t i = 0; s->rows != NULL && i < s->model.n_tensors; i++)
        free(s->rows[i]);
    free(s->rows);
    free(s->of);
    s->model.meta = (pare_meta){0}; /* borrowed */
    pare_model_close(&s->model);
    *s = (pare_row_sample){0};
}

size_t pare_row_sample_find(const pare_row_sample *s, size_t tensor)
{
    size_t lo = 0, hi = s->model.n_tensors;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (s->of[mid] < tensor)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->model.n_tensors && s->of[lo] == tensor ? lo : SIZE_MAX;
}
