/* Which head goes wrong under a form, and what its keys are like. */
#include "check.h"
#include "eval/kv_heads.h"
#include "toy.h"

#include <math.h>
#include <string.h>

enum { VOCAB = 40, LEN = 120, CTX = 60, DIM = 64, HEADS = 4, KV_HEADS = 2, CHANNEL = DIM / 2 - 1 };

typedef struct fixture {
    pare_model m;
    pare_backend *b;
    int32_t ids[LEN];
    pare_kv_text text;
} fixture;

/* In layer 1 one channel of the second head of keys has a bias, and the heads' queries do not see it. */
static void open_toy(fixture *t, float bias)
{
    pare_error err = {0};
    *t = (fixture){0};
    toy_llama_of(&t->m, VOCAB, 0, HEADS, KV_HEADS, DIM);
    t->m.hp.n_ctx_train = LEN;
    toy_add(&t->m, &(uint64_t){7}, "blk.1.attn_k.bias", 0, (uint64_t)KV_HEADS * DIM, 0.1f, 0);
    toy_values(&t->m, "blk.1.attn_k.bias")[DIM + CHANNEL] = bias;
    CHECK_OK(pare_backend_cpu(&t->b, &err), &err);
    for (int i = 0; i < LEN; i++)
        t->ids[i] = (i * i + 3 * i) % VOCAB;
    t->text = (pare_kv_text){.m = &t->m, .b = t->b, .ids = t->ids, .n = LEN, .bos = -1, .windows = {.n_ctx = CTX}};
}

static void close_toy(fixture *t)
{
    t->b->close(t->b);
    pare_model_close(&t->m);
}

static pare_kv_form form_of(const char *k, const char *v)
{
    return (pare_kv_form){.k = pare_kv_codec_find(k, PARE_KV_KEYS), .v = pare_kv_codec_find(v, PARE_KV_VALUES)};
}

/* Values alone in q8_0 with heads as they are: each head has about the error of the codec; floats have none. */
static void test_errors(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    pare_head_errors e = {0};
    open_toy(&t, 0);
    const pare_kv_form exact = form_of("f32", "f32"), q8 = form_of("f32", "q8_0"), q4 = form_of("f32", "q4_0");
    CHECK_OK(pare_head_errors_measure(&e, &t.text, &exact, &err), &err);
    CHECK(e.n_layer == 2 && e.n_head == HEADS && e.median == 0 && pare_head_errors_broken(&e) == 0);
    pare_head_errors_close(&e);
    CHECK_OK(pare_head_errors_measure(&e, &t.text, &q8, &err), &err);
    for (int i = 0; i < 2 * HEADS; i++)
        CHECK(e.error[i] > 1e-6 && e.error[i] < 1e-4); /* steps of max / 127: about (1 / 127)^2 / 12 of max^2 */
    const double of_q8 = e.median;
    int below = 0, above = 0;
    for (int i = 0; i < 2 * HEADS; i++) {
        below += e.error[i] < of_q8;
        above += e.error[i] > of_q8;
    }
    CHECK(below == HEADS - 1 && above == HEADS);
    pare_head_errors_close(&e);
    CHECK_OK(pare_head_errors_measure(&e, &t.text, &q4, &err), &err);
    CHECK(e.median > 100 * of_q8 && e.median < 1000 * of_q8); /* 127^2 / 8^2 = 252 */
    CHECK(pare_head_errors_broken(&e) == 0);
    pare_head_errors_close(&e);
    close_toy(&t);
}

/* The rule, by hand: above a tenth, and above four times the median. */
static void test_rule(void **state)
{
    (void)state;
    double error[] = {0.02, 0.02, 0.02, 0.09, 0.11, NAN};
    pare_head_errors e = {.n_layer = 2, .n_head = 3, .error = error, .median = 0.02};
    for (uint32_t i = 0; i < 6; i++)
        CHECK(pare_head_breaks(&e, i / 3, i % 3) == (i == 4));
    CHECK(pare_head_errors_broken(&e) == 1);
    e.median = 0.03;
    CHECK(pare_head_errors_broken(&e) == 0);
    pare_key_head k = {.mean = -2.1, .deviation = 1};
    CHECK(pare_key_head_is_biased(&k));
    k.mean = 1.9;
    CHECK(!pare_key_head_is_biased(&k));
}

/* The two query heads that read the head of keys with a bias break, and no other; the statistics name the channel. */
static void test_bias(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    pare_head_errors e = {0};
    pare_key_heads k = {0};
    open_toy(&t, 400);
    const pare_kv_form q4 = form_of("q4_0", "f16");
    CHECK_OK(pare_head_errors_measure(&e, &t.text, &q4, &err), &err);
    for (uint32_t l = 0; l < 2; l++)
        for (uint32_t h = 0; h < HEADS; h++)
            CHECK(pare_head_breaks(&e, l, h) == (l == 1 && pare_key_head_of(&t.m, l, h) == 1));
    CHECK(pare_head_errors_broken(&e) == 2);
    pare_head_errors_close(&e);
    CHECK_OK(pare_key_heads_measure(&k, &t.text, &err), &err);
    CHECK(k.n_layer == 2 && k.n_head == KV_HEADS);
    for (uint32_t i = 0; i < 4; i++)
        CHECK((k.head[i].times > 30) == (i == 3) && pare_key_head_is_biased(&k.head[i]) == (i == 3));
    CHECK(k.head[3].channel == CHANNEL && fabs(k.head[3].mean) > 300 && k.head[3].deviation < 100);
    pare_key_heads_close(&k);
    close_toy(&t);
}

/* Mean and deviation of the channel, against sums made here. */
typedef struct sums {
    double sum[2], squares[2];
    uint32_t channel;
} sums;

static pare_status add(uint32_t layer, uint32_t n, uint32_t width, const float *keys, void *user, pare_error *err)
{
    sums *s = user;
    (void)err;
    for (uint32_t i = 0; i < n && layer < 2; i++) {
        const double x = (double)keys[i * width + s->channel];
        s->sum[layer] += x / LEN;
        s->squares[layer] += x * x / LEN;
    }
    return PARE_OK;
}

static pare_status observe(pare_forward *f, void *user, pare_error *err)
{
    (void)err;
    pare_forward_observe_keys(f, add, user);
    return PARE_OK;
}

static void test_statistics(void **state)
{
    (void)state;
    pare_error err = {0};
    fixture t;
    pare_key_heads k = {0};
    uint64_t n_tokens = 0;
    open_toy(&t, 3);
    CHECK_OK(pare_key_heads_measure(&k, &t.text, &err), &err);
    for (uint32_t i = 0; i < 4; i++) {
        sums s = {.channel = i % KV_HEADS * DIM + k.head[i].channel};
        CHECK_OK(pare_kv_pass(&t.text, observe, &s, &n_tokens, &err), &err);
        CHECK(n_tokens == LEN);
        const double mean = s.sum[i / 2], deviation = sqrt(s.squares[i / 2] - mean * mean);
        CHECK(fabs(k.head[i].mean - mean) < 1e-9 && fabs(k.head[i].deviation - deviation) < 1e-9);
        CHECK(k.head[i].times >= 1 && k.head[i].times < 100);
    }
    pare_key_heads_close(&k);
    pare_kv_text apart = t.text; /* a window at a time */
    apart.windows.n_ctx = LEN / 4;
    apart.windows.batch_tokens = LEN / 4;
    sums s = {.channel = 0};
    CHECK_OK(pare_kv_pass(&apart, observe, &s, &n_tokens, &err), &err);
    CHECK(n_tokens == LEN && s.squares[0] > 0);
    t.text.n = CTX - 1;
    CHECK(pare_key_heads_measure(&k, &t.text, &err) == PARE_ERR_USAGE && strstr(err.text, "no window") != NULL);
    pare_key_heads_close(&k);
    pare_head_errors e = {0};
    const pare_kv_form wrong = form_of("turbo3", "turbo3"); /* not rotated */
    t.text.n = LEN;
    CHECK(pare_head_errors_measure(&e, &t.text, &wrong, &err) == PARE_ERR_USAGE);
    pare_head_errors_close(&e);
    close_toy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_rule),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
