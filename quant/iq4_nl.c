#include "quant/iq4_nl.h"

#include "quant/half_scale.h"
#include "quant/iq4_search.h"
#include "quant/lanes.h"

#include <math.h>

/* A scale in its stored form, and the error with the nearest levels. */
typedef struct fit {
    uint16_t d;
    float error;
} fit;

/* Least squares for the codes at the scale, which moves codes again: repeated as long as the error falls. */
static void polish(const pare_levels *levels, const float *x, const float *w, float scale, fit *best)
{
    for (int round = 0; round < 8; round++) {
        uint16_t d = pare_f32_to_f16_nonzero(scale);
        pare_level_sums s = pare_levels_measure(levels, x, w, PARE_IQ4_LEN, pare_f16_to_f32(d));
        if (!(s.error < best->error))
            return;
        *best = (fit){d, s.error};
        scale = s.lx / s.ll;
    }
}

static uint16_t find_scale(const pare_levels *levels, const float *x, const float *w)
{
    float starts[PARE_IQ4_MAX_STARTS];
    if (fabsf(pare_peak(x, PARE_IQ4_LEN)) > PARE_F16_MAX * -levels->low)
        return PARE_F16_INFINITY;
    fit best = {0, pare_levels_measure(levels, x, w, PARE_IQ4_LEN, 0).error};
    int n = pare_iq4_starts(levels, x, w, starts);
    for (int k = 0; k < n; k++)
        polish(levels, x, w, starts[k], &best);
    return best.d;
}

void pare_iq4_nl_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    (void)effort;
    pare_iq4_nl *out = dst;
    pare_levels levels;
    pare_iq4_levels(&levels);
    for (size_t i = 0; i < row_len; i += PARE_IQ4_LEN, out++) {
        float w[PARE_IQ4_LEN];
        uint8_t codes[PARE_IQ4_LEN];
        pare_take_weights(weight, i, PARE_IQ4_LEN, w);
        uint16_t d = find_scale(&levels, src + i, w);
        pare_levels_codes(&levels, src + i, PARE_IQ4_LEN, pare_f16_to_f32(d), codes);
        pare_store_u16le(out->d, d);
        pare_levels_pack(codes, out->qs);
    }
}
