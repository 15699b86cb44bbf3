#include "quant/q4_1.h"

#include "quant/block32.h"
#include "quant/plain_round.h"

static void pack(const pare_block32 *block, void *dst)
{
    pare_q4_1 *out = dst;
    pare_store_u16le(out->d, block->d);
    pare_store_u16le(out->m, block->m);
    pare_pack_nibbles(block->codes, out->qs);
}

void pare_q4_1_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    static const pare_block32_format format = {true, 16, sizeof(pare_q4_1), pack};
    pare_block32_encode(&format, src, row_len, weight, effort, dst);
}
