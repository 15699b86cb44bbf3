/* quant/group_feedback.h - error feedback into integer groups (quant/group_fit.h): codes that make up for each other's
 * errors under scales and zero points that stay. Method: docs/methods/AWQ.md, docs/methods/FEEDBACK.md. */
#ifndef PARE_QUANT_GROUP_FEEDBACK_H
#define PARE_QUANT_GROUP_FEEDBACK_H

#include "quant/form.h"
#include "quant/group_fit.h"

/* Rows cut into groups, and what they are stored as. */
typedef struct pare_grouped {
    size_t n, group; /* weights of a row and of a group, which divides it */
    pare_group_shape shape;
    const float *x;           /* [rows, n] finite */
    const pare_group *groups; /* [rows, n / group] */
    uint8_t *codes;           /* [rows, n] */
} pare_grouped;

/* Bytes of scratch that pare_group_feedback needs for rows of n weights. */
size_t pare_group_feedback_scratch(size_t n);

/* Choose the codes of n_rows rows (at most PARE_FEEDBACK_ROWS) anew; a row whose form gets no smaller, or is too large
 * for a float, keeps them. column, before, after: as of pare_feedback_rows (quant/feedback.h). */
void pare_group_feedback(const pare_form *form, const pare_grouped *rows, size_t n_rows, const float *column,
                         int n_sweeps, void *scratch, double *before, double *after);

/* What a row's codes stand for: y [n] = d (code - zero). */
void pare_group_decode(const pare_grouped *rows, size_t row, float *y);

#endif
