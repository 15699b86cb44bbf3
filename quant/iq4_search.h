/* quant/iq4_search.h - the 16 unequal levels of IQ4_NL and IQ4_XS
 *
 * Method and measurements: docs/methods/IQ4_IQ1.md. */
#ifndef PARE_QUANT_IQ4_SEARCH_H
#define PARE_QUANT_IQ4_SEARCH_H

#include "quant/codebooks.h"
#include "quant/fan_search.h"
#include "quant/types.h"

#include <stdint.h>

/* The outermost levels. */
enum { PARE_IQ4_LOW = -127, PARE_IQ4_HIGH = 113 };

/* The level nearest to v; on a border the upper one. A sum of the steps at the borders below v: without look-ups, and
 * exact. low and high are not needed. */
PARE_INLINE pare_vec pare_iq4_near(pare_vec v, pare_vec low, pare_vec high)
{
    pare_vec level = pare_vec_all(PARE_IQ4_LOW);
    (void)low;
    (void)high;
    for (unsigned k = 1; k < 16; k++) {
        float below = (float)pare_iq4_level(k - 1), above = (float)pare_iq4_level(k);
        level += pare_vec_where(v >= (below + above) * 0.5f, pare_vec_all(above - below));
    }
    return level;
}

/* Trial levels for the largest weight. */
void pare_iq4_fan(pare_effort effort, pare_fan *fan);

/* Sixteen bytes of 32 codes at the scale: byte j holds code j in its low nibble, code j + 16 in the high one. */
void pare_iq4_pack(const float *x, float scale, uint8_t *qs);

#endif
