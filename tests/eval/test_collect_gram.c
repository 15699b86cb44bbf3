/* Second-order statistics against sums that are taken here in double of what each matrix is given. */
#include "check.h"
#include "toy.h"

#include "core/bytes.h"
#include "core/threads.h"
#include "eval/collect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 16, WINDOWS = 5, N_IDS = CTX * WINDOWS, MAX_MATRICES = 20, MAX_WIDTH = 24, VOCAB = 40 };

/* What a matrix was given, all experts together. */
typedef struct seen {
    const pare_tensor *w;
    double sum[MAX_WIDTH * MAX_WIDTH];
    double count;
} seen;

typedef struct witness {
    seen list[MAX_MATRICES];
    size_t n;
} witness;

static pare_status watch(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user, pare_error *err)
{
    witness *all = user;
    size_t at = 0, width = (size_t)w->row_len;
    (void)matrix;
    (void)err;
    while (at < all->n && all->list[at].w != w)
        at++;
    CHECK(at < MAX_MATRICES && width <= MAX_WIDTH);
    all->n = at == all->n ? at + 1 : all->n;
    all->list[at].w = w;
    all->list[at].count += n;
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < width; i++)
            for (size_t j = 0; j < width; j++)
                all->list[at].sum[i * width + j] += (double)x[t * width + i] * (double)x[t * width + j];
    return PARE_OK;
}

/* One window after the other through a pass of our own. */
static void make_witness(witness *out, const pare_model *m, pare_backend *b, const int32_t *ids)
{
    pare_forward *f = NULL;
    pare_error err = {0};
    memset(out, 0, sizeof *out);
    CHECK_OK(pare_forward_open(&f, m, b, CTX, 1, &err), &err);
    pare_forward_observe(f, watch, out);
    for (int w = 0; w < WINDOWS; w++) {
        pare_score_side side;
        uint32_t n = 0;
        CHECK_OK(pare_forward_run(f, ids + w * CTX, 1, CTX, &err), &err);
        CHECK_OK(pare_forward_score_side(f, &side, &n, &err), &err);
        CHECK_OK(watch(side.w, 0, side.x, n, out, &err), &err);
    }
    pare_forward_close(f);
}

static void make_ids(int32_t *ids, int32_t below)
{
    uint64_t seed = 5;
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * ((float)below - 0.1f));
}

static double element(const pare_gram *g, uint64_t i, uint64_t j)
{
    return (double)pare_load_f32le(g->lower + 4 * (i * (i + 1) / 2 + j));
}

static void check_gram(const pare_imatrix *im, const seen *s)
{
    const pare_gram *g = pare_grams_find(&im->grams, s->w->name);
    size_t n = (size_t)s->w->row_len;
    if (g == NULL || g->n_columns != n || g->count != s->count)
        fail_msg("%s", s->w->name);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            CHECK(fabs(element(g, i, j) - s->sum[i * n + j]) <= 1e-5 * sqrt(s->sum[i * n + i] * s->sum[j * n + j]));
}

/* Layers' matrices and the output matrix. */
static bool is_counted(const pare_tensor *w)
{
    return strncmp(w->name, "blk.", 4) == 0 || strcmp(w->name, "output.weight") == 0;
}

static const pare_collect_options full = {.n_ctx = CTX, .output_weight = true, .full = true};

static void collect(pare_imatrix *im, const pare_model *m, pare_backend *b, const int32_t *ids,
                    const pare_collect_options *options)
{
    pare_error err = {0};
    CHECK_OK(pare_collect(im, m, b, ids, N_IDS, PARE_TOKEN_NONE, options, NULL, NULL, &err), &err);
}

static const pare_gram *gram(const pare_imatrix *im, const char *name)
{
    const pare_gram *g = pare_grams_find(&im->grams, name);
    CHECK(g != NULL);
    return g;
}

static void sums_are_those_of_the_inputs(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b = NULL;
    pare_imatrix im;
    pare_error err = {0};
    static witness want;
    int32_t ids[N_IDS];
    toy_llama(&m, VOCAB, 0);
    make_ids(ids, VOCAB);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    make_witness(&want, &m, b, ids);
    for (uint32_t batch = CTX; batch <= 4 * CTX; batch += 3 * CTX) { /* one window a time, and four of five */
        b->batch_tokens = batch;
        collect(&im, &m, b, ids, &full);
        CHECK(want.n == 15 && im.n == 15 && im.grams.n == 9 && im.grams.n_matrices == 15);
        for (size_t i = 0; i < want.n; i++) {
            CHECK(is_counted(want.list[i].w) && want.list[i].count == N_IDS);
            check_gram(&im, &want.list[i]);
        }
        CHECK(gram(&im, "blk.0.attn_q.weight") == gram(&im, "blk.0.attn_k.weight"));
        CHECK(gram(&im, "blk.0.attn_q.weight") == gram(&im, "blk.0.attn_v.weight"));
        CHECK(gram(&im, "blk.1.ffn_gate.weight") == gram(&im, "blk.1.ffn_up.weight"));
        static const char *const apart[] = {"blk.0.attn_q.weight",   "blk.0.attn_output.weight", "blk.0.ffn_up.weight",
                                            "blk.0.ffn_down.weight", "blk.1.attn_q.weight",      "blk.1.ffn_up.weight",
                                            "output.weight"};
        for (size_t i = 0; i < 7; i++)
            for (size_t k = 0; k < i; k++)
                CHECK(gram(&im, apart[i]) != gram(&im, apart[k]));
        pare_imatrix_close(&im);
    }
    pare_collect_options options = full;
    options.output_weight = false;
    collect(&im, &m, b, ids, &options);
    CHECK(im.grams.n == 8 && pare_grams_find(&im.grams, "output.weight") == NULL);
    pare_imatrix_close(&im);
    options.full = false;
    collect(&im, &m, b, ids, &options);
    CHECK(im.n == 14 && im.grams.n == 0);
    pare_imatrix_close(&im);
    pare_model_close(&m);
    b->close(b);
}

static void check_same(const pare_imatrix *a, const pare_imatrix *b)
{
    CHECK(a->n == b->n && a->grams.n == b->grams.n && a->grams.n_matrices == b->grams.n_matrices);
    for (size_t i = 0; i < a->n; i++) {
        const pare_imatrix_entry *x = &a->entries[i], *y = pare_imatrix_find(b, x->name);
        CHECK(y != NULL && memcmp(x->sum2, y->sum2, x->n_columns * x->n_experts * sizeof *x->sum2) == 0);
        CHECK(memcmp(x->sum, y->sum, x->n_columns * x->n_experts * sizeof *x->sum) == 0);
        CHECK(memcmp(x->counts, y->counts, x->n_counts * sizeof *x->counts) == 0);
    }
    for (size_t i = 0; i < a->grams.n_matrices; i++) {
        const pare_gram *x = gram(a, a->grams.matrix[i]), *y = gram(b, a->grams.matrix[i]);
        uint64_t bytes = 0;
        CHECK(strcmp(x->name, y->name) == 0 && x->n_columns == y->n_columns && x->count == y->count);
        CHECK(pare_gram_bytes(x->n_columns, &bytes) && memcmp(x->lower, y->lower, (size_t)bytes) == 0);
    }
}

typedef struct told {
    uint32_t last, of;
} told;

static void tell(uint32_t n_done, uint32_t n_chunks, void *user)
{
    told *t = user;
    CHECK(n_done > t->last && (t->of == 0 || t->of == n_chunks));
    *t = (told){n_done, n_chunks};
}

/* Nine inputs of 24 or 20 columns, in sums of 8 bytes: all at once, some in each of several runs, one in each. */
static void several_runs_are_as_one(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        uint32_t n_runs;
    } cases[] = {{1, 9}, {24 * 24 * 8, 9}, {24 * 24 * 8 * 2, 5}, {1 << 20, 1}};
    pare_model m;
    pare_backend *b = NULL;
    pare_imatrix one, other;
    pare_error err = {0};
    int32_t ids[N_IDS];
    toy_llama(&m, VOCAB, 0);
    make_ids(ids, VOCAB);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    b->batch_tokens = 2 * CTX;
    collect(&one, &m, b, ids, &full);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_collect_options options = full;
        told t = {0};
        options.full_bytes = cases[i].bytes;
        CHECK_OK(pare_collect(&other, &m, b, ids, N_IDS, PARE_TOKEN_NONE, &options, tell, &t, &err), &err);
        CHECK(t.last == WINDOWS * cases[i].n_runs && t.of == t.last);
        CHECK(other.chunk_count == WINDOWS);
        check_same(&one, &other);
        pare_imatrix_close(&other);
    }
    pare_imatrix_close(&one);
    pare_model_close(&m);
    b->close(b);
}

static void threads_and_memory_do_not_matter(void **state)
{
    (void)state;
    pare_backend *b = NULL;
    pare_error err = {0};
    int32_t ids[N_IDS];
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    for (int mixture = 0; mixture < 2; mixture++) {
        pare_model m;
        pare_imatrix one, seven, there;
        mixture ? toy_mixture(&m) : toy_llama(&m, VOCAB, 0);
        make_ids(ids, mixture ? 20 : VOCAB);
        pare_set_threads(1);
        collect(&one, &m, b, ids, &full);
        pare_set_threads(7);
        collect(&seven, &m, b, ids, &full);
        pare_set_threads(0);
        check_same(&one, &seven);
        pare_backend host = *b;
        toy_pretend_device(b);
        collect(&there, &m, b, ids, &full);
        *b = host;
        check_same(&one, &there);
        pare_imatrix_close(&one);
        pare_imatrix_close(&seven);
        pare_imatrix_close(&there);
        pare_model_close(&m);
    }
    b->close(b);
}

static void experts_are_pooled(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b = NULL;
    pare_imatrix im;
    pare_error err = {0};
    static witness want;
    int32_t ids[N_IDS];
    toy_mixture(&m);
    make_ids(ids, 20);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    make_witness(&want, &m, b, ids);
    collect(&im, &m, b, ids, &full);
    for (size_t i = 0; i < want.n; i++) {
        bool experts = strstr(want.list[i].w->name, "_exps") != NULL;
        CHECK(want.list[i].count == N_IDS * (experts ? TOY_USED : 1));
        if (is_counted(want.list[i].w))
            check_gram(&im, &want.list[i]);
    }
    CHECK(gram(&im, "blk.0.ffn_gate_exps.weight") == gram(&im, "blk.0.ffn_up_exps.weight"));
    CHECK(gram(&im, "blk.0.ffn_gate_exps.weight") != gram(&im, "blk.0.ffn_down_exps.weight"));
    CHECK(gram(&im, "blk.0.ffn_gate_exps.weight") != gram(&im, "blk.0.ffn_gate_inp.weight"));
    CHECK(im.grams.n_matrices == im.n);
    pare_imatrix_close(&im);
    pare_model_close(&m);
    b->close(b);
}

/* Of one token again and again an expert is given what the router is given; it counts on its own. */
static void a_router_is_no_expert(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b = NULL;
    pare_error err = {0};
    toy_mixture(&m);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    for (int32_t token = 0; token < 20; token++) {
        pare_imatrix im;
        int32_t ids[N_IDS];
        for (int i = 0; i < N_IDS; i++)
            ids[i] = token;
        collect(&im, &m, b, ids, &full);
        CHECK(gram(&im, "blk.0.ffn_gate_inp.weight")->count == N_IDS);
        CHECK(gram(&im, "blk.0.ffn_up_exps.weight")->count == N_IDS * TOY_USED);
        pare_imatrix_close(&im);
    }
    pare_model_close(&m);
    b->close(b);
}

static void what_is_too_large_is_named(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b = NULL;
    pare_imatrix im;
    pare_error err = {0};
    int32_t ids[N_IDS] = {0};
    toy_llama(&m, VOCAB, 0);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    float *norm = toy_values(&m, "blk.1.ffn_norm.weight");
    for (int i = 0; i < 24; i++)
        norm[i] *= 1e19f;
    CHECK(pare_collect(&im, &m, b, ids, N_IDS, PARE_TOKEN_NONE, &full, NULL, NULL, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "toy: tensor 'blk.1.ffn_gate.weight': the products of its inputs 0 and 0 add up to") !=
          NULL);
    CHECK(im.n == 0 && im.grams.n == 0);
    pare_model_close(&m);
    b->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_inputs),
        cmocka_unit_test(several_runs_are_as_one),
        cmocka_unit_test(threads_and_memory_do_not_matter),
        cmocka_unit_test(experts_are_pooled),
        cmocka_unit_test(a_router_is_no_expert),
        cmocka_unit_test(what_is_too_large_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
