#include "quant/int_block.h"
#include "quant/block32.h"
#include "quant/blocks.h"

#include <string.h>

static void put_q4_0(const int16_t *codes, uint16_t d, void *block)
{
    pare_q4_0 *b = block;
    pare_store_u16le(b->d, d);
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)((codes[j] + 8) | (codes[j + 16] + 8) << 4);
}

static void put_q5_0(const int16_t *codes, uint16_t d, void *block)
{
    pare_q5_0 *b = block;
    uint32_t high = 0;
    pare_store_u16le(b->d, d);
    for (int j = 0; j < 32; j++)
        high |= (uint32_t)(codes[j] >= 0) << j;
    pare_store_u32le(b->qh, high);
    for (int j = 0; j < 16; j++)
        b->qs[j] = (uint8_t)((codes[j] & 15) | (codes[j + 16] & 15) << 4);
}

static void put_q8_0(const int16_t *codes, uint16_t d, void *block)
{
    pare_q8_0 *b = block;
    pare_store_u16le(b->d, d);
    for (int j = 0; j < 32; j++)
        b->qs[j] = (uint8_t)codes[j];
}

static void put_tq2_0(const int16_t *codes, uint16_t d, void *block)
{
    pare_tq2_0 *b = block;
    pare_store_u16le(b->d, d);
    memset(b->qs, 0, sizeof b->qs);
    for (int i = 0; i < 256; i++)
        b->qs[i / 128 * 32 + i % 32] |= (uint8_t)((codes[i] + 1) << i % 128 / 32 * 2);
}

/* Smallest first. */
static const struct {
    pare_type type;
    int low, high;
    void (*put)(const int16_t *codes, uint16_t d, void *block);
} types[] = {
    {PARE_TYPE_TQ2_0, -1, 1, put_tq2_0},
    {PARE_TYPE_Q4_0, -8, 7, put_q4_0},
    {PARE_TYPE_Q5_0, -16, 15, put_q5_0},
    {PARE_TYPE_Q8_0, -128, 127, put_q8_0},
};
enum { N_TYPES = sizeof types / sizeof *types };

pare_type pare_int_block_type(int low, int high, uint64_t row_len, uint64_t run)
{
    for (size_t i = 0; i < N_TYPES; i++) {
        uint32_t len = pare_type_get(types[i].type)->block_len;
        if (low >= types[i].low && high <= types[i].high && row_len % len == 0 && (run % len == 0 || run == row_len))
            return types[i].type;
    }
    return PARE_TYPE_NONE;
}

void pare_int_block_put(pare_type type, const int16_t *codes, uint16_t d, void *block)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].type == type)
            types[i].put(codes, d, block);
}

bool pare_int_block_holds(pare_type from, pare_type to)
{
    static const struct {
        pare_type from, to;
    } pairs[] = {{PARE_TYPE_Q4_0, PARE_TYPE_Q4_1}, {PARE_TYPE_Q4_0, PARE_TYPE_Q5_0}, {PARE_TYPE_Q4_0, PARE_TYPE_Q5_1},
                 {PARE_TYPE_Q4_0, PARE_TYPE_Q8_0}, {PARE_TYPE_Q5_0, PARE_TYPE_Q5_1}, {PARE_TYPE_Q5_0, PARE_TYPE_Q8_0},
                 {PARE_TYPE_Q5_0, PARE_TYPE_Q4_1}};
    bool holds = from == to;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        holds = holds || (pairs[i].from == from && pairs[i].to == to);
    return holds;
}
