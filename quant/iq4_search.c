#include "quant/iq4_search.h"

#include "quant/codebooks.h"
#include "quant/lanes.h"

void pare_iq4_levels(pare_levels *levels)
{
    pare_levels_init(levels, pare_iq4_level);
}

/* How far the weight of largest magnitude may lie beyond the outermost level, as a factor; nearly even steps. */
static const float stretch[] = {0.90f, 0.94f, 0.97f, 1.00f, 1.03f, 1.06f, 1.09f,
                                1.13f, 1.17f, 1.22f, 1.27f, 1.34f, 1.42f, 1.52f};

int pare_iq4_starts(const pare_levels *levels, const float *x, const float *w, float *scales)
{
    float peak = pare_peak(x, PARE_IQ4_LEN), best[PARE_IQ4_MAX_STARTS] = {0};
    int n = 0;
    for (int k = 0; k < (int)(sizeof stretch / sizeof *stretch); k++)
        for (int side = 0; side < 2; side++) {
            pare_level_sums s = pare_levels_measure(levels, x, w, PARE_IQ4_LEN,
                                                    peak / ((side == 0 ? levels->low : levels->high) * stretch[k]));
            float gain = s.lx * s.lx / s.ll, scale = s.lx / s.ll;
            if (!(gain > best[PARE_IQ4_MAX_STARTS - 1]))
                continue;
            int at = n < PARE_IQ4_MAX_STARTS ? n++ : n - 1;
            for (; at > 0 && gain > best[at - 1]; at--) {
                best[at] = best[at - 1];
                scales[at] = scales[at - 1];
            }
            best[at] = gain;
            scales[at] = scale;
        }
    return n;
}
