#include "check.h"

#include "cmd/input.h"
#include "cmd/text_run.h"
#include "formats/open.h"

#include <string.h>

/* A reference of a machine that computes something else each time, if `step` is not 0. */
typedef struct fickle {
    pare_source source;
    float step;
    uint32_t n_calls;
} fickle;

static pare_status run(pare_source *s, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err)
{
    (void)s;
    (void)w;
    (void)i;
    (void)n_seq;
    (void)err;
    return PARE_OK;
}

static pare_status rows(pare_source *s, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    fickle *f = s->state;
    (void)seq;
    (void)pos;
    (void)err;
    memset(out, 0, (size_t)n * s->n_vocab * sizeof *out);
    out[5] = 1 + f->step * (float)f->n_calls++;
    return PARE_OK;
}

static void close_nothing(pare_source *s)
{
    (void)s;
}

static pare_status open_fickle(pare_source **out, const pare_windows *w, void *user, pare_error *err)
{
    fickle *f = user;
    (void)w;
    (void)err;
    *out = &f->source;
    return PARE_OK;
}

static void the_self_check_finds_a_machine_that_errs(void **state)
{
    pare_error err = {0};
    pare_model m;
    pare_tokenizer *tokenizer = NULL;
    cmd_devices devices = {0};
    char text[512];
    char *argv[] = {"eval", "demo", "-f", "x", "-c", "32", "--chunks", "3", "--device", "cpu"};
    cmd_args args;
    (void)state;
    snprintf(text, sizeof text, "%s", source_path("tests/data/demo/text.txt"));
    CHECK_OK(cmd_args_parse(&args, cmd_verb_find("eval"), 10, argv, &err), &err);
    CHECK_OK(pare_model_open(&m, source_path("tests/data/demo"), 0, &err), &err);
    cmd_text_run r = {.args = &args, .models = (const pare_model *[]){&m}, .n_models = 1};
    CHECK_OK(cmd_open_tokenizer(&tokenizer, &m, &r.bos, &err), &err);
    CHECK_OK(cmd_devices_open(&devices, &args, 1, &err), &err);
    r.devices = &devices;
    r.tokenizer = tokenizer;
    r.open_reference = open_fickle;
    for (int errs = 0; errs < 2; errs++) {
        pare_eval_result result;
        fickle f = {.step = errs != 0 ? 0x1p-10f : 0};
        f.source = (pare_source){
            .path = "fickle", .n_vocab = m.hp.n_vocab, .state = &f, .run = run, .rows = rows, .close = close_nothing};
        r.open_user = &f;
        r.self_checked = false;
        pare_status st = cmd_run_text(&r, 0, text, &result, &err);
        CHECK(st == (errs != 0 ? PARE_ERR_NUMBER : PARE_OK) && r.self_checked == (errs == 0));
    }
    CHECK(strstr(err.text, "fickle: differs from itself at window 0 position 16") != NULL);
    cmd_devices_close(&devices);
    pare_tokenizer_close(tokenizer);
    pare_model_close(&m);
    cmd_args_close(&args);
}

static void whole_batches_are_taken_over(void **state)
{
    cmd_resume r = {.part.doc = json_pack("{s:[{s:{s:[i,i,i]}}]}", "texts", "windows", "window", 0, 1, 2)};
    pare_windows w = {.n_windows = 10, .n_seq = 2};
    (void)state;
    CHECK(cmd_resume_count(&r, 0, &w) == 0); /* nothing was opened */
    r.is_there = true;
    CHECK(cmd_resume_count(&r, 0, &w) == 2 && cmd_resume_count(&r, 1, &w) == 0);
    w.n_seq = 4;
    CHECK(cmd_resume_count(&r, 0, &w) == 0);
    w.n_windows = 3; /* all of the text */
    CHECK(cmd_resume_count(&r, 0, &w) == 3);
    cmd_resume_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_self_check_finds_a_machine_that_errs),
                                       cmocka_unit_test(whole_batches_are_taken_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
