/* A model on its way through all threads: the same bytes, the same error, and little memory, however many there are. */
#include "check.h"
#include "core/hash.h"
#include "core/threads.h"
#include "model/stream.h"
#include "quant/registry.h"
#include "recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#ifdef PARE_SANITIZED
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Rows that are computed when they are read: of binary16, the same for the same tensor and row. */
typedef struct source {
    uint64_t seed;
    uint64_t bad_rows[2]; /* hold a NaN in column 17; UINT64_MAX: none */
} source;

static pare_status read_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const source *s = t->ctx;
    (void)err;
    for (uint64_t r = row; r < row + n_rows; r++) {
        uint8_t *out = (uint8_t *)dst + (r - row) * t->row_bytes;
        uint64_t state = s->seed * 1000003 + r;
        for (uint64_t i = 0; i < t->row_len; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            out[2 * i] = (uint8_t)(state >> 56);
            out[2 * i + 1] = (uint8_t)(0x20 | (state >> 48 & 0x87)); /* 2^-7 .. 2^-6 in magnitude, both signs */
        }
        if (r == s->bad_rows[0] || r == s->bad_rows[1])
            out[2 * 17 + 1] = 0x7e;
    }
    return PARE_OK;
}

static void open_model(pare_model *m, const source *sources, size_t n, uint64_t n_rows, uint64_t row_len)
{
    pare_error err = {0};
    *m = (pare_model){.format = PARE_FORMAT_GGUF, .path = "test", .alignment = 32};
    CHECK_OK(pare_model_reserve(m, n, &err), &err);
    for (size_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%zu.attn_q.weight", i);
        pare_tensor t = {.name = name,
                         .type = PARE_TYPE_F16,
                         .n_dims = 2,
                         .dim = {n_rows, row_len},
                         .read = read_rows,
                         .ctx = &sources[i]};
        CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
        CHECK_OK(pare_model_add(m, &t, NULL, &err), &err);
    }
}

static const pare_quantize_options to_q8_0 = {
    .pure_type = PARE_TYPE_Q8_0, .output_type = PARE_TYPE_NONE, .embedding_type = PARE_TYPE_NONE};

static pare_status hash_slice(const pare_slice *slice, void *user, pare_error *err)
{
    return pare_hasher_add(user, slice->data, slice->n, err);
}

static void bytes_do_not_depend_on_threads(void **state)
{
    (void)state;
    enum { N_TENSORS = 5 };
    static const int threads[] = {1, 2, 7, 64};
    source sources[N_TENSORS];
    pare_model m;
    pare_digest first = {0};
    double first_error = 0;
    for (size_t i = 0; i < N_TENSORS; i++)
        sources[i] = (source){i + 1, {UINT64_MAX, UINT64_MAX}};
    open_model(&m, sources, N_TENSORS, 700, 2048); /* six slices each, the last one short */
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        pare_model q;
        pare_plan plan;
        pare_digest digest;
        pare_error err = {0};
        pare_hasher h;
        pare_set_threads(threads[i]);
        CHECK_OK(pare_quantize(&q, &m, &to_q8_0, &plan, &err), &err);
        CHECK_OK(pare_hasher_open(&h, PARE_HASH_SHA256, &err), &err);
        CHECK_OK(pare_stream(q.tensors, q.n_tensors, &(const pare_take_fn){hash_slice}, 1, &h, &err), &err);
        CHECK_OK(pare_hasher_finish(&h, &digest, &err), &err);
        if (i == 0) {
            first = digest;
            first_error = plan.rows[1].error;
        }
        CHECK(digest.n_bytes == N_TENSORS * 700 * 2048 / 32 * 34);
        CHECK(memcmp(&digest, &first, sizeof first) == 0);
        CHECK(first_error > 0 && memcmp(&plan.rows[1].error, &first_error, sizeof first_error) == 0);
        pare_hasher_close(&h);
        pare_model_close(&q);
    }
    pare_set_threads(0);
    pare_model_close(&m);
}

static void the_first_bad_row_is_told(void **state)
{
    (void)state;
    const source sources[] = {{1, {UINT64_MAX, UINT64_MAX}}, {2, {690, 300}}, {3, {0, 5}}};
    pare_model m;
    open_model(&m, sources, 3, 700, 2048);
    for (int threads = 1; threads <= 64; threads = threads * 2 + 1) {
        pare_model q;
        pare_plan plan;
        pare_error err = {0};
        pare_hasher h;
        pare_set_threads(threads);
        CHECK_OK(pare_quantize(&q, &m, &to_q8_0, &plan, &err), &err);
        CHECK_OK(pare_hasher_open(&h, PARE_HASH_XXH3, &err), &err);
        CHECK(pare_stream(q.tensors, 3, &(const pare_take_fn){hash_slice}, 1, &h, &err) == PARE_ERR_NUMBER);
        CHECK(strstr(err.text, "'blk.1.attn_q.weight': row 300, column 17 holds a NaN") != NULL);
        CHECK(h.n_bytes < 1000 * 2048 / 32 * 34); /* nothing was taken from there on */
        pare_hasher_close(&h);
        pare_model_close(&q);
    }
    pare_set_threads(0);
    pare_model_close(&m);
}

static pare_status count_bytes(const void *data, size_t n, void *user, pare_error *err)
{
    (void)data, (void)err;
    *(size_t *)user += n;
    return PARE_OK;
}

static void hear(const char *line, void *user)
{
    int *n = user;
    CHECK(strstr(line,
                 *n == 0 ? "'blk.0.attn_q.weight': row 300, column 17 holds" : "'blk.1.attn_q.weight': row 5, column"));
    ++*n;
}

/* One warning a tensor, of the first row, when values that are not finite are kept; an error in strict mode. */
static void the_first_kept_row_is_told(void **state)
{
    (void)state;
    const source sources[] = {{2, {690, 300}}, {3, {600, 5}}};
    static const pare_type types[] = {PARE_TYPE_NONE, PARE_TYPE_F32};
    pare_model m;
    open_model(&m, sources, 2, 700, 2048);
    for (int round = 0; round < 16; round++) {
        pare_model c;
        pare_plan plan;
        pare_error err = {0};
        size_t n_bytes = 0;
        int n_warnings = 0;
        pare_set_threads(1 + round);
        CHECK_OK(pare_convert(&c, &m, types[round % 2], &plan, &err), &err);
        pare_set_warn_sink(hear, &n_warnings);
        for (size_t i = 0; i < 2; i++)
            CHECK_OK(pare_tensor_stream(&c.tensors[i], count_bytes, &n_bytes, &err), &err);
        CHECK(n_warnings == 2 && n_bytes == c.tensors[0].n_bytes + c.tensors[1].n_bytes);
        pare_set_warn_sink(NULL, NULL);
        pare_set_strict(true);
        CHECK(pare_tensor_stream(&c.tensors[0], count_bytes, &n_bytes, &err) == PARE_ERR_FORMAT);
        CHECK(strstr(err.text, "row 300, column 17 holds") != NULL);
        pare_set_strict(false);
        pare_model_close(&c);
    }
    pare_set_threads(0);
    pare_model_close(&m);
}

/* Resident memory that no file stands behind, in KiB. */
static long private_memory(void)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "RssAnon: %ld", &kib) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return kib;
}

static pare_status watch(const pare_slice *slice, void *user, pare_error *err)
{
    long now = private_memory(), *most = user;
    (void)slice, (void)err;
    *most = now > *most ? now : *most;
    return PARE_OK;
}

/* 64 threads, and rows of 2^20 columns: of each, 2 MiB come in, 20 MiB are needed on the way, 1 MiB goes out. */
static void memory_is_bounded(void **state)
{
    (void)state;
    const source s = {1, {UINT64_MAX, UINT64_MAX}};
    pare_model m, q;
    pare_plan plan;
    pare_error err = {0};
    long most = 0;
    if (SANITIZED || private_memory() == 0)
        skip();
    open_model(&m, &s, 1, 130, 1 << 20);
    pare_set_threads(64);
    CHECK_OK(pare_quantize(&q, &m, &to_q8_0, &plan, &err), &err);
    CHECK_OK(pare_stream(q.tensors, 1, &(const pare_take_fn){watch}, 1, &most, &err), &err);
    pare_set_threads(0);
    CHECK(most > 20 << 10 &&
          most < 320 << 10); /* the program's share of 512 MiB leaves room for the model's directory */
    pare_model_close(&q);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_do_not_depend_on_threads),
        cmocka_unit_test(the_first_bad_row_is_told),
        cmocka_unit_test(the_first_kept_row_is_told),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
