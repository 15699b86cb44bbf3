#include "quant/row_passes.h"

#include "quant/lanes.h"

#include <math.h>
#include <string.h>

enum { RUN = 256 };

/* The share of the mean importance that every column has at least: calibration saw some of them too rarely. */
static const float column_floor = 1.0f / 64;

typedef float lanes __attribute__((vector_size(PARE_LANES * sizeof(float))));

/* sum x, or sum x^2, in lanes: pare_add_lanes adds them up. */
static inline float sum(const float *x, size_t n, bool squares)
{
    lanes all = {0};
    float lane[PARE_LANES];
    size_t i = 0;
    for (; i + PARE_LANES <= n; i += PARE_LANES) {
        lanes v;
        memcpy(&v, x + i, sizeof v);
        all += squares ? v * v : v;
    }
    memcpy(lane, &all, sizeof lane);
    for (size_t k = 0; i + k < n; k++)
        lane[k] += squares ? x[i + k] * x[i + k] : x[i + k];
    return pare_add_lanes(lane);
}

/* The root of the mean square of the row; by runs, so that a long row loses no digits. */
static float row_rms(const float *x, size_t n)
{
    double squares = 0;
    for (size_t at = 0; at < n; at += RUN)
        squares += (double)sum(x + at, n - at < RUN ? n - at : RUN, true);
    return (float)sqrt(squares / (double)n);
}

static float mean_of(const float *column, size_t n)
{
    double total = 0;
    for (size_t at = 0; column != NULL && at < n; at += RUN)
        total += (double)sum(column + at, n - at < RUN ? n - at : RUN, false);
    return (float)(total / (double)n);
}

bool pare_row_importance(float slope, const float *column, const float *x, size_t row_len, float *w)
{
    float mean = mean_of(column, row_len), whole = slope > 0 ? row_rms(x, row_len) : 0;
    if (!isfinite(whole)) /* no type takes such a row: the encoder says which weight it is */
        whole = 0;
    bool has_columns = mean > 0;
    if (!has_columns && !(whole > 0))
        return false;
    float per_mean = has_columns ? 1 / mean : 0, least = has_columns ? column_floor : 1;
    for (size_t i = 0; i < row_len; i++)
        w[i] = (has_columns ? column[i] * per_mean : 0) + least;
    for (size_t at = 0; whole > 0 && at < row_len; at += RUN) {
        size_t n = row_len - at < RUN ? row_len - at : RUN;
        float rms = sqrtf(sum(x + at, n, true) / (float)n) / whole, per_size = slope / whole;
        for (size_t i = at; i < at + n; i++)
            w[i] *= rms + per_size * fabsf(x[i]);
    }
    return true;
}
