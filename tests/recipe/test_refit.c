/* Gains of the first norm fitted to the encoded weights around it: the system solved against its plain definition. */
#include "check.h"

#include "core/bytes.h"
#include "core/threads.h"
#include "formats/open.h"
#include "recipe/refine.h"
#include "recipe/refit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 256 };
static const char norm[] = "blk.0.attn_norm.weight";
static const char *const readers[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"};

typedef struct run {
    pare_model in, q;
    pare_imatrix im;
    pare_plan plan;
    pare_state state;
    const char *why; /* nothing was fitted */
} run;

/* Inputs that go together by 0.9 to the power of their distance. */
static void make_statistics(pare_imatrix *im)
{
    pare_error err = {0};
    uint8_t *at = NULL;
    im->path = "full.gguf";
    im->chunk_size = 8;
    for (int i = 0; i < 3; i++) {
        pare_imatrix_entry *e = NULL;
        CHECK_OK(pare_imatrix_add(im, readers[i], 1, N, 1, false, &e, &err), &err);
        e->counts[0] = 2 * N;
        for (int c = 0; c < N; c++)
            e->sum2[c] = 2 * N;
    }
    CHECK_OK(pare_grams_add(&im->grams, readers[0], N, 2 * N, NULL, &at, &err), &err);
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= i; j++, at += 4)
            pare_store_f32le(at, (float)(2 * N * pow(0.9, i - j)));
    for (int i = 1; i < 3; i++)
        CHECK_OK(pare_grams_link(&im->grams, readers[i], readers[0], &err), &err);
}

static void open_run(run *r, pare_type type, const pare_type_override *except)
{
    pare_error err = {0};
    char output[1024];
    *r = (run){0};
    snprintf(output, sizeof output, "%s/q.gguf", temp_dir());
    CHECK_OK(pare_model_open(&r->in, source_path("tests/data/demo"), 0, &err), &err);
    make_statistics(&r->im);
    const pare_quantize_options o = {.pure_type = type,
                                     .output_type = PARE_TYPE_NONE,
                                     .embedding_type = PARE_TYPE_NONE,
                                     .overrides = except,
                                     .n_overrides = except != NULL,
                                     .imatrix = &r->im};
    const pare_refine_settings settings = {.output = output};
    pare_refine_report report;
    CHECK_OK(pare_quantize(&r->q, &r->in, &o, &r->plan, &err), &err);
    CHECK_OK(pare_refine(&r->q, &o, &r->plan, &settings, &r->state, &report, &err), &err);
}

static void close_run(run *r)
{
    pare_model_close(&r->q);
    pare_state_drop(&r->state);
    pare_state_close(&r->state);
    pare_model_close(&r->in);
    pare_imatrix_close(&r->im);
}

static float *read_all(const pare_model *m, const char *name)
{
    pare_error err = {0};
    const pare_tensor *t = pare_model_find(m, name);
    float *x = check_malloc((size_t)(t->n_rows * t->row_len) * sizeof *x);
    CHECK_OK(pare_tensor_read_f32(t, 0, t->n_rows, x, &err), &err);
    return x;
}

static double scale_of(const float *x, double eps)
{
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += (double)x[i] * (double)x[i];
    return 1 / sqrt(sum / N + eps);
}

/* Over all tokens: what the readers say as they are, with these gains, less what they said, squared; and its slope by
 * the factors of the gains, with 0.03 of the diagonal drawing these to 1. */
static double error_of(const run *r, const float *gain, double *slope)
{
    float *was = read_all(&r->in, "token_embd.weight"), *is = read_all(&r->q, "token_embd.weight");
    float *old = read_all(&r->in, norm);
    double sum = 0;
    uint64_t n_tokens = pare_model_find(&r->in, "token_embd.weight")->n_rows;
    memset(slope, 0, N * sizeof *slope);
    for (int k = 0; k < 3; k++) {
        float *w = read_all(&r->in, readers[k]), *v = read_all(&r->q, readers[k]);
        for (uint64_t t = 0; t < n_tokens; t++) {
            const float *x = was + t * N, *y = is + t * N;
            double sx = scale_of(x, (double)r->in.hp.norm_eps), sy = scale_of(y, (double)r->in.hp.norm_eps);
            for (uint64_t row = 0; row < pare_model_find(&r->in, readers[k])->n_rows; row++) {
                double e = 0;
                for (uint64_t i = 0; i < N; i++)
                    e += (double)v[row * N + i] * (double)gain[i] * (double)y[i] * sy -
                         (double)w[row * N + i] * (double)old[i] * (double)x[i] * sx;
                sum += e * e;
                for (uint64_t i = 0; i < N; i++) {
                    double said = (double)v[row * N + i] * (double)old[i] * (double)y[i] * sy;
                    slope[i] += (e + 0.03 * said * ((double)gain[i] / (double)old[i] - 1)) * said;
                }
            }
        }
        free(w);
        free(v);
    }
    free(was);
    free(is);
    free(old);
    return sum;
}

static const pare_plan_row *norm_row(const run *r)
{
    for (size_t i = 0; i < r->plan.n; i++)
        if (strcmp(r->plan.rows[i].name, norm) == 0)
            return &r->plan.rows[i];
    return NULL;
}

static void readers_say_more_of_what_they_said(void **state)
{
    (void)state;
    run r;
    pare_error err = {0};
    double before[N], after[N], steep = 0, left = 0;
    open_run(&r, PARE_TYPE_Q2_K, NULL);
    float *old = read_all(&r.q, norm);
    double error = error_of(&r, old, before);
    CHECK(norm_row(&r)->error == 0);
    CHECK_OK(pare_refit(&r.q, &r.plan, &r.why, &err), &err);
    CHECK(r.why == NULL && norm_row(&r)->error > 0 && norm_row(&r)->error < 0.1);
    float *now = read_all(&r.q, norm);
    CHECK(memcmp(old, now, N * sizeof *now) != 0);
    CHECK(error_of(&r, now, after) < 0.99 * error);
    for (int i = 0; i < N; i++) {
        steep += before[i] * before[i];
        left += after[i] * after[i];
    }
    CHECK(left < 1e-6 * steep); /* a minimum */
    free(old);
    free(now);
    close_run(&r);
}

/* Nor does it when embeddings are scaled, and the norm's epsilon with their squares. */
static void threads_do_not_matter(void **state)
{
    (void)state;
    pare_error err = {0};
    float *gain[2];
    for (int k = 0; k < 2; k++) {
        run r;
        open_run(&r, PARE_TYPE_Q4_0, NULL);
        pare_set_threads(k == 0 ? 1 : 7);
        r.q.hp.embd_scale = k == 0 ? 0 : 16;
        r.q.hp.norm_eps *= k == 0 ? 1 : 256;
        CHECK_OK(pare_refit(&r.q, &r.plan, &r.why, &err), &err);
        pare_set_threads(0);
        CHECK(r.why == NULL);
        gain[k] = read_all(&r.q, norm);
        close_run(&r);
    }
    CHECK(memcmp(gain[0], gain[1], N * sizeof(float)) == 0);
    free(gain[0]);
    free(gain[1]);
}

/* why: a part of what is said. */
static void check_stays(run *r, const char *what, const char *why)
{
    pare_error err = {0};
    float *old = read_all(&r->q, norm);
    CHECK_OK(pare_refit(&r->q, &r->plan, &r->why, &err), &err);
    float *now = read_all(&r->q, norm);
    if (r->why == NULL || strstr(r->why, why) == NULL || memcmp(old, now, N * sizeof *now) != 0)
        fail_msg("%s: %s", what, r->why);
    free(old);
    free(now);
}

/* Is that tensor not to be found, or is it again? */
static void hide(const pare_tensor *t, bool hidden)
{
    ((char *)(uintptr_t)t->name)[0] = hidden ? 'x' : t->name[1] == 'l' ? 'b' : 't';
}

/* Readers that are encoded while they are written. */
static void what_is_not_encoded_yet_stays(void **state)
{
    (void)state;
    const pare_type_override except[] = {{"attn_k", PARE_TYPE_F16}, {"token_embd", PARE_TYPE_F16}};
    static const char *const why[] = {"a matrix behind it is not encoded", "the embedding is not encoded"};
    for (int k = 0; k < 2; k++) {
        run r;
        open_run(&r, PARE_TYPE_Q4_0, &except[k]);
        check_stays(&r, except[k].pattern, why[k]);
        close_run(&r);
    }
}

static pare_status read_halves(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    (void)t;
    (void)row;
    (void)n_rows;
    (void)err;
    for (int i = 0; i < N; i++)
        pare_store_u16le((uint8_t *)dst + 2 * i, 0x3c00);
    return PARE_OK;
}

/* Norms that do something else, what lies before them, and what else reads them. */
static void what_is_not_known_stays(void **state)
{
    (void)state;
    static const char *const more[] = {"token_embd_norm.weight", "blk.0.attn_norm.bias", "blk.0.attn_gate.weight"};
    run r;
    pare_error err = {0};
    open_run(&r, PARE_TYPE_Q4_0, NULL);
    const pare_arch *arch = r.q.arch;
    pare_arch other = *arch;
    other.wiring.norm = PARE_NORM_LAYER;
    r.q.arch = &other;
    check_stays(&r, "layer norm", "no RMS norm");
    r.q.arch = arch;
    r.q.hp.n_stream = 2;
    check_stays(&r, "streams", "several");
    r.q.hp.n_stream = 0;
    pare_tensor *gains = &r.q.tensors[pare_model_find(&r.q, norm) - r.q.tensors];
    const pare_tensor whole = *gains;
    gains->type = PARE_TYPE_F16; /* as some sources have them: rounding would undo what is fitted */
    gains->row_bytes = gains->n_bytes = 2 * N;
    gains->read = read_halves;
    check_stays(&r, "half floats", "not stored as F32");
    *gains = whole;
    const pare_tensor *next = pare_model_find(&r.q, "blk.0.ffn_norm.weight");
    hide(next, true);
    check_stays(&r, "a feed-forward that reads the norm, too", "feed-forward");
    hide(next, false);
    for (int i = 0; i < 3; i++) {
        pare_tensor t = *pare_model_find(&r.q, readers[0]), *added = NULL;
        t.name = more[i];
        CHECK_OK(pare_model_add(&r.q, &t, &added, &err), &err);
        check_stays(&r, more[i], i < 2 ? "lies between" : "may read it");
        hide(added, true);
    }
    CHECK_OK(pare_refit(&r.q, &r.plan, &r.why, &err), &err);
    CHECK(r.why == NULL);
    close_run(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_say_more_of_what_they_said),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(what_is_not_encoded_yet_stays),
        cmocka_unit_test(what_is_not_known_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
