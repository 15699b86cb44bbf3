/* quant/iq4_xs.h - 256 weights in 136 bytes: 8 sub-blocks of 32, weight = d * (scale - 32) * level of the code
 *
 *     0   2          4           8                      136
 *     | d | scales_h | scales_l  | qs[128]              |
 *
 *   scales_l  low 4 bits of scale s: nibble s % 2 of byte s / 2
 *   scales_h  high 2 bits of scale s: bits 2s, 2s + 1 of this little-endian number
 *   qs        qs[16 s + j]: codes j (low nibble) and j + 16 (high nibble) of sub-block s */
#ifndef PARE_QUANT_IQ4_XS_H
#define PARE_QUANT_IQ4_XS_H

#include "core/half.h"
#include "quant/codebooks.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq4_xs {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t scales_h[2];
    uint8_t scales_l[4];
    uint8_t qs[128];
} pare_iq4_xs;
static_assert(sizeof(pare_iq4_xs) == 136, "an iq4_xs block is 136 bytes on disk");

/* Scale (0..63) of sub-block s (0..7). */
PARE_HD int pare_iq4_xs_scale(const pare_iq4_xs *b, int s)
{
    return (b->scales_l[s / 2] >> s % 2 * 4 & 15) | (pare_load_u16le(b->scales_h) >> 2 * s & 3) << 4;
}

/* Exact: 11 + 5 + 7 bits fit a float. */
PARE_HD void pare_iq4_xs_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq4_xs *b = (const pare_iq4_xs *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int s = 0; s < 8; s++, dst += 32) {
            float scale = d * (float)(pare_iq4_xs_scale(b, s) - 32);
            for (int j = 0; j < 16; j++) {
                dst[j] = scale * (float)pare_iq4_level(b->qs[16 * s + j] & 15u);
                dst[j + 16] = scale * (float)pare_iq4_level(b->qs[16 * s + j] >> 4);
            }
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ4_IQ1.md. */
void pare_iq4_xs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
