#include "quant/iq3_s.h"

#include "quant/grid_search.h"

static void pack(const pare_grid_fit *fit, void *block)
{
    pare_iq3_s *b = block;
    memset(b, 0, sizeof *b);
    for (int g = 0; g < 32; g++) {
        b->signs[g] = fit->signs[g];
        for (int h = 0; h < 2; h++) {
            int k = 2 * g + h;
            b->qs[k] = (uint8_t)fit->entry[g][h];
            b->qh[k / 8] |= (uint8_t)(fit->entry[g][h] >> 8 << k % 8);
        }
    }
    for (int s = 0; s < 8; s++)
        b->scales[s / 2] |= (uint8_t)(fit->scale[s] << s % 2 * 4);
    pare_store_u16le(b->d, fit->d);
}

static void unpack(const void *block, pare_grid_fit *fit)
{
    const pare_iq3_s *b = block;
    *fit = (pare_grid_fit){.d = pare_load_u16le(b->d)};
    for (int k = 0; k < 64; k++)
        fit->entry[k / 2][k % 2] = (uint16_t)(b->qs[k] | (b->qh[k / 8] >> k % 8 & 1) << 8);
    memcpy(fit->signs, b->signs, sizeof b->signs);
    for (int s = 0; s < 8; s++)
        fit->scale[s] = b->scales[s / 2] >> s % 2 * 4 & 15;
}

static pare_grid_book book;

const pare_grid_shape pare_iq3_s_shape = {
    .n_blocks = 8,
    .entry_len = 4,
    .n_entries = 512,
    .grid = pare_iq3_s_grid,
    .level = pare_iq3_s_level,
    .book = &book,
    .even = false,
    .unit = 1,
    .block_bytes = sizeof(pare_iq3_s),
    .pack = pack,
    .unpack = unpack,
};

void pare_iq3_s_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_grid_encode(&pare_iq3_s_shape, src, row_len, weight, effort, dst);
}
