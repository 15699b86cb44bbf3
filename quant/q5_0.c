#include "quant/q5_0.h"

#include "quant/block32.h"
#include "quant/plain_round.h"

static void pack(const pare_block32 *block, void *dst)
{
    pare_q5_0 *out = dst;
    pare_store_u16le(out->d, block->d);
    pare_store_u32le(out->qh, pare_pack_fifth(block->codes));
    pare_pack_nibbles(block->codes, out->qs);
}

void pare_q5_0_encode(const float *src, size_t row_len, const float *weight, pare_effort effort, void *dst)
{
    static const pare_block32_format format = {false, 32, sizeof(pare_q5_0), pack};
    pare_block32_encode(&format, src, row_len, weight, effort, dst);
}
