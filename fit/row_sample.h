/* fit/row_sample.h - a model of some rows of another one's large matrices
 *
 * What a type loses on a matrix is a sum over its rows, which are encoded one by one: rows drawn from all of it say
 * what types lose in parts of each other, for a part of the work. docs/methods/ALLOCATION.md */
#ifndef PARE_FIT_ROW_SAMPLE_H
#define PARE_FIT_ROW_SAMPLE_H

#include "model/model.h"

/* Zeroed is closed. */
typedef struct pare_row_sample {
    pare_model model; /* its tensors have fewer rows and keep their names; the rest is borrowed */
    size_t *of;       /* [model.n_tensors] owned: their numbers in the whole model, ascending */
    uint8_t **rows;   /* [model.n_tensors] owned: of each its rows */
} pare_row_sample;

/* A matrix of so many times as many weights as are asked for is worth it. */
#define PARE_ROW_SAMPLE_LEAST 4

/* The tensors marked in wanted [m->n_tensors] that have more than PARE_ROW_SAMPLE_LEAST times n_weights weights, each
 * with as many rows as n_weights has, at least one a matrix (experts are matrices): one out of each of as many
 * stretches of the matrix, the same every time. m must outlive it. Errors: PARE_ERR_MEMORY, those of reading */
pare_status pare_row_sample_open(pare_row_sample *s, const pare_model *m, const bool *wanted, uint64_t n_weights,
                                 pare_error *err);
void pare_row_sample_close(pare_row_sample *s);

/* Its number in the sample, or SIZE_MAX. */
size_t pare_row_sample_find(const pare_row_sample *s, size_t tensor);

#endif
