#include "quant/row_passes.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Vectors of the compilers' own extension. Integers only as wide as every path has them: comparisons of wider ones are
 * taken apart one by one. */
enum { LANES = 8, HALF = LANES / 2 };
typedef int32_t ints __attribute__((vector_size(HALF * sizeof(int32_t))));
typedef float floats __attribute__((vector_size(HALF * sizeof(float))));
typedef double doubles __attribute__((vector_size(HALF * sizeof(double))));

size_t pare_row_find_above(const float *x, size_t n, float limit)
{
    size_t i = 0;
    const ints no_sign = (ints){0} + INT32_MAX;
    int32_t top; /* magnitudes in the order of their bits, with NaN above infinity */
    memcpy(&top, &limit, sizeof top);
    for (ints above = {0}; i + 4 * HALF <= n; i += 4 * HALF) {
        for (size_t k = 0; k < 4 * HALF; k += HALF) {
            ints bits;
            memcpy(&bits, x + i + k, sizeof bits);
            above |= (bits & no_sign) > top;
        }
        int32_t any = 0;
        for (size_t k = 0; k < HALF; k++)
            any |= above[k];
        if (any != 0)
            break;
    }
    while (i < n && fabsf(x[i]) <= limit)
        i++;
    return i;
}

/* Not a function: compilers warn of vectors as arguments, which not every path has registers for. */
#define CHOOSE(mask, yes, no) (((mask) & (yes)) | (~(mask) & (no)))

static void widen(pare_weight_range *range, float w)
{
    range->bad = range->bad || !(w >= 0 && w <= FLT_MAX);
    range->low = w < range->low ? w : range->low;
    range->high = w > range->high ? w : range->high;
}

pare_weight_range pare_row_weight_range(const float *w, size_t n)
{
    enum { SETS = 4, STEP = SETS * HALF };
    const ints finite = (ints){0} + 0x7f7fffff, minus_zero = (ints){0} + INT32_MIN;
    ints low[SETS], high[SETS] = {{0}}, bad = {0}; /* floats >= 0 are in the order of their bits */
    float bounds[2 * STEP];
    size_t i = 0;
    for (size_t k = 0; k < SETS; k++)
        low[k] = finite;
    for (; i + STEP <= n; i += STEP)
        for (size_t k = 0; k < SETS; k++) {
            ints bits;
            memcpy(&bits, w + i + k * HALF, sizeof bits);
            bad |= (bits > finite) | ((bits < 0) & (bits != minus_zero));
            low[k] = CHOOSE(bits < low[k], bits, low[k]);
            high[k] = CHOOSE(bits > high[k], bits, high[k]);
        }
    pare_weight_range range = {.low = FLT_MAX};
    memcpy(bounds, low, sizeof low);
    memcpy(bounds + STEP, high, sizeof high);
    for (size_t k = 0; i > 0 && k < 2 * STEP; k++)
        widen(&range, bounds[k]);
    for (size_t k = 0; k < HALF; k++)
        range.bad = range.bad || bad[k] != 0;
    for (; i < n; i++)
        widen(&range, w[i]);
    return range;
}

typedef struct lane_sums {
    doubles error[2], energy[2], weighted_error[2], weighted_energy[2];
} lane_sums;

/* LANES more weights; w NULL: without the weighted sums. */
static inline void add_squares(lane_sums *sums, const float *x, const float *y, const float *w)
{
    for (size_t h = 0; h < 2; h++) {
        floats a, b, c;
        memcpy(&a, x + h * HALF, sizeof a);
        memcpy(&b, y + h * HALF, sizeof b);
        doubles exact = __builtin_convertvector(a, doubles), diff = exact - __builtin_convertvector(b, doubles);
        doubles error = diff * diff, energy = exact * exact;
        sums->error[h] += error;
        sums->energy[h] += energy;
        if (w == NULL)
            continue;
        memcpy(&c, w + h * HALF, sizeof c);
        sums->weighted_error[h] += error * __builtin_convertvector(c, doubles);
        sums->weighted_energy[h] += energy * __builtin_convertvector(c, doubles);
    }
}

static double add_lanes(const doubles *v)
{
    double sum = 0;
    for (size_t k = 0; k < LANES; k++)
        sum += v[k / HALF][k % HALF];
    return sum;
}

pare_row_sums pare_row_compare(const float *x, const float *y, const float *weight, size_t n)
{
    lane_sums sums = {0};
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; weight == NULL && i < whole; i += LANES)
        add_squares(&sums, x + i, y + i, NULL);
    for (size_t i = 0; weight != NULL && i < whole; i += LANES)
        add_squares(&sums, x + i, y + i, weight + i);
    float rest[3][LANES] = {{0}};
    for (size_t i = whole; i < n; i++) {
        rest[0][i - whole] = x[i];
        rest[1][i - whole] = y[i];
        rest[2][i - whole] = weight != NULL ? weight[i] : 0;
    }
    add_squares(&sums, rest[0], rest[1], rest[2]);
    return (pare_row_sums){add_lanes(sums.error), add_lanes(sums.energy), add_lanes(sums.weighted_error),
                           add_lanes(sums.weighted_energy)};
}

double pare_row_product(const float *x, const float *y, const float *weight, size_t n)
{
    double lanes[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            double product = (double)x[i + k] * (double)y[i + k];
            lanes[k] += weight != NULL ? product * (double)weight[i + k] : product;
        }
    for (size_t k = 0; i + k < n; k++)
        lanes[k] += (double)x[i + k] * (double)y[i + k] * (weight != NULL ? (double)weight[i + k] : 1);
    for (size_t k = 0; k < LANES; k++)
        sum += lanes[k];
    return sum;
}
