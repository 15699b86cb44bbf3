/* quant/row_fit.h - encode one row of a matrix so that what it multiplies changes little
 *
 * The encoders minimise a weighted squared error and nothing else. Around them: which weights (quant/importance.h), the
 * row's size, and its product with the mean of the inputs. With the inputs a of a row, e = x - y and uncorrelated
 * columns the product is wrong by
 *
 *     E[(e . a)^2] = sum (c - m^2) e^2 + (sum m e)^2,     c = E[a^2], m = E[a]
 *
 * and the second term, an offset that is the same for every token, is a quarter to a half of it after norms. A stretch
 * of the row is encoded again for targets moved by what takes that offset away. docs/methods/IMPORTANCE.md */
#ifndef PARE_QUANT_ROW_FIT_H
#define PARE_QUANT_ROW_FIT_H

#include "quant/row_passes.h"
#include "quant/types.h"

/* A row in hand. The caller's memory; all arrays [n]. */
typedef struct pare_row_buffers {
    float *x;          /* the row: in */
    float *y;          /* as it is decoded: out */
    float *weight;     /* of its errors: out, for a type whose errors have them */
    float *target;     /* what a stretch of it was encoded for */
    uint8_t *replaced; /* a stretch's bytes before that; no longer than the encoded row */
} pare_row_buffers;

typedef struct pare_row_fit {
    pare_type type;
    pare_type source; /* of x: what rounds to it as a whole stays as it was encoded. pare_row_fit_init: F32, exactly */
    pare_effort effort;
    size_t n;            /* weights in a row, a multiple of the type's block length */
    float slope;         /* pare_importance_slope */
    const float *column; /* [n] c >= 0 of the inputs, the importances; NULL: unknown, all alike */
    const float *mean;   /* [n] m; NULL: unknown */
    size_t at, len;      /* the stretch that takes offsets away; len 0: none does */
    int passes;          /* how often, at most */
    bool weighted;       /* where slope is 0: errors have weights, the same in every row and in the buffers already */
} pare_row_fit;

/* Prepare for rows with these inputs, which will lie in b: stretch, passes, weights that no row changes. column, mean
 * and b's arrays stay the caller's; b->weight is not to be written from now on. mean goes unused without column, with
 * PARE_EFFORT_RTN and, at the default effort, in types of 8 bits and more. */
void pare_row_fit_init(pare_row_fit *fit, pare_type type, pare_effort effort, float slope, size_t n,
                       const float *column, const float *mean, const pare_row_buffers *b);

/* Whether y is x once it is rounded to the type that x came in, where that is a plain float: then x lies on the grid
 * that y was read from. */
bool pare_row_rounds_to(pare_type source, const float *x, const float *y, size_t n);

/* Encode the row b->x to dst and decode it to b->y; *sums compares the two under fit->column. Same bytes on every path.
 * Errors: those of pare_encode_rows. */
pare_status pare_row_fit_encode(const pare_row_fit *fit, const pare_row_buffers *b, void *dst, pare_row_sums *sums,
                                pare_error *err);

#endif
