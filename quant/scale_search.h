/* quant/scale_search.h - scales, mins and codes of super-blocks of 256 weights: the search behind Q2_K to Q6_K
 *
 * Method, sources and measurements: docs/methods/KQUANT_SEARCH.md. */
#ifndef PARE_QUANT_SCALE_SEARCH_H
#define PARE_QUANT_SCALE_SEARCH_H

#include "quant/types.h"

#include <stddef.h>
#include <stdint.h>

enum { PARE_SUPER_LEN = 256, PARE_MAX_SUBS = 16 };

/* One super-block: weight = d * scale * code - dmin * min, with the scale and min of the weight's sub-block. */
typedef struct pare_super_fit {
    uint16_t d, dmin; /* binary16, of either sign */
    int16_t scale[PARE_MAX_SUBS], min[PARE_MAX_SUBS];
    int8_t code[PARE_SUPER_LEN];
} pare_super_fit;

/* How far an effort searches. */
typedef struct pare_super_reach {
    int n_starts; /* the first so many of the shape's starts */
    int n_moves;  /* least squares moves from each start */
    int n_first;  /* first values of d, and for each of them of dmin; at most 8 */
    int n_follow; /* how many of these are followed to the end */
    int scales;   /* a sub-block's scale moves by up to this at a time */
    int mins;     /* with each scale this many mins around the best one are tried */
} pare_super_reach;

/* What a type can hold. */
typedef struct pare_super_shape {
    int n_sub, sub_len;        /* 16 of 16 or 8 of 32 */
    int code_low, code_high;   /* range of the codes; code_low is 0 in a type with mins */
    int scale_low, scale_high; /* range of the scales, and of the mins (from 0) */
    const float (*cuts)[2];    /* starts of a type with mins: the end codes lie this part of the range of a sub-block's
                                  weights above the lowest and below the highest of them; NULL in a type without mins */
    const float *peak_codes;   /* starts of a type without mins: the weight of largest magnitude has this code */
    pare_super_reach reach[PARE_EFFORT_RTN]; /* of each effort that searches */
    size_t block_bytes;
    void (*pack)(const pare_super_fit *fit, void *block);
} pare_super_shape;

/* Encode one row; the contract of pare_encode_fn. A super-block whose scale does not fit a binary16 gets an
 * infinite one. */
void pare_super_encode(const pare_super_shape *shape, const float *src, size_t row_len, const float *weight,
                       pare_effort effort, void *dst);

#endif
