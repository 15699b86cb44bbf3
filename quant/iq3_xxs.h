/* quant/iq3_xxs.h - 256 weights in 98 bytes: groups of 4 from a codebook of 256, 7-bit signs, a 4-bit scale per 32
 *
 *     0   2                  66                 98
 *     | d | qs[64]           | tail[8][4]       |
 *
 *   qs    qs[k]: grid entry of the weights 4k..4k+3
 *   tail  tail[s], of sub-block s of 32 weights, a little-endian number: bits 7g..7g+6 the signs of its weights
 *         8g..8g+7 (pare_iq_signs), bits 28..31 the scale
 *   weight = d * (scale + 1/2) / 2 * level, negative where the sign bit is set */
#ifndef PARE_QUANT_IQ3_XXS_H
#define PARE_QUANT_IQ3_XXS_H

#include "core/half.h"
#include "quant/codebooks.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq3_xxs {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[64];
    uint8_t tail[8][4];
} pare_iq3_xxs;
static_assert(sizeof(pare_iq3_xxs) == 98, "an iq3_xxs block is 98 bytes on disk");

/* Exact: 11 + 5 + 5 bits fit a float (all levels are even). */
PARE_HD void pare_iq3_xxs_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq3_xxs *b = (const pare_iq3_xxs *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int s = 0; s < 8; s++) {
            uint32_t tail = pare_load_u32le(b->tail[s]);
            float scale = d * ((float)(tail >> 28) + 0.5f) * 0.5f;
            for (int g = 0; g < 4; g++, dst += 8) {
                unsigned signs = pare_iq_signs(tail >> 7 * g & 127);
                for (int j = 0; j < 8; j++) {
                    unsigned entry = pare_iq3_xxs_grid(b->qs[8 * s + 2 * g + j / 4]);
                    float value = scale * (float)pare_iq3_xxs_level(entry, j % 4);
                    dst[j] = signs >> j & 1 ? -value : value;
                }
            }
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ_SEARCH.md. */
void pare_iq3_xxs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

extern const struct pare_grid_shape pare_iq3_xxs_shape; /* quant/grid_search.h */

#endif
