#include "quant/lattice.h"

#include "core/half.h"

#include <math.h>

static float round_bf16(float v)
{
    return pare_bf16_to_f32(pare_f32_to_bf16(v));
}

static float round_f16(float v)
{
    return pare_f16_to_f32(pare_f32_to_f16(v));
}

static bool reproduces(const float *x, size_t n, float d, float low, float high)
{
    bool exact = true, bf16 = true, f16 = true;
    for (size_t i = 0; i < n && (exact || bf16 || f16); i++) {
        float q = (x[i] / d + 12582912.0f) - 12582912.0f, y = d * q;
        if (!(q >= low && q <= high))
            return false;
        exact &= y == x[i];
        bf16 &= round_bf16(y) == x[i];
        f16 &= round_f16(y) == x[i];
    }
    return exact || bf16 || f16;
}

float pare_lattice_scale(const float *x, size_t n, float step, float low, float high)
{
    enum { REACH = 9 }; /* rounding to bfloat16 moves a step by up to 8 */
    int bits = pare_f32_to_f16(step);
    for (int k = 0; k <= 2 * REACH; k++) {
        int at = bits + (k % 2 == 0 ? k / 2 : -(k + 1) / 2);
        if ((at ^ bits) & 0x8000 || (at & 0x7fff) == 0 || (at & 0x7fff) >= 0x7c00)
            continue;
        float d = pare_f16_to_f32((uint16_t)at);
        if (reproduces(x, n, d, low, high))
            return d;
    }
    return 0;
}
