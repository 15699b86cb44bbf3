/* quant/importance.h - importances of columns as weights of squared errors */
#ifndef PARE_QUANT_IMPORTANCE_H
#define PARE_QUANT_IMPORTANCE_H

#include <stddef.h>

/* How much an error in each weight of a row counts: importance / mean importance + a floor, which keeps columns that
 * calibration never saw; 1 everywhere without importances. */
typedef struct pare_importance {
    const float *column; /* NULL: all equal */
    double per_mean;     /* 1 / mean importance */
} pare_importance;

/* column: row_len importances >= 0, or NULL; all zero counts as NULL. The result points to it. */
pare_importance pare_importance_of_row(const float *column, size_t row_len);

/* w[0..n) for the columns from first on. All are above 0. */
void pare_importance_fill(const pare_importance *importance, size_t first, size_t n, float *w);

/* The importances of the weights of one row, for an encoder: those of their columns times a factor that grows with the
 * weight, (rms + 2 |x|) with the rms of the 256 weights around it, in units of the row's rms. What stands out costs more
 * than its squared error says: docs/methods/IMPORTANCE.md.
 *   column  row_len importances >= 0, not all zero
 *   x       the row, finite
 *   w       row_len importances, all above 0 unless x is zero everywhere: then those of the columns */
void pare_importance_of_weights(const float *column, const float *x, size_t row_len, float *w);

#endif
