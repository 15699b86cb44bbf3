/* Second-order statistics against sums that are taken here in double of what each matrix is given. */
#include "check.h"
#include "toy.h"

#include "core/bytes.h"
#include "core/threads.h"
#include "eval/collect.h"
#include "eval/collect_state.h"
#include "formats/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CTX = 16, WINDOWS = 5, N_IDS = CTX * WINDOWS, MAX_MATRICES = 20, MAX_WIDTH = 24, VOCAB = 40 };

/* What a matrix was given, all experts together, and each of them. */
typedef struct seen {
    const pare_tensor *w;
    double sum[MAX_WIDTH * MAX_WIDTH], own[TOY_EXPERTS][MAX_WIDTH * MAX_WIDTH];
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
    (void)err;
    CHECK(matrix < TOY_EXPERTS);
    while (at < all->n && all->list[at].w != w)
        at++;
    CHECK(at < MAX_MATRICES && width <= MAX_WIDTH);
    all->n = at == all->n ? at + 1 : all->n;
    all->list[at].w = w;
    all->list[at].count += n;
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < width; i++)
            for (size_t j = 0; j < width; j++) {
                double v = (double)x[t * width + i] * (double)x[t * width + j];
                all->list[at].sum[i * width + j] += v;
                all->list[at].own[matrix][i * width + j] += v;
            }
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

static double element(const pare_gram *g, uint64_t expert, uint64_t i, uint64_t j)
{
    return (double)pare_load_f32le(g->lower +
                                   4 * (expert * g->n_columns * (g->n_columns + 1) / 2 + i * (i + 1) / 2 + j));
}

static void check_gram(const pare_imatrix *im, const seen *s)
{
    const pare_gram *g = pare_grams_find(&im->grams, s->w->name);
    size_t n = (size_t)s->w->row_len;
    if (g == NULL || g->n_columns != n || g->count != s->count)
        fail_msg("%s", s->w->name);
    CHECK(g->n_experts == 1 || g->n_experts == pare_tensor_matrices(s->w));
    for (uint64_t e = 0; e < g->n_experts; e++) {
        const double *sum = g->n_experts > 1 ? s->own[e] : s->sum;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j <= i; j++)
                CHECK(fabs(element(g, e, i, j) - sum[i * n + j]) <= 1e-5 * sqrt(sum[i * n + i] * sum[j * n + j]));
    }
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
        CHECK(x->n_experts == y->n_experts && pare_gram_all_bytes(x, &bytes) &&
              memcmp(x->lower, y->lower, (size_t)bytes) == 0);
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

static void check_experts(const pare_model *m, pare_backend *b, const int32_t *ids, const witness *want,
                          const pare_collect_options *options, uint64_t n_experts)
{
    pare_imatrix im;
    collect(&im, m, b, ids, options);
    for (size_t i = 0; i < want->n; i++) {
        bool experts = strstr(want->list[i].w->name, "_exps") != NULL;
        CHECK(want->list[i].count == N_IDS * (experts ? TOY_USED : 1));
        if (!is_counted(want->list[i].w))
            continue;
        check_gram(&im, &want->list[i]);
        CHECK(gram(&im, want->list[i].w->name)->n_experts == (experts ? n_experts : 1));
    }
    CHECK(gram(&im, "blk.0.ffn_gate_exps.weight") == gram(&im, "blk.0.ffn_up_exps.weight"));
    CHECK(gram(&im, "blk.0.ffn_gate_exps.weight") != gram(&im, "blk.0.ffn_down_exps.weight"));
    CHECK(gram(&im, "blk.0.ffn_gate_exps.weight") != gram(&im, "blk.0.ffn_gate_inp.weight"));
    CHECK(im.grams.n_matrices == im.n);
    pare_imatrix_close(&im);
}

/* Each its own on request, in several runs over the text, and where all sums fit; else all together. */
static void experts_have_their_own_or_share(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b = NULL;
    pare_error err = {0};
    static witness want;
    int32_t ids[N_IDS];
    toy_mixture(&m);
    make_ids(ids, 20);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    make_witness(&want, &m, b, ids);
    pare_collect_options options = full;
    check_experts(&m, b, ids, &want, &options, TOY_EXPERTS);
    options.full_bytes = 2 * MAX_WIDTH * MAX_WIDTH * sizeof(double); /* parts of a tensor's experts */
    check_experts(&m, b, ids, &want, &options, 1);
    options.experts = PARE_GRAM_EXPERTS_OWN;
    check_experts(&m, b, ids, &want, &options, TOY_EXPERTS);
    options.full_bytes = 0;
    options.experts = PARE_GRAM_EXPERTS_SHARED;
    check_experts(&m, b, ids, &want, &options, 1);
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

/* A backend that fails at call number fail_at of add_gram. */
static pare_status (*whole_add_gram)(pare_backend *b, const float *x, uint32_t n, uint32_t width, float *h,
                                     pare_error *err);
static uint32_t n_calls, fail_at;

static pare_status failing_add_gram(pare_backend *b, const float *x, uint32_t n, uint32_t width, float *h,
                                    pare_error *err)
{
    if (++n_calls == fail_at)
        return pare_fail(err, PARE_ERR_DEVICE, "broken off");
    return whole_add_gram(b, x, n, width, h, err);
}

typedef struct unfinished {
    pare_model m;
    pare_backend *b;
    int32_t ids[N_IDS];
    pare_collect_options options;
    char state[600], triangles[620], output[600];
} unfinished;

static void open_unfinished(unfinished *u, bool mixture)
{
    pare_error err = {0};
    memset(u, 0, sizeof *u);
    if (mixture)
        toy_mixture(&u->m);
    else
        toy_llama(&u->m, VOCAB, 0);
    make_ids(u->ids, mixture ? 20 : VOCAB);
    CHECK_OK(pare_backend_cpu(&u->b, &err), &err);
    u->b->batch_tokens = 2 * CTX;
    whole_add_gram = u->b->add_gram;
    u->b->add_gram = failing_add_gram;
    fail_at = 0;
    snprintf(u->state, sizeof u->state, "%s/state.gguf", temp_dir());
    snprintf(u->triangles, sizeof u->triangles, "%s.gram", u->state);
    snprintf(u->output, sizeof u->output, "%s/out.gguf", temp_dir());
    u->options = full;
    u->options.state = u->state;
    u->options.output = u->output;
    u->options.state_batches = 1;
}

static void close_unfinished(unfinished *u)
{
    u->b->add_gram = whole_add_gram;
    u->b->close(u->b);
    pare_model_close(&u->m);
}

static pare_status try_collect(unfinished *u, pare_imatrix *im, uint32_t at, bool resume, pare_error *err)
{
    n_calls = 0;
    fail_at = at;
    u->options.resume = resume;
    *err = (pare_error){0};
    return pare_collect(im, &u->m, u->b, u->ids, N_IDS, PARE_TOKEN_NONE, &u->options, NULL, NULL, err);
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Nine inputs in three batches: broken off in each sum, all inputs at once and some in each of five runs. */
static void a_run_goes_on_where_it_broke_off(void **state)
{
    (void)state;
    unfinished u;
    pare_imatrix one, other;
    pare_error err;
    open_unfinished(&u, false);
    u.options.state = NULL;
    CHECK_OK(try_collect(&u, &one, 0, false, &err), &err);
    const uint32_t n_sums = n_calls;
    CHECK(n_sums == 27);
    u.options.state = u.state;
    for (uint32_t at = 1; at <= n_sums; at += 3) {
        u.options.full_bytes = at % 2 > 0 ? 1 << 20 : 24 * 24 * 8 * 2;
        CHECK(try_collect(&u, &other, at, false, &err) == PARE_ERR_DEVICE && strstr(err.text, "broken off") != NULL);
        const uint32_t in_batch = at % 2 > 0 ? 9 : 2; /* sums of a batch: of all nine inputs, or of two in a run */
        const bool kept = is_there(u.state);
        CHECK(kept == (at > in_batch) && is_there(u.triangles) == kept); /* something was done, or there is nothing */
        if (kept && try_collect(&u, &other, 3, true, &err) == PARE_OK)   /* broken off once more, or not */
            pare_imatrix_close(&other);
        CHECK_OK(try_collect(&u, &other, 0, kept, &err), &err);
        CHECK(n_calls <= n_sums - (at - 1) / in_batch * in_batch);
        CHECK(other.spool.data != NULL);
        check_same(&one, &other);
        pare_imatrix_close(&other);
        pare_collect_state_remove(u.state);
        CHECK(!is_there(u.state) && !is_there(u.triangles));
    }
    pare_imatrix_close(&one);
    close_unfinished(&u);
}

/* The same with experts, of which a run may hold a part. */
static void a_run_of_experts_goes_on(void **state)
{
    (void)state;
    unfinished u;
    pare_imatrix one, other;
    pare_error err;
    open_unfinished(&u, true);
    u.options.state = NULL;
    u.options.experts = PARE_GRAM_EXPERTS_OWN;
    CHECK_OK(try_collect(&u, &one, 0, false, &err), &err);
    CHECK(gram(&one, "blk.0.ffn_down_exps.weight")->n_experts == TOY_EXPERTS);
    u.options.state = u.state;
    u.options.full_bytes = 3 * MAX_WIDTH * MAX_WIDTH * sizeof(double);
    CHECK_OK(try_collect(&u, &other, 0, false, &err), &err);
    pare_imatrix_close(&other);
    const uint32_t n_sums = n_calls;
    for (uint32_t at = 15; at <= n_sums; at += n_sums / 7) {
        pare_collect_state_remove(u.state);
        CHECK(try_collect(&u, &other, at, false, &err) == PARE_ERR_DEVICE && is_there(u.state));
        CHECK_OK(try_collect(&u, &other, 0, true, &err), &err);
        check_same(&one, &other);
        pare_imatrix_close(&other);
    }
    pare_collect_state_remove(u.state);
    pare_imatrix_close(&one);
    close_unfinished(&u);
}

static void refuses(unfinished *u, pare_status status, const char *part)
{
    pare_imatrix im;
    pare_error err;
    pare_status st = try_collect(u, &im, 0, true, &err);
    if (st != status || strstr(err.text, part) == NULL || strstr(err.text, "state.gguf") == NULL)
        fail_msg("%d: %s", st, err.text);
    CHECK(im.n == 0 && is_there(u->state));
}

/* Of another text, other options, another model. */
static void another_run_is_not_gone_on_with(void **state)
{
    (void)state;
    unfinished u;
    pare_imatrix im;
    pare_error err;
    open_unfinished(&u, false);
    CHECK(try_collect(&u, &im, 20, false, &err) == PARE_ERR_DEVICE && is_there(u.state));
    u.ids[N_IDS - 1] ^= 1;
    refuses(&u, PARE_ERR_USAGE, "another run's");
    u.ids[N_IDS - 1] ^= 1;
    u.options.full_bytes = 12345;
    refuses(&u, PARE_ERR_USAGE, "12345 bytes of sums at once");
    u.options.full_bytes = 0;
    u.options.output_weight = false;
    refuses(&u, PARE_ERR_FORMAT, " bytes instead of "); /* fewer triangles */
    u.options.output_weight = true;
    u.b->batch_tokens = CTX;
    refuses(&u, PARE_ERR_USAGE, "another run's");
    u.b->batch_tokens = 2 * CTX;
    const pare_tensor *w = pare_model_find(&u.m, "blk.0.attn_q.weight");
    float *value = (float *)(uintptr_t)w->data, old = *value;
    *value = old + 1;
    refuses(&u, PARE_ERR_USAGE, "of another model");
    *value = old;
    CHECK_OK(try_collect(&u, &im, 0, true, &err), &err);
    pare_imatrix_close(&im);
    pare_collect_state_remove(u.state);
    close_unfinished(&u);
}

static void write_file(const char *path, const uint8_t *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    CHECK(f != NULL && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

/* Cut anywhere, sums and counts that cannot be, no triangles. */
static void a_damaged_state_is_refused(void **state)
{
    (void)state;
    unfinished u;
    pare_imatrix im;
    pare_error err;
    size_t n = 0, n_triangles = 0;
    open_unfinished(&u, false);
    CHECK(try_collect(&u, &im, 20, false, &err) == PARE_ERR_DEVICE);
    uint8_t *bytes = check_read_file(u.state, &n), *triangles = check_read_file(u.triangles, &n_triangles);
    for (size_t cut = 0; cut < n; cut += n / 23) {
        write_file(u.state, bytes, cut);
        CHECK(try_collect(&u, &im, 0, true, &err) == PARE_ERR_FORMAT || err.status == PARE_ERR_RANGE);
        CHECK(strstr(err.text, "state.gguf") != NULL);
    }
    pare_model m;
    CHECK_OK(pare_gguf_parse(&m, bytes, n, "state", &err), &err);
    static const struct {
        const char *tensor, *part;
        double value;
        pare_status status;
    } bad[] = {{"blk.0.attn_q.weight.sums", "is nan", NAN, PARE_ERR_NUMBER},
               {"output.weight.gram0", "is inf", INFINITY, PARE_ERR_NUMBER},
               {"output.weight.gram_n0", "is -1", -1, PARE_ERR_RANGE},
               {"blk.1.ffn_up.weight.counts", "is 0.5", 0.5, PARE_ERR_RANGE},
               {"blk.1.ffn_up.weight.counts", "is 1e+300", 1e300, PARE_ERR_RANGE}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const pare_tensor *t = pare_model_find(&m, bad[i].tensor);
        CHECK(t != NULL && t->type == PARE_TYPE_F64);
        double old;
        uint8_t *at = bytes + (t->data - bytes);
        memcpy(&old, at, sizeof old);
        memcpy(at, &bad[i].value, sizeof old);
        write_file(u.state, bytes, n);
        refuses(&u, bad[i].status, bad[i].part);
        memcpy(at, &old, sizeof old);
    }
    pare_model_close(&m);
    write_file(u.state, bytes, n);
    write_file(u.triangles, triangles, n_triangles - 1);
    refuses(&u, PARE_ERR_FORMAT, " bytes instead of ");
    unlink(u.triangles);
    refuses(&u, PARE_ERR_FORMAT, "is not there");
    write_file(u.triangles, triangles, n_triangles);
    CHECK_OK(try_collect(&u, &im, 0, true, &err), &err);
    pare_imatrix_close(&im);
    pare_collect_state_remove(u.state);
    free(bytes);
    free(triangles);
    close_unfinished(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_inputs),
        cmocka_unit_test(several_runs_are_as_one),
        cmocka_unit_test(threads_and_memory_do_not_matter),
        cmocka_unit_test(experts_have_their_own_or_share),
        cmocka_unit_test(a_router_is_no_expert),
        cmocka_unit_test(what_is_too_large_is_named),
        cmocka_unit_test(a_run_goes_on_where_it_broke_off),
        cmocka_unit_test(a_run_of_experts_goes_on),
        cmocka_unit_test(another_run_is_not_gone_on_with),
        cmocka_unit_test(a_damaged_state_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
