/* quant/output_error.h - what errors in the weights of a row cost: e H e^T, for many rows, without a factor of H
 *
 * H lies in panels of 16 columns, one behind the other: of panel p the rows 0 .. 16 p + 15, those above the panel's own
 * square twice as large, since what is below it is left out.
 *
 *     0 1 1 1
 *       1 1 1      panel 0: its square; panel 1: 2 times rows 0 to 15, then its square; ...
 *         2 2
 *           3 */
#ifndef PARE_QUANT_OUTPUT_ERROR_H
#define PARE_QUANT_OUTPUT_ERROR_H

#include <stddef.h>

enum { PARE_PANEL = 16, PARE_ERROR_ROWS = 16 };

/* Floats of the panels of n columns, a multiple of PARE_PANEL. */
static inline size_t pare_panel_floats(size_t n)
{
    size_t panels = n / PARE_PANEL;
    return PARE_PANEL * PARE_PANEL * (panels * (panels + 1) / 2);
}

/* Put H_ij = H_ji, for j <= i, into panels. */
static inline void pare_panel_put(float *panels, size_t i, size_t j, float h)
{
    size_t p = i / PARE_PANEL, q = j / PARE_PANEL;
    float *at = panels + pare_panel_floats(p * PARE_PANEL);
    at[j * PARE_PANEL + i % PARE_PANEL] = p != q ? 2 * h : h;
    if (p == q)
        at[i * PARE_PANEL + j % PARE_PANEL] = h;
}

/* out [n_rows] = e H e^T of the rows of e [n_rows, n], at most PARE_ERROR_ROWS. The same on every path: one of
 * pare_path_table. */
void pare_output_error(const float *panels, size_t n, const float *e, size_t n_rows, float *out);

#endif
