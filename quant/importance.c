#include "quant/importance.h"

#include "quant/lanes.h"

#include <math.h>

enum { RUN = 256 };

/* The share of the mean importance that every column has at least: calibration saw some of them too rarely. */
static const float column_floor = 1.0f / 64;

/* k in matrices that multiply and in tables of embeddings, measured type by type (docs/methods/IMPORTANCE.md). Where a
 * type has fewer codes, what stands out has farther to go; an embedding is used as it is, without a sum over errors. */
static const struct {
    float product, lookup;
} slopes[PARE_TYPE_COUNT] = {
#define K(id, product, lookup) [PARE_TYPE_##id] = {product, lookup}
    K(Q4_0, 0.5f, 0),  K(Q4_1, 0.5f, 0),    K(Q5_0, 0.5f, 0),   K(Q5_1, 0.5f, 0),  K(Q2_K, 4, 0),
    K(Q3_K, 1, 0),     K(Q4_K, 0.5f, 0),    K(Q5_K, 0.5f, 0),   K(Q6_K, 0.5f, 0),  K(IQ1_S, 2, 0.5f),
    K(IQ1_M, 2, 0.5f), K(IQ2_XXS, 4, 0.5f), K(IQ2_XS, 2, 0.5f), K(IQ2_S, 2, 0.5f), K(IQ3_XXS, 2, 0.5f),
    K(IQ3_S, 1, 0.5f), K(IQ4_NL, 2, 0),     K(IQ4_XS, 2, 0),
#undef K
};

float pare_importance_slope(pare_type type, bool lookup)
{
    return lookup ? slopes[type].lookup : slopes[type].product;
}

/* sum x^2, in lanes: pare_add_lanes adds them up. */
static float sum_squares(const float *x, size_t n)
{
    float lanes[PARE_LANES] = {0};
    size_t i = 0;
    for (; i + PARE_LANES <= n; i += PARE_LANES)
        for (size_t k = 0; k < PARE_LANES; k++)
            lanes[k] += x[i + k] * x[i + k];
    for (size_t k = 0; i + k < n; k++)
        lanes[k] += x[i + k] * x[i + k];
    return pare_add_lanes(lanes);
}

static float sum(const float *x, size_t n)
{
    float lanes[PARE_LANES] = {0};
    size_t i = 0;
    for (; i + PARE_LANES <= n; i += PARE_LANES)
        for (size_t k = 0; k < PARE_LANES; k++)
            lanes[k] += x[i + k];
    for (size_t k = 0; i + k < n; k++)
        lanes[k] += x[i + k];
    return pare_add_lanes(lanes);
}

/* The root of the mean square of the row; by runs, so that a long row loses no digits. */
static float row_rms(const float *x, size_t n)
{
    double squares = 0;
    for (size_t at = 0; at < n; at += RUN)
        squares += (double)sum_squares(x + at, n - at < RUN ? n - at : RUN);
    return (float)sqrt(squares / (double)n);
}

static float mean_of(const float *column, size_t n)
{
    double total = 0;
    for (size_t at = 0; column != NULL && at < n; at += RUN)
        total += (double)sum(column + at, n - at < RUN ? n - at : RUN);
    return (float)(total / (double)n);
}

bool pare_importance_of_weights(float slope, const float *column, const float *x, size_t row_len, float *w)
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
        float rms = sqrtf(sum_squares(x + at, n) / (float)n) / whole, per_size = slope / whole;
        for (size_t i = at; i < at + n; i++)
            w[i] *= rms + per_size * fabsf(x[i]);
    }
    return true;
}
