#include "quant/tq1_0.h"

#include "quant/lanes.h"
#include "quant/sweep.h"

enum { LEN = 256 };

/* n bytes of n_digits digits each, digit k of byte m from code[n * k + m]: the inverse of pare_tq1_0_digits. A byte
 * with four digits has a fifth of 0. */
static void pack_digits(const uint8_t *code, int n, int n_digits, uint8_t *dst)
{
    for (int m = 0; m < n; m++) {
        unsigned number = 0;
        for (int k = 0; k < 5; k++)
            number = 3 * number + (k < n_digits ? code[n * k + m] : 0u);
        dst[m] = (uint8_t)((number * 256 + 242) / 243);
    }
}

void pare_tq1_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_tq1_0 *out = dst;
    for (size_t i = 0; i < row_len; i += LEN, out++) {
        float w[LEN];
        pare_sweep_fit fit;
        if (effort == PARE_EFFORT_RTN) {
            pare_sweep_plain(src + i, LEN, &fit);
        } else {
            pare_take_weights(weight, i, LEN, w);
            pare_sweep(src + i, w, LEN, false, &fit);
        }
        pack_digits(fit.code, 32, 5, out->qs);
        pack_digits(fit.code + 160, 16, 5, out->qs + 32);
        pack_digits(fit.code + 240, 4, 4, out->qh);
        pare_store_u16le(out->d, fit.d);
    }
}
