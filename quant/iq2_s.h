/* quant/iq2_s.h - 256 weights in 82 bytes: groups of 8 from a codebook of 1024, 8 signs, a 4-bit scale per 16
 *
 *     0   2        34          66      74          82
 *     | d | qs[32] | signs[32] | qh[8] | scales[8] |
 *
 *   qs, qh  grid entry of group g of 8 weights: qs[g] and above it bits 2 (g % 4), 2 (g % 4) + 1 of qh[g / 4]
 *   signs   bit j of signs[g]: weight j of group g is negative
 *   scales  nibble h of scales[s]: weights 32 s + 16 h and the next 15
 *   weight = d * (scale + 1/2) / 4 * level */
#ifndef PARE_QUANT_IQ2_S_H
#define PARE_QUANT_IQ2_S_H

#include "quant/iq2_group.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq2_s {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
} pare_iq2_s;
static_assert(sizeof(pare_iq2_s) == 82, "an iq2_s block is 82 bytes on disk");

/* Exact: 11 + 5 + 6 bits fit a float. */
PARE_HD void pare_iq2_s_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq2_s *b = (const pare_iq2_s *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int g = 0; g < 32; g++, dst += 8) {
            unsigned entry = b->qs[g] | (b->qh[g / 4] >> g % 4 * 2 & 3u) << 8;
            float scale = d * ((float)(b->scales[g / 4] >> g / 2 % 2 * 4 & 15) + 0.5f) * 0.25f;
            pare_iq2_group(pare_iq2_s_grid(entry), b->signs[g], scale, dst);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ_SEARCH.md. */
void pare_iq2_s_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

extern const struct pare_grid_shape pare_iq2_s_shape; /* quant/grid_search.h */

#endif
