/* quant/whole_search.h - blocks of 32 weights that are integers times a scale: Q4_0, Q5_0, Q8_0
 *
 * Method and measurements: docs/methods/BLOCK32.md. */
#ifndef PARE_QUANT_WHOLE_SEARCH_H
#define PARE_QUANT_WHOLE_SEARCH_H

#include "quant/fan_search.h"

typedef struct pare_whole_shape {
    pare_fan fan;
    int lattice_top; /* blocks of integers up to this times one step are recognised */
    float row_step;  /* a step that all blocks of the row may have, or 0 */
} pare_whole_shape;

/* The scale of each of n blocks from src on, 1 <= n <= PARE_VEC_LANES, as a binary16 holds it; infinite where none can.
 * weight: of src[0] on, or NULL. */
void pare_whole_scales(const pare_whole_shape *shape, const float *src, const float *weight, size_t n, float *d);

/* Code i of a block: the nearest to x[i] / d in low..high. */
static inline float pare_whole_code(float x, float inverse, float low, float high)
{
    float v = x * inverse;
    v = v > low ? v : low;
    v = v < high ? v : high;
    return (v + 12582912.0f) - 12582912.0f;
}

#endif
