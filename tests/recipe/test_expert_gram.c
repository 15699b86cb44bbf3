/* The form of an expert's inputs, against its formula in double. */
#include "check.h"

#include "core/bytes.h"
#include "recipe/expert_gram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 5, EXPERTS = 3, TRIANGLE = N * (N + 1) / 2 };

static const double tokens[EXPERTS] = {400, 0, 3};

typedef struct fixture {
    pare_imatrix im;
    pare_imatrix_entry *entry;
    double x[EXPERTS][TRIANGLE];
} fixture;

/* Sums of products of few columns that go together, for each expert other ones. */
static void open_fixture(fixture *f)
{
    pare_error err = {0};
    uint8_t *to = NULL;
    *f = (fixture){.im.path = "full.gguf"};
    CHECK_OK(pare_imatrix_add(&f->im, "up", EXPERTS, N, EXPERTS, false, &f->entry, &err), &err);
    CHECK_OK(pare_grams_add_experts(&f->im.grams, "up", N, EXPERTS, 403, NULL, &to, &err), &err);
    for (int e = 0; e < EXPERTS; e++) {
        f->entry->counts[e] = tokens[e];
        for (int i = 0, at = 0; i < N; i++)
            for (int j = 0; j <= i; j++, at++) {
                f->x[e][at] = tokens[e] * (i == j ? 2 + i * (1 + e) : 0.5 + 0.1 * e * j);
                pare_store_f32le(to + 4 * (e * TRIANGLE + at), (float)f->x[e][at]);
                if (i == j)
                    f->entry->sum2[e * N + i] = (float)f->x[e][at];
            }
    }
}

static void forms_are_blends(void **state)
{
    (void)state;
    fixture f;
    pare_error err = {0};
    pare_expert_grams own;
    float mean[N], column[N];
    open_fixture(&f);
    CHECK_OK(pare_expert_grams_open(&own, &f.im.grams.list[0], f.entry, "full.gguf", &err), &err);
    CHECK(pare_imatrix_pooled(f.entry, mean));
    for (int e = 0; e < EXPERTS; e++) {
        pare_gram g;
        double a = tokens[e] / (tokens[e] + N);
        pare_imatrix_importance(f.entry, (uint64_t)e, mean, column);
        CHECK_OK(pare_expert_grams_make(&own, (uint64_t)e, &g, &err), &err);
        CHECK(g.n_columns == N && g.n_experts == 1 && g.count == 1 && strcmp(g.name, "up") == 0);
        for (int i = 0, at = 0; i < N; i++)
            for (int j = 0; j <= i; j++, at++) {
                double pooled = (f.x[0][at] + f.x[1][at] + f.x[2][at]) / 403;
                double want = (1 - a) * pooled * sqrt((double)column[i] / (double)mean[i]) *
                              sqrt((double)column[j] / (double)mean[j]);
                if (tokens[e] > 0)
                    want += a * f.x[e][at] / tokens[e];
                CHECK(fabs((double)pare_load_f32le(g.lower + 4 * at) - want) <= 1e-5 * fabs(want));
            }
    }
    pare_expert_grams_close(&own);
    pare_imatrix_close(&f.im);
}

static void factors_have_limits(void **state)
{
    (void)state;
    CHECK(pare_expert_factor(4, 1) == 2 && pare_expert_factor(1, 0) == 1);
    CHECK(pare_expert_factor(1e6f, 1) == 16 && pare_expert_factor(0, 1) == 1.0f / 16);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    fixture f;
    pare_error err = {0};
    pare_expert_grams own;
    open_fixture(&f);
    pare_gram *g = &f.im.grams.list[0];
    CHECK(pare_expert_grams_open(&own, g, NULL, "full.gguf", &err) == PARE_ERR_RANGE);
    f.entry->n_counts = 1;
    CHECK(pare_expert_grams_open(&own, g, f.entry, "full.gguf", &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "full.gguf: tensor 'up': products of 3 experts without their tokens") != NULL);
    f.entry->n_counts = EXPERTS;
    pare_store_f32le(g->own + 4 * (TRIANGLE + 4), NAN);
    CHECK(pare_expert_grams_open(&own, g, f.entry, "full.gguf", &err) == PARE_ERR_NUMBER);
    pare_store_f32le(g->own + 4 * (TRIANGLE + 4), 0.5f); /* of expert 1, which saw no token */
    CHECK(pare_expert_grams_open(&own, g, f.entry, "full.gguf", &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "saw no token") != NULL && own.pooled == NULL);
    pare_store_f32le(g->own + 4 * (TRIANGLE + 4), 0);
    memset(f.entry->sum2, 0, EXPERTS * N * sizeof *f.entry->sum2);
    CHECK(pare_expert_grams_open(&own, g, f.entry, "full.gguf", &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "are zero") != NULL && own.pooled == NULL);
    pare_imatrix_close(&f.im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_blends),
        cmocka_unit_test(factors_have_limits),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
