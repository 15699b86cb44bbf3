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

static pare_grid_book book;

static const pare_grid_shape shape = {
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
};

void pare_iq2_xs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_grid_encode(&shape, src, row_len, weight, effort, dst);
}
