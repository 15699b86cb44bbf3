#include "quant/row_passes.h"

#include "quant/vec.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Vectors of the compilers' own extension. Integers only as wide as every path has them: comparisons of wider ones are
 * taken apart one by one. */
enum { LANES = 8, HALF = LANES / 2, RUN = 64 };
typedef float floats __attribute__((vector_size(HALF * sizeof(float))));
typedef float all_floats __attribute__((vector_size(LANES * sizeof(float))));
typedef double doubles __attribute__((vector_size(HALF * sizeof(double))));

size_t pare_row_find_above(const float *x, size_t n, float limit)
{
    enum { SETS = 4, STEP = SETS * PARE_VEC_LANES };
    size_t i = 0;
    int32_t top; /* magnitudes in the order of their bits, with NaN above infinity */
    memcpy(&top, &limit, sizeof top);
    for (; i + STEP <= n; i += STEP) {
        pare_mask above = {0};
        for (size_t k = 0; k < STEP; k += PARE_VEC_LANES)
            above |= ((pare_mask)pare_vec_load(x + i + k) & INT32_MAX) > top;
        if (pare_mask_any(above))
            break;
    }
    while (i < n && fabsf(x[i]) <= limit)
        i++;
    return i;
}

pare_weight_range pare_row_weight_range(const float *w, size_t n)
{
    uint32_t low = UINT32_MAX, high = 0; /* bits of floats: in their order, then infinity, NaN and what is below 0 */
    for (size_t i = 0; i < n; i++) {
        float v = w[i] + 0.0f; /* -0 becomes 0 */
        uint32_t bits;
        memcpy(&bits, &v, sizeof bits);
        low = bits < low ? bits : low;
        high = bits > high ? bits : high;
    }
    pare_weight_range range = {.bad = high > 0x7f7fffff};
    memcpy(&range.low, &low, sizeof low);
    memcpy(&range.high, &high, sizeof high);
    return range;
}

typedef struct lane_sums {
    doubles error[2], energy[2], product[2], weighted_error[2], weighted_energy[2], weighted_product[2];
} lane_sums;

/* LANES more weights, exactly; w NULL: without the weighted sums. */
static inline void add_exactly(lane_sums *sums, const float *x, const float *y, const float *w)
{
    for (size_t h = 0; h < 2; h++) {
        floats a, b, c;
        memcpy(&a, x + h * HALF, sizeof a);
        memcpy(&b, y + h * HALF, sizeof b);
        doubles p = __builtin_convertvector(a, doubles), q = __builtin_convertvector(b, doubles);
        sums->error[h] += (p - q) * (p - q);
        sums->energy[h] += p * p;
        sums->product[h] += p * q;
        if (w == NULL)
            continue;
        memcpy(&c, w + h * HALF, sizeof c);
        doubles r = __builtin_convertvector(c, doubles);
        sums->weighted_error[h] += (p - q) * (p - q) * r;
        sums->weighted_energy[h] += p * p * r;
        sums->weighted_product[h] += p * q * r;
    }
}

static inline void widen_sums(doubles *sums, const all_floats *v)
{
    floats halves[2];
    memcpy(halves, v, sizeof halves);
    sums[0] += __builtin_convertvector(halves[0], doubles);
    sums[1] += __builtin_convertvector(halves[1], doubles);
}

/* RUN more weights, in float: seven digits, unless something leaves its range. */
static inline void add_quickly(lane_sums *sums, const float *x, const float *y, const float *w)
{
    all_floats error = {0}, energy = {0}, product = {0};
    all_floats weighted_error = {0}, weighted_energy = {0}, weighted_product = {0};
    for (size_t i = 0; i < RUN; i += LANES) {
        all_floats p, q, r;
        memcpy(&p, x + i, sizeof p);
        memcpy(&q, y + i, sizeof q);
        all_floats diff = p - q;
        error += diff * diff;
        energy += p * p;
        product += p * q;
        if (w == NULL)
            continue;
        memcpy(&r, w + i, sizeof r);
        weighted_error += diff * diff * r;
        weighted_energy += p * p * r;
        weighted_product += p * q * r;
    }
    widen_sums(sums->error, &error);
    widen_sums(sums->energy, &energy);
    widen_sums(sums->product, &product);
    if (w == NULL)
        return;
    widen_sums(sums->weighted_error, &weighted_error);
    widen_sums(sums->weighted_energy, &weighted_energy);
    widen_sums(sums->weighted_product, &weighted_product);
}

static double add_lanes(const doubles *v)
{
    double sum = 0;
    for (size_t k = 0; k < LANES; k++)
        sum += v[k / HALF][k % HALF];
    return sum;
}

/* The weights from first on, exactly, added to sums. */
static pare_row_sums finish_exactly(lane_sums *sums, const float *x, const float *y, const float *weight, size_t first,
                                    size_t n)
{
    size_t i = first;
    for (; i + LANES <= n; i += LANES)
        add_exactly(sums, x + i, y + i, weight != NULL ? weight + i : NULL);
    float rest[3][LANES] = {{0}};
    for (size_t k = 0; i + k < n; k++) {
        rest[0][k] = x[i + k];
        rest[1][k] = y[i + k];
        rest[2][k] = weight != NULL ? weight[i + k] : 0;
    }
    add_exactly(sums, rest[0], rest[1], rest[2]);
    return (pare_row_sums){.error = add_lanes(sums->error),
                           .energy = add_lanes(sums->energy),
                           .product = add_lanes(sums->product),
                           .weighted_error = add_lanes(sums->weighted_error),
                           .weighted_energy = add_lanes(sums->weighted_energy),
                           .weighted_product = add_lanes(sums->weighted_product)};
}

/* Far from the ends of float's range, so that no term that matters was lost there. */
static bool is_sound(double energy)
{
    return energy > 1e-20 && energy < 1e35;
}

pare_row_sums pare_row_compare(const float *x, const float *y, const float *weight, size_t n)
{
    lane_sums quick = {0}, exact = {0};
    size_t i = 0;
    for (; weight == NULL && i + RUN <= n; i += RUN)
        add_quickly(&quick, x + i, y + i, NULL);
    for (; weight != NULL && i + RUN <= n; i += RUN)
        add_quickly(&quick, x + i, y + i, weight + i);
    pare_row_sums sums = finish_exactly(&quick, x, y, weight, i, n);
    if (is_sound(sums.energy) && (weight == NULL || is_sound(sums.weighted_energy)))
        return sums;
    return finish_exactly(&exact, x, y, weight, 0, n);
}

pare_mean_sums pare_row_compare_means(const float *x, const float *y, const float *mean, size_t n)
{
    doubles offset[2] = {{0}}, squares[2] = {{0}};
    float rest[3][RUN] = {{0}};
    for (size_t i = 0; i < n; i += RUN) {
        const float *parts[3] = {x + i, y + i, mean + i};
        for (size_t k = 0; k < 3 && n - i < RUN; k++) {
            memcpy(rest[k], parts[k], (n - i) * sizeof rest[k][0]);
            parts[k] = rest[k];
        }
        all_floats run_offset = {0}, run_squares = {0};
        for (size_t at = 0; at < RUN; at += LANES) {
            all_floats p, q, m;
            memcpy(&p, parts[0] + at, sizeof p);
            memcpy(&q, parts[1] + at, sizeof q);
            memcpy(&m, parts[2] + at, sizeof m);
            all_floats part = (p - q) * m;
            run_offset += part;
            run_squares += part * part;
        }
        widen_sums(offset, &run_offset);
        widen_sums(squares, &run_squares);
    }
    return (pare_mean_sums){.offset = add_lanes(offset), .squares = add_lanes(squares)};
}
