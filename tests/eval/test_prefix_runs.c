/* Two streams of a model and its copy, against whole passes of both. */
#include "check.h"
#include "toy.h"

#include "eval/forward.h"
#include "eval/prefix_runs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 16, WINDOWS = 5, N_IDS = CTX * WINDOWS, VOCAB = 40, MAX_WIDTH = 64 };

/* The inputs of one matrix over all windows, and the stream before its product. */
typedef struct seen {
    const char *name;
    const pare_forward *f;
    float x[N_IDS][MAX_WIDTH], stream[N_IDS][MAX_WIDTH];
    size_t n, width, n_embd;
} seen;

static pare_status watch(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user, pare_error *err)
{
    seen *s = user;
    (void)matrix;
    (void)err;
    if (strcmp(w->name, s->name) != 0)
        return PARE_OK;
    s->width = (size_t)w->row_len;
    CHECK(s->width <= MAX_WIDTH && s->n + n <= N_IDS);
    for (uint32_t t = 0; t < n; t++, s->n++) {
        memcpy(s->x[s->n], x + t * s->width, s->width * sizeof *x);
        memcpy(s->stream[s->n], pare_forward_stream(s->f) + t * s->n_embd, s->n_embd * sizeof *x);
    }
    return PARE_OK;
}

static void see(seen *s, const char *name, const pare_model *m, pare_backend *b, const int32_t *ids)
{
    pare_forward *f = NULL;
    pare_error err = {0};
    CHECK_OK(pare_forward_open(&f, m, b, CTX, 1, &err), &err);
    *s = (seen){.name = name, .f = f, .n_embd = m->hp.n_embd};
    pare_forward_observe(f, watch, s);
    for (int w = 0; w < WINDOWS; w++) {
        pare_score_side side;
        uint32_t n = 0;
        CHECK_OK(pare_forward_run(f, ids + w * CTX, 1, CTX, &err), &err);
        CHECK_OK(pare_forward_score_side(f, &side, &n, &err), &err);
        CHECK_OK(watch(side.w, 0, side.x, n, s, &err), &err);
    }
    CHECK(s->n == N_IDS);
    pare_forward_close(f);
}

static void make_ids(int32_t *ids)
{
    uint64_t seed = 5;
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * ((float)VOCAB - 0.1f));
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-4 * (1 + fabs(b));
}

static void check_sums(const pare_prefix_sums *s, const seen *x, const seen *y, bool adds)
{
    size_t n = x->width;
    CHECK(s->count == N_IDS && (s->stream != NULL) == adds);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double own = 0, cross = 0;
            for (size_t t = 0; t < N_IDS; t++) {
                own += (double)y->x[t][i] * (double)y->x[t][j];
                cross += ((double)x->x[t][i] - (double)y->x[t][i]) * (double)y->x[t][j];
            }
            CHECK(j > i || near(s->own[i * n + j], own));
            CHECK(near(s->cross[i * n + j], cross));
        }
    for (size_t i = 0; i < x->n_embd && adds; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t t = 0; t < N_IDS; t++)
                sum += ((double)x->stream[t][i] - (double)y->stream[t][i]) * (double)y->x[t][j];
            CHECK(near(s->stream[i * n + j], sum));
        }
}

static const char *const matrices[] = {"blk.0.attn_q.weight",   "blk.0.attn_output.weight", "blk.0.ffn_gate.weight",
                                       "blk.0.ffn_down.weight", "blk.1.attn_q.weight",      "blk.1.attn_output.weight",
                                       "blk.1.ffn_gate.weight", "blk.1.ffn_down.weight",    "output.weight"};
enum { N_MATRICES = sizeof matrices / sizeof matrices[0] };

static bool adds(const char *name)
{
    return strstr(name, "attn_output") != NULL || strstr(name, "ffn_down") != NULL;
}

static pare_prefix *open_runs(const pare_model *m, pare_backend *b, const int32_t *ids)
{
    const pare_prefix_options options = {.n_ctx = CTX, .beside = b->batch_tokens > CTX ? "states" : NULL}; /* on disk */
    pare_prefix *p = NULL;
    pare_error err = {0};
    CHECK_OK(pare_prefix_runs_open(&p, m, b, ids, N_IDS, PARE_TOKEN_NONE, &options, &err), &err);
    return p;
}

/* All that a pass meets before this one. */
static void replace_before(pare_prefix *p, const pare_model *by, const char *name)
{
    size_t end = SIZE_MAX, at = 0;
    CHECK(name == NULL || p->position(p, name, &end));
    for (size_t i = 0; i < by->n_tensors; i++)
        if (p->position(p, by->tensors[i].name, &at) && at < end)
            p->replace(p, by->tensors[i].name, PARE_TYPE_F32, NULL, toy_values(by, by->tensors[i].name));
}

/* Each matrix is replaced by another model's as soon as its inputs were measured: they are those of that model then,
 * whose embedding and norms were there from the start. */
static void sums_are_those_of_two_models(void **state)
{
    (void)state;
    static seen x, y;
    pare_model m, other;
    pare_backend *b = NULL;
    pare_error err = {0};
    int32_t ids[N_IDS];
    size_t last = 0, at = 0;
    make_ids(ids);
    toy_llama(&m, VOCAB, 0);
    toy_llama(&other, VOCAB, 0.02f);
    for (int i = 0; i < VOCAB; i++)
        toy_values(&other, "token_embd.weight")[3 * i] += 0.05f;
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    for (uint32_t batch = CTX; batch <= 4 * CTX; batch += 3 * CTX) { /* one window a time, and four of five */
        b->batch_tokens = batch;
        pare_prefix *p = open_runs(&m, b, ids);
        p->replace(p, "token_embd.weight", PARE_TYPE_F32, NULL, toy_values(&other, "token_embd.weight"));
        for (size_t i = 0; i < other.n_tensors; i++)
            if (strstr(other.tensors[i].name, "_norm") != NULL)
                p->replace(p, other.tensors[i].name, PARE_TYPE_F32, NULL, toy_values(&other, other.tensors[i].name));
        for (int i = 0; i < N_MATRICES; i++) {
            pare_prefix_sums sums;
            bool found = false;
            CHECK(p->position(p, matrices[i], &at) && (i == 0 || at > last));
            last = at;
            CHECK_OK(p->measure(p, matrices[i], &sums, &found, &err), &err);
            CHECK(found);
            see(&x, matrices[i], &m, b, ids);
            see(&y, matrices[i], &other, b, ids);
            check_sums(&sums, &x, &y, adds(matrices[i]));
            replace_before(p, &other, i + 1 < N_MATRICES ? matrices[i + 1] : NULL);
        }
        pare_prefix_runs_close(p);
    }
    pare_model_close(&m);
    pare_model_close(&other);
    b->close(b);
}

static void copies_that_are_the_same_differ_in_nothing(void **state)
{
    (void)state;
    pare_model m;
    pare_backend *b = NULL;
    pare_error err = {0};
    pare_prefix_sums sums;
    bool found = false;
    int32_t ids[N_IDS];
    make_ids(ids);
    toy_llama(&m, VOCAB, 0);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    pare_prefix *p = open_runs(&m, b, ids);
    CHECK_OK(p->measure(p, "blk.1.ffn_down.weight", &sums, &found, &err), &err);
    const pare_tensor *t = pare_model_find(&m, "blk.1.ffn_down.weight");
    CHECK(found && sums.own[0] > 0);
    for (uint64_t i = 0; i < t->row_len * t->row_len; i++)
        CHECK(sums.cross[i] == 0);
    for (uint64_t i = 0; i < t->row_len * t->n_rows; i++)
        CHECK(sums.stream[i] == 0);
    size_t at = 0;
    CHECK(!p->position(p, "blk.9.attn_q.weight", &at) && !p->position(p, "output_norm.weight", &at));
    CHECK_OK(p->measure(p, "blk.0.attn_q.weight", &sums, &found, &err), &err); /* the streams are behind it */
    CHECK(!found);
    CHECK_OK(p->measure(p, "nothing", &sums, &found, &err), &err);
    CHECK(!found);
    p->replace(p, "nothing", PARE_TYPE_F32, NULL, ids);
    pare_prefix_runs_close(p);
    CHECK(pare_prefix_runs_open(&p, &m, b, ids, CTX - 1, PARE_TOKEN_NONE, &(pare_prefix_options){.n_ctx = CTX}, &err) ==
          PARE_ERR_USAGE);
    CHECK(p == NULL);
    pare_model_close(&m);
    b->close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_two_models),
        cmocka_unit_test(copies_that_are_the_same_differ_in_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
