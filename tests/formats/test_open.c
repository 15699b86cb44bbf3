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

/* One value of a right model bent: the check of hyperparameters, vocabulary and weights is reached through opening. */
typedef struct bent {
    const char *key;
    pare_meta_type type;
    double number;
    const char *text; /* of the message */
} bent;

static void bend(pare_meta *meta, const bent *b)
{
    static char big[(2 << 20) + 1];
    pare_error err = {0};
    pare_meta_value value = {.key = {b->key, strlen(b->key)}, .type = b->type, .n = 1};
    if (b->type == PARE_META_STRING) {
        memset(big, 'x', sizeof big - 1);
        value.v.s = (pare_str){big, (size_t)b->number};
    } else if (b->type == PARE_META_ARRAY) {
        value = *pare_meta_find(meta, b->key);
        value.n = (uint64_t)((double)value.n + b->number);
    } else if (b->type == PARE_META_F32) {
        value.v.f = b->number;
    } else {
        value.v.u = (uint64_t)b->number;
    }
    CHECK_OK(pare_meta_set(meta, &value, &err), &err);
}

static void meaning_is_checked_unless_raw(void **state)
{
    (void)state;
    static const bent rows[] = {
        {"llama.block_count", PARE_META_U32, 0, "block_count"},
        {"llama.block_count", PARE_META_U32, 1e6, "block_count"},
        {"llama.block_count", PARE_META_U32, 3, "blk."},
        {"llama.attention.head_count", PARE_META_U32, 0, "head_count"},
        {"llama.attention.head_count_kv", PARE_META_U32, 3, "do not divide"},
        {"llama.attention.layer_norm_rms_epsilon", PARE_META_F32, -1, "epsilon"},
        {"llama.embedding_length", PARE_META_U32, 65, "the hyperparameters want"},
        {"tokenizer.ggml.bos_token_id", PARE_META_U32, 1e6, "bos_token_id"},
        {"tokenizer.ggml.token_type", PARE_META_ARRAY, -1, "token_type"},
        {"tokenizer.ggml.tokens", PARE_META_STRING, 5, "tokens"},
        {"llama.vocab_size", PARE_META_U32, 511, "512 rows"},
        {"tokenizer.chat_template", PARE_META_STRING, 2 << 20, "chat_template"},
    };
    size_t n_wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[4200];
        pare_model m;
        pare_error err = {0};
        snprintf(path, sizeof path, "%s/bent.gguf", temp_dir());
        CHECK_OK(pare_gguf_open(&m, shared_path("oracle/models/llama_rope/stock-f32.gguf"), PARE_OPEN_RAW, &err), &err);
        bend(&m.meta, &rows[i]);
        CHECK_OK(pare_gguf_write(&m, path, &(pare_write_options){.force = true}, NULL, &err), &err);
        pare_model_close(&m);
        CHECK_OK(pare_model_open(&m, path, PARE_OPEN_RAW, &err), &err);
        pare_model_close(&m);
        pare_status st = pare_model_open(&m, path, 0, &err);
        bool right = (st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE) && strstr(err.text, rows[i].text) != NULL;
        if (!right)
            printf("%s %g: status %s, %s\n", rows[i].key, rows[i].number, pare_status_name(st), err.text);
        n_wrong += !right;
        pare_model_close(&m);
    }
    CHECK(n_wrong == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_under_any_name),        cmocka_unit_test(safetensors_under_any_name),
        cmocka_unit_test(says_what_is_wrong),         cmocka_unit_test(a_vocabulary_alone_opens),
        cmocka_unit_test(models_of_stock_open_whole), cmocka_unit_test(meaning_is_checked_unless_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
