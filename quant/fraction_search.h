/* quant/fraction_search.h - the scale of blocks of 32 weights that are 8-bit integers times a binary16: Q8_0
 *
 * Every level that the largest weight may be put on is tried in 16-bit integers. Method and measurements:
 * docs/methods/BLOCK32.md. */
#ifndef PARE_QUANT_FRACTION_SEARCH_H
#define PARE_QUANT_FRACTION_SEARCH_H

#include "quant/vec.h"

#include <stddef.h>

/* As many blocks at once as a register has lanes of 16 bits. */
enum { PARE_FRACTION_LEN = 32, PARE_FRACTION_BLOCKS = 2 * PARE_VEC_LANES, PARE_FRACTION_TOP = 127 };

/* The scale of each of n blocks from src on, 1 <= n <= PARE_FRACTION_BLOCKS, as a binary16 holds it; infinite where
 * none can. weight: of src[0] on, or NULL. */
void pare_fraction_scales(const float *src, const float *weight, size_t n, float *d);

#endif
