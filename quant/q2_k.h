/* quant/q2_k.h - 256 weights in 84 bytes: 16 sub-blocks of 16, weight = d * scale * code - dmin * min
 *
 *     0           16                      80   82   84
 *     | scales[16] | qs[64]               | d  | dmin |
 *
 *   scales[j]  sub-block j: scale in the low nibble, min in the high one
 *   qs         one 2-bit plane for each run of 32 weights, four planes to a byte:
 *              qs[l]      = weights l, l+32, l+64, l+96          from bit 0 up, l = 0..31
 *              qs[32 + l] = weights 128+l, 160+l, 192+l, 224+l   from bit 0 up */
#ifndef PARE_QUANT_Q2_K_H
#define PARE_QUANT_Q2_K_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    uint8_t d[2];    /* scale of the scales, binary16, little endian */
    uint8_t dmin[2]; /* scale of the mins */
} pare_q2_k;
static_assert(sizeof(pare_q2_k) == 84, "a q2_K block is 84 bytes on disk");

/* Code (0..3) of weight l (0..15) of sub-block j (0..15). */
PARE_HD int pare_q2_k_code(const pare_q2_k *b, int j, int l)
{
    return b->qs[32 * (j / 8) + 16 * (j % 2) + l] >> 2 * (j / 2 % 4) & 3;
}

/* Set a code whose bits are 0 so far. */
PARE_HD void pare_q2_k_put_code(pare_q2_k *b, int j, int l, int code)
{
    b->qs[32 * (j / 8) + 16 * (j % 2) + l] |= (uint8_t)(code << 2 * (j / 2 % 4));
}

/* Rounds once, in the subtraction: the products of a half and two small integers fit a float. */
PARE_HD void pare_q2_k_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q2_k *b = (const pare_q2_k *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d)), dmin = pare_f16_to_f32(pare_load_u16le(b->dmin));
        for (int j = 0; j < 16; j++, dst += 16) {
            float scale = d * (float)(b->scales[j] & 15), min = dmin * (float)(b->scales[j] >> 4);
            for (int l = 0; l < 16; l++)
                dst[l] = scale * (float)pare_q2_k_code(b, j, l) - min;
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/KQUANT_SEARCH.md. */
void pare_q2_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
