#include "model/factor.h"
#include "core/half.h"
#include "core/scratch.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A peak gets level 6 under this scale or one up to a half below: a half more, and level 4, is still below 448, the
 * largest that E4M3 has. */
enum { PEAK_SCALE = 256 };

/* The power of two that is v or next above. With it level times scale times factor has 6 significant bits, which no
 * reader rounds, in whatever float it computes. */
static float power_above(float v)
{
    int e;
    return frexpf(v, &e) > 0.5f ? ldexpf(1, e) : v;
}

/* At most 1: a matrix of weights is far below that. One huge weight, and a factor that has room for it, would make zeros
 * of all the others; with 1 it is too large for the scale, and refused as for every other type. */
static float factor_of_peak(float peak)
{
    float least = peak / (6 * PEAK_SCALE);
    return least >= FLT_MIN && least < 1 ? power_above(least) : 1;
}

float pare_factor_reciprocal(float v)
{
    uint32_t near = pare_f32_to_bits(1.0f / v);
    for (uint32_t i = 0; i < 5; i++) {
        float g = pare_bits_to_f32(near + (i % 2 == 0 ? i / 2 : 0u - (i + 1) / 2));
        if (1.0f / g == v)
            return g;
    }
    return pare_bits_to_f32(near);
}

/* peak[i]: raised to the largest magnitude of matrix i. */
static pare_status find_peaks(const pare_tensor *t, float *peak, pare_error *err)
{
    size_t n = (size_t)t->row_len;
    uint64_t in_matrix = t->n_rows / pare_tensor_matrices(t);
    float *x = pare_scratch_alloc(n * sizeof *x);
    pare_status st = PARE_OK;
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %zu weights", t->name, n);
    for (uint64_t row = 0; row < t->n_rows && st == PARE_OK; row++) {
        if ((st = pare_check_interrupt(err)) != PARE_OK || (st = pare_tensor_read_f32(t, row, 1, x, err)) != PARE_OK)
            break;
        float *most = &peak[row / in_matrix];
        for (size_t i = 0; i < n; i++)
            *most = fabsf(x[i]) > *most ? fabsf(x[i]) : *most; /* a NaN is found when its row is encoded */
        pare_tensor_release(t, row, 1);
    }
    pare_scratch_free(x, n * sizeof *x);
    return st;
}

static pare_status find_shared(pare_factor *first, pare_error *err)
{
    uint64_t n = pare_tensor_matrices(first->weight);
    pare_status st = PARE_OK;
    memset(first->value, 0, (size_t)n * sizeof *first->value);
    for (const pare_factor *one = first; one != NULL && st == PARE_OK; one = one->next)
        st = find_peaks(one->weight, first->value, err);
    for (uint64_t i = 0; i < n && st == PARE_OK; i++)
        first->value[i] = factor_of_peak(first->value[i]);
    for (pare_factor *one = first->next; one != NULL && st == PARE_OK; one = one->next)
        memcpy(one->value, first->value, (size_t)n * sizeof *one->value);
    return st;
}

pare_status pare_factor_find(pare_factor *f, pare_error *err)
{
    pare_factor *first = f->first != NULL ? f->first : f;
    pare_status st = PARE_OK;
    pthread_mutex_lock(&first->lock);
    if (!first->known) {
        if (f->weight->type != PARE_TYPE_NVFP4)
            st = find_shared(first, err);
        else
            for (uint64_t i = 0; i < pare_tensor_matrices(f->weight); i++)
                f->value[i] = f->weight->factor != NULL ? f->weight->factor[i] : 1;
        first->known = st == PARE_OK;
    }
    pthread_mutex_unlock(&first->lock);
    return st;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = (*(pare_factor *const *)a)->united, y = (*(pare_factor *const *)b)->united;
    return (x > y) - (x < y);
}

void pare_factors_unite(pare_factor **all, size_t n)
{
    size_t n_made = 0;
    for (size_t i = 0; i < n; i++)
        if (all[i]->united != 0 && all[i]->weight->type != PARE_TYPE_NVFP4)
            all[n_made++] = all[i];
    qsort(all, n_made, sizeof *all, by_number);
    for (size_t i = 1; i < n_made; i++) {
        pare_factor *before = all[i - 1];
        if (before->united != all[i]->united)
            continue;
        all[i]->first = before->first != NULL ? before->first : before;
        before->next = all[i];
    }
}
