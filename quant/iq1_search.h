/* quant/iq1_search.h - scales, shifts and grid entries of IQ1_S and IQ1_M
 *
 * Method and measurements: docs/methods/IQ4_IQ1.md. */
#ifndef PARE_QUANT_IQ1_SEARCH_H
#define PARE_QUANT_IQ1_SEARCH_H

#include "quant/grid_search.h"

/* What the shapes of both have in common. */
#define PARE_IQ1_GRID                                                                                                  \
    .entry_len = 8, .n_entries = 2048, .grid = pare_iq1_grid, .level = pare_iq1_level, .unit = 1, .shift = 0.125f

/* Encode one row; the contract of pare_encode_fn. The shape has a shift, 8 or 16 blocks and scales of 3 bits. */
void pare_iq1_encode(const pare_grid_shape *shape, const float *src, size_t row_len, const float *weight,
                     pare_effort effort, void *dst);

#endif
