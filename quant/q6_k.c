#include "quant/q6_k.h"

#include "quant/scale_search.h"

static void pack(const pare_super_fit *fit, void *block)
{
    pare_q6_k *b = block;
    memset(b, 0, sizeof *b);
    for (int j = 0; j < 16; j++) {
        int half = j / 8, plane = j / 2 % 4;
        b->scales[j] = (uint8_t)fit->scale[j];
        for (int l = 0; l < 16; l++) {
            int code = fit->code[16 * j + l] + 32, at = 16 * (j % 2) + l;
            b->ql[64 * half + 32 * (plane % 2) + at] |= (uint8_t)((code & 15) << 4 * (plane / 2));
            b->qh[32 * half + at] |= (uint8_t)(code >> 4 << 2 * plane);
        }
    }
    pare_store_u16le(b->d, fit->d);
}

static const pare_super_shape shape = {
    .n_sub = 16,
    .sub_len = 16,
    .code_low = -32,
    .code_high = 31,
    .scale_low = -128,
    .scale_high = 127,
    .has_min = false,
    .n_starts = 9,
    .start_low = -6,
    .start_high = 2,
    .block_bytes = sizeof(pare_q6_k),
    .pack = pack,
};

void pare_q6_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_super_encode(&shape, src, row_len, weight, effort, dst);
}
