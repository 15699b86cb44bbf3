#include "quant/lattice.h"

#include "core/half.h"

#include <math.h>

enum { REACH = 9 }; /* neighbours of a step on either side: rounding to bfloat16 moves it by up to 8 */

static float round_bf16(float v)
{
    return pare_bf16_to_f32(pare_f32_to_bf16(v));
}

static float round_f16(float v)
{
    return pare_f16_to_f32(pare_f32_to_f16(v));
}

float pare_lattice_whole(float v)
{
    return (v + 12582912.0f) - 12582912.0f;
}

/* Whether d * level + m are the weights, exactly or rounded to one of the small formats. */
static bool reproduces(const float *x, size_t n, float d, float m, float (*nearest)(float v), float low, float high)
{
    bool exact = true, bf16 = true, f16 = true;
    for (size_t i = 0; i < n && (exact || bf16 || f16); i++) {
        float q = nearest((x[i] - m) / d), y = d * q + m;
        if (!(q >= low && q <= high))
            return false;
        exact &= y == x[i];
        bf16 &= round_bf16(y) == x[i];
        f16 &= round_f16(y) == x[i];
    }
    return exact || bf16 || f16;
}

/* The k-th neighbour of a binary16 of the same sign: itself, the next larger, the next smaller, and so on. False when
 * that is no finite number other than 0. */
static bool neighbour(float v, int k, float *out)
{
    int bits = pare_f32_to_f16(v), at = bits + (k % 2 == 0 ? -k / 2 : (k + 1) / 2);
    if (((at ^ bits) & 0x8000) != 0 || (at & 0x7fff) == 0 || (at & 0x7fff) >= 0x7c00)
        return false;
    *out = pare_f16_to_f32((uint16_t)at);
    return true;
}

float pare_lattice_scale(const float *x, size_t n, float step, float (*nearest)(float v), float low, float high)
{
    float d;
    for (int k = 0; k <= 2 * REACH; k++)
        if (neighbour(step, k, &d) && reproduces(x, n, d, 0, nearest, low, high))
            return d;
    return 0;
}

bool pare_lattice_line(const float *x, size_t n, float step, float low, int room, float top, float *d, float *m)
{
    float trial;
    for (int k = 0; k <= 2 * REACH; k++) {
        if (!neighbour(step, k, &trial))
            continue;
        float whole = pare_lattice_whole(low / trial), first = low; /* of code 0 when `low` has that */
        if (fabsf(low / trial - whole) <= PARE_LATTICE_SLACK * fabsf(whole))
            first = whole * trial;
        for (int j = 0; j <= room; j++) {
            float base = round_f16(first - (float)j * trial);
            if (isfinite(base) && reproduces(x, n, trial, base, pare_lattice_whole, 0, top)) {
                *d = trial;
                *m = base;
                return true;
            }
        }
    }
    return false;
}
