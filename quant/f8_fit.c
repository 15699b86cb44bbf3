#include "quant/f8_fit.h"

#include "core/half.h"
#include "quant/minifloat.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

enum { REACH = 2 }; /* neighbours of a quotient on either side: the product that made the peak was rounded once */

uint8_t pare_f8_e4m3_nearest(float v)
{
    uint32_t bits = pare_f32_to_bits(v), sign = bits >> 24 & 0x80, mag = bits & 0x7fffffffu;
    if (mag >= 0x43e80000u) /* 464, the middle between 448 and what would come next */
        return (uint8_t)(sign | 0x7e);
    if (mag < 0x3c800000u) { /* 2^-6: below, codes are multiples of 2^-9; the sum drops what is finer, to even */
        float whole = pare_bits_to_f32(mag) * 512.0f + 8388608.0f;
        return (uint8_t)(sign | (pare_f32_to_bits(whole) & 0xf));
    }
    uint32_t rounded = mag + 0x7ffffu + (mag >> 20 & 1), code = (rounded >> 20) - (120u << 3);
    return (uint8_t)(sign | (code < 0x7e ? code : 0x7e));
}

/* Whether code * scale are the x; codes are their nearest ones. */
static bool reproduces(const float *x, size_t n, float scale, uint8_t *codes)
{
    if (!(scale >= FLT_MIN)) /* below, quotients are too coarse to tell */
        return false;
    for (size_t i = 0; i < n; i++) {
        codes[i] = pare_f8_e4m3_nearest(x[i] / scale);
        if (pare_f8_e4m3_to_f32(codes[i]) * scale != x[i])
            return false;
    }
    return true;
}

/* A scale with which the peak has significand k / 8, if it makes all x. */
static bool find_exact(const float *x, size_t n, float peak, int k, float *scale, uint8_t *codes)
{
    float top = (float)k * (k == 15 ? 16.0f : 32.0f); /* 15 / 8 * 2^8 is no number of this type */
    uint32_t near = pare_f32_to_bits(peak / top);
    for (uint32_t i = 0; i <= 2 * REACH; i++) {
        *scale = pare_bits_to_f32(near + (i % 2 == 0 ? i / 2 : 0u - (i + 1) / 2));
        if (reproduces(x, n, *scale, codes))
            return true;
    }
    return false;
}

float pare_f8_e4m3_fit(const float *x, size_t n, uint8_t *codes)
{
    float peak = 0, scale = 1;
    for (size_t i = 0; i < n; i++)
        peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
    for (int k = 14; peak > 0 && k >= 8; k--) /* 14 / 8: 448, as quantizers put it */
        if (find_exact(x, n, peak, k, &scale, codes))
            return scale;
    if (peak > 0 && find_exact(x, n, peak, 15, &scale, codes))
        return scale;
    scale = peak / 448 >= FLT_MIN ? peak / 448 : 1;
    for (size_t i = 0; i < n; i++)
        codes[i] = pare_f8_e4m3_nearest(x[i] / scale);
    return scale;
}
