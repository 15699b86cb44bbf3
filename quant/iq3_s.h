/* quant/iq3_s.h - 256 weights in 110 bytes: groups of 4 from a codebook of 512, 8 signs per 8, a 4-bit scale per 32
 *
 *     0   2        66      74          106         110
 *     | d | qs[64] | qh[8] | signs[32] | scales[4] |
 *
 *   qs, qh  grid entry of the weights 4k..4k+3: qs[k] and above it bit k % 8 of qh[k / 8]
 *   signs   bit j of signs[g]: weight 8 g + j is negative
 *   scales  nibble s % 2 of scales[s / 2]: sub-block s of 32 weights
 *   weight = d * (2 scale + 1) * level */
#ifndef PARE_QUANT_IQ3_S_H
#define PARE_QUANT_IQ3_S_H

#include "core/half.h"
#include "quant/codebooks.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq3_s {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
} pare_iq3_s;
static_assert(sizeof(pare_iq3_s) == 110, "an iq3_s block is 110 bytes on disk");

/* Exact: 11 + 5 + 4 bits fit a float. */
PARE_HD void pare_iq3_s_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq3_s *b = (const pare_iq3_s *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int k = 0; k < 64; k++, dst += 4) {
            unsigned entry = pare_iq3_s_grid(b->qs[k] | (b->qh[k / 8] >> k % 8 & 1u) << 8);
            float scale = d * (float)(2 * (b->scales[k / 16] >> k / 8 % 2 * 4 & 15) + 1);
            for (int j = 0; j < 4; j++) {
                float value = scale * (float)pare_iq3_s_level(entry, j);
                dst[j] = b->signs[k / 2] >> (k % 2 * 4 + j) & 1 ? -value : value;
            }
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ_SEARCH.md. */
void pare_iq3_s_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

extern const struct pare_grid_shape pare_iq3_s_shape; /* quant/grid_search.h */

#endif
