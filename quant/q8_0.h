/* quant/q8_0.h - 32 weights in 34 bytes: weight = d * code
 *
 *     0   2                                  34
 *     | d | qs[32], two's complement         | */
#ifndef PARE_QUANT_Q8_0_H
#define PARE_QUANT_Q8_0_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q8_0 {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[32];
} pare_q8_0;
static_assert(sizeof(pare_q8_0) == 34, "a q8_0 block is 34 bytes on disk");

/* Exact: an 11-bit scale times an 8-bit integer fits a float. */
PARE_HD void pare_q8_0_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q8_0 *b = (const pare_q8_0 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 32) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int j = 0; j < 32; j++)
            dst[j] = d * (float)((b->qs[j] ^ 128) - 128);
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/BLOCK32.md. */
void pare_q8_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
