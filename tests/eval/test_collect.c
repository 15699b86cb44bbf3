/* Calibration statistics against sums taken here in double, and against what must not change them. */
#include "check.h"
#include "toy.h"

#include "core/threads.h"
#include "eval/collect.h"
#include "formats/imatrix_file.h"
#include "formats/open.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 32, WINDOWS = 5, N_IDS = CTX * WINDOWS + 9, BOS = 1 };

static void open_demo(pare_model *m, pare_backend **b)
{
    pare_error err = {0};
    CHECK_OK(pare_model_open(m, source_path("tests/data/demo"), 0, &err), &err);
    CHECK_OK(pare_backend_cpu(b, &err), &err);
}

static void make_ids(const pare_model *m, int32_t *ids)
{
    uint64_t seed = 5;
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (float)(m->hp.n_vocab - 1));
}

/* The first matrix sees the normalised embeddings: what they are is easily said again. */
static void expect_first_inputs(const pare_model *m, const int32_t *ids, uint32_t n_windows, double *sum2, double *sum)
{
    uint32_t width = m->hp.n_embd;
    float *x = check_malloc(width * sizeof *x), *norm = check_malloc(width * sizeof *norm);
    pare_error err = {0};
    CHECK_OK(pare_tensor_read_f32(pare_model_find(m, "blk.0.attn_norm.weight"), 0, 1, norm, &err), &err);
    const pare_tensor *embd = pare_model_find(m, "token_embd.weight");
    memset(sum2, 0, width * sizeof *sum2);
    memset(sum, 0, width * sizeof *sum);
    for (uint32_t t = 0; t < n_windows * CTX; t++) {
        double squares = 0;
        CHECK_OK(pare_tensor_read_f32(embd, (uint64_t)(t % CTX == 0 ? BOS : ids[t]), 1, x, &err), &err);
        for (uint32_t c = 0; c < width; c++)
            squares += (double)x[c] * (double)x[c];
        double scale = 1 / sqrt(squares / width + (double)m->hp.norm_eps);
        for (uint32_t c = 0; c < width; c++) {
            double v = (double)x[c] * scale * (double)norm[c];
            sum[c] += v;
            sum2[c] += v * v;
        }
    }
    free(x);
    free(norm);
}

static void sums_are_those_of_the_inputs(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b;
    pare_imatrix im;
    pare_error err = {0};
    int32_t ids[N_IDS];
    const pare_collect_options options = {.n_ctx = CTX, .n_chunks = 3};
    open_demo(&m, &b);
    make_ids(&m, ids);
    CHECK_OK(pare_collect(&im, &m, b, ids, N_IDS, BOS, &options, NULL, NULL, &err), &err);
    CHECK(im.chunk_count == 3 && im.chunk_size == CTX && im.n == 7 * m.hp.n_layer && im.n_datasets == 0);
    double *sum2 = check_malloc(m.hp.n_embd * sizeof *sum2), *sum = check_malloc(m.hp.n_embd * sizeof *sum);
    expect_first_inputs(&m, ids, 3, sum2, sum);
    static const char *const names[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"};
    for (int i = 0; i < 3; i++) {
        const pare_imatrix_entry *e = pare_imatrix_find(&im, names[i]);
        CHECK(e != NULL && e->n_experts == 1 && e->n_columns == m.hp.n_embd && e->counts[0] == 3 * CTX);
        for (uint32_t c = 0; c < m.hp.n_embd; c++) {
            CHECK(fabs((double)e->sum2[c] - sum2[c]) <= 1e-5 * sum2[c]);
            CHECK(fabs((double)e->sum[c] - sum[c]) <= 1e-5 * sqrt(sum2[c] * 3 * CTX));
        }
    }
    const pare_imatrix_entry *down = pare_imatrix_find(&im, "blk.0.ffn_down.weight");
    CHECK(down != NULL && down->n_columns == m.hp.n_ff && down->counts[0] == 3 * CTX && down->sum2[0] > 0);
    CHECK(pare_imatrix_find(&im, "output.weight") == NULL && pare_imatrix_find(&im, "token_embd.weight") == NULL);
    free(sum2);
    free(sum);
    pare_imatrix_close(&im);
    pare_model_close(&m);
    b->close(b);
}

static void count_done(uint32_t n_done, uint32_t n_chunks, void *user)
{
    (void)n_chunks;
    *(uint32_t *)user = n_done;
}

static void check_same(const pare_imatrix *a, const pare_imatrix *b, double tolerance)
{
    CHECK(a->n == b->n);
    for (size_t i = 0; i < a->n; i++) {
        const pare_imatrix_entry *x = &a->entries[i], *y = pare_imatrix_find(b, x->name);
        CHECK(y != NULL && x->n_columns == y->n_columns && x->counts[0] == y->counts[0]);
        for (uint64_t c = 0; c < x->n_columns; c++) {
            CHECK(fabsf(x->sum2[c] - y->sum2[c]) <= (float)tolerance * x->sum2[c]);
            CHECK(fabsf(x->sum[c] - y->sum[c]) <= (float)tolerance * sqrtf(x->sum2[c] * (float)x->counts[0]));
        }
    }
}

static void threads_do_not_matter_and_texts_add_up(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b;
    pare_imatrix one, seven, first, rest;
    pare_error err = {0};
    int32_t ids[N_IDS];
    pare_collect_options options = {.n_ctx = CTX};
    open_demo(&m, &b);
    make_ids(&m, ids);
    pare_set_threads(1);
    CHECK_OK(pare_collect(&one, &m, b, ids, N_IDS, BOS, &options, NULL, NULL, &err), &err);
    pare_set_threads(7);
    CHECK_OK(pare_collect(&seven, &m, b, ids, N_IDS, BOS, &options, NULL, NULL, &err), &err);
    pare_set_threads(0);
    check_same(&one, &seven, 0);
    CHECK_OK(pare_collect(&rest, &m, b, ids + 2 * CTX, N_IDS - 2 * CTX, BOS, &options, NULL, NULL, &err), &err);
    options.n_chunks = 2;
    CHECK_OK(pare_collect(&first, &m, b, ids, N_IDS, BOS, &options, NULL, NULL, &err), &err);
    CHECK_OK(pare_imatrix_merge(&first, &rest, &err), &err);
    CHECK(first.chunk_count == WINDOWS);
    check_same(&one, &first, 1e-6);
    pare_imatrix_close(&one);
    pare_imatrix_close(&seven);
    pare_imatrix_close(&first);
    pare_imatrix_close(&rest);
    pare_model_close(&m);
    b->close(b);
}

/* A model with an output matrix of its own, fused q, k, v: each matrix counts once. */
/* Nothing but the sums is brought to the host, and they are the same ones. */
static void sums_stay_in_the_memory_of_the_backend(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b;
    pare_imatrix here, there;
    pare_error err = {0};
    int32_t ids[N_IDS];
    size_t n_columns = 0, n_batches = 2;
    const pare_collect_options options = {.n_ctx = CTX, .output_weight = true};
    open_demo(&m, &b);
    make_ids(&m, ids);
    CHECK_OK(pare_collect(&here, &m, b, ids, N_IDS, BOS, &options, NULL, NULL, &err), &err);
    toy_pretend_device(b);
    b->batch_tokens = 3 * CTX; /* of the five windows */
    CHECK_OK(pare_collect(&there, &m, b, ids, N_IDS, BOS, &options, NULL, NULL, &err), &err);
    check_same(&here, &there, 0);
    for (size_t i = 0; i < there.n; i++)
        n_columns += there.entries[i].n_columns;
    n_columns += n_batches * there.entries[there.n - 1].n_columns; /* looked at behind each batch */
    CHECK(toy_downloaded == 2 * sizeof(double) * n_columns);
    pare_imatrix_close(&here);
    pare_imatrix_close(&there);
    pare_model_close(&m);
    b->close(b);
}

static void a_device_names_what_is_not_finite(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b = NULL;
    pare_imatrix im;
    pare_error err = {0};
    int32_t ids[4 * CTX] = {0};
    const pare_collect_options options = {.n_ctx = CTX};
    uint32_t n_done = 0;
    toy_llama(&m, 40, 0);
    ids[CTX + 20] = 33;
    toy_values(&m, "blk.1.ffn_up.weight")[7] = NAN;
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    toy_pretend_device(b);
    b->batch_tokens = CTX;
    CHECK(pare_collect(&im, &m, b, ids, 4 * CTX, PARE_TOKEN_NONE, &options, count_done, &n_done, &err) ==
          PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "'blk.1.ffn_down.weight': an input of column 0 is not finite") != NULL);
    CHECK(n_done == 0 && im.n == 0);
    toy_values(&m, "blk.1.ffn_up.weight")[7] = 0;
    toy_values(&m, "token_embd.weight")[33 * 24 + 5] = NAN; /* in the second window only */
    CHECK(pare_collect(&im, &m, b, ids, 4 * CTX, PARE_TOKEN_NONE, &options, count_done, &n_done, &err) ==
          PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "'blk.0.attn_k.weight': an input of column 0 is not finite") != NULL);
    CHECK(n_done == 1);
    pare_model_close(&m);
    b->close(b);
}

static void the_output_matrix_is_on_request(void **state)
{
    (void)state;
    pare_model m = {.path = "toy", .arch = pare_arch_find("llama")};
    pare_backend *b = NULL;
    pare_imatrix im;
    pare_error err = {0};
    uint64_t seed = 3;
    int32_t ids[2 * CTX] = {0};
    m.hp = (pare_hparams){.n_vocab = 20,
                          .n_layer = 1,
                          .n_ctx_train = 64,
                          .n_embd = 16,
                          .n_ff = 24,
                          .n_head = 2,
                          .n_head_kv = 2,
                          .head_dim_k = 8,
                          .head_dim_v = 8,
                          .n_rot = 8,
                          .norm_eps = 1e-5f,
                          .rope_base = 1e4f};
    CHECK_OK(pare_model_reserve(&m, 16, &err), &err);
    toy_add(&m, &seed, "token_embd.weight", 20, 16, 1, 0);
    toy_add(&m, &seed, "output_norm.weight", 0, 16, 0.1f, 1);
    toy_add(&m, &seed, "output.weight", 20, 16, 1, 0);
    toy_add(&m, &seed, "blk.0.attn_norm.weight", 0, 16, 0.1f, 1);
    toy_add(&m, &seed, "blk.0.ffn_norm.weight", 0, 16, 0.1f, 1);
    toy_add(&m, &seed, "blk.0.attn_qkv.weight", 48, 16, 0.3f, 0);
    toy_add(&m, &seed, "blk.0.attn_output.weight", 16, 16, 0.3f, 0);
    toy_add(&m, &seed, "blk.0.ffn_gate.weight", 24, 16, 0.3f, 0);
    toy_add(&m, &seed, "blk.0.ffn_up.weight", 24, 16, 0.3f, 0);
    toy_add(&m, &seed, "blk.0.ffn_down.weight", 16, 24, 0.3f, 0);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    pare_collect_options options = {.n_ctx = CTX, .output_weight = true};
    CHECK_OK(pare_collect(&im, &m, b, ids, 2 * CTX, PARE_TOKEN_NONE, &options, NULL, NULL, &err), &err);
    CHECK(im.n == 6);
    CHECK(pare_imatrix_find(&im, "blk.0.attn_qkv.weight")->counts[0] == 2 * CTX);
    CHECK(pare_imatrix_find(&im, "output.weight")->counts[0] == 2 * CTX);
    pare_imatrix_close(&im);
    CHECK(pare_collect(&im, &m, b, ids, CTX - 1, PARE_TOKEN_NONE, &options, NULL, NULL, &err) == PARE_ERR_USAGE);
    toy_values(&m, "token_embd.weight")[0] = NAN;
    CHECK(pare_collect(&im, &m, b, ids, CTX, PARE_TOKEN_NONE, &options, NULL, NULL, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "attn_qkv") != NULL && im.n == 0);
    pare_model_close(&m);
    b->close(b);
}

enum { EXPERTS = TOY_EXPERTS, USED = TOY_USED, EMBD = 16, FF = 24 };

static void multiply(const float *w, size_t n_rows, const double *x, double *y)
{
    for (size_t r = 0; r < n_rows; r++) {
        y[r] = 0;
        for (size_t c = 0; c < EMBD; c++)
            y[r] += (double)w[r * EMBD + c] * x[c];
    }
}

typedef struct expected {
    double in2[EXPERTS][EMBD], in[EXPERTS][EMBD], down2[EXPERTS][FF], down[EXPERTS][FF], count[EXPERTS];
} expected;

/* What one token adds: to the experts of which fewer than USED have a larger score. */
static void expect_token(const pare_model *m, int32_t id, expected *want)
{
    const float *embd = toy_values(m, "token_embd.weight") + id * EMBD, *norm = toy_values(m, "blk.0.ffn_norm.weight");
    double x[EMBD], score[EXPERTS], gate[FF], up[FF], squares = 0;
    for (int c = 0; c < EMBD; c++)
        squares += (double)embd[c] * (double)embd[c];
    for (int c = 0; c < EMBD; c++)
        x[c] = (double)embd[c] / sqrt(squares / EMBD + (double)m->hp.norm_eps) * (double)norm[c];
    multiply(toy_values(m, "blk.0.ffn_gate_inp.weight"), EXPERTS, x, score);
    for (int e = 0; e < EXPERTS; e++) {
        int n_better = 0;
        for (int other = 0; other < EXPERTS; other++)
            n_better += score[other] > score[e];
        if (n_better >= USED)
            continue;
        multiply(toy_values(m, "blk.0.ffn_gate_exps.weight") + e * FF * EMBD, FF, x, gate);
        multiply(toy_values(m, "blk.0.ffn_up_exps.weight") + e * FF * EMBD, FF, x, up);
        want->count[e]++;
        for (int c = 0; c < EMBD; c++) {
            want->in[e][c] += x[c];
            want->in2[e][c] += x[c] * x[c];
        }
        for (int c = 0; c < FF; c++) {
            double v = up[c] * gate[c] / (1 + exp(-gate[c]));
            want->down[e][c] += v;
            want->down2[e][c] += v * v;
        }
    }
}

static void check_experts(const pare_imatrix *im, const char *name, uint64_t width, const double *sum2,
                          const double *sum, const double *count)
{
    const pare_imatrix_entry *e = pare_imatrix_find(im, name);
    CHECK(e != NULL && e->n_experts == EXPERTS && e->n_columns == width && e->n_counts == EXPERTS);
    for (uint64_t i = 0; i < EXPERTS; i++) {
        CHECK(e->counts[i] == count[i]);
        for (uint64_t k = i * width; k < (i + 1) * width; k++) {
            CHECK(fabs((double)e->sum2[k] - sum2[k]) <= 1e-5 * sum2[k]);
            CHECK(fabs((double)e->sum[k] - sum[k]) <= 1e-5 * sqrt(sum2[k] * count[i]));
        }
    }
}

static void each_expert_counts_its_own_tokens(void **state)
{
    (void)state;
    enum { N = 3 * CTX };
    pare_model m;
    pare_backend *b = NULL;
    pare_imatrix im, back;
    pare_error err = {0};
    static expected want;
    int32_t ids[N];
    uint64_t seed = 9;
    char path[4200];
    toy_mixture(&m);
    for (int t = 0; t < N; t++) {
        ids[t] = (int32_t)((toy_random(&seed) + 1) / 2 * 2.9f); /* 0, 1 or 2 */
        expect_token(&m, ids[t], &want);
    }
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    const pare_collect_options options = {.n_ctx = CTX};
    CHECK_OK(pare_collect(&im, &m, b, ids, N, PARE_TOKEN_NONE, &options, NULL, NULL, &err), &err);
    double total = 0, least = N;
    for (int e = 0; e < EXPERTS; e++) {
        total += want.count[e];
        least = fmin(least, want.count[e]);
    }
    CHECK(total == N * USED && least == 0); /* three tokens go to fewer than six experts */
    check_experts(&im, "blk.0.ffn_gate_exps.weight", EMBD, want.in2[0], want.in[0], want.count);
    check_experts(&im, "blk.0.ffn_up_exps.weight", EMBD, want.in2[0], want.in[0], want.count);
    check_experts(&im, "blk.0.ffn_down_exps.weight", FF, want.down2[0], want.down[0], want.count);
    CHECK(pare_imatrix_find(&im, "blk.0.ffn_gate_inp.weight")->counts[0] == N);
    CHECK(im.n == 6);
    snprintf(path, sizeof path, "%s/experts.gguf", temp_dir());
    CHECK_OK(pare_imatrix_write(&im, path, false, NULL, &err), &err);
    CHECK_OK(pare_imatrix_open(&back, path, &err), &err);
    check_experts(&back, "blk.0.ffn_down_exps.weight", FF, want.down2[0], want.down[0], want.count);
    pare_imatrix_close(&back);
    pare_imatrix_close(&im);
    toy_values(&m, "blk.0.ffn_gate_inp.weight")[0] = INFINITY;
    CHECK(pare_collect(&im, &m, b, ids, N, PARE_TOKEN_NONE, &options, NULL, NULL, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "score of expert 0") != NULL && im.n == 0);
    pare_model_close(&m);
    b->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_inputs),
        cmocka_unit_test(threads_do_not_matter_and_texts_add_up),
        cmocka_unit_test(sums_stay_in_the_memory_of_the_backend),
        cmocka_unit_test(a_device_names_what_is_not_finite),
        cmocka_unit_test(the_output_matrix_is_on_request),
        cmocka_unit_test(each_expert_counts_its_own_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
