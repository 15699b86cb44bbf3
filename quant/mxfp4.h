/* quant/mxfp4.h - 32 weights in 17 bytes: weight = 2^(e - 127) * E2M1 value of the code
 *
 *     0   1                      17
 *     | e | qs[16]               |      byte j: code j (low nibble), code j + 16 (high nibble)
 *
 *   OCP Microscaling Formats v1.0. As in ggml, minus zero is read as +0 and e = 255 as 2^128, not as NaN. */
#ifndef PARE_QUANT_MXFP4_H
#define PARE_QUANT_MXFP4_H

#include "quant/codebooks.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_mxfp4 {
    uint8_t e; /* E8M0 */
    uint8_t qs[16];
} pare_mxfp4;
static_assert(sizeof(pare_mxfp4) == 17, "an mxfp4 block is 17 bytes on disk");

/* 2^(e - 128): half of the scale, since pare_fp4_level doubles. Subnormal for e = 0 and 1. */
PARE_HD float pare_mxfp4_half_scale(uint8_t e)
{
    return pare_bits_to_f32(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Exact; infinite where the product exceeds binary32. */
PARE_HD void pare_mxfp4_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_mxfp4 *b = (const pare_mxfp4 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 32) {
        float d = pare_mxfp4_half_scale(b->e);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)pare_fp4_level(b->qs[j] & 15u);
            dst[j + 16] = d * (float)pare_fp4_level(b->qs[j] >> 4);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/FP4.md. */
void pare_mxfp4_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
