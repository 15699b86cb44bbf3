/* quant/q1_0.h - 128 weights in 18 bytes: weight = -d or +d
 *
 *     0   2                      18
 *     | d | qs[16]               |      weight j is +d where bit j % 8 of byte j / 8 is set */
#ifndef PARE_QUANT_Q1_0_H
#define PARE_QUANT_Q1_0_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q1_0 {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[16];
} pare_q1_0;
static_assert(sizeof(pare_q1_0) == 18, "a q1_0 block is 18 bytes on disk");

/* Exact. */
PARE_HD void pare_q1_0_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q1_0 *b = (const pare_q1_0 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 128) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int j = 0; j < 128; j++)
            dst[j] = b->qs[j / 8] >> j % 8 & 1 ? d : -d;
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/TERNARY.md. */
void pare_q1_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
