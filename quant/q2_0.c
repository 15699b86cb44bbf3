#include "quant/q2_0.h"

#include "quant/lanes.h"
#include "quant/sweep.h"

enum { LEN = 64 };

void pare_q2_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_q2_0 *out = dst;
    for (size_t i = 0; i < row_len; i += LEN, out++) {
        float w[LEN];
        pare_sweep_fit fit;
        if (effort == PARE_EFFORT_RTN) {
            pare_sweep_plain(src + i, LEN, &fit);
        } else {
            pare_take_weights(weight, i, LEN, w);
            pare_sweep(src + i, w, LEN, true, &fit);
        }
        pare_q2_0_put_codes(out, fit.code);
        pare_store_u16le(out->d, fit.d);
    }
}
