#include "quant/q6_k.h"

#include "quant/scale_search.h"

static void pack(const pare_super_fit *fit, void *block)
{
    pare_q6_k *b = block;
    memset(b, 0, sizeof *b);
    for (int j = 0; j < 16; j++) {
        b->scales[j] = (uint8_t)fit->scale[j];
        for (int l = 0; l < 16; l++)
            pare_q6_k_put_code(b, j, l, fit->code[16 * j + l] + 32);
    }
    pare_store_u16le(b->d, fit->d);
}

static const float peak_codes[] = {
    -32,     30,      -31,    28,     29,      26,     24,      27,      -32.75f, 23,
    25,      -34.25f, 19.75f, 22,     -37,     21,     -31.75f, -32.25f, 30.75f,  -44.25f,
    -31.25f, 18,      29.5f,  30.25f, -33.25f, 27.75f, 19,      -35.5f,  28.75f,  29.25f,
    28.25f,  -39.75f, 27.25f, 26.75f, 25.25f,  29.75f, 25.75f,  26.25f,  24.75f,  23.25f,
};

static const pare_super_shape shape = {
    .n_sub = 16,
    .sub_len = 16,
    .code_low = -32,
    .code_high = 31,
    .scale_low = -128,
    .scale_high = 127,
    .peak_codes = peak_codes,
    .reach = {[PARE_EFFORT_DEFAULT] = {.n_starts = 16, .n_moves = 1, .n_first = 2, .n_follow = 1, .scales = 1},
              [PARE_EFFORT_BEST] = {.n_starts = 40, .n_moves = 2, .n_first = 8, .n_follow = 8, .scales = 4},
              [PARE_EFFORT_FAST] = {.n_starts = 6, .n_moves = 1, .n_first = 1, .n_follow = 1, .scales = 1}},
    .block_bytes = sizeof(pare_q6_k),
    .pack = pack,
};

void pare_q6_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_super_encode(&shape, src, row_len, weight, effort, dst);
}
