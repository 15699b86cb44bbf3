#include "quant/q2_k.h"

#include "quant/scale_search.h"

static void pack(const pare_super_fit *fit, void *block)
{
    pare_q2_k *b = block;
    memset(b, 0, sizeof *b);
    for (int j = 0; j < 16; j++) {
        b->scales[j] = (uint8_t)(fit->scale[j] | fit->min[j] << 4);
        for (int l = 0; l < 16; l++)
            pare_q2_k_put_code(b, j, l, fit->code[16 * j + l]);
    }
    pare_store_u16le(b->d, fit->d);
    pare_store_u16le(b->dmin, fit->dmin);
}

static const float cuts[][2] = {
    {0.1f, 0.08f}, {0, 0.18f},       {0.2f, 0.02f}, {0.04f, 0.12f},  {-0.06f, 0.3f},  {0.3f, -0.02f}, {0.14f, 0.04f},
    {0.2f, 0.3f},  {-0.08f, -0.08f}, {0.3f, 0.18f}, {0.12f, -0.12f}, {0.06f, 0.3f},   {0.14f, 0.18f}, {-0.08f, 0.06f},
    {0.3f, -0.1f}, {-0.12f, 0.3f},   {0.3f, 0.08f}, {0.02f, -0.1f},  {0.1f, 0.24f},   {0.18f, 0.14f}, {-0.12f, 0.12f},
    {0.02f, 0.3f}, {0.04f, 0.06f},   {0.3f, 0.26f}, {0.3f, 0},       {-0.12f, 0.24f}, {0.3f, -0.06f}, {0.28f, 0.02f},
    {0.14f, 0.3f}, {0, 0.3f},        {0.2f, 0.08f}, {0.08f, -0.06f},
};

static const pare_super_shape shape = {
    .n_sub = 16,
    .sub_len = 16,
    .code_low = 0,
    .code_high = 3,
    .scale_low = 0,
    .scale_high = 15,
    .cuts = cuts,
    .reach =
        {[PARE_EFFORT_DEFAULT] = {.n_starts = 20, .n_moves = 1, .n_first = 3, .n_follow = 1, .scales = 2, .mins = 3},
         [PARE_EFFORT_BEST] = {.n_starts = 32, .n_moves = 1, .n_first = 6, .n_follow = 8, .scales = 3, .mins = 4},
         [PARE_EFFORT_FAST] = {.n_starts = 8, .n_moves = 1, .n_first = 1, .n_follow = 1, .scales = 1, .mins = 2}},
    .block_bytes = sizeof(pare_q2_k),
    .pack = pack,
};

void pare_q2_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_super_encode(&shape, src, row_len, weight, effort, dst);
}
