/* quant/iq1_s.h - 256 weights in 50 bytes: groups of 8 from a codebook of 2048, one shift and a 3-bit scale per 32
 *
 *     0   2        34         50
 *     | d | qs[32] | qh[8][2] |
 *
 *   qh  qh[s], of sub-block s of 32 weights, is a little-endian number: bits 3k..3k+2 belong to its group k (0..3),
 * bits 12..14 are its scale, bit 15 set: its shift is -1/8, else +1/8 qs  qs[g] and above it the 3 bits of qh are the
 * grid entry of group g of 8 weights weight = d * (2 scale + 1) * (value + shift), value -1, 0 or +1 */
#ifndef PARE_QUANT_IQ1_S_H
#define PARE_QUANT_IQ1_S_H

#include "core/half.h"
#include "quant/codebooks.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq1_s {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[32];
    uint8_t qh[8][2];
} pare_iq1_s;
static_assert(sizeof(pare_iq1_s) == 50, "an iq1_s block is 50 bytes on disk");

/* Exact (pare_iq1_decode_group). */
PARE_HD void pare_iq1_s_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq1_s *b = (const pare_iq1_s *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int g = 0; g < 32; g++, dst += 8) {
            unsigned qh = pare_load_u16le(b->qh[g / 4]);
            unsigned entry = pare_iq1_grid(b->qs[g] | (qh >> g % 4 * 3 & 7) << 8);
            float scale = d * (float)(2 * (qh >> 12 & 7) + 1);
            pare_iq1_decode_group(entry, scale, (qh & 0x8000) != 0, dst);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ4_IQ1.md. */
void pare_iq1_s_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

extern const struct pare_grid_shape pare_iq1_s_shape; /* quant/grid_search.h */

#endif
