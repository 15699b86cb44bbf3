#include "formats/pack_factor.h"
#include "core/half.h"
#include "core/scratch.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

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

float pare_pack_reciprocal(float v)
{
    uint32_t near = pare_f32_to_bits(1.0f / v);
    for (uint32_t i = 0; i < 5; i++) {
        float g = pare_bits_to_f32(near + (i % 2 == 0 ? i / 2 : 0u - (i + 1) / 2));
        if (1.0f / g == v)
            return g;
    }
    return pare_bits_to_f32(near);
}

static pare_status find_peak(const pare_tensor *t, float *peak, pare_error *err)
{
    size_t n = (size_t)t->row_len;
    float *x = pare_scratch_alloc(n * sizeof *x);
    pare_status st = PARE_OK;
    if (x == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for a row of %zu weights", t->name, n);
    for (uint64_t row = 0; row < t->n_rows && st == PARE_OK; row++) {
        if ((st = pare_check_interrupt(err)) != PARE_OK || (st = pare_tensor_read_f32(t, row, 1, x, err)) != PARE_OK)
            break;
        for (size_t i = 0; i < n; i++)
            *peak = fabsf(x[i]) > *peak ? fabsf(x[i]) : *peak; /* a NaN is found when its row is encoded */
        pare_tensor_release(t, row, 1);
    }
    pare_scratch_free(x, n * sizeof *x);
    return st;
}

pare_status pare_pack_factor_find(pare_pack_factor *f, float *factor, pare_error *err)
{
    pare_status st = PARE_OK;
    if (f->weight->type == PARE_TYPE_NVFP4) {
        *factor = f->weight->factor != NULL ? *f->weight->factor : 1;
        return PARE_OK;
    }
    pare_pack_factor *first = f->first != NULL ? f->first : f;
    pthread_mutex_lock(&first->lock);
    if (!first->known) {
        float peak = 0;
        for (const pare_pack_factor *one = first; one != NULL && st == PARE_OK; one = one->next)
            st = find_peak(one->weight, &peak, err);
        float least = peak / (6 * PEAK_SCALE);
        first->factor = least >= FLT_MIN && isfinite(least) ? power_above(least) : 1;
        first->known = st == PARE_OK;
    }
    *factor = first->factor;
    pthread_mutex_unlock(&first->lock);
    return st;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = (*(pare_pack_factor *const *)a)->united, y = (*(pare_pack_factor *const *)b)->united;
    return (x > y) - (x < y);
}

void pare_pack_factor_unite(pare_pack_factor **all, size_t n)
{
    size_t n_made = 0;
    for (size_t i = 0; i < n; i++)
        if (all[i]->united != 0 && all[i]->weight->type != PARE_TYPE_NVFP4)
            all[n_made++] = all[i];
    qsort(all, n_made, sizeof *all, by_number);
    for (size_t i = 1; i < n_made; i++) {
        pare_pack_factor *before = all[i - 1];
        if (before->united != all[i]->united)
            continue;
        all[i]->first = before->first != NULL ? before->first : before;
        before->next = all[i];
    }
}
