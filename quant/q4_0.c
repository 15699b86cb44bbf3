#include "quant/q4_0.h"

#include "quant/block32.h"
#include "quant/plain_round.h"

static void pack(const pare_block32 *block, void *dst)
{
    pare_q4_0 *out = dst;
    pare_store_u16le(out->d, block->d);
    pare_pack_nibbles(block->codes, out->qs);
}

void pare_q4_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    static const pare_block32_format format = {false, 16, sizeof(pare_q4_0), pack};
    pare_block32_encode(&format, src, row_len, weight, effort, dst);
}
