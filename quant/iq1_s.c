#include "quant/iq1_s.h"

#include "quant/iq1_search.h"

static void pack(const pare_iq1_fit *fit, void *block)
{
    pare_iq1_s *b = block;
    pare_store_u16le(b->d, fit->d);
    for (int s = 0; s < 8; s++) {
        unsigned qh = (unsigned)fit->scale[s] << 12 | (fit->minus[4 * s] ? 0x8000u : 0);
        for (int k = 0; k < 4; k++) {
            b->qs[4 * s + k] = (uint8_t)fit->entry[4 * s + k];
            qh |= (unsigned)(fit->entry[4 * s + k] >> 8) << 3 * k;
        }
        pare_store_u16le(b->qh[s], (uint16_t)qh);
    }
}

static const pare_iq1_shape shape = {
    .n_units = 8,
    .groups_per_unit = 4,
    .one_shift = true,
    .block_bytes = sizeof(pare_iq1_s),
    .pack = pack,
};

void pare_iq1_s_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_iq1_encode(&shape, src, row_len, weight, effort, dst);
}
