/* quant/scale_search.h - scales, mins and codes of super-blocks of 256 weights: the search behind Q2_K to Q6_K
 *
 * Method, sources and measurements: docs/methods/KQUANT_SEARCH.md. */
#ifndef PARE_QUANT_SCALE_SEARCH_H
#define PARE_QUANT_SCALE_SEARCH_H

#include "quant/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARE_SUPER_LEN = 256, PARE_MAX_SUBS = 16 };

/* One super-block: weight = d * scale * code - dmin * min, with the scale and min of the weight's sub-block. */
typedef struct pare_super_fit {
    uint16_t d, dmin; /* binary16 */
    int16_t scale[PARE_MAX_SUBS], min[PARE_MAX_SUBS];
    int8_t code[PARE_SUPER_LEN];
} pare_super_fit;

/* What a type can hold, and how far to search. */
typedef struct pare_super_shape {
    int n_sub, sub_len;          /* n_sub * sub_len is PARE_SUPER_LEN, sub_len a multiple of 8 */
    int code_low, code_high;     /* range of the codes; code_low is 0 in a type with mins */
    int scale_low, scale_high;   /* range of the scales, and of the mins (from 0) */
    bool has_min;                /* without: dmin and all mins are 0 */
    int n_starts;                /* starting scales a sub-block, which give the extreme weight the code */
    float start_low, start_high; /* code_high + start_low .. code_high + start_high */
    size_t block_bytes;
    void (*pack)(const pare_super_fit *fit, void *block);
} pare_super_shape;

/* Encode one row; the contract of pare_encode_fn. A super-block whose scale does not fit a binary16 gets an
 * infinite one. */
void pare_super_encode(const pare_super_shape *shape, const float *src, size_t row_len, const float *weight,
                       pare_effort effort, void *dst);

#endif
