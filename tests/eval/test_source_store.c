/* A store in the reference's place gives the figures of the reference, for windows of any kind. */
#include "check.h"
#include "toy.h"

#include "eval/evaluate.h"
#include "model/vocab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 60, CTX = 24, N_IDS = 8 * CTX + 5, BOS = 3, MOST = 8 * CTX };

/* Scores of one run, a position behind the other. */
typedef struct scores {
    uint32_t n;
    double nll[MOST], ref_nll[MOST], kld[MOST], reverse[MOST];
    uint8_t same[MOST];
} scores;

typedef struct run {
    pare_logit_writer *writer; /* NULL: nothing is saved */
    scores *scores;
} run;

static pare_status take_scores(const pare_scores *s, size_t model, void *user, pare_error *err)
{
    scores *all = ((run *)user)->scores;
    (void)model;
    (void)err;
    CHECK(all->n + s->n <= MOST);
    for (uint32_t i = 0; i < s->n && s->has_reference; i++) {
        all->nll[all->n + i] = s->nll[i];
        all->ref_nll[all->n + i] = s->ref_nll[i];
        all->kld[all->n + i] = s->kld[i];
        all->reverse[all->n + i] = s->kld_reverse[i];
        all->same[all->n + i] = s->same_top1[i];
    }
    all->n += s->n;
    return PARE_OK;
}

static pare_status take_logits(const pare_logit_rows *rows, void *user, pare_error *err)
{
    pare_logit_writer *w = ((run *)user)->writer;
    pare_status st = PARE_OK;
    if (rows->pos == rows->w->first)
        st = pare_logit_writer_window(w, rows->ids, rows->w->first, rows->w->n_scored, err);
    return st == PARE_OK ? pare_logit_writer_rows(w, rows->rows, rows->lse, rows->n, err) : st;
}

static pare_status evaluate(pare_source *model, pare_source *reference, pare_windows *w, run *r, pare_error *err)
{
    const pare_eval_job job = {.models = &model,
                               .n_models = 1,
                               .reference = reference,
                               .windows = w,
                               .scores = take_scores,
                               .logits = r->writer != NULL ? take_logits : NULL,
                               .user = r};
    return pare_evaluate(&job, err);
}

static void check_plan(const pare_window_plan *plan, pare_logit_format format, double limit)
{
    pare_error err = {0};
    pare_model model, reference;
    pare_backend *b = NULL;
    pare_windows w = {0};
    pare_source *q = NULL, *p = NULL, *stored = NULL;
    pare_logit_writer *writer = NULL;
    pare_logit_store *store = NULL;
    int32_t ids[N_IDS];
    char path[512];
    scores direct = {0}, again = {0};
    uint64_t seed = 5;
    for (int i = 0; i < N_IDS; i++)
        ids[i] = (int32_t)((toy_random(&seed) + 1) / 2 * (VOCAB - 1));
    toy_llama(&reference, VOCAB, 0);
    toy_llama(&model, VOCAB, 0.05f);
    CHECK_OK(pare_backend_cpu(&b, &err), &err);
    CHECK_OK(pare_windows_open(&w, ids, N_IDS, BOS, plan, &err), &err);
    CHECK_OK(pare_source_of_model(&q, &model, b, &w, NULL, &err), &err);
    CHECK_OK(pare_source_of_model(&p, &reference, b, &w, NULL, &err), &err);

    snprintf(path, sizeof path, "%s/source.lgt", temp_dir());
    const pare_logit_info info = {.format = format,
                                  .n_vocab = VOCAB,
                                  .n_ctx = CTX,
                                  .stride = w.step,
                                  .bos = BOS,
                                  .n_windows = w.n_windows,
                                  .text = ids};
    CHECK_OK(pare_logit_writer_open(&writer, path, &info, true, &err), &err);
    CHECK_OK(evaluate(q, p, &w, &(run){writer, &direct}, &err), &err);
    CHECK_OK(pare_logit_writer_commit(writer, NULL, &err), &err);
    pare_logit_writer_close(writer);

    CHECK_OK(pare_logit_store_open(&store, path, &err), &err);
    CHECK_OK(pare_source_of_store(&stored, store, &w, &err), &err);
    CHECK(stored->n_vocab == VOCAB && strcmp(stored->path, path) == 0 && stored->bytes(stored) > 0);
    CHECK_OK(evaluate(q, stored, &w, &(run){NULL, &again}, &err), &err);
    CHECK(direct.n == again.n && direct.n == w.n_windows * w.n_scored);
    double kld = 0, reverse = 0;
    for (uint32_t i = 0; i < direct.n; i++) {
        CHECK(direct.nll[i] == again.nll[i] && direct.same[i] == again.same[i]);
        CHECK(fabs(direct.ref_nll[i] - again.ref_nll[i]) < (format == PARE_LOGITS_PARE ? 2e-6 : 1e-3));
        kld += (again.kld[i] - direct.kld[i]) / direct.n;
        reverse += (again.reverse[i] - direct.reverse[i]) / direct.n;
    }
    CHECK(fabs(kld) < limit && fabs(reverse) < limit);

    pare_source_close(stored);
    ids[3 * CTX + 2] = (ids[3 * CTX + 2] + 1) % VOCAB; /* another text, in one of its windows */
    CHECK(pare_source_of_store(&stored, store, &w, &err) == PARE_ERR_RANGE && strstr(err.text, path) != NULL);
    pare_logit_store_close(store);
    pare_source_close(q);
    pare_source_close(p);
    pare_windows_close(&w);
    b->close(b);
    pare_model_close(&model);
    pare_model_close(&reference);
}

static void figures_are_those_of_the_reference(void **state)
{
    (void)state;
    check_plan(&(pare_window_plan){.n_ctx = CTX}, PARE_LOGITS_PARE, 1e-6);
    check_plan(&(pare_window_plan){.n_ctx = CTX, .stride = CTX / 2}, PARE_LOGITS_PARE, 1e-6);
}

static void llama_files_serve_too(void **state)
{
    (void)state;
    check_plan(&(pare_window_plan){.n_ctx = CTX}, PARE_LOGITS_LLAMA, 2e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_reference),
        cmocka_unit_test(llama_files_serve_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
