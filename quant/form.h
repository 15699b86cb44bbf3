/* quant/form.h - the quadratic form that second-order statistics make of errors, prepared for rounding column by column
 *
 * A row e of errors costs e H e^T with H the mean product of inputs (quant/gram.h) and something on its diagonal. With
 * H = L D L^T, L unit lower triangular (Chee et al., QuIP, arXiv 2307.13304: LDLQ), that is
 *
 *     sum over k of D_k (e_k + sum over j > k of e_j L_jk)^2
 *
 * so that column k, rounded behind all j > k, can take up what these did. Columns stand in an order of their own: the
 * ones with the largest inputs have the last positions and are rounded first, when all others can still make up for
 * them. Types that code several columns together round these together: then k and j above are units of so many columns,
 * L_jk and D_k squares. Method: docs/methods/FEEDBACK.md. */
#ifndef PARE_QUANT_FORM_H
#define PARE_QUANT_FORM_H

#include "quant/gram.h"

#include <stdbool.h>

enum { PARE_FORM_UNIT = 8, PARE_FORM_HALF = PARE_FORM_UNIT / 2 };

/* The form of the errors of one unit. */
typedef struct pare_form_square {
    float m[PARE_FORM_UNIT * PARE_FORM_UNIT];       /* the mean of its diagonal is 1 */
    float inverse[PARE_FORM_UNIT * PARE_FORM_UNIT]; /* of the form as it is, before m was scaled */
    float half[2][PARE_FORM_HALF * PARE_FORM_HALF]; /* what either half costs, scaled as m is, when the other one makes
                                                       up for it as well as real numbers can */
} pare_form_square;

typedef struct pare_form {
    size_t n, unit;          /* columns; of a unit: 1 or PARE_FORM_UNIT, which divides n */
    uint32_t *order;         /* [n] the column at each position; those of a unit follow each other */
    float *h;                /* [n, n] by positions, symmetric */
    float *lower;            /* [n, n] by positions: L below the units on its diagonal; the rest is not used */
    pare_form_square *first; /* [n / unit] D_k, which a unit is rounded by; NULL for units of 1 */
    pare_form_square *again; /* [n / unit] the squares on the diagonal of h; NULL for units of 1 */
    double damping;          /* what was added to the diagonal, in parts of its mean */
} pare_form;

/* Prepare the form of g for units of 1 or PARE_FORM_UNIT columns with `damping` times the mean of the diagonal added to
 * it; ten times as much, as often as that is needed and below 1, where H cannot be factored. Columns without any input
 * count as the least of the others. Memory: 16 bytes n^2 while it runs, 8 n^2 after. path is for messages.
 * Errors: PARE_ERR_NUMBER (a product that is not finite, a negative one on the diagonal), PARE_ERR_RANGE (no damping
 * helps; no input at all; n is no multiple of unit), PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_form_open(pare_form *f, const pare_gram *g, const char *path, size_t unit, double damping,
                           pare_error *err);
void pare_form_close(pare_form *f);

/* c [n, n], of which the lower triangle counts, becomes C with C C^T what it was. *done: it has one. Errors:
 * PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_form_factor(double *c, size_t n, bool *done, pare_error *err);

/* One step of the factorization, compiled once a path: c[r][j] -= sum over k of p[r][k] pt[k][j] for n_rows rows (at
 * most 4) of c and j < n_columns, k < n_terms in this order. c's rows lie c_stride apart, p's p_stride, pt's pt_stride.
 */
void pare_form_update(double *c, size_t c_stride, size_t n_rows, size_t n_columns, const double *p, size_t p_stride,
                      const double *pt, size_t pt_stride, size_t n_terms);

#endif
