/* Keys and values in codecs: what attention reads is what is stored, in windows and in a cache. */
#include "check.h"
#include "eval/cache.h"
#include "eval/kv_sweep.h"
#include "memory/memory.h"
#include "toy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 40, LEN = 200, DIM = 64, HEADS = 4, KV_HEADS = 2 };

typedef struct fixture {
    pare_model m;
    pare_backend *b;
    int32_t ids[LEN];
} fixture;

static void open_toy(fixture *t)
{
    pare_error err = {0};
    toy_llama_of(&t->m, VOCAB, 0, HEADS, KV_HEADS, DIM);
    t->m.hp.n_ctx_train = LEN;
    CHECK_OK(pare_backend_cpu(&t->b, &err), &err);
    for (int i = 0; i < LEN; i++)
        t->ids[i] = (i * i + 3 * i) % VOCAB;
}

static void close_toy(fixture *t)
{
    t->b->close(t->b);
    pare_model_close(&t->m);
}

static pare_kv_form form_of(const char *k, const char *v, pare_kv_turn turn)
{
    pare_kv_form form = {.k = k != NULL ? pare_kv_codec_find(k, PARE_KV_KEYS) : NULL,
                         .v = v != NULL ? pare_kv_codec_find(v, PARE_KV_VALUES) : NULL,
                         .turn_k = turn,
                         .turn_v = turn};
    CHECK((form.k != NULL) == (k != NULL) && (form.v != NULL) == (v != NULL));
    return form;
}

/* Logits [LEN, VOCAB] of the tokens as one window; form NULL: floats. */
static float *logits_of(const fixture *t, const pare_kv_form *form)
{
    pare_error err = {0};
    pare_forward *f = NULL;
    float *out = check_malloc(sizeof *out * LEN * VOCAB);
    CHECK_OK(pare_forward_open(&f, &t->m, t->b, LEN, 1, &err), &err);
    if (form != NULL)
        CHECK_OK(pare_forward_keep(f, form, &err), &err);
    CHECK_OK(pare_forward_run(f, t->ids, 1, LEN, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, 0, LEN, out, &err), &err);
    pare_forward_close(f);
    return out;
}

/* Root of the mean square of a - b over positions [from, to), in parts of b's. */
static double distance(const float *a, const float *b, size_t from, size_t to)
{
    double d = 0, s = 0;
    for (size_t i = from * VOCAB; i < to * VOCAB; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        s += (double)b[i] * (double)b[i];
    }
    return sqrt(d / s);
}

static double error_of(const fixture *t, const pare_kv_form *form, const float *want)
{
    float *got = logits_of(t, form);
    double d = distance(got, want, 0, LEN);
    free(got);
    return d;
}

/* Floats stay what they are; fewer bits cost more; each side counts. */
static void test_windows(void **state)
{
    (void)state;
    static const char *const names[] = {"f16", "q8_0", "q5_0", "q4_0"};
    fixture t;
    open_toy(&t);
    float *want = logits_of(&t, NULL);
    const pare_kv_form none = form_of("f32", "f32", PARE_KV_TURN_FULL);
    CHECK(error_of(&t, &none, want) == 0);
    double last = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const pare_kv_form both = form_of(names[i], names[i], PARE_KV_TURN_OFF),
                           keys = form_of(names[i], NULL, PARE_KV_TURN_OFF),
                           values = form_of(NULL, names[i], PARE_KV_TURN_OFF);
        double d = error_of(&t, &both, want), of_keys = error_of(&t, &keys, want),
               of_values = error_of(&t, &values, want);
        CHECK(d > last && of_keys > 0 && of_values > 0 && d > of_keys / 2 && d > of_values / 2);
        for (int turn = PARE_KV_TURN_LLAMA; turn <= PARE_KV_TURN_FULL; turn++) { /* undone on the way out */
            const pare_kv_form turned = form_of(names[i], names[i], (pare_kv_turn)turn),
                               turned_values = form_of(NULL, names[i], (pare_kv_turn)turn);
            CHECK(error_of(&t, &turned, want) < 1.5 * d && error_of(&t, &turned_values, want) < 1.5 * of_values);
        }
        last = d;
    }
    CHECK(last < 0.3);
    free(want);
    close_toy(&t);
}

/* The cache of a sequence that grows holds the same codes as a window's store does. */
static void check_cache(const fixture *t, const pare_kv_form *form)
{
    static const uint32_t steps[] = {7, 1, 30, 2};
    pare_error err = {0};
    pare_forward *f = NULL;
    pare_cache c = {0};
    float *want = logits_of(t, form), *got = check_malloc(sizeof *got * VOCAB * 2);
    uint64_t bytes = 0;
    CHECK_OK(pare_forward_open_tokens(&f, &t->m, t->b, LEN, 64, &err), &err);
    CHECK_OK(pare_forward_keep(f, form, &err), &err);
    CHECK_OK(pare_cache_open(&c, f, 3, &err), &err);
    CHECK_OK(pare_kv_bytes(form, &t->m, LEN, &bytes, &err), &err);
    CHECK(c.n_bytes == 3 * bytes);
    for (int i = 0; c.n[2] < LEN; i++) {
        uint32_t n = steps[i % 4] < LEN - c.n[2] ? steps[i % 4] : LEN - c.n[2];
        const pare_extension list[] = {{2, n, t->ids + c.n[2]}, {0, n, t->ids + c.n[0]}};
        CHECK_OK(pare_cache_extend(&c, list, 2, &err), &err);
        CHECK_OK(pare_cache_logits(&c, got, &err), &err);
        for (int k = 0; k < 2; k++)
            CHECK(distance(got + (size_t)k * VOCAB, want + (size_t)(c.n[2] - 1) * VOCAB, 0, 1) < 2e-4);
    }
    CHECK_OK(pare_cache_copy(&c, 2, 1, LEN - 9, &err), &err);
    CHECK_OK(pare_cache_extend(&c, &(pare_extension){1, 9, t->ids + LEN - 9}, 1, &err), &err);
    CHECK_OK(pare_cache_logits(&c, got, &err), &err);
    CHECK(distance(got, want + (size_t)(LEN - 1) * VOCAB, 0, 1) < 2e-4);
    pare_cache_close(&c);
    pare_forward_close(f);
    free(want);
    free(got);
}

static void test_cache(void **state)
{
    (void)state;
    fixture t;
    open_toy(&t);
    const pare_kv_form blocks = form_of("q8_0", "q4_0", PARE_KV_TURN_LLAMA),
                       plain = form_of("bf16", NULL, PARE_KV_TURN_OFF),
                       gauss = form_of("turbo4", "turbo3", PARE_KV_TURN_FULL);
    check_cache(&t, &blocks);
    check_cache(&t, &plain);
    check_cache(&t, &gauss);
    close_toy(&t);
}

/* Tokens that stay exact: with all of them in F16 nothing is coded; behind them something is. */
static void test_recent(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    open_toy(&t);
    pare_kv_form half = form_of("f16", "f16", PARE_KV_TURN_OFF), few = form_of("kivi2", "kivi2", PARE_KV_TURN_OFF);
    const uint32_t recent = few.k->recent;
    CHECK(recent == few.v->recent && recent >= few.k->group && recent + 2 * few.k->group < LEN);
    float *want = logits_of(&t, &half), *got = logits_of(&t, &few);
    CHECK(distance(got, want, 0, recent + 32) < 1e-5); /* the step of 32 that begins at `recent` sees all in F16 */
    CHECK(distance(got, want, recent + 64, LEN) > 1e-3);
    free(got);
    pare_kv_form wide = few; /* the larger the step, the longer tokens stay as they are */
    wide.step = LEN;
    CHECK(error_of(&t, &wide, want) == 0);
    pare_kv_form sinks = form_of("q4_0", "q4_0", PARE_KV_TURN_OFF);
    sinks.sinks = 40;
    got = logits_of(&t, &sinks);
    CHECK(distance(got, want, 0, 40) == 0 && distance(got, want, 40, LEN) > 1e-3);
    free(got);
    pare_forward *f = NULL;
    pare_cache c = {0};
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_keep(f, &few, &err), &err);
    CHECK(pare_cache_open(&c, f, 1, &err) == PARE_ERR_UNSUPPORTED && strstr(err.text, "kivi2") != NULL);
    pare_forward_close(f);
    free(want);
    close_toy(&t);
}

/* Keys with channels far from 0 break under one scale a block. Rotation helps, as do keys before RoPE by channel, a
 * mean that is taken off, and layers that are spared. */
static void test_outliers(void **state)
{
    (void)state;
    fixture t;
    open_toy(&t);
    for (int i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.attn_k.bias", i);
        toy_add(&t.m, &(uint64_t){7}, name, 0, (uint64_t)KV_HEADS * DIM, 0.1f, 0);
        toy_values(&t.m, name)[DIM / 2 - 1] = 60; /* a pair that turns slowly */
        toy_values(&t.m, name)[DIM + DIM / 2 - 2] = -50;
    }
    float *want = logits_of(&t, NULL);
    const pare_kv_form off = form_of("q4_0", NULL, PARE_KV_TURN_OFF), full = form_of("q4_0", NULL, PARE_KV_TURN_FULL),
                       llama = form_of("q4_0", NULL, PARE_KV_TURN_LLAMA);
    double plain = error_of(&t, &off, want);
    CHECK(error_of(&t, &full, want) < plain / 1.5 && error_of(&t, &llama, want) < plain / 1.5);
    pare_kv_form spared = off;
    spared.first = spared.last = 1;
    CHECK(error_of(&t, &spared, want) < plain / 20);
    free(want);
    close_toy(&t);
}

typedef struct sums {
    double *mean; /* [layers, width] */
    uint64_t n;
} sums;

static pare_status add_keys(uint32_t layer, uint32_t n, uint32_t width, const float *keys, void *user, pare_error *err)
{
    sums *s = user;
    (void)err;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < width; c++)
            s->mean[layer * width + c] += (double)keys[i * width + c] / LEN;
    s->n += n;
    return PARE_OK;
}

static void test_mean(void **state)
{
    (void)state;
    enum { WIDTH = KV_HEADS * DIM };
    pare_error err = {0};
    fixture t;
    double mean[2 * WIDTH] = {0};
    float means[2 * WIDTH];
    sums s = {mean, 0};
    open_toy(&t);
    toy_add(&t.m, &(uint64_t){7}, "blk.0.attn_k.bias", 0, WIDTH, 0.1f, 0);
    toy_values(&t.m, "blk.0.attn_k.bias")[DIM - 1] = 60;
    pare_forward *f = NULL;
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    pare_forward_observe_keys(f, add_keys, &s);
    CHECK_OK(pare_forward_run(f, t.ids, 1, LEN, &err), &err);
    pare_forward_close(f);
    CHECK(s.n == 2 * LEN);
    for (int i = 0; i < 2 * WIDTH; i++)
        means[i] = (float)mean[i];
    CHECK(means[DIM - 1] > 40);
    float again[2 * WIDTH];
    const pare_window_plan plan = {.n_ctx = LEN};
    CHECK_OK(pare_kv_means(&t.m, t.b, t.ids, LEN, -1, &plan, again, &err), &err);
    for (int i = 0; i < 2 * WIDTH; i++)
        CHECK(fabsf(again[i] - means[i]) <= 1e-5f * fmaxf(1, fabsf(means[i])));
    float *want = logits_of(&t, NULL);
    pare_kv_form off = form_of("q4_0", NULL, PARE_KV_TURN_OFF), less = off,
                 exact = form_of("f32", NULL, PARE_KV_TURN_OFF);
    less.key_mean = exact.key_mean = means;
    CHECK(error_of(&t, &exact, want) < 1e-5);
    CHECK(error_of(&t, &less, want) < error_of(&t, &off, want) / 2);
    t.m.hp.attn_softcap = 30;
    CHECK(pare_kv_check(&less, &t.m, &err) == PARE_ERR_USAGE);
    free(want);
    close_toy(&t);
}

static pare_status add_error(uint32_t layer, uint32_t n, uint32_t n_head, uint32_t dim, const float *exact,
                             const float *kept, void *user, pare_error *err)
{
    double *sum = user;
    (void)err;
    for (size_t i = 0; i < (size_t)n * n_head * dim; i++)
        sum[layer] += ((double)exact[i] - (double)kept[i]) * ((double)exact[i] - (double)kept[i]);
    return PARE_OK;
}

/* Who watches sees the error of each layer by itself, and the run gives the same. */
static void test_watch(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    double sum[2] = {0, 0};
    open_toy(&t);
    pare_kv_form form = form_of("q4_0", "q4_0", PARE_KV_TURN_FULL);
    form.last = 1;
    float *want = logits_of(&t, &form), *got = check_malloc(sizeof *got * LEN * VOCAB);
    pare_forward *f = NULL;
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_keep(f, &form, &err), &err);
    CHECK_OK(pare_forward_watch(f, add_error, sum, &err), &err);
    CHECK_OK(pare_forward_run(f, t.ids, 1, LEN, &err), &err);
    CHECK_OK(pare_forward_logits(f, 0, 0, LEN, got, &err), &err);
    CHECK(memcmp(want, got, sizeof *got * LEN * VOCAB) == 0);
    CHECK(sum[0] > 0 && sum[1] > 0 && sum[1] < sum[0] / 100); /* F16 in the second */
    pare_forward_close(f);
    free(want);
    free(got);
    close_toy(&t);
}

static void count(uint32_t n_done, uint32_t n_windows, void *user)
{
    uint32_t *calls = user;
    CHECK(n_done == ++*calls && n_windows == 4);
}

/* Each form beside floats, in the order given. */
static void test_sweep(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    uint32_t calls = 0;
    pare_eval_result out[3];
    open_toy(&t);
    const pare_kv_form forms[] = {form_of("q4_0", "q4_0", PARE_KV_TURN_OFF), form_of("f32", "f32", PARE_KV_TURN_OFF),
                                  form_of("q8_0", "q8_0", PARE_KV_TURN_OFF)};
    const pare_kv_sweep_job job = {.m = &t.m,
                                   .b = t.b,
                                   .ids = t.ids,
                                   .n = LEN,
                                   .bos = -1,
                                   .windows = {.n_ctx = 50},
                                   .forms = forms,
                                   .n_forms = 3,
                                   .each = count,
                                   .user = &calls};
    CHECK_OK(pare_kv_sweep(&job, out, &err), &err);
    CHECK(calls == 4 && out[0].n_chunks == 4);
    CHECK(out[1].kld_mean.value == 0 && out[1].ratio.value == 1);
    CHECK(out[0].kld_mean.value > out[2].kld_mean.value && out[2].kld_mean.value > 0);
    pare_kv_sweep_job none = job;
    none.n_forms = 0;
    CHECK(pare_kv_sweep(&none, out, &err) == PARE_ERR_USAGE);
    close_toy(&t);
}

/* Bytes are those that the memory model says. */
static void test_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"};
    pare_error err = {0};
    fixture t;
    pare_memory_model paper = {0};
    uint64_t bytes = 0, of_memory = 0;
    open_toy(&t);
    CHECK_OK(pare_memory_model_of(&paper, &t.m, &err), &err);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            const pare_kv_form form = form_of(names[i], names[k], PARE_KV_TURN_OFF);
            CHECK_OK(pare_kv_bytes(&form, &t.m, 1000, &bytes, &err), &err);
            CHECK_OK(pare_memory_cache_per_token(&paper, form.k->type, form.v->type, &of_memory, &err), &err);
            CHECK(bytes == 1000 * of_memory);
        }
    const pare_kv_form kivi = form_of("kivi2", "kivi2", PARE_KV_TURN_OFF);
    const uint64_t row = 2 * 2 * KV_HEADS * DIM; /* layers; F16 */
    CHECK_OK(pare_kv_bytes(&kivi, &t.m, 100, &bytes, &err), &err);
    CHECK(bytes == 2 * 100 * row); /* all of them recent */
    pare_memory_model_close(&paper);
    close_toy(&t);
}

static void test_errors(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    open_toy(&t);
    pare_kv_form form = form_of("turbo3", NULL, PARE_KV_TURN_OFF);
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_USAGE && strstr(err.text, "rotated") != NULL);
    t.m.hp.head_dim_k = t.m.hp.head_dim_v = 48;
    form = form_of("q4_0", NULL, PARE_KV_TURN_OFF);
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_USAGE && strstr(err.text, "48") != NULL);
    t.m.hp.both_ways = true;
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_UNSUPPORTED);
    close_toy(&t);
    open_toy(&t);
    toy_add(&t.m, &(uint64_t){7}, "blk.1.attn_v.bias", 0, (uint64_t)KV_HEADS * DIM, 0.1f, 0);
    toy_values(&t.m, "blk.1.attn_v.bias")[3] = INFINITY;
    form = form_of(NULL, "q8_0", PARE_KV_TURN_OFF);
    pare_forward *f = NULL;
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    CHECK_OK(pare_forward_keep(f, &form, &err), &err);
    CHECK(pare_forward_run(f, t.ids, 1, LEN, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "values of layer 1") != NULL);
    pare_forward_close(f);
    close_toy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows),  cmocka_unit_test(test_cache), cmocka_unit_test(test_recent),
        cmocka_unit_test(test_outliers), cmocka_unit_test(test_mean),  cmocka_unit_test(test_watch),
        cmocka_unit_test(test_sweep),    cmocka_unit_test(test_bytes), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
