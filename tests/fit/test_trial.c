/* Runs from a stage on, against whole passes over models that have the same weights. */
#include "check.h"
#include "toy.h"

#include "eval/measure.h"
#include "fit/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 16, WINDOWS = 5, N_IDS = CTX * WINDOWS + 3, VOCAB = 40 };

typedef struct setup {
    pare_model m, noisy;
    pare_backend *b;
    pare_trial *t;
    int32_t ids[N_IDS];
} setup;

static void open_setup(setup *s, uint64_t cache_bytes, uint32_t n_windows)
{
    uint64_t seed = 5;
    pare_error err = {0};
    toy_llama(&s->m, VOCAB, 0);
    toy_llama(&s->noisy, VOCAB, 0.05f);
    for (int i = 0; i < N_IDS; i++)
        s->ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (VOCAB - 0.1f));
    CHECK_OK(pare_backend_cpu(&s->b, &err), &err);
    const pare_trial_options o = {.model = &s->m,
                                  .backend = s->b,
                                  .ids = s->ids,
                                  .n_ids = N_IDS,
                                  .bos = 1,
                                  .n_ctx = CTX,
                                  .n_windows = n_windows,
                                  .cache_bytes = cache_bytes};
    CHECK_OK(pare_trial_open(&s->t, &o, &err), &err);
}

static void close_setup(setup *s)
{
    pare_trial_close(s->t);
    s->b->close(s->b);
    pare_model_close(&s->m);
    pare_model_close(&s->noisy);
}

static void set(setup *s, const char *name, bool noisy)
{
    pare_error err = {0};
    const pare_tensor *t = pare_model_find(&s->m, name);
    CHECK_OK(pare_trial_set(s->t, (size_t)(t - s->m.tensors), PARE_TYPE_F32, noisy ? toy_values(&s->noisy, name) : NULL,
                            &err),
             &err);
}

static pare_trial_score run(setup *s)
{
    pare_trial_score score;
    pare_error err = {0};
    CHECK_OK(pare_trial_run(s->t, 0, &score, NULL, &err), &err);
    return score;
}

static void advance(setup *s)
{
    pare_error err = {0};
    CHECK_OK(pare_trial_advance(s->t, &err), &err);
}

/* The second halves, as pare_measure has them. */
static double whole(setup *s)
{
    pare_eval_result r;
    pare_error err = {0};
    const pare_measure_options o = {.windows = {.n_ctx = CTX}};
    CHECK_OK(pare_measure(&s->noisy, &s->m, s->b, s->ids, N_IDS, 1, &o, &r, &err), &err);
    return r.kld_mean.value;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * (fabs(b) + 1e-4);
}

static const char *const changed[] = {"blk.0.ffn_gate.weight", "blk.0.ffn_up.weight",   "blk.0.ffn_down.weight",
                                      "blk.0.ffn_norm.weight", "blk.1.ffn_norm.weight", "blk.1.ffn_gate.weight",
                                      "blk.1.ffn_up.weight",   "blk.1.ffn_down.weight"};
enum { N_CHANGED = 8, IN_FIRST = 4 };

static void a_run_is_a_whole_pass(void **state)
{
    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        setup s;
        open_setup(&s, cached ? 1 << 20 : 0, 0);
        CHECK(pare_trial_windows(s.t) == WINDOWS && pare_trial_stages(s.t) == 4);
        CHECK(run(&s).all < 1e-12);
        for (int i = 0; i < N_CHANGED; i++)
            set(&s, changed[i], true);
        const pare_trial_score first = run(&s), again = run(&s);
        CHECK(first.second > 1e-4 && near(first.second, whole(&s)));
        CHECK(memcmp(&first, &again, sizeof first) == 0);
        for (int i = 0; i < N_CHANGED; i++)
            set(&s, changed[i], false);
        CHECK(run(&s).all < 1e-12);
        close_setup(&s);
    }
}

/* Wherever it starts, with everything before it as the plan has it. */
static void every_stage_says_the_same(void **state)
{
    setup s;
    pare_trial_score from[4];
    (void)state;
    open_setup(&s, 1 << 20, 0);
    for (int i = 0; i < N_CHANGED; i++)
        set(&s, changed[i], true);
    for (uint32_t stage = 0; stage < 4; stage++) {
        CHECK(pare_trial_stage(s.t) == stage);
        from[stage] = run(&s);
        CHECK(near(from[stage].all, from[0].all) && near(from[stage].second, from[0].second));
        advance(&s);
    }
    CHECK(pare_trial_stage(s.t) == 3); /* there is none behind the output */
    /* With the second layer as it was, from before that layer, and from the start. */
    pare_trial_begin(s.t, 0);
    advance(&s);
    advance(&s);
    for (int i = IN_FIRST; i < N_CHANGED; i++)
        set(&s, changed[i], false);
    const pare_trial_score late = run(&s);
    pare_trial_begin(s.t, 0);
    CHECK(near(late.all, run(&s).all) && late.all < from[0].all);
    close_setup(&s);
}

static void tensors_have_stages(void **state)
{
    setup s;
    (void)state;
    open_setup(&s, 0, 0);
    for (size_t i = 0; i < s.m.n_tensors; i++) {
        const char *name = s.m.tensors[i].name;
        const uint32_t want = strncmp(name, "blk.", 4) == 0     ? (uint32_t)(name[4] - '0') + 1
                              : strncmp(name, "output", 6) == 0 ? 3
                                                                : 0;
        CHECK(pare_trial_stage_of(s.t, i) == want);
    }
    close_setup(&s);
}

/* Fewer windows are some of all, and the mean is theirs. */
static void windows_add_up(void **state)
{
    setup s;
    double each[WINDOWS], sum = 0;
    pare_trial_score all, some;
    pare_error err = {0};
    (void)state;
    open_setup(&s, 1 << 20, 0);
    for (int i = 0; i < N_CHANGED; i++)
        set(&s, changed[i], true);
    CHECK_OK(pare_trial_run(s.t, 0, &all, each, &err), &err);
    for (int i = 0; i < WINDOWS; i++)
        sum += each[i];
    CHECK(near(sum / WINDOWS, all.all));
    CHECK_OK(pare_trial_run(s.t, 2, &some, NULL, &err), &err);
    CHECK(near((each[0] + each[1]) / 2, some.all));
    CHECK(pare_trial_windows(s.t) == WINDOWS);
    close_setup(&s);
}

static void a_short_text_is_refused(void **state)
{
    setup s;
    pare_trial *t;
    pare_error err = {0};
    (void)state;
    open_setup(&s, 0, 2);
    CHECK(pare_trial_windows(s.t) == 2);
    const pare_trial_options o = {.model = &s.m, .backend = s.b, .ids = s.ids, .n_ids = 2 * CTX - 1, .n_ctx = CTX};
    CHECK(pare_trial_open(&t, &o, &err) == PARE_ERR_USAGE && t == NULL);
    CHECK(strstr(err.text, "31") != NULL);
    close_setup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_run_is_a_whole_pass),
                                       cmocka_unit_test(every_stage_says_the_same),
                                       cmocka_unit_test(tensors_have_stages), cmocka_unit_test(windows_add_up),
                                       cmocka_unit_test(a_short_text_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
