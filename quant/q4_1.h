/* quant/q4_1.h - 32 weights in 20 bytes: weight = d * code + m
 *
 *     0   2   4                      20
 *     | d | m | qs[16]               |      byte j: code j (low nibble), code j + 16 (high nibble) */
#ifndef PARE_QUANT_Q4_1_H
#define PARE_QUANT_Q4_1_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q4_1 {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t m[2]; /* weight of code 0, binary16 */
    uint8_t qs[16];
} pare_q4_1;
static_assert(sizeof(pare_q4_1) == 20, "a q4_1 block is 20 bytes on disk");

/* Rounds once, in the addition. */
PARE_HD void pare_q4_1_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q4_1 *b = (const pare_q4_1 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 32) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d)), m = pare_f16_to_f32(pare_load_u16le(b->m));
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)(b->qs[j] & 15) + m;
            dst[j + 16] = d * (float)(b->qs[j] >> 4) + m;
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/BLOCK32.md. */
void pare_q4_1_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
