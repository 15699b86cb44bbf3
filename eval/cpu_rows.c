/* Operations on whole rows: sums of each in double, so that the order of additions does not show. */
#include "eval/cpu.h"

#include "core/threads.h"

#include <math.h>
#include <stdlib.h>

enum { ELEMENTS_A_PIECE = 1 << 14 };

typedef struct rows {
    void (*apply)(const struct rows *r, size_t row);
    size_t n, width, step, stride;
    float *x;
    const float *y, *weights;
    float factor;
} rows;

static pare_status apply_rows(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    const rows *r = ctx;
    for (size_t i = piece * r->step; i < r->n && i < (piece + 1) * r->step; i++)
        r->apply(r, i);
    return PARE_OK;
}

static pare_status run_rows(rows *r, pare_error *err)
{
    r->step = r->width < ELEMENTS_A_PIECE ? ELEMENTS_A_PIECE / (r->width > 0 ? r->width : 1) : 1;
    return pare_parallel((r->n + r->step - 1) / r->step, apply_rows, r, err);
}

static void add_weighted_row(const rows *r, size_t i)
{
    float weight = r->weights[i * r->stride] + r->factor;
    float *x = r->x + i * r->width;
    const float *y = r->y + i * r->width;
    for (size_t c = 0; c < r->width; c++)
        x[c] += weight * y[c];
}

pare_status pare_cpu_add_weighted(pare_backend *b, float *x, const float *y, const float *weights, uint32_t stride,
                                  float offset, uint32_t n, uint32_t width, pare_error *err)
{
    (void)b;
    return run_rows(&(rows){.apply = add_weighted_row,
                            .n = n,
                            .width = width,
                            .stride = stride,
                            .x = x,
                            .y = y,
                            .weights = weights,
                            .factor = offset},
                    err);
}

static void scale_columns_row(const rows *r, size_t i)
{
    for (size_t c = 0; c < r->width; c++)
        r->x[i * r->width + c] *= r->weights[c];
}

pare_status pare_cpu_scale_columns(pare_backend *b, float *x, const pare_tensor *w, uint32_t n, uint32_t width,
                                   pare_error *err)
{
    (void)b;
    rows r = {.apply = scale_columns_row, .n = n, .width = width, .x = x};
    float *owned = NULL;
    pare_status st = pare_cpu_vector(w, width, &owned, &r.weights, err);
    if (st == PARE_OK)
        st = run_rows(&r, err);
    free(owned);
    return st;
}

static double mean_square(const float *x, size_t n)
{
    double sum = 0;
    for (size_t c = 0; c < n; c++)
        sum += (double)x[c] * (double)x[c];
    return sum / (double)n;
}

static void match_row(const rows *r, size_t i)
{
    float *x = r->x + i * r->width;
    double own = fmax(mean_square(x, r->width), (double)r->factor);
    float factor = (float)sqrt(mean_square(r->y + i * r->width, r->width) / own);
    for (size_t c = 0; c < r->width; c++)
        x[c] *= factor;
}

pare_status pare_cpu_match_rms(pare_backend *b, float *x, const float *like, float least, uint32_t n, uint32_t width,
                               pare_error *err)
{
    (void)b;
    return run_rows(&(rows){.apply = match_row, .n = n, .width = width, .x = x, .y = like, .factor = least}, err);
}

static void sparsify_row(const rows *r, size_t i)
{
    float *x = r->x + i * r->width;
    double mean = 0, square = 0;
    for (size_t c = 0; c < r->width; c++)
        mean += (double)x[c] / (double)r->width;
    for (size_t c = 0; c < r->width; c++)
        square += ((double)x[c] - mean) * ((double)x[c] - mean);
    float cut = (float)(mean + (double)r->factor * sqrt(square / (double)r->width));
    for (size_t c = 0; c < r->width; c++)
        x[c] = x[c] <= cut ? 0 : x[c] - cut; /* a NaN stays */
}

pare_status pare_cpu_sparsify(pare_backend *b, float *x, float deviations, uint32_t n, uint32_t width, pare_error *err)
{
    (void)b;
    return run_rows(&(rows){.apply = sparsify_row, .n = n, .width = width, .x = x, .factor = deviations}, err);
}
