/* quant/group_fit.h - a group of weights as integers times one scale: x[i] ~ d * (code[i] - zero)
 *
 * Codes of 2 to 8 bits, an integer zero point and a binary16 scale are what AWQ, GPTQ and compressed-tensors store.
 * Compiled once a path (quant/path.h); callers take it from quant/path_table.h. Method: docs/methods/GROUPS.md. */
#ifndef PARE_QUANT_GROUP_FIT_H
#define PARE_QUANT_GROUP_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pare_group_shape {
    int bits;                /* codes 0 .. 2^bits - 1 */
    int zero_low, zero_high; /* bounds of the zero point; equal: symmetric, no choice */
} pare_group_shape;

typedef struct pare_group {
    uint16_t d; /* binary16, above 0 */
    uint8_t zero;
} pare_group;

/* Find d, zero and the n codes of small sum of weight (x - d (code - zero))^2; weight: [n] >= 0, or NULL: 1. A group
 * that lies on such a lattice, exactly or rounded to bfloat16 or binary16, keeps its very values; where it leaves the
 * zero point open, that is the one nearest to the middle of the codes. x is finite. False: no binary16 is large enough
 * for the scale. */
bool pare_group_fit(const pare_group_shape *shape, const float *x, const float *weight, size_t n, pare_group *group,
                    uint8_t *codes);

/* The usual rounding, without a search: d covers the extremes, (max - min) / (2^bits - 1), or of a symmetric shape the
 * largest magnitude over 2^(bits - 1) - 1. False: as above. */
bool pare_group_round(const pare_group_shape *shape, const float *x, size_t n, pare_group *group, uint8_t *codes);

#endif
