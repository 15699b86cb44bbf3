#include "check.h"
#include "toy.h"
#include "toy_score.h"

#include "eval/evaluate_devices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VOCAB = 40, CTX = 32, WINDOWS = 11, N_IDS = WINDOWS * CTX + 7, BOS = 3, MODELS = 2, SCORED = CTX - 1 - CTX / 2 };

/* What an evaluation hands on, in its order. */
typedef struct record {
    uint32_t windows[WINDOWS * MODELS];
    size_t models[WINDOWS * MODELS];
    double figures[WINDOWS * MODELS][SCORED][4]; /* nll, ref_nll, kld, kld_reverse */
    uint8_t same[WINDOWS * MODELS][SCORED];
    int32_t ids[WINDOWS * MODELS][CTX];
    size_t n, fail_at;
    uint32_t n_rows;          /* positions of logits */
    bool has_reference, slow; /* slow: the device could be done with all windows before the first scores are read */
} record;

static pare_status take(const pare_scores *s, size_t model, void *user, pare_error *err)
{
    record *r = user;
    if (r->slow && r->n == 0)
        usleep(50000);
    CHECK(s->n == SCORED && s->first == CTX / 2 && s->has_reference == r->has_reference && r->n < WINDOWS * MODELS);
    r->windows[r->n] = s->window;
    r->models[r->n] = model;
    memcpy(r->ids[r->n], s->ids, sizeof r->ids[0]);
    for (uint32_t i = 0; i < s->n; i++) {
        double *f = r->figures[r->n][i];
        f[0] = s->nll[i];
        if (s->has_reference) {
            f[1] = s->ref_nll[i];
            f[2] = s->kld[i];
            f[3] = s->kld_reverse[i];
            r->same[r->n][i] = s->same_top1[i];
        }
    }
    r->n++;
    return r->n == r->fail_at ? pare_fail(err, PARE_ERR_FORMAT, "enough") : PARE_OK;
}

/* In the order of the windows, and before their scores. */
static pare_status take_rows(const pare_logit_rows *rows, void *user, pare_error *err)
{
    record *r = user;
    (void)err;
    CHECK(rows->w->number[rows->i] == r->n_rows / SCORED && rows->pos == CTX / 2 + r->n_rows % SCORED);
    CHECK(r->n <= MODELS * (r->n_rows / SCORED));
    r->n_rows += rows->n;
    return PARE_OK;
}

enum { MAX_DEVICES = 3 };

/* Two models and a reference on one device, or on several. */
typedef struct setting {
    pare_model reference, models[MODELS];
    int32_t ids[N_IDS];
    pare_windows windows;
    size_t n_devices;
    pare_backend *b[MAX_DEVICES];
    pare_source *sources[MAX_DEVICES][MODELS];
    pare_eval_device devices[MAX_DEVICES];
} setting;

static void open_models(setting *s)
{
    uint64_t seed = 13;
    toy_llama(&s->reference, VOCAB, 0);
    toy_llama(&s->models[0], VOCAB, 0.05f);
    toy_llama(&s->models[1], VOCAB, 0.1f);
    for (int i = 0; i < N_IDS; i++)
        s->ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (VOCAB - 1));
}

/* batch_windows: how many pass through the layers together */
static void open_devices(setting *s, size_t n, uint32_t batch_windows, bool scores, bool has_reference)
{
    pare_error err = {0};
    const pare_window_plan plan = {.n_ctx = CTX, .batch_tokens = batch_windows * CTX};
    CHECK_OK(pare_windows_open(&s->windows, s->ids, N_IDS, BOS, &plan, &err), &err);
    s->n_devices = n;
    for (size_t d = 0; d < n; d++) {
        pare_source *reference = NULL;
        CHECK_OK(pare_backend_cpu(&s->b[d], &err), &err);
        s->b[d]->score = scores ? toy_score : NULL;
        for (size_t k = 0; k < MODELS; k++)
            CHECK_OK(pare_source_of_model(&s->sources[d][k], &s->models[k], s->b[d], &s->windows, NULL, &err), &err);
        if (has_reference)
            CHECK_OK(pare_source_of_model(&reference, &s->reference, s->b[d], &s->windows, NULL, &err), &err);
        s->devices[d] = (pare_eval_device){s->sources[d], reference};
    }
}

static void close_devices(setting *s)
{
    for (size_t d = 0; d < s->n_devices; d++) {
        for (size_t k = 0; k < MODELS; k++)
            pare_source_close(s->sources[d][k]);
        pare_source_close(s->devices[d].reference);
        s->b[d]->close(s->b[d]);
    }
    pare_windows_close(&s->windows);
}

static void close_models(setting *s)
{
    pare_model_close(&s->reference);
    pare_model_close(&s->models[0]);
    pare_model_close(&s->models[1]);
}

/* shared: through pare_evaluate_devices, even where there is one */
static pare_status evaluate(setting *s, bool shared, bool rows, record *r, pare_error *err)
{
    double seconds = 0;
    pare_eval_job job = {.n_models = MODELS,
                         .windows = &s->windows,
                         .scores = take,
                         .logits = rows ? take_rows : NULL,
                         .user = r,
                         .seconds = &seconds};
    r->has_reference = s->devices[0].reference != NULL;
    if (!shared) {
        job.models = s->devices[0].models;
        job.reference = s->devices[0].reference;
    }
    pare_status st = shared ? pare_evaluate_devices(&job, s->devices, s->n_devices, err) : pare_evaluate(&job, err);
    CHECK(seconds > 0);
    return st;
}

static record *run(setting *s, size_t n_devices, uint32_t batch_windows, bool scores, bool has_reference, bool rows)
{
    pare_error err = {0};
    record *r = calloc(1, sizeof *r);
    CHECK(r != NULL);
    open_devices(s, n_devices > 0 ? n_devices : 1, batch_windows, scores, has_reference);
    CHECK_OK(evaluate(s, n_devices > 0, rows, r, &err), &err);
    CHECK(r->n == WINDOWS * MODELS && r->n_rows == (rows ? WINDOWS * SCORED : 0));
    for (size_t i = 0; i < r->n; i++)
        CHECK(r->windows[i] == i / MODELS && r->models[i] == i % MODELS && r->ids[i][0] == BOS);
    close_devices(s);
    return r;
}

static void scores_of_the_backend_are_those_of_rows(void **state)
{
    (void)state;
    setting s = {0};
    open_models(&s);
    for (int has_reference = 0; has_reference < 2; has_reference++) {
        record *rows = run(&s, 0, 4, false, has_reference, false);
        toy_score_calls = 0;
        record *own = run(&s, 0, 4, true, has_reference, false);
        CHECK(toy_score_calls == (WINDOWS + 3) / 4); /* a batch at once */
        for (size_t i = 0; i < rows->n; i++)
            for (int t = 0; t < SCORED; t++) {
                for (int f = 0; f < 4; f++)
                    CHECK(fabs(rows->figures[i][t][f] - own->figures[i][t][f]) < 1e-9);
                CHECK(!has_reference || (rows->figures[i][t][2] > 0 && rows->same[i][t] == own->same[i][t]));
            }
        CHECK(memcmp(rows->ids, own->ids, sizeof rows->ids) == 0);
        toy_score_calls = 0;
        record *wanted = run(&s, 0, 4, true, has_reference, true);
        CHECK(toy_score_calls == 0 && memcmp(wanted->figures, rows->figures, sizeof rows->figures) == 0);
        free(rows);
        free(own);
        free(wanted);
    }
    close_models(&s);
}

/* The message of an evaluation that must fail, and how many scores came before it. */
static size_t failure(setting *s, size_t n_devices, bool scores, bool has_reference, char *text)
{
    pare_error err = {0};
    record *r = calloc(1, sizeof *r);
    CHECK(r != NULL);
    open_devices(s, n_devices > 0 ? n_devices : 1, 4, scores, has_reference);
    CHECK(evaluate(s, n_devices > 0, false, r, &err) == PARE_ERR_NUMBER);
    strcpy(text, err.text);
    size_t n = r->n;
    close_devices(s);
    free(r);
    return n;
}

static void both_ways_say_the_same_of_bad_logits(void **state)
{
    (void)state;
    char rows[sizeof(pare_error)], own[sizeof(pare_error)], shared[sizeof(pare_error)];
    for (int which = 0; which < 3; which++)
        for (int kind = 0; kind < 3; kind++) {
            setting s = {0};
            open_models(&s);
            pare_model *broken = which < MODELS ? &s.models[which] : &s.reference;
            if (kind == 0)
                toy_values(broken, "output.weight")[33 * 24] = INFINITY;
            else if (kind == 1)
                toy_values(broken, "output_norm.weight")[5] = NAN;
            else
                toy_values(broken, "token_embd.weight")[(VOCAB - 1) * 24 + 5] = NAN;
            s.ids[7 * CTX + 20] = VOCAB - 1; /* nowhere else, and in the middle of a batch, however they are cut */
            size_t n_rows = failure(&s, 0, false, true, rows), n_own = failure(&s, 0, true, true, own);
            size_t n_shared = failure(&s, 2, true, true, shared);
            CHECK(strcmp(rows, own) == 0 && strcmp(rows, shared) == 0 && n_rows == n_own && n_own == n_shared);
            CHECK(strstr(rows, kind == 2 ? "window 7 position " : "window 0 position 16: ") != NULL);
            CHECK(strstr(rows, kind == 0 ? "the logit of token 33 is infinite" : "token 0 is NaN") != NULL);
            CHECK(n_rows == (kind == 2 ? 7 * MODELS : 0));
            close_models(&s);
        }
}

static void devices_share_the_windows(void **state)
{
    (void)state;
    setting s = {0};
    open_models(&s);
    for (int scores = 0; scores < 2; scores++) {
        record *one = run(&s, 0, 4, scores, true, false);
        for (size_t n = 1; n <= MAX_DEVICES; n++)
            for (uint32_t batch = 1; batch < 16; batch += batch < 4 ? 1 : 11) {
                record *r = run(&s, n, batch, scores, true, false);
                CHECK(memcmp(r->figures, one->figures, sizeof r->figures) == 0);
                CHECK(memcmp(r->same, one->same, sizeof r->same) == 0);
                CHECK(memcmp(r->ids, one->ids, sizeof r->ids) == 0);
                free(r);
                if (scores)
                    continue;
                r = run(&s, n, batch, false, false, true);
                free(r);
            }
        free(one);
    }
    close_models(&s);
}

/* What has not been handed on is not written over. */
static void a_slow_reader_is_waited_for(void **state)
{
    (void)state;
    setting s = {0};
    pare_error err = {0};
    open_models(&s);
    record *one = run(&s, 0, 1, true, true, false), *r = calloc(1, sizeof *r);
    CHECK(r != NULL);
    r->slow = true;
    open_devices(&s, 1, 1, true, true);
    CHECK_OK(evaluate(&s, true, false, r, &err), &err);
    CHECK(memcmp(r->figures, one->figures, sizeof r->figures) == 0);
    CHECK(memcmp(r->windows, one->windows, sizeof r->windows) == 0 && memcmp(r->ids, one->ids, sizeof r->ids) == 0);
    close_devices(&s);
    close_models(&s);
    free(one);
    free(r);
}

/* Of errors on several devices that of the first window is told, behind the scores of the windows before it. */
static void the_first_error_in_order_ends_the_run(void **state)
{
    (void)state;
    setting s = {0};
    pare_error err = {0};
    open_models(&s);
    open_devices(&s, 3, 1, false, true);
    for (uint32_t bad = 0; bad < WINDOWS; bad += 3) {
        record *r = calloc(1, sizeof *r);
        CHECK(r != NULL);
        for (uint32_t w = bad; w < WINDOWS; w++) /* outside of the vocabulary */
            s.ids[w * CTX + 9] = VOCAB + (int32_t)w;
        CHECK(evaluate(&s, true, false, r, &err) == PARE_ERR_RANGE && r->n == bad * MODELS);
        char id[32];
        snprintf(id, sizeof id, "has id %d;", (int)(VOCAB + bad));
        CHECK(strstr(err.text, id) != NULL);
        for (uint32_t w = bad; w < WINDOWS; w++)
            s.ids[w * CTX + 9] = 0;
        memset(r, 0, sizeof *r);
        r->fail_at = bad + 1;
        CHECK(evaluate(&s, true, false, r, &err) == PARE_ERR_FORMAT && strcmp(err.text, "enough") == 0);
        CHECK(r->n == bad + 1);
        free(r);
    }
    close_devices(&s);
    close_models(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_of_the_backend_are_those_of_rows),
        cmocka_unit_test(both_ways_say_the_same_of_bad_logits),
        cmocka_unit_test(devices_share_the_windows),
        cmocka_unit_test(a_slow_reader_is_waited_for),
        cmocka_unit_test(the_first_error_in_order_ends_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
