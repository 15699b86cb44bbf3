#include "quant/form.h"

enum { ROWS = 4, TILE = 16 };

/* A tile of ROWS rows, held while all terms are subtracted from it. */
static inline void whole_tile(double *c, size_t c_stride, const double *p, size_t p_stride, const double *pt,
                              size_t pt_stride, size_t n_terms)
{
    double sum[ROWS][TILE];
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < TILE; j++)
            sum[r][j] = c[(size_t)r * c_stride + (size_t)j];
    for (size_t k = 0; k < n_terms; k++)
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < TILE; j++)
                sum[r][j] -= p[(size_t)r * p_stride + k] * pt[k * pt_stride + (size_t)j];
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < TILE; j++)
            c[(size_t)r * c_stride + (size_t)j] = sum[r][j];
}

void pare_form_update(double *c, size_t c_stride, size_t n_rows, size_t n_columns, const double *p, size_t p_stride,
                      const double *pt, size_t pt_stride, size_t n_terms)
{
    size_t whole = n_rows == ROWS ? n_columns / TILE * TILE : 0;
    for (size_t j = 0; j < whole; j += TILE)
        whole_tile(c + j, c_stride, p, p_stride, pt + j, pt_stride, n_terms);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t j = whole; j < n_columns; j++) {
            double sum = c[r * c_stride + j];
            for (size_t k = 0; k < n_terms; k++)
                sum -= p[r * p_stride + k] * pt[k * pt_stride + j];
            c[r * c_stride + j] = sum;
        }
}
