/* quant/iq2_xxs.h - 256 weights in 66 bytes: groups of 8 from a codebook of 256, 7-bit signs, a 4-bit scale per 32
 *
 *     0   2                              66
 *     | d | qs[8][8]                     |
 *
 *   qs[s]  sub-block of 32 weights: bytes 0..3 are the grid entries of its 4 groups; bytes 4..7 a little-endian number:
 *          bits 7g..7g+6 the signs of group g (pare_iq_signs), bits 28..31 the scale
 *   weight = d * (scale + 1/2) / 4 * level, negative where the sign bit is set */
#ifndef PARE_QUANT_IQ2_XXS_H
#define PARE_QUANT_IQ2_XXS_H

#include "quant/iq2_group.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq2_xxs {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[8][8];
} pare_iq2_xxs;
static_assert(sizeof(pare_iq2_xxs) == 66, "an iq2_xxs block is 66 bytes on disk");

/* Exact: 11 + 5 + 6 bits fit a float. */
PARE_HD void pare_iq2_xxs_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq2_xxs *b = (const pare_iq2_xxs *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int s = 0; s < 8; s++) {
            uint32_t tail = pare_load_u32le(b->qs[s] + 4);
            float scale = d * ((float)(tail >> 28) + 0.5f) * 0.25f;
            for (int g = 0; g < 4; g++, dst += 8)
                pare_iq2_group(pare_iq2_xxs_grid(b->qs[s][g]), pare_iq_signs(tail >> 7 * g & 127), scale, dst);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ_SEARCH.md. */
void pare_iq2_xxs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

extern const struct pare_grid_shape pare_iq2_xxs_shape; /* quant/grid_search.h */

#endif
