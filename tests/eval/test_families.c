/* Every folder of tests/families: a tiny model with random weights and the logits that transformers computes from it
 * (tests/families/make.py). Read, written as GGUF, read again, written as a folder and read a third time it gives these
 * logits, and its weights are still the same. */
#include "check.h"
#include "extending.h"

#include "eval/forward.h"
#include "formats/gguf.h"
#include "formats/hf.h"
#include "model/stock.h"
#include "recipe/recipe.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEQ = 2, LEN = 24, MAX_FAMILIES = 256 };

static char *in_folder(char dst[512], const char *name, const char *file)
{
    char relative[256];
    snprintf(relative, sizeof relative, "tests/families/%s/%s", name, file);
    snprintf(dst, 512, "%s", source_path(relative));
    return dst;
}

/* stage: for the message */
static void check_logits(const pare_model *m, const char *name, const char *stage)
{
    char path[512];
    size_t n_ids, n_want;
    int32_t *ids = (int32_t *)(void *)check_read_file(in_folder(path, name, "tokens.i32"), &n_ids);
    float *want = (float *)(void *)check_read_file(in_folder(path, name, "logits.f32"), &n_want);
    bool encoder = m->arch->wiring.encoder; /* logits.f32 has states of tokens then */
    size_t n = (size_t)LEN * (encoder ? m->hp.n_embd : m->hp.n_vocab);
    CHECK(n_ids == SEQ * LEN * sizeof *ids && n_want == SEQ * n * sizeof *want);
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    if (strcmp(stage, "as GGUF") == 0)
        b->slice_tokens = 7; /* a sequence passes through each layer in parts */
    CHECK_OK(pare_forward_open(&f, m, b, LEN, SEQ, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, SEQ, LEN, &err), &err);
    float *got = check_malloc(n * sizeof *got);
    double largest = 0, sum = 0;
    for (uint32_t s = 0; s < SEQ; s++) {
        CHECK_OK((encoder ? pare_forward_states : pare_forward_logits)(f, s, 0, LEN, got, &err), &err);
        for (size_t i = 0; i < n; i++) {
            double d = fabs((double)got[i] - (double)want[s * n + i]);
            CHECK(isfinite(d));
            largest = fmax(largest, d);
            sum += d;
        }
    }
    printf("%s %s: largest difference %.2g, mean %.2g\n", name, stage, largest, sum / (double)(SEQ * n));
    CHECK(largest < 5e-4 && sum / (double)(SEQ * n) < 5e-5);
    if (!m->hp.both_ways)
        check_extending(m, ids, SEQ, LEN);
    pare_forward_close(f);
    b->close(b);
    free(ids);
    free(want);
    free(got);
}

/* The same tensors with the same values, whatever their float types. */
static void check_same_weights(const pare_model *a, const pare_model *b)
{
    CHECK(a->n_tensors == b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const pare_tensor *x = &a->tensors[i], *y = pare_model_find(b, x->name);
        pare_error err = {0};
        CHECK(y != NULL && x->n_rows == y->n_rows && x->row_len == y->row_len);
        size_t n = (size_t)(x->n_rows * x->row_len);
        float *xs = check_malloc(n * sizeof *xs), *ys = check_malloc(n * sizeof *ys);
        CHECK_OK(pare_tensor_read_f32(x, 0, x->n_rows, xs, &err), &err);
        CHECK_OK(pare_tensor_read_f32(y, 0, y->n_rows, ys, &err), &err);
        if (memcmp(xs, ys, n * sizeof *xs) != 0)
            printf("tensor %s is another one\n", x->name);
        CHECK(memcmp(xs, ys, n * sizeof *xs) == 0);
        free(xs);
        free(ys);
    }
}

static void check_family(const char *name)
{
    char path[512], gguf[512], folder[512];
    pare_model hub = {0}, converted = {0}, file = {0}, back = {0};
    pare_plan plan;
    pare_error err = {0};
    CHECK_OK(pare_hf_open(&hub, in_folder(path, name, ""), 0, &err), &err);
    check_logits(&hub, name, "as it is");
    bool tied = hub.hp.tied_output;
    CHECK_OK(pare_stock_complete(&hub, &err), &err); /* what stock's loader wants changes nothing */
    snprintf(gguf, sizeof gguf, "%s/%s.gguf", temp_dir(), name);
    CHECK_OK(pare_convert(&converted, &hub, PARE_TYPE_NONE, &plan, &err), &err);
    CHECK_OK(pare_gguf_write(&converted, gguf, &(pare_write_options){0}, NULL, &err), &err);
    CHECK_OK(pare_gguf_open(&file, gguf, 0, &err), &err);
    check_same_weights(&hub, &file);
    check_logits(&file, name, "as GGUF");
    snprintf(folder, sizeof folder, "%s/%s", temp_dir(), name);
    CHECK_OK(pare_hf_write(&file, folder, PARE_TYPE_NONE, &(pare_hf_write_options){0}, NULL, &err), &err);
    CHECK_OK(pare_hf_open(&back, folder, 0, &err), &err);
    CHECK(back.hp.tied_output == tied);
    CHECK_OK(pare_stock_complete(&back, &err), &err);
    check_same_weights(&hub, &back);
    check_logits(&back, name, "and back");
    pare_model_close(&back);
    pare_model_close(&file);
    pare_model_close(&converted);
    pare_model_close(&hub);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void every_family(void **state)
{
    static char names[MAX_FAMILIES][64];
    size_t n = 0;
    const struct dirent *entry;
    (void)state;
    DIR *dir = opendir(source_path("tests/families"));
    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL)
        if (strchr(entry->d_name, '.') == NULL) {
            CHECK(n < MAX_FAMILIES && strlen(entry->d_name) < sizeof names[0]);
            snprintf(names[n++], sizeof names[0], "%.63s", entry->d_name);
        }
    closedir(dir);
    qsort(names, n, sizeof names[0], by_name);
    CHECK(n > 0);
    for (size_t i = 0; i < n; i++)
        if (getenv("PARE_FAMILY") == NULL || strcmp(getenv("PARE_FAMILY"), names[i]) == 0)
            check_family(names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_family)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
