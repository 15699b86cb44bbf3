/* quant/tq2_0.h - 256 weights in 66 bytes: weight = d * (code - 1)
 *
 *     0        64  66
 *     | qs[64] | d |      bits 2k, 2k + 1 of qs[32 h + m] are the code of weight 128 h + 32 k + m; m = 0..31
 *
 *   Codes 0, 1, 2; code 3 decodes to 2 d, and no encoder writes it. */
#ifndef PARE_QUANT_TQ2_0_H
#define PARE_QUANT_TQ2_0_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_tq2_0 {
    uint8_t qs[64];
    uint8_t d[2]; /* scale, binary16, little endian */
} pare_tq2_0;
static_assert(sizeof(pare_tq2_0) == 66, "a tq2_0 block is 66 bytes on disk");

/* Exact. */
PARE_HD void pare_tq2_0_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_tq2_0 *b = (const pare_tq2_0 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int part = 0; part < 8; part++, dst += 32) {
            const uint8_t *qs = b->qs + part / 4 * 32;
            for (int m = 0; m < 32; m++)
                dst[m] = d * (float)((qs[m] >> part % 4 * 2 & 3) - 1);
        }
    }
}

/* Codes of all 256 weights; d stays. */
PARE_HD void pare_tq2_0_put_codes(pare_tq2_0 *b, const uint8_t *codes)
{
    for (int i = 0; i < 64; i++) {
        const uint8_t *four = codes + i / 32 * 128 + i % 32;
        b->qs[i] = (uint8_t)(four[0] | four[32] << 2 | four[64] << 4 | four[96] << 6);
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/TERNARY.md. */
void pare_tq2_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
