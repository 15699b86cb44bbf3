#include "quant/iq1_m.h"

#include "quant/iq1_search.h"

static void pack(const pare_iq1_fit *fit, void *block)
{
    pare_iq1_m *b = block;
    memset(b, 0, sizeof *b);
    for (int g = 0; g < PARE_IQ1_GROUPS; g++) {
        unsigned high = (unsigned)(fit->entry[g] >> 8) | (fit->minus[g] ? 8u : 0);
        b->qs[g] = (uint8_t)fit->entry[g];
        b->qh[g / 2] |= (uint8_t)(high << g % 2 * 4);
    }
    for (int word = 0; word < 4; word++) {
        unsigned bits = (unsigned)(fit->d >> 4 * word & 15) << 12;
        for (int k = 0; k < 4; k++)
            bits |= (unsigned)fit->scale[4 * word + k] << 3 * k;
        pare_store_u16le(b->scales[word], (uint16_t)bits);
    }
}

static const pare_iq1_shape shape = {
    .n_units = 16,
    .groups_per_unit = 2,
    .one_shift = false,
    .block_bytes = sizeof(pare_iq1_m),
    .pack = pack,
};

void pare_iq1_m_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    pare_iq1_encode(&shape, src, row_len, weight, effort, dst);
}
