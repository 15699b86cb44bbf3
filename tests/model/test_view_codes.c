/* Codes and scales made by hand, and what the matrix then must be. */
#include "check.h"
#include "core/half.h"
#include "model/view_codes.h"
#include "quant/registry.h"

#include <string.h>

enum { MAX_VALUES = 256 };

static pare_tensor stored(const char *name, pare_type type, uint64_t n_rows, uint64_t row_len, const void *data)
{
    pare_tensor t = {.name = name, .type = type, .n_dims = 2, .dim = {n_rows, row_len}, .data = data};
    pare_error err = {0};
    CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
    return t;
}

/* The matrix as floats, read in one piece and row by row. */
static void expect(const pare_codes *how, pare_type type, const float *want)
{
    pare_arena arena = {0};
    pare_error err = {0};
    pare_tensor t;
    float x[MAX_VALUES], y[MAX_VALUES];
    CHECK_OK(pare_view_codes(&arena, &t, how, &err), &err);
    CHECK(t.type == type);
    CHECK(t.n_rows * t.row_len <= MAX_VALUES);
    CHECK_OK(pare_tensor_read_f32(&t, 0, t.n_rows, x, &err), &err);
    for (uint64_t r = t.n_rows; r-- > 0;)
        CHECK_OK(pare_tensor_read_f32(&t, r, 1, y + r * t.row_len, &err), &err);
    for (uint64_t i = 0; i < t.n_rows * t.row_len; i++) {
        CHECK(x[i] == want[i]);
        CHECK(y[i] == want[i]);
    }
    pare_arena_close(&arena);
}

static void refused(const pare_codes *how, pare_status status, const char *says)
{
    pare_arena arena = {0};
    pare_error err = {0};
    pare_tensor t;
    CHECK(pare_view_codes(&arena, &t, how, &err) == status);
    CHECK(strstr(err.text, says) != NULL);
    pare_arena_close(&arena);
}

static void scales_of_each_shape(void **state)
{
    (void)state;
    const int8_t code[] = {1, 2, 3, 4, -5, 6, -128, 127, 9};
    const float one[] = {0.5f}, row[] = {1, 2, 0.25f}, tile[] = {1, 10, 100, 1000};
    const pare_tensor c = stored("w", PARE_TYPE_I8, 3, 3, code), s1 = stored("s", PARE_TYPE_F32, 1, 1, one),
                      s3 = stored("s", PARE_TYPE_F32, 1, 3, row), s4 = stored("s", PARE_TYPE_F32, 2, 2, tile);
    pare_codes how = {
        .n_dims = 2, .dim = {3, 3}, .block_rows = 3, .block_cols = 3, .code = &c, .scale = &s1, .factor = 1};
    expect(&how, PARE_TYPE_BF16, (const float[]){0.5f, 1, 1.5f, 2, -2.5f, 3, -64, 63.5f, 4.5f});
    how.scale = &s3; /* a vector counts as a column */
    how.block_rows = 1;
    expect(&how, PARE_TYPE_BF16, (const float[]){1, 2, 3, 8, -10, 12, -32, 31.75f, 2.25f});
    how.scale = &s4; /* tiles of 2 by 2, cut at the edges */
    how.block_rows = how.block_cols = 2;
    expect(&how, PARE_TYPE_F32, (const float[]){1, 2, 30, 4, -5, 60, -12800, 12700, 9000});
    how.block_rows = 1;
    refused(&how, PARE_ERR_RANGE,
            "tensor 's' of 2 rows of 2 elements: the scales of a matrix of 3 rows of 3 weights "
            "are 3 rows of 2");
    how.block_rows = 2;
    how.dim[1] = 4;
    refused(&how, PARE_ERR_RANGE,
            "tensor 'w' of 3 rows of 3 elements: the codes of a matrix of 3 rows of 4 weights "
            "are 3 rows of 4");
}

static void ternary_planes(void **state)
{
    (void)state;
    /* stored row i holds rows i, i + 2, i + 4, i + 6 of 8 */
    const uint8_t code[] = {0 | 1 << 2 | 2 << 4 | 0 << 6, 2 | 2 << 2 | 1 << 4 | 0 << 6};
    const float scale[] = {4};
    const pare_tensor c = stored("w", PARE_TYPE_U8, 2, 1, code), s = stored("s", PARE_TYPE_F32, 1, 1, scale);
    pare_codes how = {.ternary = true,
                      .n_dims = 2,
                      .dim = {8, 1},
                      .block_rows = 8,
                      .block_cols = 1,
                      .code = &c,
                      .scale = &s,
                      .factor = 1};
    expect(&how, PARE_TYPE_BF16, (const float[]){-4, 4, 0, 4, 4, 0, -4, -4});
    how.divide = true;
    expect(&how, PARE_TYPE_F32, (const float[]){-0.25f, 0.25f, 0, 0.25f, 0.25f, 0, -0.25f, -0.25f});
    how.dim[0] = 6;
    refused(&how, PARE_ERR_RANGE, "the codes of a matrix of 6 rows");
}

static void fp8_in_bf16_where_that_holds_it(void **state)
{
    (void)state;
    const uint8_t code[] = {0x38, 0x3f, 0xc9, 0x01}; /* 1, 1.875, -4.5, 2^-9 */
    float scale[] = {0x1.1p-3f};                     /* 5 bits: 9 with the codes' 4 */
    const pare_tensor c = stored("w", PARE_TYPE_F8_E4M3, 1, 4, code), s = stored("s", PARE_TYPE_F32, 1, 1, scale);
    pare_codes how = {
        .n_dims = 2, .dim = {1, 4}, .block_rows = 1, .block_cols = 4, .code = &c, .scale = &s, .factor = 1};
    expect(&how, PARE_TYPE_F32, (const float[]){0x1.1p-3f, 1.875f * 0x1.1p-3f, -4.5f * 0x1.1p-3f, 0x1p-9f * 0x1.1p-3f});
    scale[0] = 0x1.ep-3f; /* 4 bits */
    expect(&how, PARE_TYPE_BF16,
           (const float[]){0x1.ep-3f, 1.875f * 0x1.ep-3f, -4.5f * 0x1.ep-3f, 0x1p-9f * 0x1.ep-3f});
    scale[0] = 0x1p-120f; /* subnormal BF16 would lose bits */
    expect(&how, PARE_TYPE_F32, (const float[]){0x1p-120f, 1.875f * 0x1p-120f, -4.5f * 0x1p-120f, 0x1p-129f});
    how.factor = 0.0f / 0.0f;
    refused(&how, PARE_ERR_NUMBER, "its scale is");
}

/* Codes 0..15 in order, twice or four times, and scales that differ. */
static void fp4_blocks(bool mx, pare_type scale_type, const uint8_t *scale, uint64_t block, float factor)
{
    uint8_t code[64];
    float want[64], got[64];
    pare_arena arena = {0};
    pare_error err = {0};
    pare_tensor t, plain;
    pare_status st = PARE_OK;
    for (unsigned i = 0; i < 32; i++)
        code[i] = (uint8_t)((2 * i % 16) | ((2 * i + 1) % 16) << 4);
    const pare_tensor c = stored("w", PARE_TYPE_F4, 1, 64, code), s = stored("s", scale_type, 1, 64 / block, scale);
    const pare_codes how = {.n_dims = 2,
                            .dim = {1, 64},
                            .block_rows = 1,
                            .block_cols = block,
                            .code = &c,
                            .scale = &s,
                            .scale_is_exponent = mx,
                            .factor = factor};
    CHECK(pare_view_fp4(&arena, &t, &how, &st, &err));
    CHECK_OK(st, &err);
    CHECK(t.type == (mx ? PARE_TYPE_MXFP4 : PARE_TYPE_NVFP4));
    CHECK((t.factor == NULL) == (factor == 1));
    CHECK_OK(pare_view_codes(&arena, &plain, &how, &err), &err);
    CHECK_OK(pare_tensor_read_f32(&plain, 0, 1, want, &err), &err);
    CHECK_OK(pare_tensor_read_f32(&t, 0, 1, got, &err), &err);
    CHECK(want[3] != 0 && want[63] < 0);
    for (int i = 0; i < 64; i++)
        CHECK(got[i] == want[i]);
    pare_arena_close(&arena);
}

static void fp4_becomes_blocks(void **state)
{
    (void)state;
    fp4_blocks(true, PARE_TYPE_U8, (const uint8_t[]){127, 120}, 32, 1);
    fp4_blocks(false, PARE_TYPE_F8_E4M3, (const uint8_t[]){0x38, 0x01, 0x7e, 0x12}, 16, 1);
    fp4_blocks(false, PARE_TYPE_F8_E4M3, (const uint8_t[]){0x38, 0x01, 0x7e, 0x12}, 16, 0.0123f);
}

static void fp4_scale_without_a_block(void **state)
{
    (void)state;
    const uint8_t code[32] = {0}, scale[4] = {0x38, 0x7f, 0x38, 0x38};
    uint8_t blocks[36];
    pare_arena arena = {0};
    pare_error err = {0};
    pare_tensor t;
    pare_status st = PARE_OK;
    const pare_tensor c = stored("w", PARE_TYPE_F4, 1, 64, code), s = stored("s", PARE_TYPE_F8_E4M3, 1, 4, scale);
    pare_codes how = {
        .n_dims = 2, .dim = {1, 64}, .block_rows = 1, .block_cols = 16, .code = &c, .scale = &s, .factor = 1};
    CHECK(pare_view_fp4(&arena, &t, &how, &st, &err));
    CHECK_OK(st, &err);
    CHECK(pare_tensor_read(&t, 0, 1, blocks, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "scale 1 has byte 0x7f") != NULL);
    how.dim[1] = 48; /* no whole block */
    CHECK(!pare_view_fp4(&arena, &t, &how, &st, &err));
    pare_arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_of_each_shape),
        cmocka_unit_test(ternary_planes),
        cmocka_unit_test(fp8_in_bf16_where_that_holds_it),
        cmocka_unit_test(fp4_becomes_blocks),
        cmocka_unit_test(fp4_scale_without_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
