/* quant/q4_0.h - 32 weights in 18 bytes: weight = d * (code - 8)
 *
 *     0   2                      18
 *     | d | qs[16]               |      byte j: code j (low nibble), code j + 16 (high nibble) */
#ifndef PARE_QUANT_Q4_0_H
#define PARE_QUANT_Q4_0_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q4_0 {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[16];
} pare_q4_0;
static_assert(sizeof(pare_q4_0) == 18, "a q4_0 block is 18 bytes on disk");

/* Exact: an 11-bit scale times a 4-bit integer fits a float. */
PARE_HD void pare_q4_0_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q4_0 *b = (const pare_q4_0 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 32) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)((b->qs[j] & 15) - 8);
            dst[j + 16] = d * (float)((b->qs[j] >> 4) - 8);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/BLOCK32.md. */
void pare_q4_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
