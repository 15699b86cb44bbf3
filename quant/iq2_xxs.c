#include "quant/iq2_xxs.h"

#include "quant/grid_search.h"

static void pack(const pare_grid_fit *fit, void *block)
{
    pare_iq2_xxs *b = block;
    memset(b, 0, sizeof *b);
    for (int s = 0; s < 8; s++) {
        uint32_t tail = (uint32_t)fit->scale[s] << 28;
        for (int g = 0; g < 4; g++) {
            b->qs[s][g] = (uint8_t)fit->entry[4 * s + g][0];
            tail |= (fit->signs[4 * s + g] & 127u) << 7 * g;
        }
        pare_store_u32le(b->qs[s] + 4, tail);
    }
    pare_store_u16le(b->d, fit->d);
}

static void unpack(const void *block, pare_grid_fit *fit)
{
    const pare_iq2_xxs *b = block;
    *fit = (pare_grid_fit){.d = pare_load_u16le(b->d)};
    for (int s = 0; s < 8; s++) {
        uint32_t tail = pare_load_u32le(b->qs[s] + 4);
        fit->scale[s] = (uint8_t)(tail >> 28);
        for (int g = 0; g < 4; g++) {
            fit->entry[4 * s + g][0] = b->qs[s][g];
            fit->signs[4 * s + g] = (uint8_t)pare_iq_signs(tail >> 7 * g & 127);
        }
    }
}

static pare_grid_book book;

const pare_grid_shape pare_iq2_xxs_shape = {
    .n_blocks = 8,
    .entry_len = 8,
    .n_entries = 256,
    .grid = pare_iq2_xxs_grid,
    .level = pare_iq2_level,
    .book = &book,
    .even = true,
    .unit = 0.125f,
    .block_bytes = sizeof(pare_iq2_xxs),
    .pack = pack,
    .unpack = unpack,
};

void pare_iq2_xxs_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_grid_encode(&pare_iq2_xxs_shape, src, row_len, weight, effort, dst);
}
