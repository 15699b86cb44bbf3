/* formats/open.c: what a path is, told from its content. */
#include "check.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "gguf_bytes.h"

#include <stdio.h>
#include <string.h>

static const char *put(const char *name, const void *data, size_t n)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    check_write_file(path, data, n);
    return path;
}

static void gguf_under_any_name(void **state)
{
    (void)state;
    pare_buf b = {0};
    pare_model m;
    pare_error err = {0};
    gguf_tiny(&b);
    CHECK_OK(pare_model_open(&m, put("model.safetensors.bin", b.data, b.len), 0, &err), &err);
    CHECK(m.format == PARE_FORMAT_GGUF && m.n_tensors == 2 && m.arch == NULL && m.n_files == 1);
    pare_model_close(&m);
    CHECK_OK(pare_model_open(&m, put("tiny.safetensors", b.data, b.len), PARE_OPEN_RAW, &err), &err);
    CHECK(m.format == PARE_FORMAT_GGUF);
    pare_model_close(&m);
    pare_buf_close(&b);
}

static void safetensors_under_any_name(void **state)
{
    (void)state;
    static const char file[] =
        "\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}           xy";
    pare_model m;
    pare_error err = {0};
    CHECK_OK(pare_model_open(&m, put("weights", file, sizeof file - 1), 0, &err), &err);
    CHECK(m.format == PARE_FORMAT_SAFETENSORS && m.n_tensors == 1 && strcmp(m.tensors[0].name, "w") == 0);
    pare_model_close(&m);
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        pare_status want;
        const char *text;
    } rows[] = {
        {"x.gguf", "", PARE_ERR_FORMAT, "0 of 24 header bytes"},
        {"x.safetensors", "", PARE_ERR_FORMAT, "x.safetensors"},
        {"noise", "some text that is no model at all", PARE_ERR_FORMAT, "expected 'GGUF'"},
        {"old.bin", "tjgg and what follows it is of no matter", PARE_ERR_UNSUPPORTED, "ggjt"},
        {"x.gguf", "version https://git-lfs.github.com/spec/v1\n", PARE_ERR_FORMAT, "git lfs pull"},
        {"x.safetensors", "version https://git-lfs.github.com/spec/v1\n", PARE_ERR_FORMAT, "git lfs pull"},
        {"index.json", "{\"weight_map\": 3}", PARE_ERR_FORMAT, "weight_map"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pare_model m;
        pare_error err = {0};
        pare_status st = pare_model_open(&m, put(rows[i].name, rows[i].bytes, strlen(rows[i].bytes)), 0, &err);
        if (st != rows[i].want || strstr(err.text, rows[i].text) == NULL)
            printf("%s: %s\n", rows[i].name, err.text);
        CHECK(st == rows[i].want && strstr(err.text, rows[i].text) != NULL);
        CHECK(m.tensors == NULL && m.files == NULL); /* closed */
    }
}

static void a_vocabulary_alone_opens(void **state)
{
    (void)state;
    static const char *const files[] = {"llama-spm", "llama-bpe", "gpt-2", "qwen2", "falcon", "phi-3"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char name[64];
        pare_model m;
        pare_error err = {0};
        snprintf(name, sizeof name, "vocab/%s.gguf", files[i]);
        CHECK_OK(pare_model_open(&m, shared_path(name), 0, &err), &err);
        CHECK(m.has_vocab && m.vocab.n_tokens > 30000 && m.arch == NULL);
        pare_model_close(&m);
    }
}

static void models_of_stock_open_whole(void **state)
{
    (void)state;
    pare_model m;
    pare_error err = {0};
    CHECK_OK(pare_model_open(&m, shared_path("oracle/models/llama_rope/stock-f32.gguf"), 0, &err), &err);
    CHECK(m.arch != NULL && strcmp(m.arch->name, "llama") == 0 && m.has_vocab && m.n_tensors == 21);
    pare_model_close(&m);
    CHECK_OK(pare_model_open(&m, shared_path("oracle/models/qwen3_tiny/stock-bf16.gguf"), PARE_OPEN_NO_VOCAB, &err),
             &err);
    CHECK(m.arch != NULL && strcmp(m.arch->name, "qwen3") == 0 && !m.has_vocab && m.n_tensors == 24);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_under_any_name),        cmocka_unit_test(safetensors_under_any_name),
        cmocka_unit_test(says_what_is_wrong),         cmocka_unit_test(a_vocabulary_alone_opens),
        cmocka_unit_test(models_of_stock_open_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
