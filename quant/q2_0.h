/* quant/q2_0.h - 64 weights in 18 bytes: weight = d * (code - 1), that is -d, 0, d or 2 d
 *
 *     0   2                      18
 *     | d | qs[16]               |      code j is bits 2 (j % 4) and the next of byte j / 4 */
#ifndef PARE_QUANT_Q2_0_H
#define PARE_QUANT_Q2_0_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q2_0 {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qs[16];
} pare_q2_0;
static_assert(sizeof(pare_q2_0) == 18, "a q2_0 block is 18 bytes on disk");

/* Exact. */
PARE_HD void pare_q2_0_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q2_0 *b = (const pare_q2_0 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 64) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        for (int j = 0; j < 64; j++)
            dst[j] = d * (float)((b->qs[j / 4] >> j % 4 * 2 & 3) - 1);
    }
}

/* Codes of all 64 weights; d stays. */
PARE_HD void pare_q2_0_put_codes(pare_q2_0 *b, const uint8_t *codes)
{
    for (int i = 0; i < 16; i++, codes += 4)
        b->qs[i] = (uint8_t)(codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6);
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/TERNARY.md. */
void pare_q2_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
