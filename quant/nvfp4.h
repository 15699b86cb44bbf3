/* quant/nvfp4.h - 64 weights in 36 bytes: 4 sub-blocks of 16, weight = d[s] * E2M1 value of the code
 *
 *     0      4                      36
 *     | d[4] | qs[32]               |
 *
 *   qs  qs[8 s + j], j = 0..7: codes j (low nibble) and 8 + j (high nibble) of sub-block s
 *   d   UE4M3: exponent in bits 6..3 (bias 7), fraction in bits 2..0, bit 7 is ignored. 0x7f is 0, as in ggml, but 0xff
 *       is 480. The scale of the whole tensor is another tensor (NAME.scale) and not part of this decoder. */
#ifndef PARE_QUANT_NVFP4_H
#define PARE_QUANT_NVFP4_H

#include "quant/codebooks.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_nvfp4 {
    uint8_t d[4];
    uint8_t qs[32];
} pare_nvfp4;
static_assert(sizeof(pare_nvfp4) == 36, "an nvfp4 block is 36 bytes on disk");

/* Half of the scale, since pare_fp4_level doubles. */
PARE_HD float pare_nvfp4_half_scale(uint8_t d)
{
    int exponent = d >> 3 & 15, fraction = d & 7;
    if (d == 0x7f)
        return 0.0f;
    if (exponent == 0)
        return (float)fraction * (1.0f / 1024.0f);
    return pare_bits_to_f32((uint32_t)(exponent + 119) << 23 | (uint32_t)fraction << 20);
}

/* Exact: 4 bits of scale times 4 bits of level. */
PARE_HD void pare_nvfp4_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_nvfp4 *b = (const pare_nvfp4 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        for (int s = 0; s < 4; s++, dst += 16) {
            float d = pare_nvfp4_half_scale(b->d[s]);
            for (int j = 0; j < 8; j++) {
                dst[j] = d * (float)pare_fp4_level(b->qs[8 * s + j] & 15u);
                dst[j + 8] = d * (float)pare_fp4_level(b->qs[8 * s + j] >> 4);
            }
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/FP4.md. */
void pare_nvfp4_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
