/* quant/iq2_xs.h - 256 weights in 74 bytes: groups of 8 from a codebook of 512, 7-bit signs, a 4-bit scale per 16
 *
 *     0   2                              66          74
 *     | d | qs[32][2]                    | scales[8] |
 *
 *   qs[g]   group g of 8 weights, a little-endian number: bits 0..8 the grid entry, 9..15 the signs (pare_iq_signs)
 *   scales  nibble h of scales[s]: weights 32 s + 16 h and the next 15
 *   weight = d * (scale + 1/2) / 4 * level, negative where the sign bit is set */
#ifndef PARE_QUANT_IQ2_XS_H
#define PARE_QUANT_IQ2_XS_H

#include "quant/iq2_group.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq2_xs {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[32][2];
    uint8_t scales[8];
} pare_iq2_xs;
static_assert(sizeof(pare_iq2_xs) == 74, "an iq2_xs block is 74 bytes on disk");

/* Exact: 11 + 5 + 6 bits fit a float. */
PARE_HD void pare_iq2_xs_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq2_xs *b = (const pare_iq2_xs *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int g = 0; g < 32; g++, dst += 8) {
            unsigned code = pare_load_u16le(b->qs[g]);
            float scale = d * ((float)(b->scales[g / 4] >> g / 2 % 2 * 4 & 15) + 0.5f) * 0.25f;
            pare_iq2_group(pare_iq2_xs_grid(code & 511), pare_iq_signs(code >> 9), scale, dst);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ_SEARCH.md. */
void pare_iq2_xs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

extern const struct pare_grid_shape pare_iq2_xs_shape; /* quant/grid_search.h */

#endif
