#include "quant/q2_0.h"

#include "quant/importance.h"
#include "quant/sweep.h"

enum { LEN = 64 };

void pare_q2_0_encode(const float *src, size_t row_len, const float *weight, void *dst)
{
    pare_q2_0 *out = dst;
    pare_importance importance = pare_importance_of_row(weight, row_len);
    for (size_t i = 0; i < row_len; i += LEN, out++) {
        float w[LEN];
        pare_sweep_fit fit;
        pare_importance_fill(&importance, i, LEN, w);
        pare_sweep(src + i, w, LEN, true, &fit);
        memset(out, 0, sizeof *out);
        for (int j = 0; j < LEN; j++)
            out->qs[j / 4] |= (uint8_t)(fit.code[j] << j % 4 * 2);
        pare_store_u16le(out->d, fit.d);
    }
}
