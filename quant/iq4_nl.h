/* quant/iq4_nl.h - 32 weights in 18 bytes: weight = d * level of the code (16 unequal steps)
 *
 *     0   2                      18
 *     | d | qs[16]               |      byte j: code j (low nibble), code j + 16 (high nibble) */
#ifndef PARE_QUANT_IQ4_NL_H
#define PARE_QUANT_IQ4_NL_H

#include "core/half.h"
#include "quant/codebooks.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_iq4_nl {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[16];
} pare_iq4_nl;
static_assert(sizeof(pare_iq4_nl) == 18, "an iq4_nl block is 18 bytes on disk");

/* Exact: an 11-bit scale times an 8-bit level fits a float. */
PARE_HD void pare_iq4_nl_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_iq4_nl *b = (const pare_iq4_nl *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 32) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)pare_iq4_level(b->qs[j] & 15u);
            dst[j + 16] = d * (float)pare_iq4_level(b->qs[j] >> 4);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/IQ4_IQ1.md. */
void pare_iq4_nl_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
