/* quant/importance.h - how much an error in each weight counts: the weights that encoders minimise under
 *
 * The model and its measurements: docs/methods/IMPORTANCE.md. */
#ifndef PARE_QUANT_IMPORTANCE_H
#define PARE_QUANT_IMPORTANCE_H

#include "quant/types.h"

/* How much more the errors of weights that stand out count: k below. lookup: the tensor is a table whose rows are used
 * as they are (token embeddings), not a matrix that multiplies. */
float pare_importance_slope(pare_type type, bool lookup);

/* The weights of one row's errors, for an encoder:
 *
 *     w = (c / C + floor) (rms + k |x|) / RMS
 *
 * with the column's importance c and the row's mean of them C (without importances the first factor is 1), rms over the
 * 256 weights around x, and RMS over the row. What stands out costs more than its squared error says.
 *   slope   k >= 0
 *   column  row_len importances >= 0, or NULL; all zero counts as NULL
 *   x       the row, finite; with slope 0 it is not read and may be NULL
 *   w       row_len weights above 0
 * False when all weights count alike: then w is not written. */
bool pare_importance_of_weights(float slope, const float *column, const float *x, size_t row_len, float *w);

#endif
