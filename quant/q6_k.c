#include "quant/q6_k.h"

#include "quant/scale_search.h"

static const pare_super_shape shape = {.n_sub = 16, .sub_len = 16, .code_max = 31, .scale_max = 127};

static void pack(const pare_super_fit *fit, pare_q6_k *b)
{
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

void pare_q6_k_encode(const float *src, size_t row_len, const float *weight, void *dst)
{
    pare_q6_k *b = dst;
    for (size_t at = 0; at < row_len; at += PARE_SUPER_LEN) {
        pare_super_fit fit;
        pare_search_symmetric(&shape, src + at, weight, &fit);
        pack(&fit, b++);
    }
}
