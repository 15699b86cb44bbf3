#include "quant/codes.h"

#include "quant/blocks.h"
#include "quant/codebooks.h"

#include <string.h>

/* 2 n codes of 4 bits in n bytes: byte j holds code j in its low nibble and code j + n in the high one. */
static void get_halves(const uint8_t *qs, int n, uint8_t *codes)
{
    for (int j = 0; j < n; j++) {
        codes[j] = qs[j] & 15;
        codes[j + n] = qs[j] >> 4;
    }
}

static void put_halves(uint8_t *qs, int n, const uint8_t *codes)
{
    for (int j = 0; j < n; j++)
        qs[j] = (uint8_t)((codes[j] & 15) | (codes[j + n] & 15) << 4);
}

/* A type whose block is n_parts times 2 n codes in halves, in its field qs. */
#define HALVES(stem, n_parts, half)                                                                                    \
    static void get_##stem(const void *block, uint8_t *codes)                                                          \
    {                                                                                                                  \
        const pare_##stem *b = block;                                                                                  \
        for (int s = 0; s < (n_parts); s++)                                                                            \
            get_halves(b->qs + s * (half), half, codes + 2 * s * (half));                                              \
    }                                                                                                                  \
    static void put_##stem(void *block, const uint8_t *codes)                                                          \
    {                                                                                                                  \
        pare_##stem *b = block;                                                                                        \
        for (int s = 0; s < (n_parts); s++)                                                                            \
            put_halves(b->qs + s * (half), half, codes + 2 * s * (half));                                              \
    }
HALVES(q4_0, 1, 16)
HALVES(q4_1, 1, 16)
HALVES(iq4_nl, 1, 16)
HALVES(iq4_xs, 8, 16)
HALVES(mxfp4, 1, 16)
HALVES(nvfp4, 4, 8)

/* The same with the fifth bits in a field qh. */
#define HALVES_AND_HIGH(stem)                                                                                          \
    static void get_##stem(const void *block, uint8_t *codes)                                                          \
    {                                                                                                                  \
        const pare_##stem *b = block;                                                                                  \
        get_halves(b->qs, 16, codes);                                                                                  \
        for (int j = 0; j < 32; j++)                                                                                   \
            codes[j] |= (uint8_t)((pare_load_u32le(b->qh) >> j & 1) << 4);                                             \
    }                                                                                                                  \
    static void put_##stem(void *block, const uint8_t *codes)                                                          \
    {                                                                                                                  \
        pare_##stem *b = block;                                                                                        \
        uint32_t high = 0;                                                                                             \
        put_halves(b->qs, 16, codes);                                                                                  \
        for (int j = 0; j < 32; j++)                                                                                   \
            high |= (uint32_t)(codes[j] >> 4) << j;                                                                    \
        pare_store_u32le(b->qh, high);                                                                                 \
    }
HALVES_AND_HIGH(q5_0)
HALVES_AND_HIGH(q5_1)

/* Sub-blocks of sub_len; `clear` empties the fields of the codes of block b. */
#define SUPER(stem, sub_len, clear)                                                                                    \
    static void get_##stem(const void *block, uint8_t *codes)                                                          \
    {                                                                                                                  \
        for (int j = 0; j < 256 / (sub_len); j++)                                                                      \
            for (int l = 0; l < (sub_len); l++)                                                                        \
                codes[(sub_len)*j + l] = (uint8_t)pare_##stem##_code(block, j, l);                                     \
    }                                                                                                                  \
    static void put_##stem(void *block, const uint8_t *codes)                                                          \
    {                                                                                                                  \
        pare_##stem *b = block;                                                                                        \
        clear;                                                                                                         \
        for (int j = 0; j < 256 / (sub_len); j++)                                                                      \
            for (int l = 0; l < (sub_len); l++)                                                                        \
                pare_##stem##_put_code(b, j, l, codes[(sub_len)*j + l]);                                               \
    }
SUPER(q2_k, 16, memset(b->qs, 0, sizeof b->qs))
SUPER(q3_k, 16, (memset(b->qs, 0, sizeof b->qs), memset(b->hmask, 0, sizeof b->hmask)))
SUPER(q4_k, 32, memset(b->qs, 0, sizeof b->qs))
SUPER(q5_k, 32, (memset(b->qs, 0, sizeof b->qs), memset(b->qh, 0, sizeof b->qh)))
SUPER(q6_k, 16, (memset(b->ql, 0, sizeof b->ql), memset(b->qh, 0, sizeof b->qh)))

/* Code 0 is -128. */
static void get_q8_0(const void *block, uint8_t *codes)
{
    const pare_q8_0 *b = block;
    for (int j = 0; j < 32; j++)
        codes[j] = b->qs[j] ^ 128;
}

static void put_q8_0(void *block, const uint8_t *codes)
{
    pare_q8_0 *b = block;
    for (int j = 0; j < 32; j++)
        b->qs[j] = codes[j] ^ 128;
}

static void get_q1_0(const void *block, uint8_t *codes)
{
    const pare_q1_0 *b = block;
    for (int j = 0; j < 128; j++)
        codes[j] = b->qs[j / 8] >> j % 8 & 1;
}

static void put_q1_0(void *block, const uint8_t *codes)
{
    pare_q1_0 *b = block;
    memset(b->qs, 0, sizeof b->qs);
    for (int j = 0; j < 128; j++)
        b->qs[j / 8] |= (uint8_t)(codes[j] << j % 8);
}

static void get_q2_0(const void *block, uint8_t *codes)
{
    const pare_q2_0 *b = block;
    for (int j = 0; j < 64; j++)
        codes[j] = b->qs[j / 4] >> j % 4 * 2 & 3;
}

static void put_q2_0(void *block, const uint8_t *codes)
{
    pare_q2_0_put_codes(block, codes);
}

static void get_tq1_0(const void *block, uint8_t *codes)
{
    pare_tq1_0 b = *(const pare_tq1_0 *)block;
    float level[256];
    pare_store_u16le(b.d, pare_f32_to_f16(1));
    pare_tq1_0_decode(&b, level, 1);
    for (int j = 0; j < 256; j++)
        codes[j] = (uint8_t)(level[j] + 1);
}

static void put_tq1_0(void *block, const uint8_t *codes)
{
    pare_tq1_0_put_codes(block, codes);
}

/* Code 3, which no encoder writes, counts as 2. */
static void get_tq2_0(const void *block, uint8_t *codes)
{
    const pare_tq2_0 *b = block;
    for (int j = 0; j < 256; j++) {
        int code = b->qs[j / 128 * 32 + j % 32] >> j % 128 / 32 * 2 & 3;
        codes[j] = (uint8_t)(code < 2 ? code : 2);
    }
}

static void put_tq2_0(void *block, const uint8_t *codes)
{
    pare_tq2_0_put_codes(block, codes);
}

#define ROW(id, stem, n_codes, of_code) [PARE_TYPE_##id] = {n_codes, of_code, get_##stem, put_##stem}

const pare_codes *pare_type_codes(pare_type type)
{
    static const pare_codes table[PARE_TYPE_COUNT] = {
        ROW(Q4_0, q4_0, 16, NULL),
        ROW(Q4_1, q4_1, 16, NULL),
        ROW(Q5_0, q5_0, 32, NULL),
        ROW(Q5_1, q5_1, 32, NULL),
        ROW(Q8_0, q8_0, 256, NULL),
        ROW(Q2_K, q2_k, 4, NULL),
        ROW(Q3_K, q3_k, 8, NULL),
        ROW(Q4_K, q4_k, 16, NULL),
        ROW(Q5_K, q5_k, 32, NULL),
        ROW(Q6_K, q6_k, 64, NULL),
        ROW(IQ4_NL, iq4_nl, 16, pare_iq4_level),
        ROW(IQ4_XS, iq4_xs, 16, pare_iq4_level),
        ROW(MXFP4, mxfp4, 16, pare_fp4_level),
        ROW(NVFP4, nvfp4, 16, pare_fp4_level),
        ROW(TQ1_0, tq1_0, 3, NULL),
        ROW(TQ2_0, tq2_0, 3, NULL),
        ROW(Q1_0, q1_0, 2, NULL),
        ROW(Q2_0, q2_0, 4, NULL),
    };
    return type < PARE_TYPE_COUNT && table[type].n > 0 ? &table[type] : NULL;
}
