/* recipe/aim.h - what a matrix aims at when its inputs are not those that it was trained for
 *
 * With quantized matrices before it a matrix W gets inputs x^ in place of x. The W~ that makes of x^ what W makes of x,
 * as well as a matrix can, is W + W E[(x - x^) x^^T] E[x^ x^^T]^-1; one whose product is added to the residual stream
 * s can also take back what is wrong there, with E[(s - s^) x^^T] E[x^ x^^T]^-1 more. Half of both is taken.
 * docs/methods/SEQUENTIAL.md */
#ifndef PARE_RECIPE_AIM_H
#define PARE_RECIPE_AIM_H

#include "model/prefix.h"

/* W~ = W + W turn + shift */
typedef struct pare_aim {
    size_t n, n_rows;
    float *turn;  /* [n, n] */
    float *shift; /* [n_rows, n], or NULL */
} pare_aim;

/* n columns, n_rows rows where there is a stream. The sums are used up. Errors: PARE_ERR_NUMBER (one that is not
 * finite; no factor), PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_aim_open(pare_aim *a, pare_prefix_sums *sums, size_t n, size_t n_rows, const char *matrix,
                          pare_error *err);
void pare_aim_close(pare_aim *a); /* zeroed is closed */

/* Rows x [n_rows, n], the matrix's from number `row` on, become those of W~. Errors: PARE_ERR_MEMORY */
pare_status pare_aim_rows(const pare_aim *a, uint64_t row, size_t n_rows, float *x, pare_error *err);

#endif
