/* quant/iq4_search.h - scales of 32 weights on the 16 unequal levels of IQ4_NL and IQ4_XS
 *
 * Method and measurements: docs/methods/IQ4_IQ1.md. */
#ifndef PARE_QUANT_IQ4_SEARCH_H
#define PARE_QUANT_IQ4_SEARCH_H

#include "quant/levels.h"

enum { PARE_IQ4_LEN = 32, PARE_IQ4_MAX_STARTS = 2 };

void pare_iq4_levels(pare_levels *levels);

/* The scale of least weighted squared error, of either sign; 0 for a block of zeros. scales: the best few, the best
 * first, before any refit. Returns how many. */
int pare_iq4_starts(const pare_levels *levels, const float *x, const float *w, float *scales);

#endif
