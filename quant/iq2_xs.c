#include "quant/iq2_xs.h"

#include "quant/grid_search.h"

static void pack(const pare_grid_fit *fit, void *block)
{
    pare_iq2_xs *b = block;
    memset(b, 0, sizeof *b);
    for (int g = 0; g < 32; g++) {
        pare_store_u16le(b->qs[g], (uint16_t)(fit->entry[g][0] | (fit->signs[g] & 127) << 9));
        b->scales[g / 4] |= (uint8_t)(fit->scale[g / 2] << g / 2 % 2 * 4);
    }
    pare_store_u16le(b->d, fit->d);
}

static void unpack(const void *block, pare_grid_fit *fit)
{
    const pare_iq2_xs *b = block;
    *fit = (pare_grid_fit){.d = pare_load_u16le(b->d)};
    for (int g = 0; g < 32; g++) {
        unsigned code = pare_load_u16le(b->qs[g]);
        fit->entry[g][0] = (uint16_t)(code & 511);
        fit->signs[g] = (uint8_t)pare_iq_signs(code >> 9);
        fit->scale[g / 2] = b->scales[g / 4] >> g / 2 % 2 * 4 & 15;
    }
}

static pare_grid_book book;

const pare_grid_shape pare_iq2_xs_shape = {
    .n_blocks = 16,
    .entry_len = 8,
    .n_entries = 512,
    .grid = pare_iq2_xs_grid,
    .level = pare_iq2_level,
    .book = &book,
    .even = true,
    .unit = 0.125f,
    .block_bytes = sizeof(pare_iq2_xs),
    .pack = pack,
    .unpack = unpack,
};

void pare_iq2_xs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_grid_encode(&pare_iq2_xs_shape, src, row_len, weight, effort, dst);
}
