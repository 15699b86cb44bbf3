/* quant/levels.h - blocks whose weights are scale * level, with levels out of a short table of integers
 *
 * The search behind IQ4_NL, IQ4_XS, MXFP4 and NVFP4. */
#ifndef PARE_QUANT_LEVELS_H
#define PARE_QUANT_LEVELS_H

#include "quant/lanes.h"

#include <stdint.h>

enum { PARE_MAX_LEVEL_SPAN = 240, PARE_MAX_LEVEL_BLOCK = 32 };

/* The nearest level of any number. Levels are integers, so the borders between them are multiples of 1/2: between two
 * such multiples the nearest level does not change, and one look-up finds it. On a border the upper level counts. */
typedef struct pare_levels {
    float low, high; /* the outermost levels */
    float level[2 * PARE_MAX_LEVEL_SPAN + 1];
    uint8_t code[2 * PARE_MAX_LEVEL_SPAN + 1];
} pare_levels;

/* Weighted sums over a block with the nearest levels l at a scale:
 * error = sum w (x - scale l)^2, lx = sum w l x, ll = sum w l^2. */
typedef struct pare_level_sums {
    float error, lx, ll;
} pare_level_sums;

/* value: level of a code 0..15; of several codes with one level the first is used. The levels span at most
 * PARE_MAX_LEVEL_SPAN. */
void pare_levels_init(pare_levels *levels, int (*value)(unsigned code));

/* at[i]: index in the tables of weight i. */
static inline void pare_levels_find(const pare_levels *levels, const float *x, int n, float scale, int *at)
{
    float inverse = scale != 0 ? 2 / scale : 0, offset = -2 * levels->low, last = 2 * (levels->high - levels->low);
    for (int i = 0; i < n; i++) {
        float steps = x[i] * inverse + offset;
        steps = steps > 0 ? steps : 0;
        steps = steps < last ? steps : last;
        at[i] = (int)steps;
    }
}

/* n: a multiple of 8, at most PARE_MAX_LEVEL_BLOCK. x / scale must not overflow; scale 0 leaves the level nearest to
 * zero. Inlined, so that a caller who needs the error alone, or the other two, gets code for that. */
static inline pare_level_sums pare_levels_measure(const pare_levels *levels, const float *x, const float *w, int n,
                                                  float scale)
{
    int at[PARE_MAX_LEVEL_BLOCK];
    float level[PARE_MAX_LEVEL_BLOCK], error[PARE_LANES] = {0}, lx[PARE_LANES] = {0}, ll[PARE_LANES] = {0};
    pare_levels_find(levels, x, n, scale, at);
    for (int i = 0; i < n; i++)
        level[i] = levels->level[at[i]];
    for (int i = 0; i < n; i += PARE_LANES)
        for (int k = 0; k < PARE_LANES; k++) {
            float l = level[i + k], wl = w[i + k] * l, miss = x[i + k] - scale * l;
            error[k] += w[i + k] * miss * miss;
            lx[k] += wl * x[i + k];
            ll[k] += wl * l;
        }
    return (pare_level_sums){pare_add_lanes(error), pare_add_lanes(lx), pare_add_lanes(ll)};
}

/* Codes of the nearest levels at the scale. */
void pare_levels_codes(const pare_levels *levels, const float *x, int n, float scale, uint8_t *codes);

#endif
