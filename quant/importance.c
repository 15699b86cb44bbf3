#include "quant/importance.h"

/* Measured on the reference rows: docs/methods/IQ4_IQ1.md. */
static const double weight_floor = 0.03;

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
