/* quant/block32.h - codes and scales of a block of 32 weights, for the types q4_0, q4_1, q5_0, q5_1
 *
 * Without importances these are the published rules of the types, to the byte; with importances a search for the
 * smallest weighted squared error. Method and sources: docs/methods/BLOCK32.md. */
#ifndef PARE_QUANT_BLOCK32_H
#define PARE_QUANT_BLOCK32_H

#include "quant/types.h"

#include <stddef.h>
#include <stdint.h>

enum { PARE_BLOCK32 = 32 };

typedef struct pare_block32 {
    uint16_t d, m;               /* binary16: scale, and weight of code 0 (affine only) */
    uint8_t codes[PARE_BLOCK32]; /* 0 .. 2^bits - 1 */
} pare_block32;

/* weight = d * (code - half), codes 0 .. 2 half - 1. scaled: 32 scaled importances or NULL. */
void pare_block32_symmetric(pare_block32 *out, const float *x, const float *scaled, int half);

/* weight = d * code + m, codes 0 .. max_code. */
void pare_block32_affine(pare_block32 *out, const float *x, const float *scaled, int max_code);

/* Encode a row: call block(out, x, scaled, range) for each 32 weights, then pack(block, dst + i * block_bytes). */
typedef void (*pare_block32_fn)(pare_block32 *out, const float *x, const float *scaled, int range);
typedef struct pare_block32_format {
    pare_block32_fn block;
    int range; /* half or max_code */
    size_t block_bytes;
    void (*pack)(const pare_block32 *block, void *dst);
} pare_block32_format;
void pare_block32_encode(const pare_block32_format *format, const float *src, size_t row_len, const float *weight,
                         pare_effort effort, void *dst);

/* qs[j]: low 4 bits of the codes j and j + 16. */
void pare_block32_pack_low(const pare_block32 *block, uint8_t *qs);

/* Bit j: bit 4 of code j. */
uint32_t pare_block32_high(const pare_block32 *block);

#endif
