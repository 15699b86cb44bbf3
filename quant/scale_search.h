/* quant/scale_search.h - scales, mins and codes for one super-block of 256 weights, the search behind Q2_K..Q6_K
 *
 * Method, sources and measurements: docs/methods/KQUANT_SEARCH.md. */
#ifndef PARE_QUANT_SCALE_SEARCH_H
#define PARE_QUANT_SCALE_SEARCH_H

#include <stdint.h>

enum { PARE_SUPER_LEN = 256, PARE_MAX_SUBS = 16 };

/* What a super-block can hold. n_sub * sub_len is PARE_SUPER_LEN.
 *   asymmetric (pare_search_offset)     weight = d * scale * code - dmin * min, code 0..code_max,
 *                                       scale and min 0..scale_max
 *   symmetric (pare_search_symmetric)   weight = d * scale * code, code -code_max-1..code_max,
 *                                       scale -scale_max-1..scale_max */
typedef struct pare_super_shape {
    int n_sub, sub_len, code_max, scale_max;
} pare_super_shape;

typedef struct pare_super_fit {
    uint16_t d, dmin; /* binary16 */
    int16_t scale[PARE_MAX_SUBS], min[PARE_MAX_SUBS];
    int8_t code[PARE_SUPER_LEN];
} pare_super_fit;

/* x: 256 finite weights. weight: 256 importances >= 0. Every field of *fit that the shape has is set.
 * When the scale does not fit a binary16, fit->d or fit->dmin is infinite and the rest unspecified. */
void pare_search_offset(const pare_super_shape *shape, const float *x, const float *weight, pare_super_fit *fit);
void pare_search_symmetric(const pare_super_shape *shape, const float *x, const float *weight, pare_super_fit *fit);

#endif
