/* quant/feedback_grid.h - pare_feedback_rows for types with a codebook: units of 8 weights */
#ifndef PARE_QUANT_FEEDBACK_GRID_H
#define PARE_QUANT_FEEDBACK_GRID_H

#include "quant/feedback.h"

size_t pare_feedback_grid_scratch(size_t n);

/* The contract of pare_feedback_rows. */
void pare_feedback_grid_rows(const pare_form *form, pare_type type, const float *x, size_t n_rows, const float *column,
                             int n_sweeps, void *dst, void *scratch, double *before, double *after);

#endif
