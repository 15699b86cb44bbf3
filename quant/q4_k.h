/* quant/q4_k.h - 256 weights in 144 bytes: 8 sub-blocks of 32, weight = d * scale * code - dmin * min
 *
 *     0    2      4           16                     144
 *     | d  | dmin | scales[12] | qs[128]              |
 *
 *   scales  8 scales and 8 mins of 6 bits:
 *
 *             byte         bits 7..6              bits 5..0
 *             0..3         scale[4+i], bits 5..4  scale[i]
 *             4..7         min[4+i], bits 5..4    min[i]
 *             byte         bits 7..4              bits 3..0
 *             8..11        min[4+i], bits 3..0    scale[4+i], bits 3..0
 *
 *   qs      sub-blocks 2k (low nibbles) and 2k+1 (high nibbles) share the bytes 32k..32k+31 */
#ifndef PARE_QUANT_Q4_K_H
#define PARE_QUANT_Q4_K_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q4_k {
    uint8_t d[2];    /* scale of the scales, binary16, little endian */
    uint8_t dmin[2]; /* scale of the mins */
    uint8_t scales[12];
    uint8_t qs[128];
} pare_q4_k;
static_assert(sizeof(pare_q4_k) == 144, "a q4_K block is 144 bytes on disk");

/* Code (0..15) of weight l (0..31) of sub-block j (0..7). */
PARE_HD int pare_q4_k_code(const pare_q4_k *b, int j, int l)
{
    return b->qs[32 * (j / 2) + l] >> 4 * (j % 2) & 15;
}

/* Set a code whose bits are 0 so far. */
PARE_HD void pare_q4_k_put_code(pare_q4_k *b, int j, int l, int code)
{
    b->qs[32 * (j / 2) + l] |= (uint8_t)(code << 4 * (j % 2));
}

/* Scale and min (0..63) of sub-block j, out of the 12 packed bytes that q4_K and q5_K share. */
PARE_HD int pare_q4_k_scale(const uint8_t *scales, int j)
{
    return j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | scales[j - 4] >> 6 << 4;
}

PARE_HD int pare_q4_k_min(const uint8_t *scales, int j)
{
    return j < 4 ? scales[j + 4] & 63 : scales[j + 4] >> 4 | scales[j] >> 6 << 4;
}

/* Rounds once, in the subtraction: the products of a half and two small integers fit a float. */
PARE_HD void pare_q4_k_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q4_k *b = (const pare_q4_k *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d)), dmin = pare_f16_to_f32(pare_load_u16le(b->dmin));
        for (int j = 0; j < 8; j++, dst += 32) {
            float scale = d * (float)pare_q4_k_scale(b->scales, j), min = dmin * (float)pare_q4_k_min(b->scales, j);
            for (int l = 0; l < 32; l++)
                dst[l] = scale * (float)pare_q4_k_code(b, j, l) - min;
        }
    }
}

/* Write the 12 packed bytes: 8 scales and 8 mins (0..63). */
void pare_q4_k_pack_scales(const int16_t *scale, const int16_t *min, uint8_t *packed);

/* One row; the contract of pare_encode_fn. Method: docs/methods/KQUANT_SEARCH.md. */
void pare_q4_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
