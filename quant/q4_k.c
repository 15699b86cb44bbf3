#include "quant/q4_k.h"

#include "quant/scale_search.h"

void pare_q4_k_pack_scales(const int16_t *scale, const int16_t *min, uint8_t *packed)
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

static void pack(const pare_super_fit *fit, void *block)
{
    pare_q4_k *b = block;
    memset(b->qs, 0, sizeof b->qs);
    pare_store_u16le(b->d, fit->d);
    pare_store_u16le(b->dmin, fit->dmin);
    pare_q4_k_pack_scales(fit->scale, fit->min, b->scales);
    for (int j = 0; j < 8; j++)
        for (int l = 0; l < 32; l++)
            pare_q4_k_put_code(b, j, l, fit->code[32 * j + l]);
}

static const float cuts[][2] = {
    {0.02f, 0.02f},   {-0.02f, 0.04f},  {0.04f, 0},       {0, 0.02f},       {0, -0.06f},      {0, -0.02f},
    {0.1f, 0.02f},    {-0.08f, -0.08f}, {0.02f, 0.08f},   {0.02f, -0.08f},  {0.02f, 0.14f},   {0.02f, 0},
    {0, 0.04f},       {0.12f, 0},       {-0.02f, 0},      {0.08f, 0.04f},   {-0.06f, -0.1f},  {0.06f, 0.12f},
    {0.04f, -0.02f},  {0.04f, 0.06f},   {0, 0},           {-0.06f, 0},      {-0.08f, 0.02f},  {-0.1f, -0.06f},
    {0, 0.1f},        {0.04f, 0.02f},   {0, 0.18f},       {-0.06f, -0.12f}, {0.18f, 0.02f},   {-0.02f, 0.02f},
    {0.02f, -0.02f},  {0, 0.3f},        {0.08f, 0},       {0.02f, 0.04f},   {0.14f, 0.02f},   {0.12f, 0.1f},
    {-0.06f, -0.06f}, {-0.12f, -0.06f}, {0.06f, 0},       {0, 0.22f},       {-0.02f, -0.02f}, {0.02f, 0.16f},
    {0.02f, 0.1f},    {0.02f, -0.04f},  {0.04f, 0.2f},    {0.04f, 0.04f},   {0.08f, 0.3f},    {-0.02f, -0.1f},
    {0.04f, 0.08f},   {-0.08f, -0.06f}, {0.18f, 0},       {0.1f, 0},        {0, 0.06f},       {0.1f, 0.06f},
    {-0.02f, -0.04f}, {0.08f, 0.08f},   {0.02f, -0.06f},  {0.06f, 0.02f},   {0.06f, 0.16f},   {0.26f, 0.02f},
    {0.02f, -0.1f},   {0.16f, 0},       {-0.06f, -0.08f}, {0.08f, 0.12f},
};

static const pare_super_shape shape = {
    .n_sub = 8,
    .sub_len = 32,
    .code_low = 0,
    .code_high = 15,
    .scale_low = 0,
    .scale_high = 63,
    .cuts = cuts,
    .reach =
        {[PARE_EFFORT_DEFAULT] = {.n_starts = 40, .n_moves = 1, .n_first = 3, .n_follow = 1, .scales = 1, .mins = 2},
         [PARE_EFFORT_BEST] = {.n_starts = 64, .n_moves = 4, .n_first = 6, .n_follow = 8, .scales = 2, .mins = 3},
         [PARE_EFFORT_FAST] = {.n_starts = 12, .n_moves = 1, .n_first = 1, .n_follow = 1, .scales = 1, .mins = 1}},
    .block_bytes = sizeof(pare_q4_k),
    .pack = pack,
};

void pare_q4_k_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_super_encode(&shape, src, row_len, weight, effort, dst);
}
