/* quant/q5_k.h - 256 weights in 176 bytes: 8 sub-blocks of 32, weight = d * scale * code - dmin * min
 *
 *     0    2      4           16        48                     176
 *     | d  | dmin | scales[12] | qh[32]  | qs[128]              |
 *
 *   scales  as in q4_k.h
 *   qh      the fifth bit: weight 32 * j + l is bit j of qh[l]
 *   qs      the low 4 bits, as in q4_k.h */
#ifndef PARE_QUANT_Q5_K_H
#define PARE_QUANT_Q5_K_H

#include "quant/q4_k.h"
#include "quant/types.h"

typedef struct pare_q5_k {
    uint8_t d[2];    /* scale of the scales, binary16, little endian */
    uint8_t dmin[2]; /* scale of the mins */
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} pare_q5_k;
static_assert(sizeof(pare_q5_k) == 176, "a q5_K block is 176 bytes on disk");

/* Code (0..31) of weight l (0..31) of sub-block j (0..7). */
PARE_HD int pare_q5_k_code(const pare_q5_k *b, int j, int l)
{
    return (b->qs[32 * (j / 2) + l] >> 4 * (j % 2) & 15) | (b->qh[l] >> j & 1) << 4;
}

/* Set a code whose bits are 0 so far. */
PARE_HD void pare_q5_k_put_code(pare_q5_k *b, int j, int l, int code)
{
    b->qs[32 * (j / 2) + l] |= (uint8_t)((code & 15) << 4 * (j % 2));
    b->qh[l] |= (uint8_t)(code >> 4 << j);
}

/* Rounds once, in the subtraction: the products of a half and two small integers fit a float. */
PARE_HD void pare_q5_k_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q5_k *b = (const pare_q5_k *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d)), dmin = pare_f16_to_f32(pare_load_u16le(b->dmin));
        for (int j = 0; j < 8; j++, dst += 32) {
            float scale = d * (float)pare_q4_k_scale(b->scales, j), min = dmin * (float)pare_q4_k_min(b->scales, j);
            for (int l = 0; l < 32; l++)
                dst[l] = scale * (float)pare_q5_k_code(b, j, l) - min;
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/KQUANT_SEARCH.md. */
void pare_q5_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
