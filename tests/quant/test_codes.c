/* Codes apart from their scales: what is put is got, everything else stays, and a code stands for what it is decoded
 * to.
 */
#include "check.h"
#include "quant/rows.h"

#include "quant/codes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N_BLOCKS = 6, MAX_BLOCK = 256, MAX_BYTES = 1024 };

/* Random codes of a block. */
static void random_codes(const pare_codes *c, size_t n, uint32_t *seed, uint8_t *codes)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)(unit_random(seed) * (float)c->n);
}

/* Other codes, at most: of bytes that no encoder writes. */
static void check_scales(const pare_type_info *info, const uint8_t *block, const uint8_t *put)
{
    bool ternary = strncmp(info->name, "tq", 2) == 0;
    size_t first = ternary ? info->block_bytes - 2 : 0; /* their scale is at the end */
    CHECK(memcmp(block + first, put + first, info->block_bytes - first) == 0);
}

static void what_is_put_is_got(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        const pare_codes *c = pare_type_codes((pare_type)t);
        const pare_type_info *info = pare_type_get((pare_type)t);
        for (int k = 0; k < N_BLOCKS && c != NULL; k++) {
            uint8_t block[MAX_BYTES], was[MAX_BYTES], codes[MAX_BLOCK], others[MAX_BLOCK], back[MAX_BLOCK];
            CHECK(info->block_len <= MAX_BLOCK && info->block_bytes <= MAX_BYTES && c->n <= 256);
            for (size_t i = 0; i < info->block_bytes; i++) /* all bits of scales and codes */
                block[i] = was[i] = (uint8_t)(unit_random(&seed) * 256);
            c->get(block, codes);
            for (size_t i = 0; i < info->block_len; i++)
                CHECK(codes[i] < c->n);
            c->put(was, codes); /* ternary types have more bytes than codes */
            check_scales(info, block, was);
            random_codes(c, info->block_len, &seed, others);
            c->put(block, others);
            c->get(block, back);
            CHECK(memcmp(back, others, info->block_len) == 0);
            c->put(block, codes); /* scales that were touched would not come back */
            if (memcmp(block, was, info->block_bytes) != 0)
                fail_msg("%s", info->name);
        }
    }
}

/* One row with the same code everywhere, under the scales of bytes. */
static void decode_constant(pare_type type, unsigned code, const uint8_t *bytes, float *out)
{
    const pare_type_info *info = pare_type_get(type);
    uint8_t codes[MAX_BLOCK], block[MAX_BYTES];
    memset(codes, (int)code, sizeof codes);
    for (size_t b = 0; b < N_BLOCKS; b++) {
        memcpy(block, bytes + b * info->block_bytes, info->block_bytes);
        pare_type_codes(type)->put(block, codes);
        info->decode(block, out + b * info->block_len, 1);
    }
}

static unsigned highest_code(const pare_codes *c)
{
    unsigned best = 0;
    if (c->level == NULL)
        return c->n - 1;
    for (unsigned i = 1; i < c->n; i++)
        best = c->level(i) > c->level(best) ? i : best;
    return best;
}

static void check_values(pare_type type)
{
    const pare_codes *c = pare_type_codes(type);
    const pare_type_info *info = pare_type_get(type);
    size_t n = N_BLOCKS * info->block_len, n_bytes = 0;
    static float x[N_BLOCKS * MAX_BLOCK], low[N_BLOCKS * MAX_BLOCK], high[N_BLOCKS * MAX_BLOCK],
        got[N_BLOCKS * MAX_BLOCK];
    uint32_t seed = 11;
    unsigned top = highest_code(c);
    fill_row(x, n, 7);
    uint8_t *bytes = encode_rows(type, x, 1, n, NULL, PARE_EFFORT_DEFAULT, &n_bytes), codes[MAX_BLOCK];
    decode_constant(type, 0, bytes, low);
    decode_constant(type, top, bytes, high);
    for (size_t b = 0; b < N_BLOCKS; b++) {
        uint8_t *block = bytes + b * info->block_bytes;
        size_t first = b * info->block_len, n_steps = 0;
        random_codes(c, info->block_len, &seed, codes);
        c->put(block, codes);
        info->decode(block, got + first, 1);
        for (size_t i = 0; i < info->block_len; i++) {
            double lo = (double)low[first + i], hi = (double)high[first + i], want;
            want = c->level == NULL ? lo + (hi - lo) * codes[i] / (c->n - 1) : hi * c->level(codes[i]) / c->level(top);
            if (!(fabs((double)got[first + i] - want) <= 1e-6 * (fabs(lo) + fabs(hi))))
                fail_msg("%s: weight %zu of code %d is %g, not %g", info->name, i, codes[i], (double)got[first + i],
                         want);
            n_steps += lo != hi;
        }
        CHECK(n_steps > info->block_len / 2);
    }
    free(bytes);
}

static void codes_stand_for_what_they_are_decoded_to(void **state)
{
    (void)state;
    for (int t = 0; t < PARE_TYPE_COUNT; t++)
        if (pare_type_codes((pare_type)t) != NULL)
            check_values((pare_type)t);
}

static void which_types_have_codes(void **state)
{
    (void)state;
    static const pare_type with[] = {
        PARE_TYPE_Q4_0,   PARE_TYPE_Q4_1,   PARE_TYPE_Q5_0,  PARE_TYPE_Q5_1,  PARE_TYPE_Q8_0,  PARE_TYPE_Q2_K,
        PARE_TYPE_Q3_K,   PARE_TYPE_Q4_K,   PARE_TYPE_Q5_K,  PARE_TYPE_Q6_K,  PARE_TYPE_MXFP4, PARE_TYPE_NVFP4,
        PARE_TYPE_IQ4_NL, PARE_TYPE_IQ4_XS, PARE_TYPE_TQ1_0, PARE_TYPE_TQ2_0, PARE_TYPE_Q1_0,  PARE_TYPE_Q2_0};
    static const pare_type without[] = {PARE_TYPE_F32,   PARE_TYPE_F16,  PARE_TYPE_BF16, PARE_TYPE_IQ1_S,
                                        PARE_TYPE_IQ3_S, PARE_TYPE_NONE, PARE_TYPE_COUNT};
    for (size_t i = 0; i < sizeof with / sizeof *with; i++)
        CHECK(pare_type_codes(with[i]) != NULL);
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        CHECK(pare_type_codes(without[i]) == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_types_have_codes),
        cmocka_unit_test(what_is_put_is_got),
        cmocka_unit_test(codes_stand_for_what_they_are_decoded_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
