/* Reading right files, and reading what was written back; formats/gguf_read.c, gguf_layout.c, gguf_write.c. */
#include "check.h"
#include "core/bytes.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "gguf_bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reads_a_tiny_file(void **state)
{
    (void)state;
    pare_buf b = {0};
    pare_model m;
    pare_error err = {0};
    gguf_tiny(&b);
    CHECK_OK(pare_gguf_parse(&m, b.data, b.len, "tiny.gguf", &err), &err);
    CHECK(m.version == 3 && m.alignment == 32 && m.meta.n == 5 && m.n_tensors == 2);
    const pare_meta_value *words = pare_meta_find(&m.meta, "tiny.words");
    CHECK(words->n == 2 && pare_str_equal(words->v.strings[0], "one") && words->v.strings[1].len == 0);
    CHECK(pare_meta_find(&m.meta, "tiny.negative")->v.i == -5);
    const pare_tensor *a = pare_model_find(&m, "a.weight"), *q = pare_model_find(&m, "b.weight");
    CHECK(a->n_dims == 2 && a->dim[0] == 2 && a->dim[1] == 3 && a->n_rows == 2 && a->row_len == 3 && a->n_bytes == 24);
    CHECK(pare_load_f32le(a->data + 20) == 5.0f);
    CHECK(q->type == PARE_TYPE_Q8_0 && q->n_bytes == 34 && q->data[33] == 33 && q->offset + 34 == b.len);
    pare_model_close(&m);
    pare_buf_close(&b);
}

static void rejects_every_truncation(void **state)
{
    (void)state;
    pare_buf b = {0};
    gguf_tiny(&b);
    for (size_t len = 0; len < b.len; len++) {
        pare_model m;
        pare_error err = {0};
        uint8_t *cut = check_malloc(len); /* exact size, so a sanitizer sees any read past the cut */
        memcpy(cut, b.data, len);
        pare_status st = pare_gguf_parse(&m, cut, len, "cut.gguf", &err);
        CHECK(st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE);
        CHECK(strstr(err.text, "cut.gguf: ") == err.text && strstr(err.text, "offset") != NULL);
        pare_model_close(&m);
        free(cut);
    }
    pare_buf_close(&b);
}

/* Read path raw and write it again; the bytes of the copy. */
static uint8_t *copy_of(const char *path, const pare_write_options *options, const char *to, size_t *n)
{
    pare_model m;
    pare_error err = {0};
    uint64_t size = 0;
    CHECK_OK(pare_gguf_open(&m, path, PARE_OPEN_RAW, &err), &err);
    CHECK_OK(pare_gguf_size(&m, options, &size, &err), &err);
    CHECK_OK(pare_gguf_write(&m, to, options, NULL, &err), &err);
    pare_model_close(&m);
    uint8_t *bytes = check_read_file(to, n);
    CHECK(size == *n);
    return bytes;
}

static void copies_files_of_stock_byte_for_byte(void **state)
{
    (void)state;
    static const char *const files[] = {"oracle/models/llama_rope/stock-f32.gguf",
                                        "oracle/models/qwen3_tiny/stock-bf16.gguf",
                                        "vocab/falcon.gguf",
                                        "vocab/gpt-2.gguf",
                                        "vocab/llama-bpe.gguf",
                                        "vocab/llama-spm.gguf",
                                        "vocab/phi-3.gguf",
                                        "vocab/qwen2.gguf"};
    char to[4200];
    snprintf(to, sizeof to, "%s/copy.gguf", temp_dir());
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *from = shared_path(files[i]);
        size_t n = 0, n_copy = 0;
        uint8_t *bytes = check_read_file(from, &n);
        uint8_t *copy = copy_of(from, &(pare_write_options){.force = true}, to, &n_copy);
        CHECK(n == n_copy && memcmp(bytes, copy, n) == 0);
        free(bytes);
        free(copy);
    }
}

static pare_meta_value named(const char *key, pare_meta_type type)
{
    return (pare_meta_value){.key = {key, strlen(key)}, .type = type, .n = 1};
}

/* One value of every scalar type with bits that a wrong width or sign would lose, and an array of each type. */
static void fill_every_type(pare_meta *meta, char keys[2 * PARE_META_TYPE_COUNT][32])
{
    static const uint8_t elements[24] = {1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 0};
    static const pare_str strings[3] = {{"caf\xc3\xa9", 5}, {"", 0}, {"a\0b", 3}};
    pare_error err = {0};
    for (int type = 0; type < PARE_META_TYPE_COUNT; type++) {
        if (type == PARE_META_ARRAY)
            continue;
        pare_meta_type t = (pare_meta_type)type;
        snprintf(keys[2 * type], 32, "one.%s", pare_meta_type_name(t));
        snprintf(keys[2 * type + 1], 32, "array.%s", pare_meta_type_name(t));
        pare_meta_value one = named(keys[2 * type], t), many = named(keys[2 * type + 1], PARE_META_ARRAY);
        bool is_signed = t == PARE_META_I8 || t == PARE_META_I16 || t == PARE_META_I32 || t == PARE_META_I64;
        if (t == PARE_META_STRING)
            one.v.s = strings[0];
        else if (t == PARE_META_F32 || t == PARE_META_F64)
            one.v.f = t == PARE_META_F32 ? (double)0.1f : 0.1;
        else if (is_signed)
            one.v.i = INT64_MIN >> (64 - 8 * pare_meta_type_size(t));
        else
            one.v.u = t == PARE_META_BOOL ? 1 : UINT64_MAX >> (64 - 8 * pare_meta_type_size(t));
        many.elem = t;
        many.n = 3;
        if (t == PARE_META_STRING)
            many.v.strings = strings;
        else
            many.v.data = elements;
        CHECK_OK(pare_meta_set(meta, &one, &err), &err);
        CHECK_OK(pare_meta_set(meta, &many, &err), &err);
    }
    pare_meta_value empty = named("array.empty", PARE_META_ARRAY);
    empty.n = 0;
    CHECK_OK(pare_meta_set(meta, &empty, &err), &err);
}

static void every_metadata_type_comes_back(void **state)
{
    (void)state;
    static char keys[2 * PARE_META_TYPE_COUNT][32];
    char path[4200];
    pare_model m = {.path = "made", .alignment = 32}, back;
    pare_error err = {0};
    fill_every_type(&m.meta, keys);
    snprintf(path, sizeof path, "%s/types.gguf", temp_dir());
    CHECK_OK(pare_gguf_write(&m, path, NULL, NULL, &err), &err);
    CHECK_OK(pare_gguf_open(&back, path, PARE_OPEN_RAW, &err), &err);
    CHECK(back.meta.n == m.meta.n && back.meta.n == 2 * (PARE_META_TYPE_COUNT - 1) + 1);
    for (size_t i = 0; i < m.meta.n; i++) {
        const pare_meta_value *x = &m.meta.values[i], *y = &back.meta.values[i];
        pare_buf a = {0}, b = {0};
        CHECK(x->key.len == y->key.len && memcmp(x->key.data, y->key.data, x->key.len) == 0);
        CHECK(x->type == y->type && x->elem == y->elem && x->n == y->n);
        CHECK(x->type == PARE_META_STRING || x->type == PARE_META_ARRAY || x->v.u == y->v.u);
        CHECK_OK(pare_meta_serialize(x, &a, &err), &err);
        CHECK_OK(pare_meta_serialize(y, &b, &err), &err);
        CHECK(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
        pare_buf_close(&a);
        pare_buf_close(&b);
    }
    pare_model_close(&m);
    pare_model_close(&back);
}

/* The tiny file as version 2, with a larger alignment, a scalar and an empty tensor, read and written again. */
static void version_2_becomes_version_3(void **state)
{
    (void)state;
    char from[4200], to[4200];
    pare_buf b = {0};
    snprintf(from, sizeof from, "%s/two.gguf", temp_dir());
    snprintf(to, sizeof to, "%s/three.gguf", temp_dir());
    gguf_header(&b, 2, 3, 1);
    gguf_pair_u32(&b, "general.alignment", 128);
    gguf_info(&b, "scalar", 0, NULL, 0, 0);
    gguf_info(&b, "empty", 2, (uint64_t[]){0, 7}, 0, 128);
    gguf_info(&b, "last", 1, (uint64_t[]){2}, 24, 128);
    gguf_pad(&b, 128);
    gguf_u32(&b, pare_f32_to_bits(2.5f));
    gguf_pad(&b, 128);
    gguf_bytes(&b, "xy", 2);
    gguf_pad(&b, 128);
    check_write_file(from, b.data, b.len);
    size_t n = 0;
    uint8_t *copy = copy_of(from, NULL, to, &n);
    b.data[4] = 3;
    CHECK(n == b.len && memcmp(copy, b.data, n) == 0);
    free(copy);
    pare_buf_close(&b);
}

static void a_million_keys_are_read_in_linear_time(void **state)
{
    (void)state;
    enum { N = 1000000 };
    pare_buf b = {0};
    pare_model m;
    pare_error err = {0};
    gguf_header(&b, 3, 0, N);
    for (uint32_t i = 0; i < N; i++) {
        char key[32];
        snprintf(key, sizeof key, "k.%" PRIu32, i);
        gguf_pair_u32(&b, key, i);
    }
    CHECK_OK(pare_gguf_parse(&m, b.data, b.len, "keys.gguf", &err), &err);
    CHECK(m.meta.n == N && pare_meta_find(&m.meta, "k.654321")->v.u == 654321);
    pare_model_close(&m);
    pare_buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_tiny_file),
        cmocka_unit_test(rejects_every_truncation),
        cmocka_unit_test(copies_files_of_stock_byte_for_byte),
        cmocka_unit_test(every_metadata_type_comes_back),
        cmocka_unit_test(version_2_becomes_version_3),
        cmocka_unit_test(a_million_keys_are_read_in_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
