#include "cmd/text_run.h"
#include "cmd/console.h"
#include "cmd/input.h"
#include "cmd/mpi.h"
#include "core/progress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void cmd_listen(cmd_text_run *run, const cmd_listener *listener)
{
    if (run->n_listeners < CMD_MAX_LISTENERS)
        run->listeners[run->n_listeners++] = *listener;
}

pare_status cmd_window_plan(const cmd_args *args, pare_window_plan *out, pare_error *err)
{
    const char *range = cmd_text(args, OPT_CHUNK_RANGE);
    unsigned first, end;
    int used = 0;
    *out = (pare_window_plan){.n_ctx = (uint32_t)cmd_number(args, OPT_CONTEXT),
                              .stride = (uint32_t)cmd_number(args, OPT_STRIDE),
                              .n_chunks = (uint32_t)cmd_number(args, OPT_CHUNKS),
                              .n_sample = (uint32_t)cmd_number(args, OPT_SAMPLE),
                              .seed = cmd_number(args, OPT_SEED)};
    if (range == NULL)
        return PARE_OK;
    if (strspn(range, "0123456789:") != strlen(range) || sscanf(range, "%9u:%9u%n", &first, &end, &used) != 2 ||
        (size_t)used != strlen(range) || first >= end)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: --chunk-range '%s': expected A:B, the windows from A to before B, numbered from 0",
                         args->verb->name, range);
    out->range_first = first;
    out->range_end = end;
    return PARE_OK;
}

/* One text in work. */
typedef struct work {
    cmd_text_run *run;
    cmd_corpus text;
    pare_source **models, *reference;
    pare_tally **tallies; /* [n_models] */
    pare_eval_result *results;
    uint32_t n_windows; /* of all ranks, and those that --resume has */
    bool begun;
    cmd_mpi_scores kept; /* of a rank that another one tallies for */
} work;

static pare_status read_text(work *k, const char *path, pare_error *err)
{
    pare_window_plan plan;
    const cmd_text_run *run = k->run;
    pare_status st = cmd_window_plan(run->args, &plan, err);
    k->text.name = path;
    plan.batch_tokens = run->devices->backend[0]->batch_tokens;
    if (st == PARE_OK)
        st = cmd_read_tokens(path, run->tokenizer, &k->text.ids, &k->text.digest, err);
    if (st == PARE_OK)
        st = pare_windows_open(&k->text.windows, k->text.ids.ids, k->text.ids.n, run->bos, &plan, err);
    if (st == PARE_OK)
        st = pare_windows_check_text(&k->text.windows, err);
    if (st == PARE_ERR_USAGE)
        return pare_fail_in(err, st, path);
    k->n_windows = k->text.windows.n_windows;
    return st;
}

void cmd_warn_of_context(const pare_model *m, const char *what, uint32_t n_ctx)
{
    if (m->hp.n_ctx_train != 0 && n_ctx > m->hp.n_ctx_train)
        cmd_warning("%s: %s %" PRIu32 " tokens, the model was trained for %" PRIu32, cmd_safe(m->path, strlen(m->path)),
                    what, n_ctx, m->hp.n_ctx_train);
}

static pare_status open_reference(work *k, pare_error *err)
{
    const cmd_text_run *run = k->run;
    if (run->open_reference != NULL)
        return run->open_reference(&k->reference, &k->text.windows, run->open_user, err);
    if (run->reference != NULL)
        return pare_source_of_model(&k->reference, run->reference, run->devices->backend[0], &k->text.windows, err);
    return PARE_OK;
}

static pare_status open_sources(work *k, pare_error *err)
{
    const cmd_text_run *run = k->run;
    k->models = calloc(run->n_models, sizeof *k->models);
    k->tallies = calloc(run->n_models, sizeof *k->tallies);
    if (k->models == NULL || k->tallies == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", run->n_models);
    pare_status st = open_reference(k, err);
    for (size_t i = 0; i < run->n_models && st == PARE_OK; i++) {
        if (k->text.index == 0)
            cmd_warn_of_context(run->models[i], "windows of", k->text.windows.n_ctx);
        st = pare_source_of_model(&k->models[i], run->models[i], run->devices->backend[0], &k->text.windows, err);
        if (st == PARE_OK)
            st = pare_tally_open(&k->tallies[i], k->text.windows.n_ctx, k->reference != NULL, err);
    }
    return st;
}

static void close_work(work *k)
{
    for (size_t i = 0; i < k->run->n_models; i++) {
        if (k->models != NULL)
            pare_source_close(k->models[i]);
        if (k->tallies != NULL)
            pare_tally_close(k->tallies[i]);
    }
    pare_source_close(k->reference);
    free(k->models);
    free(k->tallies);
    pare_windows_close(&k->text.windows);
    free(k->text.ids.ids);
}

static void show(const pare_eval_result *so_far, uint32_t n_windows)
{
    char text[96];
    snprintf(text, sizeof text, "perplexity %.4f +/- %.4f", so_far->perplexity.value, so_far->perplexity.stderr_);
    if (cmd_shows_progress())
        pare_progress("windows", so_far->n_chunks, n_windows, text);
    else if (so_far->has_reference)
        cmd_note("window %" PRIu32 " of %" PRIu32 ": %s, KL divergence %.6f +/- %.6f", so_far->n_chunks, n_windows,
                 text, so_far->kld_mean.value, so_far->kld_mean.stderr_);
    else
        cmd_note("window %" PRIu32 " of %" PRIu32 ": %s", so_far->n_chunks, n_windows, text);
}

static pare_status take_scores(const pare_scores *scores, size_t model, void *user, pare_error *err)
{
    work *k = user;
    const cmd_text_run *run = k->run;
    pare_status st = pare_tally_add(k->tallies[model], scores, err);
    for (size_t i = 0; i < run->n_listeners && st == PARE_OK; i++)
        if (run->listeners[i].scores != NULL)
            st = run->listeners[i].scores(scores, model, run->listeners[i].user, err);
    if (st == PARE_OK && model == 0) {
        pare_tally_running(k->tallies[0], &k->results[0]);
        show(&k->results[0], k->n_windows);
    }
    return st;
}

/* Of this rank's windows: taken here, or kept for rank 0. */
static pare_status take_own_scores(const pare_scores *scores, size_t model, void *user, pare_error *err)
{
    work *k = user;
    return cmd_mpi_rank() == 0 ? take_scores(scores, model, user, err) : cmd_mpi_keep(&k->kept, scores, model, err);
}

static pare_status take_logits(const pare_logit_rows *rows, void *user, pare_error *err)
{
    const cmd_text_run *run = ((work *)user)->run;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < run->n_listeners && st == PARE_OK; i++)
        if (run->listeners[i].logits != NULL)
            st = run->listeners[i].logits(rows, run->listeners[i].user, err);
    return st;
}

static bool wants_logits(const cmd_text_run *run)
{
    for (size_t i = 0; i < run->n_listeners; i++)
        if (run->listeners[i].logits != NULL)
            return true;
    return false;
}

static pare_status tell_begin(const work *k, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < k->run->n_listeners && st == PARE_OK; i++)
        if (k->run->listeners[i].begin != NULL)
            st = k->run->listeners[i].begin(&k->text, k->run->listeners[i].user, err);
    return st;
}

static pare_status tell_end(const work *k, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < k->run->n_listeners && st == PARE_OK; i++)
        if (k->run->listeners[i].end != NULL)
            st = k->run->listeners[i].end(&k->text, k->results, k->run->listeners[i].user, err);
    return st;
}

/* What there is of a text whose run failed: to those who can keep it. The failure that is told is that of the run. */
static void tell_broken(work *k)
{
    pare_error ignored = {0};
    for (size_t i = 0; i < k->run->n_models; i++)
        pare_tally_finish(k->tallies[i], cmd_number(k->run->args, OPT_SEED), &k->results[i], &ignored);
    for (size_t i = 0; i < k->run->n_listeners; i++)
        if (k->run->listeners[i].broken != NULL)
            k->run->listeners[i].broken(&k->text, k->results, k->run->listeners[i].user);
}

static pare_status want_zero(const pare_scores *s, size_t model, void *user, pare_error *err)
{
    const work *k = user;
    (void)model;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->kld[i] != 0 || s->kld_reverse[i] != 0 || s->nll[i] != s->ref_nll[i])
            return pare_fail(err, PARE_ERR_NUMBER,
                             "%s: differs from itself at window %" PRIu32 " position %" PRIu32 " (KL divergence %.6g): "
                             "this machine does not compute the same each time",
                             k->reference->path, s->window, s->first + i, s->kld[i]);
    return PARE_OK;
}

/* The first window through the reference twice. */
static pare_status check_self(work *k, pare_error *err)
{
    pare_windows one = k->text.windows;
    one.n_windows = one.n_windows < 1 ? one.n_windows : 1;
    one.n_seq = 1;
    const pare_eval_job job = {.models = &k->reference,
                               .n_models = 1,
                               .reference = k->reference,
                               .windows = &one,
                               .scores = want_zero,
                               .user = k};
    pare_status st = pare_evaluate(&job, err);
    k->run->self_checked = st == PARE_OK && one.n_windows == 1;
    return st;
}

/* Take the windows that --resume has, and leave in the text those that are to be measured: of them this rank's. */
static pare_status take_measured(work *k, pare_error *err)
{
    cmd_text_run *run = k->run;
    pare_windows *w = &k->text.windows;
    pare_status st = PARE_OK;
    if (run->resume != NULL && run->resume->is_there) {
        const uint32_t n = cmd_resume_count(run->resume, k->text.index, w);
        if (cmd_mpi_rank() == 0)
            st = cmd_resume_replay(run->resume, k->text.index, w, n, take_scores, k, err);
        memmove(w->number, w->number + n, (w->n_windows - n) * sizeof *w->number);
        w->n_windows -= n;
        run->self_checked = run->self_checked || run->resume->self_checked;
    }
    cmd_mpi_take_part(w);
    return st;
}

static pare_status evaluate(work *k, pare_error *err)
{
    cmd_text_run *run = k->run;
    const pare_eval_job job = {.models = k->models,
                               .n_models = run->n_models,
                               .reference = k->reference,
                               .windows = &k->text.windows,
                               .scores = take_own_scores,
                               .logits = wants_logits(run) ? take_logits : NULL,
                               .user = k,
                               .seconds = &run->seconds};
    pare_status st = tell_begin(k, err);
    k->begun = st == PARE_OK;
    if (st == PARE_OK)
        st = take_measured(k, err);
    if (st == PARE_OK && k->reference != NULL && k->text.index == 0 && !run->self_checked)
        st = check_self(k, err);
    if (st == PARE_OK)
        st = pare_evaluate(&job, err);
    if (st == PARE_OK)
        st = cmd_mpi_gather(&k->kept, take_scores, k, err);
    if (st != PARE_OK)
        return st;
    run->n_tokens += cmd_mpi_sum((uint64_t)k->text.windows.n_windows * k->text.windows.n_ctx *
                                 (run->n_models + (run->reference != NULL ? 1 : 0)));
    for (size_t i = 0; i < run->n_models && cmd_mpi_rank() == 0 && st == PARE_OK; i++)
        st = pare_tally_finish(k->tallies[i], cmd_number(run->args, OPT_SEED), &k->results[i], err);
    return st == PARE_OK && cmd_mpi_rank() == 0 ? tell_end(k, err) : st;
}

pare_status cmd_run_text(cmd_text_run *run, size_t index, const char *path, pare_eval_result *results, pare_error *err)
{
    work k = {.run = run, .text.index = index, .results = results};
    pare_status st = read_text(&k, path, err);
    if (st == PARE_OK)
        st = open_sources(&k, err);
    if (st == PARE_OK)
        st = evaluate(&k, err);
    if (st != PARE_OK && k.begun && cmd_mpi_rank() == 0)
        tell_broken(&k);
    close_work(&k);
    return st;
}
