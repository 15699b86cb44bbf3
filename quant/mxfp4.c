#include "quant/mxfp4.h"

#include "quant/lanes.h"
#include "quant/levels.h"
#include "quant/plain_round.h"

#include <math.h>

enum {
    LEN = 32,
    BIAS = 127,
    TOP_LEVEL = 12,
    FIRST = -2, /* powers of two of half the scale, for a largest magnitude in [1, 2) */
    LAST = -60  /* below, only importances 10^30 apart could make a scale the best one */
};

/* 2^n, -126 <= n <= 127 */
static float power_of_two(int n)
{
    return pare_bits_to_f32((uint32_t)(n + 127) << 23);
}

/* Scales x to a largest magnitude in [1, 2); returns n with x = 2^n * scaled. x must not be all zeros. Exact, but for
 * values below 2^-126 of the largest. */
static int normalise(const float *x, float peak, float *scaled)
{
    int n = 0;
    if (peak < power_of_two(-63)) {
        peak *= power_of_two(63);
        n = -63;
    }
    if (peak < power_of_two(-63)) {
        peak *= power_of_two(63);
        n -= 63;
    }
    n += (int)(pare_f32_to_bits(peak) >> 23) - 127;
    float half = power_of_two(-(n / 2)), rest = power_of_two(-(n - n / 2));
    for (int i = 0; i < LEN; i++)
        scaled[i] = x[i] * half * rest;
    return n;
}

/* The exponent of least error, from the one that puts the largest magnitude on 2 to 4 down, until that weight alone,
 * being cut, costs more than the best so far. x: normalised. Returns the power of two of half the scale. */
static int find_exponent(const pare_levels *levels, const float *x, const float *w, int lowest)
{
    float least = HUGE_VALF, peak = 0, peak_w = 0;
    int best = lowest > FIRST ? lowest : FIRST;
    for (int i = 0; i < LEN; i++)
        if (fabsf(x[i]) > peak) {
            peak = fabsf(x[i]);
            peak_w = w[i];
        }
    for (int n = best; n >= lowest && n >= LAST; n--) {
        float scale = power_of_two(n), cut = peak - TOP_LEVEL * scale;
        if (cut > 0 && !(peak_w * cut * cut < least))
            break;
        float error = pare_levels_measure(levels, x, w, LEN, scale).error;
        if (error < least) {
            least = error;
            best = n;
        }
    }
    return best;
}

void pare_mxfp4_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_mxfp4 *out = dst;
    pare_levels levels;
    pare_levels_init(&levels, pare_fp4_level);
    for (size_t i = 0; i < row_len; i += LEN, out++) {
        if (effort == PARE_EFFORT_RTN) {
            pare_mxfp4_round(src + i, out);
            continue;
        }
        float x[LEN] = {0}, w[LEN], peak = fabsf(pare_peak(src + i, LEN));
        uint8_t codes[LEN];
        int power = peak > 0 ? normalise(src + i, peak, x) : 0, n = 0;
        if (peak > 0) {
            pare_take_weights(weight, i, LEN, w);
            n = find_exponent(&levels, x, w, -power - (BIAS + 1));
        }
        out->e = peak > 0 ? (uint8_t)(power + n + BIAS + 1) : 0;
        pare_levels_codes(&levels, x, LEN, power_of_two(n), codes);
        pare_pack_nibbles(codes, out->qs);
    }
}
