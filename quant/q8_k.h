/* quant/q8_k.h - 256 activations in 292 bytes: value = d * code; no weight is stored like this
 *
 *     0   4                        260                292
 *     | d | qs[256], two's compl.  | sums[32]         |      sums: 16 int16, each of 16 codes; decoding ignores them */
#ifndef PARE_QUANT_Q8_K_H
#define PARE_QUANT_Q8_K_H

#include "core/half.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q8_k {
    uint8_t d[4]; /* scale, binary32, little endian */
    uint8_t qs[256];
    uint8_t sums[32];
} pare_q8_k;
static_assert(sizeof(pare_q8_k) == 292, "a q8_K block is 292 bytes on disk");

/* Rounds once, in the product. */
PARE_HD void pare_q8_k_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q8_k *b = (const pare_q8_k *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 256) {
        float d = pare_load_f32le(b->d);
        for (int j = 0; j < 256; j++)
            dst[j] = d * (float)((b->qs[j] ^ 128) - 128);
    }
}

#endif
