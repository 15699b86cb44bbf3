#include "quant/q4_k.h"

#include "quant/scale_search.h"

static const pare_super_shape shape = {.n_sub = 8, .sub_len = 32, .code_max = 15, .scale_max = 63};

void pare_q4_k_pack_scales(const int16_t *scale, const int16_t *min, uint8_t *packed)
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

static void pack(const pare_super_fit *fit, pare_q4_k *b)
{
    memset(b->qs, 0, sizeof b->qs);
    pare_store_u16le(b->d, fit->d);
    pare_store_u16le(b->dmin, fit->dmin);
    pare_q4_k_pack_scales(fit->scale, fit->min, b->scales);
    for (int j = 0; j < 8; j++)
        for (int l = 0; l < 32; l++)
            b->qs[32 * (j / 2) + l] |= (uint8_t)(fit->code[32 * j + l] << 4 * (j % 2));
}

void pare_q4_k_encode(const float *src, size_t row_len, const float *weight, void *dst)
{
    pare_q4_k *b = dst;
    for (size_t at = 0; at < row_len; at += PARE_SUPER_LEN) {
        pare_super_fit fit;
        pare_search_offset(&shape, src + at, weight, &fit);
        pack(&fit, b++);
    }
}
