#include "check.h"

#include "core/half.h"
#include "core/hash.h"
#include "quant/registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static pare_error err;

/* Reference data: 64 rows of 1024 weights, importances of the 1024 columns. */
enum { N_ROWS = 64, ROW_LEN = 1024 };

static void check_pair(const char *folder, const char *name, pare_type type)
{
    char path[256];
    const pare_type_info *info = pare_type_get(type);
    size_t n_blocks_bytes, n_float_bytes;
    snprintf(path, sizeof path, "oracle/blocks/%s/%s.blocks", folder, name);
    uint8_t *blocks = check_read_file(shared_path(path), &n_blocks_bytes);
    snprintf(path, sizeof path, "oracle/blocks/%s/%s.f32", folder, name);
    uint8_t *want = check_read_file(shared_path(path), &n_float_bytes);
    size_t n_floats = n_float_bytes / sizeof(float), n_blocks = n_blocks_bytes / info->block_bytes;
    CHECK(n_blocks * info->block_bytes == n_blocks_bytes);
    CHECK(n_blocks * info->block_len == n_floats);

    /* every alignment of the source */
    uint8_t *moved = check_malloc(n_blocks_bytes + 8);
    float *got = check_malloc(n_float_bytes);
    for (size_t shift = 0; shift < 8; shift++) {
        memcpy(moved + shift, blocks, n_blocks_bytes);
        memset(got, 0xa5, n_float_bytes);
        CHECK_OK(pare_decode_rows(type, moved + shift, 1, n_floats, got, &err), &err);
        if (memcmp(got, want, n_float_bytes) != 0)
            fail_msg("%s/%s: decoded weights differ from the reference (shift %zu)", folder, name, shift);
    }
    free(got);
    free(moved);
    free(want);
    free(blocks);
}

static void decodes_the_reference_vectors(void **state)
{
    (void)state;
    size_t n;
    char *index = (char *)check_read_file(shared_path("oracle/blocks/decode/index.tsv"), &n);
    index = realloc(index, n + 1);
    index[n] = '\0';
    int n_types = 0;
    char *save = NULL;
    for (char *line = strtok_r(index, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char name[32];
        unsigned number, len, bytes;
        if (sscanf(line, "%31s %u %u %u", name, &number, &len, &bytes) != 4)
            continue; /* the title */
        pare_type type = pare_type_from_gguf(number);
        CHECK(type != PARE_TYPE_NONE && type == pare_type_from_name(name));
        CHECK(pare_type_get(type)->block_len == len && pare_type_get(type)->block_bytes == bytes);
        check_pair("decode", name, type);
        n_types++;
    }
    assert_int_equal(n_types, 28);
    free(index);
}

static void decodes_the_sweeps(void **state)
{
    (void)state;
    static const char *const names[] = {"MXFP4_scales", "NVFP4_scales", "IQ2_XXS_grid", "IQ2_XS_grid", "IQ2_S_grid",
                                        "IQ3_XXS_grid", "IQ3_S_grid",   "IQ1_S_grid",   "IQ1_M_grid"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char type[32];
        snprintf(type, sizeof type, "%.*s", (int)(strrchr(names[i], '_') - names[i]), names[i]);
        check_pair("decode/extra", names[i], pare_type_from_name(type));
    }
}

static void encodes_the_reference_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"};
    size_t n;
    float *input = (float *)check_read_file(shared_path("oracle/blocks/encode/input.f32"), &n);
    assert_int_equal(n, N_ROWS * ROW_LEN * sizeof(float));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, "oracle/blocks/encode/%s.bytes", names[i]);
        uint8_t *want = check_read_file(shared_path(path), &n), *got = check_malloc(n);
        uint64_t row_bytes;
        CHECK(pare_row_bytes(pare_type_from_name(names[i]), ROW_LEN, &row_bytes) && row_bytes * N_ROWS == n);
        CHECK_OK(
            pare_encode_rows(pare_type_from_name(names[i]), input, N_ROWS, ROW_LEN, NULL, PARE_EFFORT_RTN, got, &err),
            &err);
        if (memcmp(got, want, n) != 0)
            fail_msg("%s: encoded bytes differ from the reference", names[i]);
        free(got);
        free(want);
    }
    free(input);
}

/* The SHA-256 that the reference table has for a type, without importances, whose encoder there is plain rounding. */
static bool reference_digest(const char *table, const char *name, char hex[PARE_SHA256_HEX])
{
    char type[32], weighted[8];
    for (const char *line = table; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "%31s %*u %7s %*s %*s %*s %64s", type, weighted, hex) == 3 && strcmp(type, name) == 0 &&
            strcmp(weighted, "no") == 0)
            return true;
    }
    return false;
}

static void plain_rounding_gives_the_reference_digests(void **state)
{
    (void)state;
    static const char *const names[] = {"F16",   "BF16",  "Q4_0",  "Q4_1",  "Q5_0", "Q5_1", "Q8_0",
                                        "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "Q1_0", "Q2_0"};
    size_t n;
    float *input = (float *)check_read_file(shared_path("oracle/blocks/encode/input.f32"), &n);
    char *table = (char *)check_read_file(shared_path("oracle/blocks/encode/ggml.tsv"), &n);
    table = realloc(table, n + 1);
    CHECK(table != NULL);
    table[n] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char want[PARE_SHA256_HEX] = "", got[PARE_SHA256_HEX];
        pare_digest digest = {0};
        pare_type type = pare_type_from_name(names[i]);
        uint64_t row_bytes;
        CHECK(reference_digest(table, names[i], want));
        CHECK(pare_row_bytes(type, ROW_LEN, &row_bytes));
        uint8_t *bytes = check_malloc((size_t)row_bytes * N_ROWS);
        CHECK_OK(pare_encode_rows(type, input, N_ROWS, ROW_LEN, NULL, PARE_EFFORT_RTN, bytes, &err), &err);
        CHECK_OK(pare_hash_bytes(bytes, (size_t)row_bytes * N_ROWS, PARE_HASH_SHA256, &digest, &err), &err);
        pare_hex(got, digest.sha256, sizeof digest.sha256);
        if (strcmp(got, want) != 0)
            fail_msg("%s: plain rounding gives %s, the reference has %s", names[i], got, want);
        free(bytes);
    }
    free(table);
    free(input);
}

/* ---- without reference data ---- */

/* A fixed input, made with integers only: signs, magnitudes over 2^-12 .. 1, exact zeros. */
static void fixed_input(float *dst, size_t n, bool is_weight)
{
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        float value = (float)(x >> 8) * (1.0f / 16777216.0f);
        value *= 1.0f / (float)(1u << (x >> 4 & 3) * (i / 64 % 5));
        dst[i] = x % 97 == 0 ? 0 : is_weight || (x & 0x10000) ? value : -value;
    }
}

static void names_and_numbers_are_unique(void **state)
{
    (void)state;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        const pare_type_info *info = pare_type_get((pare_type)t);
        char upper[32];
        size_t n = strlen(info->name);
        for (size_t i = 0; i <= n; i++)
            upper[i] = (char)(info->name[i] >= 'a' && info->name[i] <= 'z' ? info->name[i] - 32 : info->name[i]);
        CHECK(pare_type_from_name(info->name) == (pare_type)t && pare_type_from_name(upper) == (pare_type)t);
        if (info->gguf >= 0)
            CHECK(pare_type_from_gguf((uint32_t)info->gguf) == (pare_type)t);
        size_t len = strlen(info->safetensors);
        CHECK(len == 0 || pare_type_from_safetensors(info->safetensors, len) == (pare_type)t);
        CHECK(len > 0 || info->gguf >= 0); /* it can be stored somewhere */
        CHECK(info->block_len > 0 && info->block_bytes > 0);
        CHECK(info->decode != NULL || t == PARE_TYPE_C64);
        CHECK(pare_type_foreign_name((uint32_t)info->gguf) == NULL);
    }
    CHECK(pare_type_from_name("") == PARE_TYPE_NONE && pare_type_from_name("q4") == PARE_TYPE_NONE);
    CHECK(pare_type_from_name("q4_K_M") == PARE_TYPE_NONE);
    CHECK(pare_type_from_safetensors("", 0) == PARE_TYPE_NONE);
    CHECK(pare_type_from_safetensors("bf16", 4) == PARE_TYPE_NONE); /* upper case only */
    CHECK(pare_type_from_safetensors("F16x", 3) == PARE_TYPE_F16);
    CHECK(pare_type_from_safetensors("F1", 2) == PARE_TYPE_NONE);
    CHECK(pare_type_from_safetensors("F16\0", 4) == PARE_TYPE_NONE);
}

static void foreign_numbers_have_names(void **state)
{
    (void)state;
    int n_held = 0;
    for (uint32_t number = 0; number < 43; number++) {
        bool held = pare_type_from_gguf(number) != PARE_TYPE_NONE;
        CHECK(held != (pare_type_foreign_name(number) != NULL));
        n_held += held;
    }
    assert_int_equal(n_held, 35);
    CHECK(strstr(pare_type_foreign_name(4), "Q4_2") != NULL);
    CHECK(strstr(pare_type_foreign_name(144), "ik_llama.cpp") != NULL);
    CHECK(pare_type_foreign_name(43) == NULL && pare_type_from_gguf(43) == PARE_TYPE_NONE);
    CHECK(pare_type_from_gguf(UINT32_MAX) == PARE_TYPE_NONE && pare_type_foreign_name(UINT32_MAX) == NULL);
}

static void rows_are_whole_blocks(void **state)
{
    (void)state;
    uint64_t n = 0;
    CHECK(pare_row_bytes(PARE_TYPE_Q4_0, 4096, &n) && n == 2304);
    CHECK(pare_row_bytes(PARE_TYPE_Q4_K, 0, &n) && n == 0);
    CHECK(pare_row_bytes(PARE_TYPE_F4, 6, &n) && n == 3);
    CHECK(pare_row_bytes(PARE_TYPE_F6_E2M3, 8, &n) && n == 6);
    CHECK(!pare_row_bytes(PARE_TYPE_F4, 7, &n));
    CHECK(!pare_row_bytes(PARE_TYPE_Q4_0, 33, &n));
    CHECK(!pare_row_bytes(PARE_TYPE_F64, UINT64_MAX / 4, &n)); /* overflow */
    float x[40] = {0};
    uint8_t bytes[400];
    CHECK(pare_encode_rows(PARE_TYPE_Q4_0, x, 1, 40, NULL, PARE_EFFORT_DEFAULT, bytes, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "40") != NULL && strstr(err.text, "32") != NULL);
    CHECK(pare_decode_rows(PARE_TYPE_Q4_0, bytes, 1, 40, x, &err) == PARE_ERR_RANGE);
    CHECK(pare_decode_rows(PARE_TYPE_C64, bytes, 1, 1, x, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(pare_encode_rows(PARE_TYPE_I32, x, 1, 32, NULL, PARE_EFFORT_DEFAULT, bytes, &err) == PARE_ERR_UNSUPPORTED);
    CHECK(pare_encode_rows(PARE_TYPE_Q8_0, x, 0, 32, NULL, PARE_EFFORT_DEFAULT, bytes, &err) == PARE_OK);
}

/* Decoders take any bytes: no fault, no undefined behaviour (sanitizers), and the same floats each time. */
static void decodes_any_bytes(void **state)
{
    (void)state;
    enum { BLOCKS = 64 };
    float *first = check_malloc(BLOCKS * 256 * sizeof(float)), *second = check_malloc(BLOCKS * 256 * sizeof(float));
    uint32_t x = 1;
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        const pare_type_info *info = pare_type_get((pare_type)t);
        size_t n_bytes = (size_t)info->block_bytes * BLOCKS;
        uint8_t *bytes = check_malloc(n_bytes); /* exact size, so a sanitizer sees a read past the end */
        for (int fill = 0; info->decode != NULL && fill < 40; fill++) {
            for (size_t i = 0; i < n_bytes; i++) {
                x = x * 1664525 + 1013904223;
                bytes[i] = fill == 0 ? 0 : fill == 1 ? 0xff : (uint8_t)(x >> 24);
            }
            info->decode(bytes, first, BLOCKS);
            info->decode(bytes, second, BLOCKS);
            CHECK(memcmp(first, second, BLOCKS * info->block_len * sizeof(float)) == 0);
        }
        free(bytes);
    }
    free(second);
    free(first);
}

static float decode_one(pare_type type, const void *bytes, int which)
{
    float out[4];
    pare_type_get(type)->decode(bytes, out, 1);
    return out[which];
}

static void decodes_plain_numbers(void **state)
{
    (void)state;
    static const uint8_t ones[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t two[8] = {2}, high[8] = {0, 0, 0, 0, 0, 0, 0, 0x80};
    CHECK(decode_one(PARE_TYPE_I8, ones, 0) == -1 && decode_one(PARE_TYPE_U8, ones, 0) == 255);
    CHECK(decode_one(PARE_TYPE_I16, ones, 0) == -1 && decode_one(PARE_TYPE_U16, ones, 0) == 65535);
    CHECK(decode_one(PARE_TYPE_I32, ones, 0) == -1 && decode_one(PARE_TYPE_U32, ones, 0) == 4294967296.0f);
    CHECK(decode_one(PARE_TYPE_I64, ones, 0) == -1 && decode_one(PARE_TYPE_U64, ones, 0) == 18446744073709551616.0f);
    CHECK(decode_one(PARE_TYPE_I64, high, 0) == -9223372036854775808.0f);
    CHECK(decode_one(PARE_TYPE_BOOL, two, 0) == 1 && decode_one(PARE_TYPE_BOOL, two + 1, 0) == 0);
    static const double doubles[] = {0.0, -0.0, 1.0, -2.5, 1e-300, 1e300, 0.1};
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        float got = decode_one(PARE_TYPE_F64, &doubles[i], 0), want = (float)doubles[i];
        CHECK(memcmp(&got, &want, sizeof got) == 0);
    }
}

/* The formats without a scale, against their definition in double. */
static const struct {
    pare_type type;
    int exponent_bits, fraction_bits, bias, nan_from, n_nan;
} minifloats[] = {
    {PARE_TYPE_F8_E4M3, 4, 3, 7, 0x7f, 1},
    {PARE_TYPE_F8_E5M2, 5, 2, 15, 0x7d, 3},
    {PARE_TYPE_F8_E4M3FNUZ, 4, 3, 8, 0x80, 1},
    {PARE_TYPE_F8_E5M2FNUZ, 5, 2, 16, 0x80, 1},
};

static void decodes_float8(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof minifloats / sizeof *minifloats; k++)
        for (int code = 0; code < 256; code++) {
            int f = minifloats[k].fraction_bits, e = code >> f & ((1 << minifloats[k].exponent_bits) - 1);
            int masked = minifloats[k].nan_from < 128 ? code & 127 : code;
            double fraction = ldexp(code & ((1 << f) - 1), -f), sign = code >> 7 ? -1 : 1;
            double want = sign * ldexp(e != 0 ? 1 + fraction : fraction, (e != 0 ? e : 1) - minifloats[k].bias);
            uint8_t byte = (uint8_t)code;
            float got = decode_one(minifloats[k].type, &byte, 0);
            bool is_nan = masked >= minifloats[k].nan_from && masked < minifloats[k].nan_from + minifloats[k].n_nan;
            if (minifloats[k].type == PARE_TYPE_F8_E5M2 && masked == 0x7c)
                want = sign * HUGE_VAL;
            CHECK(is_nan ? isnan(got) : (double)got == want);
            CHECK((pare_find_nonfinite_block(minifloats[k].type, &byte, 1) == 0) == !isfinite(got));
        }
    for (int code = 0; code < 256; code++) {
        uint8_t byte = (uint8_t)code;
        float got = decode_one(PARE_TYPE_F8_E8M0, &byte, 0);
        CHECK(code == 255 ? isnan(got) : (double)got == ldexp(1, code - 127));
    }
}

static void decodes_packed_small_floats(void **state)
{
    (void)state;
    static const float e2m1[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (int code = 0; code < 16; code++) {
        uint8_t pair = (uint8_t)(code | (15 - code) << 4);
        float want = code < 8 ? e2m1[code] : -e2m1[code - 8];
        CHECK(decode_one(PARE_TYPE_F4, &pair, 0) == want);
        CHECK(decode_one(PARE_TYPE_F4, &pair, 1) == (code >= 8 ? e2m1[15 - code] : -e2m1[7 - code]));
    }
    for (int which = 0; which < 4; which++)
        for (int code = 0; code < 64; code++) {
            uint32_t four = (uint32_t)code << 6 * which;
            uint8_t bytes[3] = {(uint8_t)four, (uint8_t)(four >> 8), (uint8_t)(four >> 16)};
            int e = code >> 3 & 3, f = code & 7;
            double want = (code >> 5 ? -1 : 1) * ldexp(e != 0 ? 8 + f : f, (e != 0 ? e : 1) - 1 - 3);
            CHECK((double)decode_one(PARE_TYPE_F6_E2M3, bytes, which) == want);
            e = code >> 2 & 7, f = code & 3;
            want = (code >> 5 ? -1 : 1) * ldexp(e != 0 ? 4 + f : f, (e != 0 ? e : 1) - 3 - 2);
            CHECK((double)decode_one(PARE_TYPE_F6_E3M2, bytes, which) == want);
        }
}

/* A value that no type can hold is an error that names its row and column, for every encoder. */
static void refuses(pare_type type, float *rows, size_t row, size_t column, float value, const float *weight)
{
    enum { LEN = 512, ROWS = 3 };
    static uint8_t bytes[ROWS * LEN * sizeof(float)];
    char want[64];
    float kept = rows[row * LEN + column];
    rows[row * LEN + column] = value;
    pare_status st = pare_encode_rows(type, rows, ROWS, LEN, weight, PARE_EFFORT_DEFAULT, bytes, &err);
    rows[row * LEN + column] = kept;
    snprintf(want, sizeof want, "row %zu, column %zu:", row, column);
    if (st != PARE_ERR_NUMBER || strstr(err.text, want) == NULL)
        fail_msg("%s: %g in %s gives '%s'", pare_type_get(type)->name, (double)value, want, err.text);
}

static void names_the_value_it_cannot_hold(void **state)
{
    (void)state;
    enum { LEN = 512, ROWS = 3 };
    static float rows[ROWS * LEN], weight[LEN];
    fixed_input(rows, ROWS * LEN, false);
    fixed_input(weight, LEN, true);
    for (int t = 0; t < PARE_TYPE_COUNT; t++)
        for (int weighted = 0; weighted < 2; weighted++) {
            const float *w = weighted ? weight : NULL;
            if (pare_encoder((pare_type)t) == NULL)
                continue;
            refuses((pare_type)t, rows, 0, 0, NAN, w);
            refuses((pare_type)t, rows, 2, LEN - 1, -HUGE_VALF, w);
            refuses((pare_type)t, rows, 1, 300, HUGE_VALF, w);
            if (t == PARE_TYPE_F32)
                continue;
            refuses((pare_type)t, rows, 1, 77, 3.4e38f, w);
            if (t != PARE_TYPE_BF16 && t != PARE_TYPE_MXFP4)
                refuses((pare_type)t, rows, 2, 400, -9e8f, w);
        }
    refuses(PARE_TYPE_Q4_0, rows, 1, 40, 1e7f, NULL);
    refuses(PARE_TYPE_Q4_0, rows, 1, 40, 1e7f, weight);
    refuses(PARE_TYPE_F16, rows, 1, 41, 65520.0f, NULL);
    refuses(PARE_TYPE_NVFP4, rows, 1, 42, -5400.0f, NULL);
    refuses(PARE_TYPE_IQ4_NL, rows, 1, 43, 8.4e6f, weight);
    refuses(PARE_TYPE_IQ4_XS, rows, 1, 43, -2.7e8f, NULL);
    refuses(PARE_TYPE_IQ1_M, rows, 1, 43, -1.2e6f, weight);
}

static void zero_importances_count_as_none(void **state)
{
    (void)state;
    float x[512], zeros[512] = {0};
    uint8_t plain[512 * sizeof(float)], other[512 * sizeof(float)];
    fixed_input(x, 512, false);
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        uint64_t n_bytes;
        if (pare_encoder((pare_type)t) == NULL)
            continue;
        CHECK(pare_row_bytes((pare_type)t, 512, &n_bytes));
        CHECK_OK(pare_encode_rows((pare_type)t, x, 1, 512, NULL, PARE_EFFORT_DEFAULT, plain, &err), &err);
        CHECK_OK(pare_encode_rows((pare_type)t, x, 1, 512, zeros, PARE_EFFORT_DEFAULT, other, &err), &err);
        CHECK(memcmp(plain, other, (size_t)n_bytes) == 0);
    }
}

static void checks_importances(void **state)
{
    (void)state;
    float x[64], weight[64] = {0};
    uint8_t other[72];
    fixed_input(x, 64, false);
    weight[63] = 1e30f; /* sums must not overflow; the first block falls back to equal weights */
    CHECK_OK(pare_encode_rows(PARE_TYPE_Q4_0, x, 1, 64, weight, PARE_EFFORT_DEFAULT, other, &err), &err);
    CHECK_OK(pare_decode_rows(PARE_TYPE_Q4_0, other, 1, 64, (float[64]){0}, &err), &err);
    static const float wrong[] = {-1.0f, NAN, HUGE_VALF};
    for (size_t i = 0; i < 3; i++) {
        weight[5] = wrong[i];
        CHECK(pare_encode_rows(PARE_TYPE_Q4_0, x, 1, 64, weight, PARE_EFFORT_DEFAULT, other, &err) == PARE_ERR_NUMBER);
        CHECK(strstr(err.text, "importance of column 5") != NULL);
    }
}

/* Columns that calibration never saw keep their weights. */
static void unseen_columns_survive(void **state)
{
    (void)state;
    static const char *const names[] = {"q4_0", "q4_1", "q5_0", "q5_1"};
    float x[64], weight[64] = {0}, back[64];
    uint8_t bytes[64];
    fixed_input(x, 64, false);
    for (size_t i = 32; i < 64; i++)
        weight[i] = 1;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        double error = 0, energy = 0;
        pare_type type = pare_type_from_name(names[k]);
        CHECK_OK(pare_encode_rows(type, x, 1, 64, weight, PARE_EFFORT_DEFAULT, bytes, &err), &err);
        CHECK_OK(pare_decode_rows(type, bytes, 1, 64, back, &err), &err);
        for (size_t i = 0; i < 32; i++) {
            error += (double)(x[i] - back[i]) * (x[i] - back[i]);
            energy += (double)x[i] * x[i];
        }
        CHECK(error < 0.02 * energy);
    }
}

static void check_degenerate(pare_type type, const float *x, const float *weight, double tolerance)
{
    float back[256];
    uint8_t bytes[1024];
    CHECK_OK(pare_encode_rows(type, x, 1, 256, weight, PARE_EFFORT_DEFAULT, bytes, &err), &err);
    CHECK_OK(pare_decode_rows(type, bytes, 1, 256, back, &err), &err);
    for (size_t i = 0; i < 256; i++)
        if (!(fabs((double)back[i] - (double)x[i]) <= tolerance))
            fail_msg("%s: %g came back as %g", pare_type_get(type)->name, (double)x[i], (double)back[i]);
}

/* Every encoder takes rows of zeros, of one value, of tiny and of large values, with both kinds of importances. */
static void encodes_degenerate_rows(void **state)
{
    (void)state;
    static const float values[] = {0.0f, -0.0f, 1.0f, -3.0f, 1e-8f, 1e-30f, 1e-45f, -1e-38f, 6e4f, 1.1754944e-38f};
    float x[256], weight[256];
    fixed_input(weight, 256, true);
    for (size_t i = 0; i < 256; i++)
        weight[i] += 1.0f / 64; /* an importance of nothing may lose its weight */
    for (int t = 0; t < PARE_TYPE_COUNT; t++)
        for (size_t k = 0; k < 2 * sizeof values / sizeof *values; k++) {
            float value = values[k / 2];
            double tolerance = 0.5 * fabs((double)value) + 1e-7;
            if (t == PARE_TYPE_NVFP4 && value > 5376)
                continue; /* too large for it */
            if (t == PARE_TYPE_Q1_0 || t == PARE_TYPE_IQ1_S || t == PARE_TYPE_IQ1_M || t == PARE_TYPE_IQ2_XXS ||
                t == PARE_TYPE_IQ2_XS || t == PARE_TYPE_IQ2_S || t == PARE_TYPE_IQ3_XXS || t == PARE_TYPE_IQ3_S)
                tolerance *= 2;              /* they have no zero */
            for (size_t i = 0; i < 256; i++) /* constant, or one value among zeros */
                x[i] = k % 2 == 0 || i % 32 == 9 ? value : 0;
            for (int weighted = 0; weighted < 2; weighted++)
                if (pare_encoder((pare_type)t) != NULL)
                    check_degenerate((pare_type)t, x, weighted ? weight : NULL, tolerance);
        }
}

/* Blocks whose scales are binary16 stand for `factor` times what they stood for; others stay as they are. */
static void blocks_are_scaled(void **state)
{
    (void)state;
    enum { LEN = 512 };
    static float x[LEN], before[LEN], after[LEN];
    static uint8_t bytes[LEN * 8], same[LEN * 8];
    int n_scaled = 0;
    fixed_input(x, LEN, false);
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        const pare_type_info *info = pare_type_get((pare_type)t);
        size_t n_blocks = LEN / info->block_len;
        if (pare_encoder((pare_type)t) == NULL)
            continue;
        pare_encoder((pare_type)t)(x, LEN, NULL, PARE_EFFORT_DEFAULT, bytes);
        memcpy(same, bytes, sizeof same);
        info->decode(bytes, before, n_blocks);
        bool scaled = pare_scale_blocks((pare_type)t, bytes, n_blocks, 1.25f);
        info->decode(bytes, after, n_blocks);
        n_scaled += scaled;
        CHECK(scaled || memcmp(bytes, same, sizeof same) == 0);
        for (size_t i = 0; i < LEN && scaled; i++)
            CHECK(fabsf(after[i] - 1.25f * before[i]) <= 0x1p-10f * 2 * 1.25f);
    }
    assert_int_equal(n_scaled, 23); /* all block types but MXFP4 and NVFP4 */

    uint8_t block[18] = {0xff, 0x7b}; /* the largest binary16: stays instead of becoming infinite */
    CHECK(pare_scale_blocks(PARE_TYPE_Q4_0, block, 1, 2) && block[0] == 0xff && block[1] == 0x7b);
}

/* A NaN or infinity in each scale field of each block is found, at its block. */
static void finds_scales_that_are_not_finite(void **state)
{
    (void)state;
    static const struct {
        pare_type type;
        size_t offset, n_bytes;
        uint64_t bits; /* little endian */
        bool found;
    } cases[] = {
        {PARE_TYPE_F32, 0, 4, 0x7f800000, true},
        {PARE_TYPE_F32, 0, 4, 0xffc00001, true},
        {PARE_TYPE_F32, 0, 4, 0x7f7fffff, false},
        {PARE_TYPE_F64, 0, 8, 0xfff0000000000000, true},
        {PARE_TYPE_F64, 0, 8, 0x7fefffffffffffff, false},
        {PARE_TYPE_F16, 0, 2, 0xfc00, true},
        {PARE_TYPE_F16, 0, 2, 0x7bff, false},
        {PARE_TYPE_BF16, 0, 2, 0x7f80, true},
        {PARE_TYPE_BF16, 0, 2, 0x7f7f, false},
        {PARE_TYPE_Q4_0, 0, 2, 0x7c00, true},
        {PARE_TYPE_Q4_0, 2, 2, 0x7c00, false},
        {PARE_TYPE_Q4_1, 2, 2, 0x7e00, true},
        {PARE_TYPE_Q5_0, 0, 2, 0xffff, true},
        {PARE_TYPE_Q5_1, 2, 2, 0xfc00, true},
        {PARE_TYPE_Q8_0, 0, 2, 0x7c00, true},
        {PARE_TYPE_Q2_K, 80, 2, 0x7c00, true},
        {PARE_TYPE_Q2_K, 82, 2, 0x7c00, true},
        {PARE_TYPE_Q3_K, 108, 2, 0x7c00, true},
        {PARE_TYPE_Q4_K, 0, 2, 0x7c00, true},
        {PARE_TYPE_Q4_K, 2, 2, 0x7c00, true},
        {PARE_TYPE_Q5_K, 2, 2, 0x7c00, true},
        {PARE_TYPE_Q6_K, 208, 2, 0x7c00, true},
        {PARE_TYPE_Q8_K, 0, 4, 0x7f800000, true},
        {PARE_TYPE_TQ1_0, 52, 2, 0x7c00, true},
        {PARE_TYPE_TQ2_0, 64, 2, 0x7c00, true},
        {PARE_TYPE_IQ4_XS, 0, 2, 0x7c00, true},
        {PARE_TYPE_MXFP4, 0, 1, 0xff, true},
        {PARE_TYPE_MXFP4, 0, 1, 0xfe, false},
        {PARE_TYPE_NVFP4, 0, 4, 0xffffffff, false},
        {PARE_TYPE_IQ1_M, 48, 8, 0x7000c00000000000, true},
        {PARE_TYPE_IQ1_M, 48, 8, 0x70008fff0fff0fff, false},
        {PARE_TYPE_I32, 0, 4, 0x7f800000, false},
        {PARE_TYPE_F8_E4M3, 0, 1, 0xff, true},
        {PARE_TYPE_F8_E5M2, 0, 1, 0x7c, true},
        {PARE_TYPE_F8_E5M2FNUZ, 0, 1, 0x80, true},
        {PARE_TYPE_F8_E8M0, 0, 1, 0xff, true},
        {PARE_TYPE_C64, 4, 4, 0x7f800000, true},
    };
    enum { N = 5, AT = 3 };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const pare_type_info *info = pare_type_get(cases[k].type);
        uint8_t *blocks = check_malloc((size_t)info->block_bytes * N);
        memset(blocks, 0, (size_t)info->block_bytes * N);
        CHECK(pare_find_nonfinite_block(cases[k].type, blocks, N) == SIZE_MAX);
        for (size_t i = 0; i < cases[k].n_bytes; i++)
            blocks[(size_t)info->block_bytes * AT + cases[k].offset + i] = (uint8_t)(cases[k].bits >> 8 * i);
        size_t want = cases[k].found ? AT : SIZE_MAX;
        if (pare_find_nonfinite_block(cases[k].type, blocks, N) != want)
            fail_msg("%s: case %zu", info->name, k);
        CHECK(pare_find_nonfinite_block(cases[k].type, blocks, AT) == SIZE_MAX);
        free(blocks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_the_reference_vectors),
        cmocka_unit_test(decodes_the_sweeps),
        cmocka_unit_test(encodes_the_reference_bytes),
        cmocka_unit_test(plain_rounding_gives_the_reference_digests),
        cmocka_unit_test(names_and_numbers_are_unique),
        cmocka_unit_test(foreign_numbers_have_names),
        cmocka_unit_test(rows_are_whole_blocks),
        cmocka_unit_test(decodes_any_bytes),
        cmocka_unit_test(decodes_plain_numbers),
        cmocka_unit_test(decodes_float8),
        cmocka_unit_test(decodes_packed_small_floats),
        cmocka_unit_test(names_the_value_it_cannot_hold),
        cmocka_unit_test(zero_importances_count_as_none),
        cmocka_unit_test(checks_importances),
        cmocka_unit_test(unseen_columns_survive),
        cmocka_unit_test(encodes_degenerate_rows),
        cmocka_unit_test(blocks_are_scaled),
        cmocka_unit_test(finds_scales_that_are_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
