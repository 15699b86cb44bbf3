#include "quant/nvfp4.h"

#include "quant/lanes.h"
#include "quant/levels.h"
#include "quant/plain_round.h"

#include <math.h>

enum { LEN = 64, SUB_LEN = 16, LARGEST_SCALE = 0x7e, LAST_UNEVEN = 15, TOP_LEVEL = 12 };

/* The smallest code whose half scale is not below v, at most LARGEST_SCALE. */
static int code_above(float v)
{
    int low = 0, high = LARGEST_SCALE;
    while (low < high) {
        int middle = (low + high) / 2;
        if (pare_nvfp4_half_scale((uint8_t)middle) < v)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Where the search starts. A scale that puts the largest magnitude below level 3 has no level that half of this scale
 * lacks; but the half of a code up to LAST_UNEVEN may not exist, so these are tried up to level 1/2. */
static int largest_useful(float peak)
{
    int code = code_above(peak / 6), uneven = code_above(peak);
    uneven = uneven < LAST_UNEVEN ? uneven : LAST_UNEVEN;
    return code > uneven ? code : uneven;
}

/* The code of least error: all from the largest useful one down to where the largest weight alone, being cut, costs
 * more than the best so far. 0 where nothing beats a sub-block of zeros. */
static uint8_t find_scale(const pare_levels *levels, const float *x, const float *w)
{
    float peak = 0, peak_w = 0, least = pare_levels_measure(levels, x, w, SUB_LEN, 0).error;
    int best = 0;
    for (int i = 0; i < SUB_LEN; i++)
        if (fabsf(x[i]) > peak) {
            peak = fabsf(x[i]);
            peak_w = w[i];
        }
    for (int code = largest_useful(peak); code > 0; code--) {
        float scale = pare_nvfp4_half_scale((uint8_t)code), cut = peak - TOP_LEVEL * scale;
        if (cut > 0 && !(peak_w * cut * cut < least))
            break;
        float error = pare_levels_measure(levels, x, w, SUB_LEN, scale).error;
        if (error < least) {
            least = error;
            best = code;
        }
    }
    return (uint8_t)best;
}

static void put_codes(const uint8_t *codes, uint8_t *qs)
{
    for (int j = 0; j < SUB_LEN / 2; j++)
        qs[j] = (uint8_t)(codes[j] | codes[j + SUB_LEN / 2] << 4);
}

void pare_nvfp4_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_nvfp4 *out = dst;
    pare_levels levels;
    pare_levels_init(&levels, pare_fp4_level);
    for (size_t i = 0; i < row_len; i += LEN, out++) {
        if (effort == PARE_EFFORT_RTN) {
            pare_nvfp4_round(src + i, out);
            continue;
        }
        float w[LEN];
        pare_take_weights(weight, i, LEN, w);
        for (int s = 0; s < LEN / SUB_LEN; s++) {
            const float *x = src + i + (size_t)(s * SUB_LEN);
            uint8_t codes[SUB_LEN];
            out->d[s] = find_scale(&levels, x, w + s * SUB_LEN);
            pare_levels_codes(&levels, x, SUB_LEN, pare_nvfp4_half_scale(out->d[s]), codes);
            put_codes(codes, out->qs + s * SUB_LEN / 2);
        }
    }
}
