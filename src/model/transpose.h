/* model/transpose.h - a matrix of plain elements in memory, turned */
#ifndef PARE_MODEL_TRANSPOSE_H
#define PARE_MODEL_TRANSPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Columns first, first + step, ... of a matrix:
 *
 *   src  n_rows rows of row_len elements     dst  n_columns rows of n_rows elements, without gaps
 *
 * first + (n_columns - 1) * step is below row_len. */
typedef struct pare_turned {
    const uint8_t *src;
    size_t size; /* bytes of an element */
    uint64_t n_rows, row_len;
    uint64_t first, step, n_columns;
} pare_turned;

void pare_transpose(const pare_turned *what, uint8_t *dst);

#endif
