/* quant/q5_0.h - 32 weights in 22 bytes: weight = d * (code - 16)
 *
 *     0   2       6                      22
 *     | d | qh[4] | qs[16]               |      qs byte j: low 4 bits of code j (low nibble) and j + 16 (high nibble)
 *
 *   qh  bit 4 of code j is bit j of this little-endian number */
#ifndef PARE_QUANT_Q5_0_H
#define PARE_QUANT_Q5_0_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_q5_0 {
    uint8_t d[2]; /* scale, binary16, little endian */
    uint8_t qh[4];
    uint8_t qs[16];
} pare_q5_0;
static_assert(sizeof(pare_q5_0) == 22, "a q5_0 block is 22 bytes on disk");

/* Exact: an 11-bit scale times a 5-bit integer fits a float. */
PARE_HD void pare_q5_0_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_q5_0 *b = (const pare_q5_0 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 32) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        uint32_t qh = pare_load_u32le(b->qh);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)((int)(b->qs[j] & 15u) + (int)(qh >> j << 4 & 16) - 16);
            dst[j + 16] = d * (float)((int)(b->qs[j] >> 4) + (int)(qh >> j >> 12 & 16) - 16);
        }
    }
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/BLOCK32.md. */
void pare_q5_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
