#include "quant/q2_k.h"

#include "quant/scale_search.h"

static const pare_super_shape shape = {.n_sub = 16, .sub_len = 16, .code_max = 3, .scale_max = 15};

static void pack(const pare_super_fit *fit, pare_q2_k *b)
{
    memset(b, 0, sizeof *b);
    for (int j = 0; j < 16; j++) {
        b->scales[j] = (uint8_t)(fit->scale[j] | fit->min[j] << 4);
        for (int l = 0; l < 16; l++)
            b->qs[32 * (j / 8) + 16 * (j % 2) + l] |= (uint8_t)(fit->code[16 * j + l] << 2 * (j / 2 % 4));
    }
    pare_store_u16le(b->d, fit->d);
    pare_store_u16le(b->dmin, fit->dmin);
}

void pare_q2_k_encode(const float *src, size_t row_len, const float *weight, void *dst)
{
    pare_q2_k *b = dst;
    for (size_t at = 0; at < row_len; at += PARE_SUPER_LEN) {
        pare_super_fit fit;
        pare_search_offset(&shape, src + at, weight, &fit);
        pack(&fit, b++);
    }
}
