#include "quant/output_error.h"
#include "quant/vec.h"

enum { ROWS = 4 };

/* The panel's part of some rows' sums: sum over j of e_j P_j, times e; lanes are the panel's columns. n_rows is
 * constant in each call. */
PARE_INLINE void add_panel(const float *panel, size_t n_terms, const float *e, size_t n, size_t n_rows,
                           pare_vec (*sum)[PARE_PARTS])
{
    pare_vec product[ROWS][PARE_PARTS] = {{{0}}};
    for (size_t j = 0; j < n_terms; j++)
        for (int p = 0; p < PARE_PARTS; p++) {
            pare_vec h = pare_vec_load(panel + j * PARE_PANEL + p * PARE_VEC_LANES);
            for (size_t r = 0; r < n_rows; r++)
                product[r][p] += h * e[r * n + j];
        }
    for (size_t r = 0; r < n_rows; r++)
        for (int p = 0; p < PARE_PARTS; p++)
            sum[r][p] += product[r][p] * pare_vec_load(e + r * n + n_terms - PARE_PANEL + p * PARE_VEC_LANES);
}

void pare_output_error(const float *panels, size_t n, const float *e, size_t n_rows, float *out)
{
    pare_vec sum[PARE_ERROR_ROWS][PARE_PARTS] = {{{0}}};
    for (size_t at = 0; at < n; at += PARE_PANEL) {
        const float *panel = panels + pare_panel_floats(at);
        size_t r = 0;
        for (; r + ROWS <= n_rows; r += ROWS)
            add_panel(panel, at + PARE_PANEL, e + r * n, n, ROWS, sum + r);
        for (; r < n_rows; r++)
            add_panel(panel, at + PARE_PANEL, e + r * n, n, 1, sum + r);
    }
    for (size_t r = 0; r < n_rows; r++)
        out[r] = pare_vec_sum(sum[r]);
}
