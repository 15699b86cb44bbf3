/* quant/iq2_group.h - what the IQ2 types share: 8 weights from a grid entry, 8 signs and a scale */
#ifndef PARE_QUANT_IQ2_GROUP_H
#define PARE_QUANT_IQ2_GROUP_H

#include "core/half.h"
#include "quant/codebooks.h"

/* dst[j] = scale * level j of the entry, negative where bit j of signs is set. */
PARE_HD void pare_iq2_group(unsigned entry, unsigned signs, float scale, float *dst)
{
    for (int j = 0; j < 8; j++) {
        float value = scale * (float)pare_iq2_level(entry, j);
        dst[j] = signs >> j & 1 ? -value : value;
    }
}

#endif
