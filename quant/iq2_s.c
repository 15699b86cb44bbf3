#include "quant/iq2_s.h"

#include "quant/grid_search.h"

static void pack(const pare_grid_fit *fit, void *block)
{
    pare_iq2_s *b = block;
    memset(b, 0, sizeof *b);
    for (int g = 0; g < 32; g++) {
        b->qs[g] = (uint8_t)fit->entry[g][0];
        b->qh[g / 4] |= (uint8_t)(fit->entry[g][0] >> 8 << g % 4 * 2);
        b->signs[g] = fit->signs[g];
        b->scales[g / 4] |= (uint8_t)(fit->scale[g / 2] << g / 2 % 2 * 4);
    }
    pare_store_u16le(b->d, fit->d);
}

static void unpack(const void *block, pare_grid_fit *fit)
{
    const pare_iq2_s *b = block;
    *fit = (pare_grid_fit){.d = pare_load_u16le(b->d)};
    for (int g = 0; g < 32; g++) {
        fit->entry[g][0] = (uint16_t)(b->qs[g] | (b->qh[g / 4] >> g % 4 * 2 & 3) << 8);
        fit->signs[g] = b->signs[g];
        fit->scale[g / 2] = b->scales[g / 4] >> g / 2 % 2 * 4 & 15;
    }
}

static pare_grid_book book;

const pare_grid_shape pare_iq2_s_shape = {
    .n_blocks = 16,
    .entry_len = 8,
    .n_entries = 1024,
    .grid = pare_iq2_s_grid,
    .level = pare_iq2_level,
    .book = &book,
    .even = false,
    .unit = 0.125f,
    .block_bytes = sizeof(pare_iq2_s),
    .pack = pack,
    .unpack = unpack,
};

void pare_iq2_s_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_grid_encode(&pare_iq2_s_shape, src, row_len, weight, effort, dst);
}
