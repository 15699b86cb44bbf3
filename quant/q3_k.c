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
        for (int l = 0; l < 16; l++)
            pare_q3_k_put_code(b, j, l, fit->code[16 * j + l] + 4);
    }
    pare_store_u16le(b->d, fit->d);
}

static const float peak_codes[] = {
    -4.3f, -3.2f, -5.8f, -3.9f, 4.7f,  -4.7f, -7,    6.6f, 2.8f,  3.7f, 2.2f, -3.6f,
    5.4f,  -5.1f, -4.1f, 4.1f,  -4.5f, 7,     -6.5f, 3.4f, -5.3f, 6.1f, 3,    -3.8f,
};

static const pare_super_shape shape = {
    .n_sub = 16,
    .sub_len = 16,
    .code_low = -4,
    .code_high = 3,
    .scale_low = -32,
    .scale_high = 31,
    .peak_codes = peak_codes,
    .reach = {[PARE_EFFORT_DEFAULT] = {.n_starts = 12, .n_moves = 1, .n_first = 1, .n_follow = 1, .scales = 1},
              [PARE_EFFORT_BEST] = {.n_starts = 24, .n_moves = 2, .n_first = 8, .n_follow = 8, .scales = 3},
              [PARE_EFFORT_FAST] = {.n_starts = 6, .n_moves = 1, .n_first = 1, .n_follow = 1, .scales = 1}},
    .block_bytes = sizeof(pare_q3_k),
    .pack = pack,
};

void pare_q3_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_super_encode(&shape, src, row_len, weight, effort, dst);
}
