#include "quant/q1_0.h"

#include "quant/lanes.h"

#include <math.h>

enum { LEN = 128 };

/* The least squares scale for the signs: sum w |x| / sum w. Where that is between two binary16, the nearer is better.
 */
static uint16_t find_scale(const float *x, const float *w)
{
    float wx[PARE_LANES] = {0}, w1[PARE_LANES] = {0};
    for (int i = 0; i < LEN; i += PARE_LANES)
        for (int k = 0; k < PARE_LANES; k++) {
            wx[k] += w[i + k] * fabsf(x[i + k]);
            w1[k] += w[i + k];
        }
    return pare_f32_to_f16(pare_add_lanes(wx) / pare_add_lanes(w1));
}

/* The published rule: the mean magnitude, summed in order. */
static uint16_t plain_scale(const float *x)
{
    float sum = 0;
    for (int i = 0; i < LEN; i++)
        sum += fabsf(x[i]);
    return pare_f32_to_f16(sum / LEN);
}

void pare_q1_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_q1_0 *out = dst;
    for (size_t i = 0; i < row_len; i += LEN, out++) {
        float w[LEN];
        pare_take_weights(weight, i, LEN, w);
        memset(out, 0, sizeof *out);
        for (int j = 0; j < LEN; j++)
            out->qs[j / 8] |= (uint8_t)((src[i + (size_t)j] >= 0) << j % 8);
        pare_store_u16le(out->d, effort == PARE_EFFORT_RTN ? plain_scale(src + i) : find_scale(src + i, w));
    }
}
