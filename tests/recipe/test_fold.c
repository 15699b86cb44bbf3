/* Input channels scaled at random: every family says what it said before. */
#include "check.h"

#include "eval/forward.h"
#include "formats/hf.h"
#include "recipe/fold.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEN = 24 };

static float *run(const pare_model *m, size_t *n)
{
    int32_t ids[LEN];
    pare_backend *b = NULL;
    pare_forward *f = NULL;
    pare_error err = {0};
    bool encoder = m->arch->wiring.encoder;
    for (int i = 0; i < LEN; i++)
        ids[i] = (i * 7 + 3) % (int)(m->hp.n_vocab < 61 ? m->hp.n_vocab : 61);
    *n = (size_t)LEN * (encoder ? m->hp.n_embd : m->hp.n_vocab);
    float *out = check_malloc(*n * sizeof *out);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_forward_open(&f, m, b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_run(f, ids, 1, LEN, &err), &err);
    CHECK_OK((encoder ? pare_forward_states : pare_forward_logits)(f, 0, 0, LEN, out, &err), &err);
    pare_forward_close(f);
    b->close(b);
    return out;
}

/* Scales from 1/4 to 4; those of inputs that one element makes are one. */
static void scale_at_random(pare_fold *fold)
{
    float made[4096];
    uint32_t seed = 1;
    for (size_t i = 0; i < fold->n; i++) {
        const pare_fold_pair *p = &fold->pairs[i];
        CHECK(p->n / p->share <= sizeof made / sizeof *made);
        for (uint64_t k = 0; k < p->n / p->share; k++) {
            seed = seed * 1664525u + 1013904223u;
            made[k] = exp2f((float)(seed >> 8) / (float)(1 << 22) - 2);
        }
        for (uint64_t c = 0; c < p->n; c++)
            p->scale[c] = made[pare_fold_made_by(p, c)];
    }
}

/* Rows of several experts at once are those that come one by one. */
static void check_rows(const pare_model *m)
{
    pare_error err = {0};
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        if (t->n_dims != 3)
            continue;
        float *all = check_malloc((size_t)(t->n_rows * t->row_len) * sizeof *all), *row = check_malloc(4 * t->row_len);
        CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, all, &err), &err);
        for (uint64_t k = 0; k < t->n_rows; k++) {
            CHECK_OK(pare_tensor_read_f32(t, k, 1, row, &err), &err);
            CHECK(memcmp(row, all + k * t->row_len, (size_t)t->row_len * sizeof *row) == 0);
        }
        free(all);
        free(row);
    }
}

/* Returns how many pairs there were. */
static size_t check_folder(const char *folder, const char **left)
{
    static char line[512];
    pare_model m = {0};
    pare_fold fold = {0};
    pare_error err = {0};
    size_t n = 0;
    CHECK_OK(pare_hf_open(&m, folder, 0, &err), &err);
    float *was = run(&m, &n), largest = 0, size = 0;
    CHECK_OK(pare_fold_find(&fold, &m, &err), &err);
    scale_at_random(&fold);
    CHECK_OK(pare_fold_apply(&m, &fold, &err), &err);
    check_rows(&m);
    float *is = run(&m, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(isfinite(is[i]));
        largest = fmaxf(largest, fabsf(is[i] - was[i]));
        size = fmaxf(size, fabsf(was[i]));
    }
    size_t n_pairs = fold.n;
    snprintf(line, sizeof line, "%s", fold.left != NULL ? fold.left : "");
    *left = line;
    printf("%s: %zu pairs, largest difference %.2g of %.2g; %s\n", strrchr(folder, '/') + 1, n_pairs, (double)largest,
           (double)size, line);
    CHECK(largest <= 1e-5f * fmaxf(size, 1));
    free(was);
    free(is);
    pare_fold_close(&fold);
    pare_model_close(&m);
    return n_pairs;
}

static void every_family_says_the_same(void **state)
{
    const struct dirent *entry;
    const char *left;
    char path[512];
    size_t n_pairs = 0;
    (void)state;
    DIR *dir = opendir(source_path("tests/families"));
    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL)
        if (strchr(entry->d_name, '.') == NULL) {
            snprintf(path, sizeof path, "%s/%s", source_path("tests/families"), entry->d_name);
            n_pairs += check_folder(path, &left);
        }
    closedir(dir);
    CHECK(n_pairs > 100);
}

/* Pairs that must be there, and the word that says why others are not. */
static void pairs_are_where_they_are_exact(void **state)
{
    (void)state;
    static const struct {
        const char *folder;
        size_t n_pairs;
        const char *left;
    } cases[] = {{"tests/data/demo", 8, ""}, /* grouped queries */
                 {"tests/families/arcee", 6, "inputs of down"},
                 {"tests/families/gemma", 8, ""},    /* gains stored minus one */
                 {"tests/families/seed_oss", 8, ""}, /* biases */
                 {"tests/families/phi3", 8, ""},     /* fused */
                 {"tests/families/olmo3", 8, "no norm with a gain before them"},
                 {"tests/families/qwen2_moe", 18, "inputs of gate and up: a router reads them, too"}, /* 6 experts */
                 {"tests/families/falcon_groups", 6, "inputs of down"}, /* parallel, with a norm for each part */
                 {"tests/families/phi2", 2, "attention and FFN read the same norm"},
                 {"tests/families/deepseek_v2", 16, "all of attention: what 'blk.0.attn_q_a.weight' does is not known"},
                 {"tests/families/gemma4moe", 0, "all of it: what "}};
    const char *left;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = check_folder(source_path(cases[i].folder), &left);
        if (n != cases[i].n_pairs || strstr(left, cases[i].left) == NULL || (*cases[i].left == 0 && *left != 0))
            fail_msg("%s: %zu pairs, '%s'", cases[i].folder, n, left);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_says_the_same),
        cmocka_unit_test(pairs_are_where_they_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
