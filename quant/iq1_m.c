#include "quant/iq1_m.h"

#include "quant/iq1_search.h"

static void pack(const pare_grid_fit *fit, void *block)
{
    pare_iq1_m *b = block;
    memset(b, 0, sizeof *b);
    for (int g = 0; g < PARE_GRID_CELLS; g++) {
        unsigned high = (unsigned)(fit->entry[g][0] >> 8) | (fit->signs[g] != 0 ? 8u : 0);
        b->qs[g] = (uint8_t)fit->entry[g][0];
        b->qh[g / 2] |= (uint8_t)(high << g % 2 * 4);
    }
    for (int word = 0; word < 4; word++) {
        unsigned bits = (unsigned)(fit->d >> 4 * word & 15) << 12;
        for (int k = 0; k < 4; k++)
            bits |= (unsigned)fit->scale[4 * word + k] << 3 * k;
        pare_store_u16le(b->scales[word], (uint16_t)bits);
    }
}

static void unpack(const void *block, pare_grid_fit *fit)
{
    const pare_iq1_m *b = block;
    *fit = (pare_grid_fit){.d = pare_iq1_m_d(b)};
    for (int g = 0; g < PARE_GRID_CELLS; g++) {
        unsigned high = b->qh[g / 2] >> g % 2 * 4 & 15u;
        fit->scale[g / 2] = pare_load_u16le(b->scales[g / 8]) >> g / 2 % 4 * 3 & 7;
        fit->entry[g][0] = (uint16_t)(b->qs[g] | (high & 7) << 8);
        fit->signs[g] = high & 8 ? 255 : 0;
    }
}

const pare_grid_shape pare_iq1_m_shape = {
    .n_blocks = 16,
    PARE_IQ1_GRID,
    .block_bytes = sizeof(pare_iq1_m),
    .pack = pack,
    .unpack = unpack,
};

void pare_iq1_m_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_iq1_encode(&pare_iq1_m_shape, src, row_len, weight, effort, dst);
}
