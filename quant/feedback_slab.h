/* quant/feedback_slab.h - the rows in hand of quant/feedback.h, in scratch memory, and which of them are taken */
#ifndef PARE_QUANT_FEEDBACK_SLAB_H
#define PARE_QUANT_FEEDBACK_SLAB_H

#include "quant/feedback.h"

/* Floats of a slab of rows of n weights. */
enum { PARE_FEEDBACK_SLAB_ARRAYS = 6 };
static inline size_t pare_feedback_slab_floats(size_t n)
{
    return (size_t)PARE_FEEDBACK_SLAB_ARRAYS * PARE_FEEDBACK_ROWS * n;
}

/* A slab in the first pare_feedback_slab_floats(n) floats of scratch. Rows, steps and levels are zero: lanes without a
 * row stay so. */
pare_feedback_slab pare_feedback_slab_in(float *scratch, size_t n);

/* Once a slab is rounded: is this lane's form smaller than it was, so that its row is taken? What the form was and is
 * then (as it was, where the row is not taken) is added to *before and *after; one too large for a float is left out.
 */
bool pare_feedback_slab_settle(const pare_feedback_slab *slab, size_t lane, double *before, double *after);

#endif
