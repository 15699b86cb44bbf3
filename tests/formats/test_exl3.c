/* EXL3 beyond the folders of test_packed_folders.c: codebooks, reading in pieces, shapes that are filled up, bad input.
 */
#include "check.h"
#include "core/checked.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/threads.h"
#include "formats/exl3.h"
#include "formats/open.h"
#include "formats/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- codebooks ---- */

/* SHA-256 of the 65536 numbers as little-endian binary64, as decode_3inst<0>, <1> and <2> of exllamav3's codebook.cuh
 * give them, compiled for a CPU. */
static const char *const codebook_digests[PARE_EXL3_CODES] = {
    "a39abc3b1be7948d82e6a76b994cfb1ce1e511b1ca37529f9f006df73e4637a7",
    "434c3fadf1edf0bd4adf9f092951c4d2f76b6301d220c8254b20390e8bad4ffb",
    "899543e73d3d9cb169d562d9bcf42a34090b66d55ec1a85768968aa2f4b6442d",
};

static void codebooks(void **state)
{
    (void)state;
    int32_t *values = check_malloc(PARE_EXL3_STATES * sizeof *values);
    double *numbers = check_malloc(PARE_EXL3_STATES * sizeof *numbers);
    for (int code = 0; code < PARE_EXL3_CODES; code++) {
        pare_digest digest;
        pare_error err = {0};
        char hex[65];
        pare_exl3_codebook((pare_exl3_code)code, values);
        for (size_t s = 0; s < PARE_EXL3_STATES; s++)
            numbers[s] = values[s] / 262144.0;
        CHECK_OK(pare_hash_bytes(numbers, PARE_EXL3_STATES * sizeof *numbers, PARE_HASH_BOTH, &digest, &err), &err);
        for (size_t i = 0; i < sizeof digest.sha256; i++)
            snprintf(hex + 2 * i, 3, "%02x", digest.sha256[i]);
        assert_string_equal(hex, codebook_digests[code]);
    }
    free(values);
    free(numbers);
}

/* ---- a folder in memory ---- */

enum { N_IN = 256, N_OUT = 384, BITS = 3, N_PARTS = 4 };

typedef struct parts {
    uint8_t trellis[N_IN * N_OUT * BITS / 8], suh[2 * N_IN], svh[2 * N_OUT], mark[4], mark2[4];
    pare_tensor tensor[N_PARTS + 2];
    size_t n;
    json_t *config;
    pare_model model;
    pare_arena arena;
} parts;

static pare_tensor *add_part(parts *p, const char *name, pare_type type, const uint8_t *data, uint32_t n_dims,
                             uint64_t a, uint64_t b, uint64_t c)
{
    pare_tensor *t = &p->tensor[p->n++];
    *t = (pare_tensor){.name = name, .type = type, .n_dims = n_dims, .dim = {a, b, c}, .data = data};
    return t;
}

enum { TRELLIS, SUH, SVH, MARK };

static parts *make_parts(void)
{
    parts *p = check_malloc(sizeof *p);
    uint32_t x = 1;
    *p = (parts){.config = json_pack("{s:{s:s,s:f}}", "quantization_config", "quant_method", "exl3", "bits", 3.0)};
    for (size_t i = 0; i < sizeof p->trellis; i++)
        p->trellis[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    for (size_t i = 0; i < N_IN + N_OUT; i++) {
        uint8_t *scale = i < N_IN ? p->suh + 2 * i : p->svh + 2 * (i - N_IN);
        x = x * 1664525 + 1013904223;
        scale[0] = (uint8_t)(x >> 16);
        scale[1] = (uint8_t)(0x28 | (x >> 24 & 0x83)); /* binary16, 2^-5 to 2^-4, of both signs */
    }
    memcpy(p->mark, (const uint8_t[]){0x2d, 0xd1, 0xdc, 0x83}, 4);
    memcpy(p->mark2, (const uint8_t[]){0xed, 0x1f, 0xac, 0xcb}, 4);
    add_part(p, "m.trellis", PARE_TYPE_I16, p->trellis, 3, N_IN / 16, N_OUT / 16, 16 * BITS);
    add_part(p, "m.suh", PARE_TYPE_F16, p->suh, 1, N_IN, 0, 0);
    add_part(p, "m.svh", PARE_TYPE_F16, p->svh, 1, N_OUT, 0, 0);
    add_part(p, "m.mul1", PARE_TYPE_I32, p->mark, 0, 0, 0, 0);
    return p;
}

static pare_status open_parts(parts *p, pare_error *err)
{
    CHECK_OK(pare_model_reserve(&p->model, p->n, err), err);
    for (size_t i = 0; i < p->n; i++) {
        CHECK_OK(pare_tensor_set_shape(&p->tensor[i], "test", err), err);
        CHECK_OK(pare_model_add(&p->model, &p->tensor[i], NULL, err), err);
    }
    return pare_packed_open(&p->model, &p->arena, temp_dir(), p->config, "config.json", err);
}

static void close_parts(parts *p)
{
    pare_model_close(&p->model);
    pare_arena_close(&p->arena);
    json_decref(p->config);
    free(p);
}

/* ---- reading in pieces ---- */

typedef struct pieces {
    const pare_tensor *t;
    const float *all;
} pieces;

/* Piece i: up to 140 rows from anywhere, or one. */
static pare_status read_piece(size_t i, int thread, void *ctx, pare_error *err)
{
    const pieces *p = ctx;
    uint64_t row = i * 37 % p->t->n_rows, n = i % 3 == 0 ? 1 + i % 140 : 1;
    (void)thread;
    n = n < p->t->n_rows - row ? n : p->t->n_rows - row;
    float *x = check_malloc((size_t)(n * p->t->row_bytes));
    pare_status st = pare_tensor_read(p->t, row, n, x, err);
    if (st == PARE_OK && memcmp(x, p->all + row * p->t->row_len, (size_t)(n * p->t->row_bytes)) != 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "piece %zu: rows from %llu differ", i, (unsigned long long)row);
    free(x);
    return st;
}

static void pieces_are_the_whole(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_set_threads(2); /* so many blocks of rows are kept, of three */
    parts *p = make_parts();
    CHECK_OK(open_parts(p, &err), &err);
    pare_set_threads(6);
    pare_tensor t = *pare_model_find(&p->model, "m.weight");
    CHECK(p->model.n_tensors == 1 && t.n_rows == N_OUT && t.row_len == N_IN && t.packed && t.padded == 128);
    float *whole = check_malloc((size_t)t.n_bytes), *cut = check_malloc((size_t)t.n_bytes);
    CHECK_OK(pare_tensor_read(&t, 0, N_OUT, whole, &err), &err);
    CHECK_OK(pare_parallel(400, read_piece, &(pieces){&t, whole}, &err), &err);
    t.dim[0] = N_OUT - 100; /* as those who know the shape cut it */
    t.dim[1] = N_IN - 7;
    CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
    CHECK_OK(pare_tensor_read(&t, 0, t.n_rows, cut, &err), &err);
    for (uint64_t r = 0; r < t.n_rows; r++)
        assert_memory_equal(cut + r * t.row_len, whole + r * N_IN, (size_t)t.row_bytes);
    CHECK_OK(pare_parallel(400, read_piece, &(pieces){&t, cut}, &err), &err);
    free(whole);
    free(cut);
    close_parts(p);
    pare_set_threads(0);
}

/* Signs beside scales: all bits set are scales of -1. */
static void signs_beside_scales(void **state)
{
    (void)state;
    uint8_t ones[N_IN / 8];
    pare_error err = {0};
    parts *with_scales = make_parts(), *with_signs = make_parts();
    float x[N_IN], y[N_IN];
    memset(ones, 0xff, sizeof ones);
    for (size_t i = 0; i < N_IN; i++)
        memcpy(with_scales->suh + 2 * i, (const uint8_t[]){0x00, 0xbc}, 2);
    with_signs->n = 1;
    add_part(with_signs, "m.su", PARE_TYPE_I16, ones, 1, N_IN / 16, 0, 0);
    add_part(with_signs, "m.svh", PARE_TYPE_F16, with_signs->svh, 1, N_OUT, 0, 0);
    add_part(with_signs, "m.mul1", PARE_TYPE_I32, with_signs->mark, 0, 0, 0, 0);
    CHECK_OK(open_parts(with_scales, &err), &err);
    CHECK_OK(open_parts(with_signs, &err), &err);
    const pare_tensor *a = pare_model_find(&with_scales->model, "m.weight"),
                      *b = pare_model_find(&with_signs->model, "m.weight");
    for (uint64_t row = 0; row < N_OUT; row += 61) {
        CHECK_OK(pare_tensor_read(a, row, 1, x, &err), &err);
        CHECK_OK(pare_tensor_read(b, row, 1, y, &err), &err);
        assert_memory_equal(x, y, sizeof x);
    }
    close_parts(with_scales);
    close_parts(with_signs);
}

/* ---- a model whose matrices are filled up ---- */

static void models_are_cut(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_model m = {0}, raw = {0};
    float cut[64], stored[128];
    const char *dir = source_path("tests/packed/exl3_mul1");
    CHECK_OK(pare_model_open(&m, dir, PARE_OPEN_NO_VOCAB, &err), &err);
    CHECK_OK(pare_model_open(&raw, source_path("tests/packed/exl3_mul1"), PARE_OPEN_RAW, &err), &err);
    const pare_tensor *bias = pare_model_find(&m, "blk.0.attn_v.bias"),
                      *weight = pare_model_find(&m, "blk.0.attn_v.weight"),
                      *padded = pare_model_find(&raw, "model.layers.0.self_attn.v_proj.bias");
    CHECK(bias != NULL && weight != NULL && padded != NULL && padded->row_len == 128);
    CHECK(bias->row_len == 32 && weight->n_rows == 32 && weight->row_len == 64);
    CHECK_OK(pare_tensor_read_f32(bias, 0, 1, cut, &err), &err);
    CHECK_OK(pare_tensor_read_f32(padded, 0, 1, stored, &err), &err);
    assert_memory_equal(cut, stored, 32 * sizeof *cut);
    pare_model_close(&m);
    pare_model_close(&raw);
}

/* ---- what must be refused ---- */

static void expect(parts *p, pare_status status, const char *a, const char *b)
{
    pare_error err = {0};
    pare_status st = open_parts(p, &err);
    if (st != status || strstr(err.text, a) == NULL || strstr(err.text, b) == NULL)
        print_error("status %d: %s\n", (int)st, err.text);
    CHECK(st == status && strstr(err.text, a) != NULL && strstr(err.text, b) != NULL);
    close_parts(p);
}

static void refuses_shapes(void **state)
{
    (void)state;
    static const struct {
        int part;
        uint32_t n_dims;
        uint64_t dim[3];
        const char *says[2];
    } cases[] = {
        {TRELLIS, 2, {16, 24 * 48}, {"'m.trellis' of 2 dimensions", "three of i16"}},
        {TRELLIS, 3, {16, 24, 0}, {"'m.trellis'", "three of i16"}},
        {TRELLIS, 3, {16, 24, 40}, {"tiles of 40 words", "16 for each of 1 to 8 bits"}},
        {TRELLIS, 3, {8, 8, 144}, {"tiles of 144 words", "16 for each of 1 to 8 bits"}},
        {TRELLIS, 3, {12, 24, 48}, {"192 inputs and 384 outputs", "multiples of 128"}},
        {TRELLIS, 3, {16, 23, 48}, {"256 inputs and 368 outputs", "multiples of 128"}},
        {TRELLIS, 3, {8, 24, 48}, {"'m.suh' has 256 f16", "128 f16"}},
        {TRELLIS, 3, {16, 16, 48}, {"'m.svh' has 384 f16", "256 f16"}},
        {SUH, 1, {255}, {"'m.suh' has 255 f16", "256 f16"}},
        {SVH, 2, {2, 191}, {"'m.svh' has 382 f16", "384 f16"}},
        {MARK, 1, {0}, {"'m.mul1'", "not one i32"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parts *p = make_parts();
        p->tensor[cases[i].part].n_dims = cases[i].n_dims;
        memcpy(p->tensor[cases[i].part].dim, cases[i].dim, sizeof cases[i].dim);
        expect(p, PARE_ERR_RANGE, cases[i].says[0], cases[i].says[1]);
    }
    parts *p = make_parts();
    p->tensor[TRELLIS].type = PARE_TYPE_F16;
    expect(p, PARE_ERR_RANGE, "'m.trellis'", "f16");
    p = make_parts();
    p->tensor[SUH].type = PARE_TYPE_BF16;
    expect(p, PARE_ERR_RANGE, "'m.suh' has 256 bf16", "256 f16");
}

static void refuses_parts(void **state)
{
    (void)state;
    parts *p = make_parts();
    p->tensor[SUH].name = "m.other";
    p->tensor[SVH].name = "n.svh";
    expect(p, PARE_ERR_FORMAT, "2 tensors", "'m.suh', 'm.svh'");
    p = make_parts();
    p->tensor[SUH].name = "m.su"; /* signs are fewer, and integers */
    expect(p, PARE_ERR_RANGE, "'m.su' has 256 f16", "16 i16");
    p = make_parts();
    p->svh[2 * 200 + 1] = 0x7c;
    expect(p, PARE_ERR_NUMBER, "'m.svh' holds", "at 200");
    p = make_parts();
    p->mark[0]++;
    expect(p, PARE_ERR_UNSUPPORTED, "'m.mul1' is 2212286766", "2212286765");
    p = make_parts();
    add_part(p, "m.mcg", PARE_TYPE_I32, p->mark2, 0, 0, 0, 0);
    expect(p, PARE_ERR_FORMAT, "'m' has the marks of two codebooks", "mcg and mul1");
    p = make_parts();
    add_part(p, "m.scale", PARE_TYPE_F16, p->mark2, 1, 1, 0, 0);
    expect(p, PARE_ERR_UNSUPPORTED, "'m.scale'", "draft");
    p = make_parts();
    json_object_set_new(json_object_get(p->config, "quantization_config"), "codebook", json_string("2mad"));
    expect(p, PARE_ERR_UNSUPPORTED, "'2mad'", "3inst, mcg and mul1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codebooks),      cmocka_unit_test(pieces_are_the_whole), cmocka_unit_test(signs_beside_scales),
        cmocka_unit_test(models_are_cut), cmocka_unit_test(refuses_shapes),       cmocka_unit_test(refuses_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
