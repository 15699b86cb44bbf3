/* Corners of the layouts of packed weights, with tensors made here: padding, second blocks, columns in another order.
 */
#include "check.h"
#include "core/bytes.h"
#include "core/half.h"
#include "core/json.h"
#include "formats/packed.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct toy {
    pare_model raw;
    pare_arena arena;
    json_t *config;
} toy;

static void open_toy(toy *t, const char *settings)
{
    pare_error err = {0};
    *t = (toy){.config = json_object()};
    CHECK(json_object_set_new(t->config, "quantization_config", json_loads(settings, JSON_DECODE_ANY, NULL)) == 0);
    CHECK_OK(pare_model_reserve(&t->raw, 16, &err), &err);
}

static void put(toy *t, const char *name, pare_type type, uint64_t rows, uint64_t columns, const void *data)
{
    pare_error err = {0};
    pare_tensor made = {.name = name, .type = type, .n_dims = rows > 0 ? 2 : 1, .data = data};
    made.dim[0] = rows > 0 ? rows : columns;
    made.dim[1] = rows > 0 ? columns : 0;
    CHECK_OK(pare_tensor_set_shape(&made, "toy", &err), &err);
    CHECK_OK(pare_model_add(&t->raw, &made, NULL, &err), &err);
}

/* The weight "m.weight", whose values go to x, or the error. */
static pare_status unpack(toy *t, float *x, pare_type *type, pare_error *err)
{
    pare_status st = pare_packed_open(&t->raw, &t->arena, temp_dir(), t->config, "toy/config.json", err);
    if (st == PARE_OK) {
        const pare_tensor *w = pare_model_find(&t->raw, "m.weight");
        CHECK(w != NULL && t->raw.n_tensors == 1);
        CHECK_OK(pare_tensor_read_f32(w, 0, w->n_rows, x, err), err);
        *type = w->type;
    }
    pare_model_close(&t->raw);
    pare_arena_close(&t->arena);
    json_decref(t->config);
    return st;
}

static unsigned next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

/* ---- AWQ ---- */

enum { GEMV_ROWS = 3, GEMV_COLUMNS = 1152 };

/* The words of a row's zero points, and scales for as many groups, are padded: with anything, which nobody looks at. */
static void gemv_is_padded(void **state)
{
    (void)state;
    static const struct {
        unsigned group, words;
        const char *settings;
    } rows[] = {
        {32, 8, "{\"quant_method\":\"awq\",\"version\":\"GEMV\",\"bits\":4,\"group_size\":32}"},
        {64, 4, "{\"quant_method\":\"awq\",\"version\":\"gemv\",\"bits\":4,\"group_size\":64}"},
        {128, 2, "{\"quant_method\":\"awq\",\"version\":\"gemv\",\"w_bit\":4,\"q_group_size\":128}"},
        {1152, 1, "{\"quant_method\":\"awq\",\"version\":\"gemv\",\"bits\":4,\"group_size\":-1}"},
    };
    static uint8_t codes[GEMV_ROWS][GEMV_COLUMNS / 2], zeros[GEMV_ROWS][32], scales[GEMV_ROWS][128];
    static float x[GEMV_ROWS * GEMV_COLUMNS];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned words = rows[i].words, group = rows[i].group;
        uint32_t seed = 3;
        uint8_t *z = &zeros[0][0], *s = &scales[0][0];
        toy t;
        pare_error err = {0};
        pare_type type;
        for (size_t k = 0; k < sizeof codes; k++)
            (&codes[0][0])[k] = (uint8_t)next(&seed);
        memset(z, 0xff, sizeof zeros); /* 15 in the padding would ask for Q5_0 */
        memset(s, 0xff, sizeof scales);
        for (unsigned r = 0; r < GEMV_ROWS; r++)
            for (unsigned g = 0; g < GEMV_COLUMNS / group; g++) {
                unsigned at = 8 * words * r + g;
                z[at / 2] = (uint8_t)((z[at / 2] & (at % 2 ? 0x0f : 0xf0)) | 8 << at % 2 * 4);
                pare_store_u16le(s + 2 * (size_t)at, (uint16_t)(0x3c00 + 64 * g + r));
            }
        open_toy(&t, rows[i].settings);
        put(&t, "m.qweight", PARE_TYPE_I32, GEMV_ROWS, GEMV_COLUMNS / 8, codes);
        put(&t, "m.qzeros", PARE_TYPE_I32, GEMV_ROWS, words, z);
        put(&t, "m.scales", PARE_TYPE_F16, GEMV_ROWS, 8 * (uint64_t)words, s);
        CHECK_OK(unpack(&t, x, &type, &err), &err);
        CHECK(type == PARE_TYPE_Q4_0);
        for (unsigned r = 0; r < GEMV_ROWS; r++)
            for (unsigned c = 0; c < GEMV_COLUMNS; c++) {
                int code = codes[r][c / 2] >> c % 2 * 4 & 15;
                float scale = pare_f16_to_f32((uint16_t)(0x3c00 + 64 * (c / group) + r));
                CHECK(x[r * GEMV_COLUMNS + c] == (float)(code - 8) * scale);
            }
        open_toy(&t, rows[i].settings); /* without the padding */
        put(&t, "m.qweight", PARE_TYPE_I32, GEMV_ROWS, GEMV_COLUMNS / 8, codes);
        put(&t, "m.qzeros", PARE_TYPE_I32, GEMV_ROWS, words, z);
        put(&t, "m.scales", PARE_TYPE_F16, GEMV_ROWS, 8 * (uint64_t)words - 1, s);
        CHECK(unpack(&t, x, &type, &err) == PARE_ERR_RANGE && strstr(err.text, "'m.scales'") != NULL);
    }
}

/* ---- bitsandbytes ---- */

enum { BNB_ROWS = 6, BNB_COLUMNS = 100, BNB_BLOCK = 64, BNB_BLOCKS = 10, NESTED_BLOCK = 4, NESTED_BLOCKS = 3 };

/* Scales of blocks in blocks of their own, three of them; blocks run on from row to row, and the last one is short. */
static void nested_scales(void **state)
{
    (void)state;
    static const char state_text[] =
        "{\"blocksize\":64,\"shape\":[6,100],\"nested_blocksize\":4,\"nested_offset\":0.25}";
    static uint8_t codes[BNB_ROWS * BNB_COLUMNS / 2], absmax[BNB_BLOCKS], nested[4 * NESTED_BLOCKS], map[4 * 16],
        nested_map[4 * 256];
    static float x[BNB_ROWS * BNB_COLUMNS];
    uint32_t seed = 5;
    toy t;
    pare_error err = {0};
    pare_type type;
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)next(&seed);
    for (unsigned i = 0; i < BNB_BLOCKS; i++)
        absmax[i] = (uint8_t)(250 - 7 * i);
    for (unsigned i = 0; i < NESTED_BLOCKS; i++)
        pare_store_u32le(nested + 4 * (size_t)i, pare_f32_to_bits(1 + (float)i));
    for (int i = 0; i < 16; i++)
        pare_store_u32le(map + 4 * (size_t)i, pare_f32_to_bits((float)i / 8 - 1));
    for (int i = 0; i < 256; i++)
        pare_store_u32le(nested_map + 4 * (size_t)i, pare_f32_to_bits((float)i / 256));
    open_toy(&t, "{\"quant_method\":\"bitsandbytes\"}");
    put(&t, "m.weight", PARE_TYPE_U8, sizeof codes, 1, codes);
    put(&t, "m.weight.absmax", PARE_TYPE_U8, 0, BNB_BLOCKS, absmax);
    put(&t, "m.weight.nested_absmax", PARE_TYPE_F32, 0, NESTED_BLOCKS, nested);
    put(&t, "m.weight.nested_quant_map", PARE_TYPE_F32, 0, 256, nested_map);
    put(&t, "m.weight.quant_map", PARE_TYPE_F32, 0, 16, map);
    put(&t, "m.weight.quant_state.bitsandbytes__nf4", PARE_TYPE_U8, 0, sizeof state_text - 1, state_text);
    CHECK_OK(unpack(&t, x, &type, &err), &err);
    CHECK(type == PARE_TYPE_F32);
    for (unsigned i = 0; i < BNB_ROWS * BNB_COLUMNS; i++) {
        int code = codes[i / 2] >> (i % 2 ? 0 : 4) & 15;
        unsigned block = i / BNB_BLOCK;
        float scale = (float)absmax[block] / 256 * (1 + (float)(block / NESTED_BLOCK)) + 0.25f;
        CHECK(x[i] == ((float)code / 8 - 1) * scale);
    }
}

/* Rows of tiles, as GPUs once wanted them, are not what a row-major reader would take them for. */
static void tiled_bytes_are_refused(void **state)
{
    (void)state;
    static const uint8_t codes[4] = {1, 2, 0xff, 127}, row_major[1] = {0}, tiled[1] = {2}, several[2] = {0, 0};
    static const uint8_t scales[8] = {0, 0, 0xfe, 0x42, 0, 0, 0xfe, 0x43}; /* 127 and 508 */
    const uint8_t *const formats[] = {NULL, row_major, tiled, several};
    for (int i = 0; i < 4; i++) {
        float x[4];
        toy t;
        pare_error err = {0};
        pare_type type;
        open_toy(&t, "{\"quant_method\":\"bitsandbytes\"}");
        put(&t, "m.weight", PARE_TYPE_I8, 2, 2, codes);
        put(&t, "m.SCB", PARE_TYPE_F32, 0, 2, scales);
        if (formats[i] != NULL)
            put(&t, "m.weight_format", PARE_TYPE_U8, 0, i == 3 ? 2 : 1, formats[i]);
        pare_status st = unpack(&t, x, &type, &err);
        if (i < 2) {
            CHECK_OK(st, &err);
            CHECK(x[0] == 1 && x[1] == 2 && x[2] == -4 && x[3] == 508);
        } else
            CHECK(st == PARE_ERR_UNSUPPORTED && strstr(err.text, "'m.weight_format' is not 0") != NULL);
    }
}

/* ---- compressed-tensors ---- */

enum { CT_COLUMNS = 8 };

/* Eight columns in two groups, of scales 1 and 16. */
static void columns_in_another_order(void **state)
{
    (void)state;
    static const struct {
        int32_t order[CT_COLUMNS];
        pare_status st;
        const char *words;
    } rows[] = {
        {{0, 0, 0, 0, 1, 1, 1, 1}, PARE_OK, ""},
        {{1, 0, 0, 1, 1, 0, 1, 0}, PARE_OK, ""},
        {{-1, -1, -1, -1, -1, -1, -1, -1}, PARE_OK, ""}, /* not in use */
        {{-1, 0, 0, 0, 1, 1, 1, 1}, PARE_ERR_RANGE, "column 0 is in group -1 of 2"},
        {{0, 0, 0, -1, 1, 1, 1, 1}, PARE_ERR_RANGE, "column 3 is in group -1 of 2"},
        {{0, 0, 2, 0, 1, 1, 1, 1}, PARE_ERR_RANGE, "column 2 is in group 2 of 2"},
        {{0, 0, 0, 0, 0, 1, 1, 1}, PARE_ERR_RANGE, "group 0 has 5 columns, where each has 4"},
    };
    static const char settings[] = "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{\"weights\":{"
                                   "\"num_bits\":4,\"group_size\":4,\"actorder\":\"group\"}}}}";
    static const uint8_t codes[4] = {0x98, 0xba, 0xdc, 0xfe}, shape[8] = {1, 0, 0, 0, 8}; /* 0 to 7 */
    static const uint8_t scales[4] = {0x80, 0x3f, 0x80, 0x41};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t order[4 * CT_COLUMNS];
        float x[CT_COLUMNS];
        toy t;
        pare_error err = {0};
        pare_type type;
        for (int c = 0; c < CT_COLUMNS; c++)
            pare_store_u32le(order + 4 * (size_t)c, (uint32_t)rows[i].order[c]);
        open_toy(&t, settings);
        put(&t, "m.weight_packed", PARE_TYPE_I32, 1, 1, codes);
        put(&t, "m.weight_scale", PARE_TYPE_BF16, 1, 2, scales);
        put(&t, "m.weight_shape", PARE_TYPE_I32, 0, 2, shape);
        put(&t, "m.weight_g_idx", PARE_TYPE_I32, 0, CT_COLUMNS, order);
        pare_status st = unpack(&t, x, &type, &err);
        if (st != rows[i].st || (st != PARE_OK && strstr(err.text, rows[i].words) == NULL))
            fail_msg("row %zu: status %d, '%s'", i, (int)st, err.text);
        for (int c = 0; c < CT_COLUMNS && st == PARE_OK; c++) {
            int group = rows[i].order[c] < 0 ? c / 4 : rows[i].order[c];
            CHECK(x[c] == (float)c * (group == 1 ? 16.0f : 1.0f));
        }
    }
}

/* An order for floats is not left out in silence; nor one of another length: without numbers, none is not -1. */
static void orders_that_do_not_fit(void **state)
{
    (void)state;
    static const uint8_t codes[8] = {0}, scales[4] = {0x80, 0x3f, 0x80, 0x41}, order[4 * 9] = {0},
                         shape[8] = {1, 0, 0, 0, 8};
    toy t;
    pare_error err = {0};
    pare_type type;
    float x[CT_COLUMNS];
    open_toy(&t, "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{}}}");
    put(&t, "m.weight", PARE_TYPE_F8_E4M3, 1, 8, codes);
    put(&t, "m.weight_scale", PARE_TYPE_BF16, 1, 2, scales);
    put(&t, "m.weight_g_idx", PARE_TYPE_I32, 0, 8, order);
    CHECK(unpack(&t, x, &type, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "'m.weight_g_idx'") != NULL);
    for (uint64_t n = 0; n < 10; n += 9) {
        char words[64];
        open_toy(&t,
                 "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":4}}}}");
        put(&t, "m.weight_packed", PARE_TYPE_I32, 1, 1, codes);
        put(&t, "m.weight_scale", PARE_TYPE_BF16, 1, 2, scales);
        put(&t, "m.weight_shape", PARE_TYPE_I32, 0, 2, shape);
        put(&t, "m.weight_g_idx", PARE_TYPE_I32, 0, n, order);
        snprintf(words, sizeof words, "%d i32, where a weight of 8", (int)n);
        CHECK(unpack(&t, x, &type, &err) == PARE_ERR_RANGE && strstr(err.text, words) != NULL);
    }
}

/* Rows that end within a word; bytes in tiles, which are not the rows that as many scales would be for. */
static void words_and_tiles(void **state)
{
    (void)state;
    static const uint8_t codes[4] = {0x88, 0xc6, 0xfa}, shape[8] = {1, 0, 0, 0, 8}; /* 3 bits: 0 to 7 */
    static const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8}, scales[4] = {0x80, 0x3f, 0x80, 0x41};
    toy t;
    pare_error err = {0};
    pare_type type;
    float x[8];
    open_toy(&t, "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":3}}}}");
    put(&t, "m.weight_packed", PARE_TYPE_I32, 1, 1, codes);
    put(&t, "m.weight_scale", PARE_TYPE_BF16, 1, 2, scales);
    put(&t, "m.weight_shape", PARE_TYPE_I32, 0, 2, shape);
    CHECK_OK(unpack(&t, x, &type, &err), &err);
    for (int c = 0; c < 8; c++)
        CHECK(x[c] == (float)(c - 4) * (c < 4 ? 1.0f : 16.0f));
    open_toy(&t, "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":8,"
                 "\"block_structure\":[2,2]}}}}");
    put(&t, "m.weight", PARE_TYPE_I8, 2, 4, bytes);
    put(&t, "m.weight_scale", PARE_TYPE_BF16, 1, 2, scales);
    CHECK_OK(unpack(&t, x, &type, &err), &err);
    for (int i = 0; i < 8; i++)
        CHECK(x[i] == (float)(i + 1) * (i % 4 < 2 ? 1.0f : 16.0f));
}

/* ---- GPTQ ---- */

enum { GPTQ_COLUMNS = 128, GPTQ_ROWS = 8 };

/* Group of column c, of two: in order; in runs of 32, which blocks have too; turn about. */
static unsigned gptq_group(int order, unsigned c)
{
    return order == 0 ? c / 64 : order == 1 ? 1 - c / 32 % 2 : c % 3 == 0;
}

/* Zero points and scales belong to the groups, whatever their order; a scale that is no binary16 number needs floats.
 */
static void gptq_groups_in_any_order(void **state)
{
    (void)state;
    static uint8_t codes[GPTQ_COLUMNS / 8][4 * GPTQ_ROWS], index[4 * GPTQ_COLUMNS];
    static const uint8_t zeros[8] = {0x10, 0x32, 0x54, 0x76, 0xa9, 0xcb, 0xed, 0x0f}; /* less 1 */
    static float x[GPTQ_ROWS * GPTQ_COLUMNS];
    uint32_t seed = 9;
    for (size_t i = 0; i < sizeof codes; i++)
        (&codes[0][0])[i] = (uint8_t)next(&seed);
    for (int k = 0; k < 4; k++) {
        int order = k == 3 ? 0 : k;
        float scales[2][GPTQ_ROWS];
        uint8_t stored[4 * 2 * GPTQ_ROWS];
        toy t;
        pare_error err = {0};
        pare_type type;
        for (unsigned i = 0; i < 2 * GPTQ_ROWS; i++) {
            scales[i / GPTQ_ROWS][i % GPTQ_ROWS] = (float)(i + 1) / (k == 3 ? 10.0f : 16.0f);
            pare_store_u32le(stored + 4 * (size_t)i, pare_f32_to_bits(scales[i / GPTQ_ROWS][i % GPTQ_ROWS]));
        }
        for (unsigned c = 0; c < GPTQ_COLUMNS; c++)
            pare_store_u32le(index + 4 * (size_t)c, gptq_group(order, c));
        open_toy(&t, "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":64}");
        put(&t, "m.qweight", PARE_TYPE_I32, GPTQ_COLUMNS / 8, GPTQ_ROWS, codes);
        put(&t, "m.qzeros", PARE_TYPE_I32, 2, 1, zeros);
        put(&t, "m.scales", PARE_TYPE_F32, 2, GPTQ_ROWS, stored);
        put(&t, "m.g_idx", PARE_TYPE_I32, 0, GPTQ_COLUMNS, index);
        CHECK_OK(unpack(&t, x, &type, &err), &err);
        CHECK(type == (k < 2 ? PARE_TYPE_Q5_0 : PARE_TYPE_F32));
        for (unsigned r = 0; r < GPTQ_ROWS; r++)
            for (unsigned c = 0; c < GPTQ_COLUMNS; c++) {
                unsigned g = gptq_group(order, c);
                int code = codes[c / 8][4 * r + c % 8 / 2] >> c % 2 * 4 & 15,
                    zero = (zeros[4 * g + r / 2] >> r % 2 * 4 & 15) + 1;
                CHECK(x[r * GPTQ_COLUMNS + c] == (float)(code - zero) * scales[g][r]);
            }
    }
}

/* Words that would be filled in part. */
static void gptq_words_are_full(void **state)
{
    (void)state;
    static const uint8_t bytes[256] = {0};
    static const struct {
        uint64_t words, rows;
        const char *settings;
    } rows[] = {
        {4, 4, "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":-1}"},
        {2, 32, "{\"quant_method\":\"gptq\",\"bits\":3,\"group_size\":-1}"},
    };
    for (size_t i = 0; i < 2; i++) {
        float x[1];
        toy t;
        pare_error err = {0};
        pare_type type;
        open_toy(&t, rows[i].settings);
        put(&t, "m.qweight", PARE_TYPE_I32, rows[i].words, rows[i].rows, bytes);
        put(&t, "m.qzeros", PARE_TYPE_I32, 1, i == 0 ? 0 : 3, bytes);
        put(&t, "m.scales", PARE_TYPE_F16, 1, rows[i].rows, bytes);
        CHECK(unpack(&t, x, &type, &err) == PARE_ERR_RANGE && strstr(err.text, "does not hold numbers of") != NULL);
    }
}

/* ---- settings ---- */

/* null is as good as nothing; a file that stands in for the settings must lie in the folder. */
static void settings_that_are_none(void **state)
{
    (void)state;
    static const float weight[2] = {1, 2};
    char path[4300];
    toy t;
    pare_error err = {0};
    pare_type type;
    float x[2];
    open_toy(&t, "null");
    put(&t, "m.weight", PARE_TYPE_F32, 1, 2, weight);
    CHECK_OK(unpack(&t, x, &type, &err), &err);
    CHECK(x[1] == 2);
    snprintf(path, sizeof path, "%s/quant_config.json", temp_dir());
    CHECK(symlink("/dev/null", path) == 0);
    open_toy(&t, "null");
    put(&t, "m.weight", PARE_TYPE_F32, 1, 2, weight);
    CHECK(unpack(&t, x, &type, &err) == PARE_ERR_FORMAT && strstr(err.text, "quant_config.json: is a") != NULL);
    CHECK(unlink(path) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemv_is_padded),           cmocka_unit_test(nested_scales),
        cmocka_unit_test(tiled_bytes_are_refused),  cmocka_unit_test(columns_in_another_order),
        cmocka_unit_test(orders_that_do_not_fit),   cmocka_unit_test(settings_that_are_none),
        cmocka_unit_test(gptq_groups_in_any_order), cmocka_unit_test(gptq_words_are_full),
        cmocka_unit_test(words_and_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
