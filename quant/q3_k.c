#include "quant/q3_k.h"

#include "quant/scale_search.h"

static void pack(const pare_super_fit *fit, void *block)
{
    pare_q3_k *b = block;
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

static const pare_super_shape shape = {
    .n_sub = 16,
    .sub_len = 16,
    .code_low = -4,
    .code_high = 3,
    .scale_low = -32,
    .scale_high = 31,
    .has_min = false,
    .n_starts = 7,
    .start_low = -1,
    .start_high = 1,
    .block_bytes = sizeof(pare_q3_k),
    .pack = pack,
};

void pare_q3_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_super_encode(&shape, src, row_len, weight, effort, dst);
}
