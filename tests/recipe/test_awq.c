/* Scales of input channels: the search against its definition in double; statistics that lack. */
#include "check.h"

#include "core/bytes.h"
#include "core/half.h"
#include "core/threads.h"
#include "formats/open.h"
#include "quant/path_table.h"
#include "recipe/awq.h"
#include "recipe/expert_gram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 256, GROUP = 128, COUNT = 500, TRIALS = 40 };
static const char *const readers[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"};
static const char output[] = "blk.0.attn_output.weight";
static const pare_group_shape shape = {4, 0, 15};

/* Inputs of unlike sizes that go together. */
static double product(size_t i, size_t j)
{
    double size = exp(sin((double)i) + sin((double)j));
    return size * pow(0.9, fabs((double)i - (double)j));
}

static double h[N][N];

static int make_products(void **state)
{
    (void)state;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++)
            h[i][j] = product(i, j);
    return 0;
}

static void add_gram(pare_imatrix *im, const char *name)
{
    pare_error err = {0};
    uint8_t *at = NULL;
    CHECK_OK(pare_grams_add(&im->grams, name, N, COUNT, NULL, &at, &err), &err);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++, at += 4)
            pare_store_f32le(at, (float)(COUNT * h[i][j]));
}

static void make_statistics(pare_imatrix *im)
{
    pare_error err = {0};
    im->path = "full.gguf";
    add_gram(im, readers[0]);
    add_gram(im, output);
    for (int i = 1; i < 3; i++)
        CHECK_OK(pare_grams_link(&im->grams, readers[i], readers[0], &err), &err);
}

static bool takes_all(const pare_tensor *t, void *user)
{
    (void)user;
    return t->row_len % GROUP == 0;
}

static bool takes_groups(const pare_tensor *t, void *user)
{
    (void)user;
    return t->row_len % 16 == 0;
}

static float *read_all(const pare_tensor *t)
{
    pare_error err = {0};
    float *x = check_malloc((size_t)(t->n_rows * t->row_len) * sizeof *x);
    CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, x, &err), &err);
    return x;
}

/* tr(D H D^T) of one matrix, D what rounding w s and dividing by s changes. */
static double cost_of(const float *w, size_t n_rows, const double *s)
{
    double sum = 0;
    for (size_t r = 0; r < n_rows; r++) {
        double e[N];
        for (size_t at = 0; at < N; at += GROUP) {
            float x[GROUP];
            pare_group g;
            uint8_t codes[GROUP];
            for (size_t k = 0; k < GROUP; k++)
                x[k] = w[r * N + at + k] * (float)s[at + k];
            CHECK(pare_path_now()->group_round(&shape, x, GROUP, &g, codes));
            for (size_t k = 0; k < GROUP; k++)
                e[at + k] = (double)pare_f16_to_f32(g.d) * (codes[k] - g.zero) / s[at + k] - (double)w[r * N + at + k];
        }
        for (size_t i = 0; i < N; i++) {
            double all = 0;
            for (size_t j = 0; j < i; j++)
                all += 2 * h[i][j] * e[j];
            sum += e[i] * (all + h[i][i] * e[i]);
        }
    }
    return sum;
}

/* Scales of all trials, the inputs of `share` heads of 64 tied. */
static void make_trials(const pare_fold_pair *p, double scale[TRIALS][N])
{
    double weight[N] = {0}, n_rows = 0, x[N], w[N];
    for (size_t m = 0; m < p->n_readers; m++) {
        const pare_tensor *t = p->reader[m];
        float *v = read_all(t);
        for (size_t r = 0; r < t->n_rows; r++, n_rows++)
            for (size_t at = 0; at < N; at += GROUP) {
                double most = 0;
                for (size_t k = at; k < at + GROUP; k++)
                    most = fmax(most, fabs((double)v[r * N + k]));
                for (size_t k = at; k < at + GROUP; k++)
                    weight[k] += fabs((double)v[r * N + k]) / (most + 1e-6);
            }
        free(v);
    }
    for (size_t i = 0; i < N; i++) {
        double sum_x = 0, sum_w = 0, n = 0;
        for (size_t k = 0; k < N; k++)
            if (pare_fold_made_by(p, k) == pare_fold_made_by(p, i)) {
                sum_x += h[k][k];
                sum_w += weight[k] / n_rows;
                n++;
            }
        x[i] = sqrt(sum_x / n);
        w[i] = sum_w / n;
    }
    for (int t = 0; t < TRIALS; t++) {
        double most = 0, least = INFINITY, r = t % 20 / 20.0;
        for (size_t i = 0; i < N; i++) {
            scale[t][i] = fmax(t < 20 ? pow(x[i], r) : pow(x[i], r) / (pow(w[i], 1 - r) + 1e-4), 1e-4);
            most = fmax(most, scale[t][i]);
            least = fmin(least, scale[t][i]);
        }
        for (size_t i = 0; i < N; i++)
            scale[t][i] /= sqrt(most * least);
    }
}

/* The trial that was taken. */
static int taken(const pare_fold_pair *p, double scale[TRIALS][N])
{
    for (int t = 0; t < TRIALS; t++) {
        double largest = 0;
        for (size_t i = 0; i < N; i++)
            largest = fmax(largest, fabs((double)p->scale[i] / scale[t][i] - 1));
        if (largest < (p->norm ? 0x1p-8 : 1e-5))
            return t;
    }
    fail_msg("the scales are those of no trial");
    return -1;
}

/* It costs less than those beside it, and a spread of all. Returns what it leaves of the error. */
static double check_pair(const pare_fold_pair *p)
{
    static double scale[TRIALS][N];
    double cost[TRIALS] = {0};
    make_trials(p, scale);
    int best = taken(p, scale);
    for (size_t m = 0; m < p->n_readers; m++) {
        float *w = read_all(p->reader[m]);
        for (int t = 0; t < TRIALS; t++)
            cost[t] += t % 7 == 0 || abs(t - best) <= 1 ? cost_of(w, (size_t)p->reader[m]->n_rows, scale[t]) : INFINITY;
        free(w);
    }
    for (int t = 0; t < TRIALS; t++)
        CHECK(cost[t] >= cost[best] * (1 - 1e-5));
    printf("trial %d leaves %.4f\n", best, cost[best] / cost[0]);
    return cost[best] / cost[0];
}

static void the_best_scales_are_found(void **state)
{
    (void)state;
    pare_model m = {0};
    pare_imatrix im = {0};
    pare_fold fold = {0}, alone = {0};
    pare_awq_report report;
    pare_error err = {0};
    CHECK_OK(pare_model_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    make_statistics(&im);
    const pare_awq_settings settings = {.shape = shape, .group = GROUP, .imatrix = &im, .fits = takes_all};
    CHECK_OK(pare_fold_find(&fold, &m, &err), &err);
    CHECK_OK(pare_fold_find(&alone, &m, &err), &err);
    CHECK(fold.n == 8 && fold.left == NULL);
    pare_set_threads(7);
    CHECK_OK(pare_awq_search(&fold, &m, &settings, &report, &err), &err);
    CHECK(report.n_pairs == 2 && report.n_scaled == 2 && report.mean_ratio < 0.95);
    pare_set_threads(1);
    CHECK_OK(pare_awq_search(&alone, &m, &settings, &report, &err), &err);
    pare_set_threads(0);
    double ratio = 1;
    for (size_t i = 0; i < fold.n; i++) {
        CHECK(memcmp(fold.pairs[i].scale, alone.pairs[i].scale, (size_t)fold.pairs[i].n * sizeof(float)) == 0);
        if (pare_grams_find(&im.grams, fold.pairs[i].reader[0]->name) != NULL)
            ratio *= check_pair(&fold.pairs[i]);
        else
            for (uint64_t c = 0; c < fold.pairs[i].n; c++)
                CHECK(fold.pairs[i].scale[c] == 1);
    }
    CHECK(fabs(sqrt(ratio) / report.mean_ratio - 1) < 1e-4);
    pare_fold_close(&fold);
    pare_fold_close(&alone);
    pare_imatrix_close(&im);
    pare_model_close(&m);
}

enum { EXPERT_N = 16, EXPERTS = 6 };

/* Rows of one expert, as a matrix: values is to be freed. */
static pare_tensor matrix_of(const pare_fold_pair *p, float **values)
{
    pare_error err = {0};
    const pare_tensor *all = p->reader[0];
    uint64_t n_rows = all->n_rows / p->n_experts;
    pare_tensor t = {.name = all->name, .type = PARE_TYPE_F32, .n_dims = 2, .dim = {n_rows, all->row_len}};
    *values = check_malloc((size_t)(n_rows * all->row_len) * sizeof **values);
    CHECK_OK(pare_tensor_read_f32(all, p->expert * n_rows, n_rows, *values, &err), &err);
    t.data = (const uint8_t *)(const void *)*values;
    CHECK_OK(pare_tensor_set_shape(&t, "test", &err), &err);
    return t;
}

/* The scales of an expert are those of a matrix with its rows and the products of its inputs. */
static void check_expert(const pare_fold_pair *p, const pare_awq_settings *settings)
{
    pare_error err = {0};
    pare_expert_grams own;
    pare_gram of;
    pare_imatrix im = {.path = "full.gguf"};
    pare_awq_settings alone = *settings;
    pare_awq_report report;
    float *values = NULL, scale[EXPERT_N];
    const pare_gram *all = pare_grams_find(&settings->imatrix->grams, p->reader[0]->name);
    pare_tensor t = matrix_of(p, &values);
    pare_fold_pair pair = *p;
    pair.reader[0] = &t;
    pair.n_givers = 0;
    pair.n_experts = 1;
    pair.expert = 0;
    pair.scale = scale;
    for (int i = 0; i < EXPERT_N; i++)
        scale[i] = 1;
    CHECK_OK(pare_expert_grams_open(&own, all, pare_imatrix_find(settings->imatrix, all->name), "full.gguf", &err),
             &err);
    CHECK_OK(pare_expert_grams_make(&own, p->expert, &of, &err), &err);
    CHECK_OK(pare_grams_add(&im.grams, t.name, EXPERT_N, 1, of.lower, NULL, &err), &err);
    alone.imatrix = &im;
    CHECK_OK(pare_awq_search(&(pare_fold){.pairs = &pair, .n = 1}, NULL, &alone, &report, &err), &err);
    CHECK(report.n_pairs == 1 && memcmp(scale, p->scale, sizeof scale) == 0);
    pare_expert_grams_close(&own);
    pare_imatrix_close(&im);
    free(values);
}

static void experts_are_searched_by_themselves(void **state)
{
    (void)state;
    pare_model m = {0};
    pare_imatrix im = {.path = "full.gguf"};
    pare_imatrix_entry *e = NULL;
    pare_fold fold = {0};
    pare_awq_report report;
    pare_error err = {0};
    static const char name[] = "blk.0.ffn_down_exps.weight";
    uint8_t *at = NULL;
    CHECK_OK(pare_model_open(&m, source_path("tests/families/qwen2_moe"), 0, &err), &err);
    CHECK_OK(pare_imatrix_add(&im, name, EXPERTS, EXPERT_N, EXPERTS, false, &e, &err), &err);
    CHECK_OK(
        pare_grams_add_experts(&im.grams, name, EXPERT_N, EXPERTS, 60 * EXPERTS * (EXPERTS + 1) / 2, NULL, &at, &err),
        &err);
    for (size_t k = 0; k < EXPERTS; k++) {
        e->counts[k] = 60 * (double)(k + 1);
        for (size_t i = 0; i < EXPERT_N; i++) {
            e->sum2[k * EXPERT_N + i] = (float)(e->counts[k] * product(3 * k + i, 3 * k + i));
            for (size_t j = 0; j <= i; j++, at += 4)
                pare_store_f32le(at, (float)(e->counts[k] * product(3 * k + i, 3 * k + j)));
        }
    }
    const pare_awq_settings settings = {.shape = shape, .group = EXPERT_N, .imatrix = &im, .fits = takes_groups};
    CHECK_OK(pare_fold_find(&fold, &m, &err), &err);
    CHECK_OK(pare_awq_search(&fold, &m, &settings, &report, &err), &err);
    CHECK(report.n_pairs == EXPERTS && report.n_scaled >= EXPERTS / 2);
    const float *first = pare_fold_scale(&fold, name);
    CHECK(memcmp(first, first + EXPERT_N, EXPERT_N * sizeof *first) != 0);
    for (size_t i = 0, n = 0; i < fold.n; i++)
        if (fold.pairs[i].n_experts > 1 && strcmp(fold.pairs[i].reader[0]->name, name) == 0) {
            CHECK(fold.pairs[i].scale == first + n++ * EXPERT_N);
            check_expert(&fold.pairs[i], &settings);
        }
    pare_fold_close(&fold);
    pare_imatrix_close(&im);
    pare_model_close(&m);
}

/* What a pair's matrices do not share, or the format does not pack, is not scaled. */
static void statistics_must_be_of_all(void **state)
{
    (void)state;
    pare_model m = {0};
    pare_imatrix im = {.path = "full.gguf"};
    pare_fold fold = {0};
    pare_awq_report report;
    pare_error err = {0};
    CHECK_OK(pare_model_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    for (int i = 0; i < 3; i++)
        add_gram(&im, readers[i]);
    const pare_awq_settings settings = {.shape = shape, .group = GROUP, .imatrix = &im, .fits = takes_all};
    CHECK_OK(pare_fold_find(&fold, &m, &err), &err);
    CHECK_OK(pare_awq_search(&fold, &m, &settings, &report, &err), &err);
    CHECK(report.n_pairs == 0 && isnan(report.mean_ratio));
    pare_store_f32le(im.grams.list[0].own, NAN);
    CHECK(pare_awq_panels(&im.grams.list[0], NULL, 0, N, "full.gguf", (float[N * N]){0}, &err) == PARE_ERR_NUMBER);
    pare_fold_close(&fold);
    pare_imatrix_close(&im);
    pare_model_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_scales_are_found),
        cmocka_unit_test(statistics_must_be_of_all),
        cmocka_unit_test(experts_are_searched_by_themselves),
    };
    return cmocka_run_group_tests(tests, make_products, NULL);
}
