/* quant/block32.h - codes and scales of a block of 32 weights, for the types q4_0, q4_1, q5_0, q5_1
 *
 * With PARE_EFFORT_RTN the published rules of the types, to the byte; else a search for the smallest weighted squared
 * error. Method and sources: docs/methods/BLOCK32.md. */
#ifndef PARE_QUANT_BLOCK32_H
#define PARE_QUANT_BLOCK32_H

#include "quant/types.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARE_BLOCK32 = 32 };

typedef struct pare_block32 {
    uint16_t d, m;               /* binary16: scale, and weight of code 0 (affine only) */
    uint8_t codes[PARE_BLOCK32]; /* 0 .. n_codes - 1 */
} pare_block32;

/* weight = d * code + m, or with is_affine false d * (code - n_codes / 2). */
typedef struct pare_block32_format {
    bool is_affine;
    int n_codes;
    size_t block_bytes;
    void (*pack)(const pare_block32 *block, void *dst);
} pare_block32_format;

/* Encode a row; the contract of pare_encode_fn. */
void pare_block32_encode(const pare_block32_format *format, const float *src, size_t row_len, const float *weight,
                         pare_effort effort, void *dst);

#endif
