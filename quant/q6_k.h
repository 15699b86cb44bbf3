/* quant/q6_k.h - 256 weights in 210 bytes: 16 sub-blocks of 16, weight = d * scale * (code - 32)
 *
 *     0         128       192         208  210
 *     | ql[128]  | qh[64]  | scales[16] | d  |
 *
 *   ql      low 4 bits. With h = 0, 1 and l = 0..31: ql[64h + l] holds the weights 128h + l and 128h + 64 + l,
 *           ql[64h + 32 + l] the weights 128h + 32 + l and 128h + 96 + l (low nibble first)
 *   qh      high 2 bits, in the planes of q2_k.h
 *   scales  two's complement, -128..127 */
#ifndef PARE_QUANT_Q6_K_H
#define PARE_QUANT_Q6_K_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    uint8_t scales[16];
    uint8_t d[2]; /* scale of the scales, binary16, little endian */
} pare_q6_k;
static_assert(sizeof(pare_q6_k) == 210, "a q6_K block is 210 bytes on disk");

/* Code (0..63) of weight l (0..15) of sub-block j (0..15). */
PARE_HD int pare_q6_k_code(const pare_q6_k *b, int j, int l)
{
    int half = j / 8, plane = j / 2 % 4, at = 16 * (j % 2) + l;
    return (b->ql[64 * half + 32 * (plane % 2) + at] >> 4 * (plane / 2) & 15) | (b->qh[32 * half + at] >> 2 * plane & 3)
                                                                                    << 4;
}

/* Set a code whose bits are 0 so far. */
PARE_HD void pare_q6_k_put_code(pare_q6_k *b, int j, int l, int code)
{
    int half = j / 8, plane = j / 2 % 4, at = 16 * (j % 2) + l;
    b->ql[64 * half + 32 * (plane % 2) + at] |= (uint8_t)((code & 15) << 4 * (plane / 2));
    b->qh[32 * half + at] |= (uint8_t)(code >> 4 << 2 * plane);
}

/* Scale (-128..127) of sub-block j. */
PARE_HD int pare_q6_k_scale(const pare_q6_k *b, int j)
{
    return (b->scales[j] ^ 128) - 128;
}

/* Exact: a half times an 8-bit and a 6-bit integer fits a float. */
PARE_HD void pare_q6_k_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q6_k *b = (const pare_q6_k *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int j = 0; j < 16; j++, dst += 16) {
            float scale = d * (float)pare_q6_k_scale(b, j);
            for (int l = 0; l < 16; l++)
                dst[l] = scale * (float)(pare_q6_k_code(b, j, l) - 32);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/KQUANT_SEARCH.md. */
void pare_q6_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
