/* quant/q5_1.h - 32 weights in 24 bytes: weight = d * code + m
 *
 *     0   2   4       8                      24
 *     | d | m | qh[4] | qs[16]               |      bits as in q5_0.h */
#ifndef PARE_QUANT_Q5_1_H
#define PARE_QUANT_Q5_1_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q5_1 {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t m[2]; /* weight of code 0, binary16 */
    uint8_t qh[4];
    uint8_t qs[16];
} pare_q5_1;
static_assert(sizeof(pare_q5_1) == 24, "a q5_1 block is 24 bytes on disk");

/* Rounds once, in the addition. */
PARE_HD void pare_q5_1_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q5_1 *b = (const pare_q5_1 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 32) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d)), m = pare_f16_to_f32(pare_load_u16le(b->m));
        uint32_t qh = pare_load_u32le(b->qh);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)((int)(b->qs[j] & 15u) | (int)(qh >> j << 4 & 16)) + m;
            dst[j + 16] = d * (float)((int)(b->qs[j] >> 4) | (int)(qh >> j >> 12 & 16)) + m;
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/BLOCK32.md. */
void pare_q5_1_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
