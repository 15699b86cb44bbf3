#include "quant/iq1_s.h"

#include "quant/iq1_search.h"

static void pack(const pare_grid_fit *fit, void *block)
{
    pare_iq1_s *b = block;
    pare_store_u16le(b->d, fit->d);
    for (int s = 0; s < 8; s++) {
        unsigned qh = (unsigned)fit->scale[s] << 12 | (fit->signs[4 * s] != 0 ? 0x8000u : 0);
        for (int k = 0; k < 4; k++) {
            b->qs[4 * s + k] = (uint8_t)fit->entry[4 * s + k][0];
            qh |= (unsigned)(fit->entry[4 * s + k][0] >> 8) << 3 * k;
        }
        pare_store_u16le(b->qh[s], (uint16_t)qh);
    }
}

static void unpack(const void *block, pare_grid_fit *fit)
{
    const pare_iq1_s *b = block;
    *fit = (pare_grid_fit){.d = pare_load_u16le(b->d)};
    for (int g = 0; g < PARE_GRID_CELLS; g++) {
        unsigned qh = pare_load_u16le(b->qh[g / 4]);
        fit->scale[g / 4] = qh >> 12 & 7;
        fit->entry[g][0] = (uint16_t)(b->qs[g] | (qh >> g % 4 * 3 & 7) << 8);
        fit->signs[g] = qh & 0x8000 ? 255 : 0;
    }
}

const pare_grid_shape pare_iq1_s_shape = {
    .n_blocks = 8,
    PARE_IQ1_GRID,
    .one_shift = true,
    .block_bytes = sizeof(pare_iq1_s),
    .pack = pack,
    .unpack = unpack,
};

void pare_iq1_s_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_iq1_encode(&pare_iq1_s_shape, src, row_len, weight, effort, dst);
}
