/* quant/tq1_0.h - 256 weights in 54 bytes: weight = d * (digit - 1), digits 0, 1, 2, five in a byte
 *
 *     0        48      52  54
 *     | qs[48] | qh[4] | d |
 *
 *   A byte holds digits d0 .. d4 as ceil(256 * 0.d0 d1 d2 d3 d4 in base 3): multiplying by 3 moves the next digit into
 *   bits 8..9 of the product.
 *     weights   0..159  digit k of qs[m] is weight      32 k + m, m = 0..31
 *     weights 160..239  digit k of qs[32 + m] is 160 + 16 k + m, m = 0..15
 *     weights 240..255  digit k (0..3) of qh[m] is 240 + 4 k + m, m = 0..3 */
#ifndef PARE_QUANT_TQ1_0_H
#define PARE_QUANT_TQ1_0_H

#include "core/half.h"
#include "quant/types.h"

#include <assert.h>
#include <stddef.h>

typedef struct pare_tq1_0 {
    uint8_t qs[48];
    uint8_t qh[4];
    uint8_t d[2]; /* scale, binary16, little endian */
} pare_tq1_0;
static_assert(sizeof(pare_tq1_0) == 54, "a tq1_0 block is 54 bytes on disk");

/* n bytes of n_digits digits each: digit k of byte m goes to dst[n * k + m]. */
PARE_HD void pare_tq1_0_digits(const uint8_t *src, int n, int n_digits, float d, float *dst)
{
    unsigned power = 1;
    for (int k = 0; k < n_digits; k++, power *= 3) {
        for (int m = 0; m < n; m++)
            dst[n * k + m] = d * (float)((int)((src[m] * power & 255) * 3 >> 8) - 1);
    }
}

/* Exact, for any bytes. */
PARE_HD void pare_tq1_0_decode(const void *src, float *dst, size_t n_blocks)
{
    const pare_tq1_0 *b = (const pare_tq1_0 *)src;
    for (size_t i = 0; i < n_blocks; i++, b++, dst += 256) {
        float d = pare_f16_to_f32(pare_load_u16le(b->d));
        pare_tq1_0_digits(b->qs, 32, 5, d, dst);
        pare_tq1_0_digits(b->qs + 32, 16, 5, d, dst + 160);
        pare_tq1_0_digits(b->qh, 4, 4, d, dst + 240);
    }
}

/* n bytes of n_digits digits each, digit k of byte m from codes[n * k + m]: the inverse of pare_tq1_0_digits. A byte
 * with four digits has a fifth of 0. */
PARE_HD void pare_tq1_0_put_digits(uint8_t *dst, int n, int n_digits, const uint8_t *codes)
{
    for (int m = 0; m < n; m++) {
        unsigned number = 0;
        for (int k = 0; k < 5; k++)
            number = 3 * number + (k < n_digits ? codes[n * k + m] : 0u);
        dst[m] = (uint8_t)((number * 256 + 242) / 243);
    }
}

/* Digits of all 256 weights; d stays. */
PARE_HD void pare_tq1_0_put_codes(pare_tq1_0 *b, const uint8_t *codes)
{
    pare_tq1_0_put_digits(b->qs, 32, 5, codes);
    pare_tq1_0_put_digits(b->qs + 32, 16, 5, codes + 160);
    pare_tq1_0_put_digits(b->qh, 4, 4, codes + 240);
}

/* One row; the contract of pare_encode_fn. Method: docs/methods/TERNARY.md. */
void pare_tq1_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst);

#endif
