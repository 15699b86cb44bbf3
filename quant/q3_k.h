/* quant/q3_k.h - 256 weights in 110 bytes: 16 sub-blocks of 16, weight = d * (scale - 32) * (code - 4)
 *
 *     0          32                      96          108  110
 *     | hmask[32] | qs[64]               | scales[12] | d  |
 *
 *   qs      the low 2 bits of the codes, in the planes of q2_k.h
 *   hmask   the third bit: weight 32 * k + l is bit k of hmask[l]
 *   scales  16 numbers of 6 bits; sub-block j has its low nibble in scales[j % 8] (j < 8: low half, else high half)
 *           and its upper two bits in scales[8 + j % 4], from bit 2 * (j / 4) up */
#ifndef PARE_QUANT_Q3_K_H
#define PARE_QUANT_Q3_K_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint8_t d[2]; /* scale of the scales, binary16, little endian */
} pare_q3_k;
static_assert(sizeof(pare_q3_k) == 110, "a q3_K block is 110 bytes on disk");

/* Code (0..7) of weight l (0..15) of sub-block j (0..15). */
PARE_HD int pare_q3_k_code(const pare_q3_k *b, int j, int l)
{
    int at = 16 * (j % 2) + l;
    return (b->qs[32 * (j / 8) + at] >> 2 * (j / 2 % 4) & 3) | (b->hmask[at] >> j / 2 & 1) << 2;
}

/* Set a code whose bits are 0 so far. */
PARE_HD void pare_q3_k_put_code(pare_q3_k *b, int j, int l, int code)
{
    int at = 16 * (j % 2) + l;
    b->qs[32 * (j / 8) + at] |= (uint8_t)((code & 3) << 2 * (j / 2 % 4));
    b->hmask[at] |= (uint8_t)(code >> 2 << j / 2);
}

/* Scale (0..63) of sub-block j. */
PARE_HD int pare_q3_k_scale(const pare_q3_k *b, int j)
{
    return (b->scales[j % 8] >> 4 * (j / 8) & 15) | (b->scales[8 + j % 4] >> 2 * (j / 4) & 3) << 4;
}

/* Exact: a half times a 6-bit and a 3-bit integer fits a float. */
PARE_HD void pare_q3_k_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q3_k *b = (const pare_q3_k *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int j = 0; j < 16; j++, dst += 16) {
            float scale = d * (float)(pare_q3_k_scale(b, j) - 32);
            for (int l = 0; l < 16; l++)
                dst[l] = scale * (float)(pare_q3_k_code(b, j, l) - 4);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/KQUANT_SEARCH.md. */
void pare_q3_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
