#include "quant/q8_0.h"

#include <math.h>

/* To nearest, halves away from zero, as roundf, but not a call a weight: v - trunc(v) is exact. |v| < 2^31. */
static int round_away(float v)
{
    int whole = (int)v;
    float rest = v - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* The published rule: d = largest magnitude / 127, codes from the scale before it is rounded to binary16, to nearest,
 * halves away from zero. */
void pare_q8_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    (void)effort;
    (void)weight;
    pare_q8_0 *out = dst;
    for (size_t i = 0; i < row_len; i += 32, out++) {
        float peak = 0;
        for (int j = 0; j < 32; j++)
            peak = fabsf(src[i + (size_t)j]) > peak ? fabsf(src[i + (size_t)j]) : peak;
        float d = peak / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
        if (!isfinite(inverse)) /* the scale is stored as 0 */
            inverse = 0;
        pare_store_u16le(out->d, pare_f32_to_f16(d));
        for (int j = 0; j < 32; j++)
            out->qs[j] = (uint8_t)round_away(src[i + (size_t)j] * inverse);
    }
}
