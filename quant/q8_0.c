#include "quant/q8_0.h"

#include "quant/lattice.h"
#include "quant/whole_search.h"

#include <math.h>

enum { LEN = 32, TOP = 127 };

/* To nearest, halves away from zero, as roundf, but not a call a weight: v - trunc(v) is exact. |v| < 2^31. */
static int round_away(float v)
{
    int whole = (int)v;
    float rest = v - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* The published rule: d = largest magnitude / 127, codes from the scale before it is rounded to binary16, to nearest,
 * halves away from zero. */
static void encode_plain(const float *src, size_t row_len, pare_q8_0 *out)
{
    for (size_t i = 0; i < row_len; i += LEN, out++) {
        float peak = 0;
        for (int j = 0; j < LEN; j++)
            peak = fabsf(src[i + (size_t)j]) > peak ? fabsf(src[i + (size_t)j]) : peak;
        float d = peak / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
        if (!isfinite(inverse)) /* the scale is stored as 0 */
            inverse = 0;
        pare_store_u16le(out->d, pare_f32_to_f16(d));
        for (int j = 0; j < LEN; j++)
            out->qs[j] = (uint8_t)round_away(src[i + (size_t)j] * inverse);
    }
}

/* How far the sample is from integers times a step, squared, in units of the peak, if that is `level` such steps;
 * infinite where a weight is too far for rounding to explain it. */
static float distance(const float *sample, int n, float peak, int level)
{
    float sum = 0, inverse = (float)level / peak, step = 1 / (float)level;
    for (int k = 0; k < n; k++) {
        pare_vec v = pare_vec_all(sample[k] * inverse);
        if (!pare_lattice_near(v)[0])
            return HUGE_VALF;
        float miss = (v - pare_vec_nearest(v))[0] * step;
        sum += miss * miss;
    }
    return sum;
}

/* The step of a row whose weights are integers up to 127 times one step, as those of int8 checkpoints are; 0 when it is
 * no such row. Judged by its largest value, which is 64 to 127 times the step or a power of two of it, and the first
 * ones that are not 0 and not as the one before. */
static float find_row_step(const float *src, size_t row_len)
{
    float sample[64], peak = 0, least = HUGE_VALF, step = 0, last = 0;
    int n = 0;
    for (size_t i = 0; i < row_len; i++)
        peak = fabsf(src[i]) > peak ? fabsf(src[i]) : peak;
    for (size_t i = 0; i < row_len && n < 64; i++)
        if (src[i] != 0 && fabsf(src[i]) != last)
            sample[n++] = last = fabsf(src[i]);
    for (int level = TOP; level > TOP / 2 && peak > PARE_FAN_TINY; level--) {
        float sum = distance(sample, n, peak, level);
        if (sum < least) {
            least = sum;
            step = peak / (float)level;
        }
    }
    return step;
}

static void put(const float *x, float d, pare_q8_0 *out)
{
    float inverse = d != 0 ? 1 / d : 0;
    pare_store_u16le(out->d, pare_f32_to_f16(d));
    for (int j = 0; j < LEN; j++)
        out->qs[j] = (uint8_t)(int8_t)pare_whole_code(x[j], inverse, -TOP, TOP);
}

void pare_q8_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_q8_0 *out = dst;
    float d[PARE_VEC_LANES];
    if (effort == PARE_EFFORT_RTN) {
        encode_plain(src, row_len, out);
        return;
    }
    pare_whole_shape shape = {.lattice_top = 31, .row_step = find_row_step(src, row_len)};
    pare_fan_init(&shape.fan, -TOP, TOP, effort == PARE_EFFORT_BEST ? 4 : 2);
    pare_fan_add(&shape.fan, 106, effort == PARE_EFFORT_BEST ? 0.2f : 1.3f, 150, false);
    for (size_t at = 0, n; at < row_len; at += n * LEN) {
        n = (row_len - at) / LEN < PARE_VEC_LANES ? (row_len - at) / LEN : PARE_VEC_LANES;
        pare_whole_scales(&shape, src + at, weight != NULL ? weight + at : NULL, n, d);
        for (size_t l = 0; l < n; l++)
            put(src + at + LEN * l, fabsf(d[l]), out++);
    }
}
