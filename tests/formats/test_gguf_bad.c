/* The GGUF rows of malformed and odd input: each gets the answer that docs/formats/GGUF.md promises. */
#include "check.h"
#include "formats/gguf.h"
#include "formats/open.h"
#include "gguf_bytes.h"
#include "gguf_cases.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char warned[4096];

static void keep_warning(const char *text, void *user)
{
    (void)user;
    snprintf(warned, sizeof warned, "%s", text);
}

/* True when the parser answers as it should. */
static bool answers(const gguf_case *c, const uint8_t *bytes, size_t n, bool strict)
{
    pare_model m;
    pare_error err = {0};
    warned[0] = '\0';
    pare_set_strict(strict);
    pare_status st = pare_gguf_parse(&m, bytes, n, "bad.gguf", &err);
    pare_set_strict(false);
    bool odd = c->want == PARE_OK && c->text != NULL;
    pare_status want = odd && strict ? PARE_ERR_FORMAT : c->want;
    const char *said = odd && !strict ? warned : err.text;
    bool right =
        st == want && (c->text == NULL || (strstr(said, c->text) != NULL && strstr(said, "bad.gguf: ") == said));
    if (!right)
        printf("%s%s: status %s, said: %s\n", c->name, strict ? " (strict)" : "", pare_status_name(st), said);
    right &= st == PARE_OK || (m.tensors == NULL && m.meta.values == NULL); /* closed */
    pare_model_close(&m);
    return right;
}

static void every_case_gets_its_answer(void **state)
{
    (void)state;
    size_t n_wrong = 0;
    pare_set_warn_sink(keep_warning, NULL);
    for (size_t i = 0; i < n_gguf_cases; i++) {
        pare_buf b = {0};
        gguf_cases[i].build(&b);
        uint8_t *exact = check_malloc(b.len);
        if (b.len > 0)
            memcpy(exact, b.data, b.len);
        n_wrong += !answers(&gguf_cases[i], exact, b.len, false);
        n_wrong += !answers(&gguf_cases[i], exact, b.len, true);
        free(exact);
        pare_buf_close(&b);
    }
    pare_set_warn_sink(NULL, NULL);
    CHECK(n_wrong == 0);
}

/* Holes cost nothing on disk: a header that claims them must not cost memory or time. */
static void sparse_files_meet_the_limits(void **state)
{
    (void)state;
    static const struct {
        uint32_t elem;
        uint64_t n, size;
        const char *text;
    } rows[] = {
        {8, (uint64_t)1 << 30, (uint64_t)9 << 30, "1073741824 string elements: need 8 bytes each"},
        {8, (uint64_t)1 << 26, (uint64_t)9 << 30, "67108864 strings, allowed are 33554432"},
        {0, (uint64_t)3 << 30, (uint64_t)9 << 30, "3221225472 u8 elements"},
        {10, (uint64_t)1 << 28, (uint64_t)9 << 30, "268435456 u64 elements"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[4200];
        pare_buf b = {0};
        pare_model m;
        pare_error err = {0};
        snprintf(path, sizeof path, "%s/sparse-%zu.gguf", temp_dir(), i);
        gguf_header(&b, 3, 0, 1);
        gguf_pair_array(&b, "k", rows[i].elem, rows[i].n);
        check_write_file(path, b.data, b.len);
        pare_buf_close(&b);
        if (truncate(path, (off_t)rows[i].size) != 0)
            skip();
        pare_status st = pare_gguf_open(&m, path, PARE_OPEN_RAW, &err);
        CHECK(st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE);
        CHECK(strstr(err.text, rows[i].text) != NULL);
        unlink(path);
    }
}

static void a_sparse_file_of_many_tensors_meets_the_limit(void **state)
{
    (void)state;
    char path[4200];
    pare_buf b = {0};
    pare_model m;
    pare_error err = {0};
    snprintf(path, sizeof path, "%s/tensors.gguf", temp_dir());
    gguf_header(&b, 3, 1 << 25, 0);
    check_write_file(path, b.data, b.len);
    pare_buf_close(&b);
    if (truncate(path, (off_t)2 << 30) != 0)
        skip();
    CHECK(pare_gguf_open(&m, path, PARE_OPEN_RAW, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "tensor count 33554432 at offset 8, allowed at most 131072") != NULL);
    unlink(path);
}

static void refuses_what_is_no_regular_file(void **state)
{
    (void)state;
    char path[4200];
    pare_model m;
    pare_error err = {0};
    CHECK(pare_gguf_open(&m, temp_dir(), PARE_OPEN_RAW, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "folder") != NULL);
    snprintf(path, sizeof path, "%s/fifo", temp_dir());
    CHECK(mkfifo(path, 0600) == 0);
    CHECK(pare_gguf_open(&m, path, PARE_OPEN_RAW, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "FIFO") != NULL);
    snprintf(path, sizeof path, "%s/absent.gguf", temp_dir());
    CHECK(pare_gguf_open(&m, path, PARE_OPEN_RAW, &err) == PARE_ERR_FORMAT);
    CHECK(strstr(err.text, "absent.gguf") != NULL);
}

/* Row 21: without PARE_OPEN_RAW the architecture must be there and be a short word. */
static void architecture_must_be_a_word(void **state)
{
    (void)state;
    char path[4200], long_word[10001];
    memset(long_word, 'x', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    static const char *const texts[] = {"'general.architecture' is missing", "is of type u32, expected string",
                                        "has 10000 bytes, allowed 1 to 64", "has 0 bytes",
                                        "allowed is printable ASCII"};
    snprintf(path, sizeof path, "%s/arch.gguf", temp_dir());
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        pare_buf b = {0};
        pare_model m;
        pare_error err = {0};
        gguf_header(&b, 3, 0, 1);
        if (i == 1)
            gguf_pair_u32(&b, "general.architecture", 1);
        else
            gguf_pair_str(&b, i == 0 ? "general.name" : "general.architecture",
                          i == 2   ? long_word
                          : i == 4 ? "ll\xc3\xa4ma"
                                   : "");
        check_write_file(path, b.data, b.len);
        CHECK_OK(pare_gguf_open(&m, path, PARE_OPEN_RAW, &err), &err);
        pare_model_close(&m);
        pare_status st = pare_gguf_open(&m, path, 0, &err);
        CHECK((st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE) && strstr(err.text, texts[i]) != NULL);
        pare_buf_close(&b);
    }
}

/* The two whole models among the cases open with their meaning. */
static void the_least_models_open(void **state)
{
    (void)state;
    size_t n_opened = 0;
    for (size_t i = 0; i < n_gguf_cases; i++) {
        char path[4200];
        pare_buf b = {0};
        pare_model m;
        pare_error err = {0};
        if (strncmp(gguf_cases[i].name, "llama_", 6) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s.gguf", temp_dir(), gguf_cases[i].name);
        gguf_cases[i].build(&b);
        check_write_file(path, b.data, b.len);
        CHECK_OK(pare_gguf_open(&m, path, 0, &err), &err);
        CHECK(m.arch != NULL && m.has_vocab && m.hp.n_layer == 1);
        n_opened++;
        pare_model_close(&m);
        pare_buf_close(&b);
    }
    CHECK(n_opened == 2);
}

/* Not a test: with PARE_WRITE_CORPUS=FOLDER the cases become the fuzzer's seeds. */
static void write_corpus(const char *dir)
{
    for (size_t i = 0; i < n_gguf_cases; i++) {
        enum { MAX_SEED_BYTES = 4096 };
        char path[4200];
        pare_buf b = {0};
        gguf_cases[i].build(&b);
        snprintf(path, sizeof path, "%s/%s", dir, gguf_cases[i].name);
        if (b.len <= MAX_SEED_BYTES)
            check_write_file(path, b.data, b.len);
        pare_buf_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_case_gets_its_answer),
        cmocka_unit_test(sparse_files_meet_the_limits),
        cmocka_unit_test(a_sparse_file_of_many_tensors_meets_the_limit),
        cmocka_unit_test(refuses_what_is_no_regular_file),
        cmocka_unit_test(architecture_must_be_a_word),
        cmocka_unit_test(the_least_models_open),
    };
    const char *corpus = getenv("PARE_WRITE_CORPUS");
    if (corpus != NULL) {
        write_corpus(corpus);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
