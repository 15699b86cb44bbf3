/* quant/iq1_search.h - scales, shifts and grid entries of IQ1_S and IQ1_M
 *
 * Method and measurements: docs/methods/IQ4_IQ1.md. */
#ifndef PARE_QUANT_IQ1_SEARCH_H
#define PARE_QUANT_IQ1_SEARCH_H

#include "quant/importance.h"
#include "quant/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARE_IQ1_LEN = 256, PARE_IQ1_GROUPS = 32, PARE_IQ1_MAX_UNITS = 16 };

/* A super-block: weight = d * (2 scale + 1) * (grid value + 1/8, or - 1/8 where minus). */
typedef struct pare_iq1_fit {
    uint16_t d;                        /* binary16 */
    uint8_t scale[PARE_IQ1_MAX_UNITS]; /* 0..7 */
    uint16_t entry[PARE_IQ1_GROUPS];   /* of pare_iq1_grid */
    bool minus[PARE_IQ1_GROUPS];
} pare_iq1_fit;

/* A unit is a run of weights with one scale. */
typedef struct pare_iq1_shape {
    int n_units, groups_per_unit; /* n_units * groups_per_unit is PARE_IQ1_GROUPS; groups_per_unit is 2 or 4 */
    bool one_shift;               /* of all groups in a unit, instead of one a group */
    size_t block_bytes;
    void (*pack)(const pare_iq1_fit *fit, void *block);
} pare_iq1_shape;

/* Encode one row; the contract of pare_encode_fn. */
void pare_iq1_encode(const pare_iq1_shape *shape, const float *src, size_t row_len, const float *weight,
                     pare_effort effort, void *dst);

#endif
