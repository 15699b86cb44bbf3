#include "quant/q3_k.h"

#include "quant/scale_search.h"

static const pare_super_shape shape = {.n_sub = 16, .sub_len = 16, .code_max = 3, .scale_max = 31};

static void pack(const pare_super_fit *fit, pare_q3_k *b)
{
    memset(b, 0, sizeof *b);
    for (int j = 0; j < 16; j++) {
        int scale = fit->scale[j] + 32;
        b->scales[j % 8] |= (uint8_t)((scale & 15) << 4 * (j / 8));
        b->scales[8 + j % 4] |= (uint8_t)(scale >> 4 << 2 * (j / 4));
        for (int l = 0; l < 16; l++) {
            int code = fit->code[16 * j + l] + 4, at = 16 * (j % 2) + l;
            b->qs[32 * (j / 8) + at] |= (uint8_t)((code & 3) << 2 * (j / 2 % 4));
            b->hmask[at] |= (uint8_t)(code >> 2 << j / 2);
        }
    }
    pare_store_u16le(b->d, fit->d);
}

void pare_q3_k_encode(const float *src, size_t row_len, const float *weight, void *dst)
{
    pare_q3_k *b = dst;
    for (size_t at = 0; at < row_len; at += PARE_SUPER_LEN) {
        pare_super_fit fit;
        pare_search_symmetric(&shape, src + at, weight, &fit);
        pack(&fit, b++);
    }
}
