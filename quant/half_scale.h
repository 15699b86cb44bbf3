/* quant/half_scale.h - scales that are stored as binary16 */
#ifndef PARE_QUANT_HALF_SCALE_H
#define PARE_QUANT_HALF_SCALE_H

#include "core/half.h"

#define PARE_F16_MAX 65504.0f
#define PARE_F16_INFINITY 0x7c00 /* for a block that no scale can hold: the caller of the encoder reports it */

/* The nearest binary16, but the smallest one instead of a zero unless v is 0. */
static inline uint16_t pare_f32_to_f16_nonzero(float v)
{
    uint16_t h = pare_f32_to_f16(v);
    return (h & 0x7fff) == 0 && v != 0 ? (uint16_t)(h | 1) : h;
}

#endif
