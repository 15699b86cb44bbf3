#include "quant/importance.h"

#include <math.h>
#include <string.h>

/* Measured on the reference rows: docs/methods/IQ4_IQ1.md. */
static const double weight_floor = 0.03;

/* The share of the mean importance that every column has before the factor of its weights. */
static const double column_floor = 1.0 / 64;

pare_importance pare_importance_of_row(const float *column, size_t row_len)
{
    double sum = 0;
    for (size_t i = 0; column != NULL && i < row_len; i++)
        sum += (double)column[i];
    if (!(sum > 0))
        return (pare_importance){0};
    return (pare_importance){column, (double)row_len / sum};
}

void pare_importance_fill(const pare_importance *importance, size_t first, size_t n, float *w)
{
    for (size_t i = 0; i < n; i++)
        w[i] = importance->column != NULL
                   ? (float)((double)importance->column[first + i] * importance->per_mean + weight_floor)
                   : 1;
}

static double rms_of(const float *x, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    return sqrt(squares / (double)n);
}

void pare_importance_of_weights(const float *column, const float *x, size_t row_len, float *w)
{
    enum { RUN = 256 };
    double mean = 0, row_rms = rms_of(x, row_len);
    for (size_t i = 0; i < row_len; i++)
        mean += (double)column[i] / (double)row_len;
    if (!(row_rms > 0) || !(mean > 0)) {
        memcpy(w, column, row_len * sizeof *w);
        return;
    }
    for (size_t at = 0; at < row_len; at += RUN) {
        size_t n = row_len - at < RUN ? row_len - at : RUN;
        double rms = rms_of(x + at, n);
        for (size_t i = at; i < at + n; i++) {
            double factor = (rms + 2 * fabs((double)x[i])) / row_rms;
            w[i] = (float)(((double)column[i] / mean + column_floor) * factor);
        }
    }
}
