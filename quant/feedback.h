/* quant/feedback.h - codes chosen so that a row's product with its inputs changes little, under scales that stay
 *
 * A row is rounded column by column, each taking up the errors of those before it (quant/form.h), then every code is
 * looked at again, given all others, in sweeps: coordinate descent. Sixteen rows at a time are lanes of vectors, so no
 * sum runs over lanes and the result is the same on every path. Codebook types choose 8 columns at once. Method,
 * sources, measurements: docs/methods/FEEDBACK.md.
 */
#ifndef PARE_QUANT_FEEDBACK_H
#define PARE_QUANT_FEEDBACK_H

#include "quant/form.h"
#include "quant/types.h"
#include "quant/unit_book.h"

#include <stdbool.h>

enum { PARE_FEEDBACK_ROWS = 16, PARE_MAX_LEVELS = 256 };

/* What the codes of a type stand for, in units of step. */
typedef struct pare_feedback_levels {
    int n;                          /* 0: every integer from 0 to high */
    float high;                     /* the highest */
    float level[PARE_MAX_LEVELS];   /* [n] ascending, no two alike */
    float between[PARE_MAX_LEVELS]; /* [n - 1] the middle of level[i] and level[i + 1] */
    uint8_t code[PARE_MAX_LEVELS];  /* [n] */
} pare_feedback_levels;

/* Rows in hand: [n, PARE_FEEDBACK_ROWS] each, by the form's positions. Weight = base + step * level. */
typedef struct pare_feedback_slab {
    float *x;                                                    /* what is to be rounded */
    float *base, *step;                                          /* finite */
    float *level;                                                /* in: as they were; out: as they are chosen */
    float *work;                                                 /* two more arrays */
    float before[PARE_FEEDBACK_ROWS], after[PARE_FEEDBACK_ROWS]; /* out: the form of the errors */
} pare_feedback_slab;

/* Choose the levels of a slab: n_sweeps of coordinate descent at most. Compiled once a path. */
void pare_feedback_round(const pare_form *form, const pare_feedback_levels *levels, int n_sweeps,
                         pare_feedback_slab *slab);

/* The same for units of a codebook: levels come with their signs, base is not used. factor [n], by positions: what a
 * column's weights were multiplied by, or NULL: 1. Weights with step 0 stay. Compiled once a path. */
void pare_feedback_units(const pare_form *form, const pare_unit_book *book, const float *factor, int n_sweeps,
                         pare_feedback_slab *slab);

/* Weights of this type that are chosen together, which the form's unit must be; 0: they cannot be chosen so. */
size_t pare_feedback_unit(pare_type type);

/* Bytes of scratch that pare_feedback_rows needs for rows of n weights. */
size_t pare_feedback_scratch(pare_type type, size_t n);

/* Choose the codes of n_rows encoded rows (at most PARE_FEEDBACK_ROWS) at dst anew: the scales stay, and so do all
 * bytes of a row that this would make no better under the form.
 *   x       [n_rows, form->n] the weights, finite
 *   column  [form->n] factors > 0 of the inputs of these rows beside those of the form (an expert's beside those of all
 *           experts), or NULL: 1
 *   *before, *after  the form of the rows' errors is added to them, as it was and as it is; a row whose form is too
 * large for a float keeps its bytes and is left out */
void pare_feedback_rows(const pare_form *form, pare_type type, const float *x, size_t n_rows, const float *column,
                        int n_sweeps, void *dst, void *scratch, double *before, double *after);

#endif
