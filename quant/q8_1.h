/* quant/q8_1.h - 32 activations in 36 bytes: value = d * code; no weight is stored like this
 *
 *     0   2   4                                  36
 *     | d | s | qs[32], two's complement         |      s = d * sum of the codes, binary16; decoding ignores it */
#ifndef PARE_QUANT_Q8_1_H
#define PARE_QUANT_Q8_1_H

#include "core/half.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q8_1 {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t s[2];
    uint8_t qs[32];
} pare_q8_1;
static_assert(sizeof(pare_q8_1) == 36, "a q8_1 block is 36 bytes on disk");

/* Exact, as q8_0. */
PARE_HD void pare_q8_1_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q8_1 *b = (const pare_q8_1 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 32) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int j = 0; j < 32; j++)
            dst[j] = d * (float)((b->qs[j] ^ 128) - 128);
    }
}

#endif
