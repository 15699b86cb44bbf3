/* quant/iq1_m.h - 256 weights in 56 bytes: groups of 8 from a codebook of 2048, a shift per 8, a 3-bit scale per 16
 *
 *     0        32       48             56
 *     | qs[32] | qh[16] | scales[4][2] |
 *
 *   qs      low 8 bits of the grid entry of group g of 8 weights
 *   qh      nibble g % 2 of qh[g / 2] belongs to group g: bits 0..2 are the high bits of its grid entry, bit 3 set: its
 *           shift is -1/8, else +1/8
 *   scales  four little-endian words. Word w: bits 3k..3k+2 (k = 0..3) are the scale of the 16 weights from 64 w + 16 k
 *           on, bits 12..15 are bits 4w..4w+3 of d, binary16
 *   weight = d * (2 scale + 1) * (value + shift), value -1, 0 or +1 */
#ifndef PARE_QUANT_IQ1_M_H
#define PARE_QUANT_IQ1_M_H

#include "core/half.h"
#include "quant/codebooks.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];
    uint8_t scales[4][2];
} pare_iq1_m;
static_assert(sizeof(pare_iq1_m) == 56, "an iq1_m block is 56 bytes on disk");

/* The block's scale as binary16. */
PARE_HD uint16_t pare_iq1_m_d(const pare_iq1_m *b)
{
    unsigned d = 0;
    for (int w = 0; w < 4; w++)
        d |= (unsigned)(b->scales[w][1] >> 4) << 4 * w;
    return (uint16_t)d;
}

/* Exact (pare_iq1_decode_group). */
PARE_HD void pare_iq1_m_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq1_m *b = (const pare_iq1_m *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_iq1_m_d(b));
        for (int g = 0; g < 32; g++, dst += 8) {
            unsigned qh = b->qh[g / 2] >> g % 2 * 4 & 15u;
            unsigned entry = pare_iq1_grid(b->qs[g] | (qh & 7) << 8);
            float scale = d * (float)(2 * (pare_load_u16le(b->scales[g / 8]) >> g / 2 % 4 * 3 & 7) + 1);
            pare_iq1_decode_group(entry, scale, (qh & 8) != 0, dst);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ4_IQ1.md. */
void pare_iq1_m_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

extern const struct pare_grid_shape pare_iq1_m_shape; /* quant/grid_search.h */

#endif
