#include "cmd/text_run.h"
#include "cmd/console.h"
#include "cmd/input.h"
#include "cmd/mpi.h"
#include "core/progress.h"
#include "eval/evaluate_devices.h"

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
    pare_eval_device on[CMD_MAX_DEVICES];
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

static void warn_of_recent(const pare_kv_form *form, uint32_t n_ctx)
{
    const pare_kv_codec *const sides[] = {form->k, form->v};
    for (int i = 0; i < 2; i++) {
        const uint32_t recent = pare_kv_recent(form, sides[i]);
        if (recent >= n_ctx && (i == 0 || pare_kv_recent(form, form->k) < n_ctx))
            cmd_warning("%s keeps the last %" PRIu32 " tokens exact: windows of %" PRIu32 " say nothing about it",
                        sides[i]->name, recent, n_ctx);
    }
}

static bool has_reference(const cmd_text_run *run)
{
    return run->reference != NULL || run->open_reference != NULL;
}

static pare_status open_tallies(work *k, pare_error *err)
{
    const cmd_text_run *run = k->run;
    pare_status st = PARE_OK;
    k->tallies = calloc(run->n_models, sizeof *k->tallies);
    if (k->tallies == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", run->n_models);
    for (size_t i = 0; i < run->n_models && st == PARE_OK; i++) {
        if (k->text.index == 0)
            cmd_warn_of_context(run->models[i], "windows of", k->text.windows.n_ctx);
        if (k->text.index == 0 && run->forms != NULL)
            warn_of_recent(&run->forms[i], k->text.windows.n_ctx);
        st = pare_tally_open(&k->tallies[i], k->text.windows.n_ctx, has_reference(run), err);
    }
    return st;
}

/* What passes over one device need. */
static pare_status open_on(work *k, pare_eval_device *on, pare_backend *b, pare_error *err)
{
    const cmd_text_run *run = k->run;
    const pare_windows *w = &k->text.windows;
    pare_status st = PARE_OK;
    pare_source **models = calloc(run->n_models, sizeof *models);
    if (models == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", run->n_models);
    on->models = models;
    if (run->open_reference != NULL)
        st = run->open_reference(&on->reference, w, run->open_user, err);
    else if (run->reference != NULL)
        st = pare_source_of_model(&on->reference, run->reference, b, w, NULL, err);
    for (size_t i = 0; i < run->n_models && st == PARE_OK; i++)
        st = pare_source_of_model(&models[i], run->models[i], b, w, run->forms != NULL ? &run->forms[i] : NULL, err);
    return st;
}

static pare_status open_sources(work *k, pare_error *err)
{
    const cmd_devices *devices = k->run->devices;
    pare_status st = PARE_OK;
    for (size_t d = 0; d < devices->n && st == PARE_OK; d++)
        st = open_on(k, &k->on[d], devices->backend[d], err);
    return st;
}

static void close_on(const work *k, pare_eval_device *on)
{
    for (size_t i = 0; i < k->run->n_models && on->models != NULL; i++)
        pare_source_close(on->models[i]);
    pare_source_close(on->reference);
    free((void *)on->models);
}

static void close_work(work *k)
{
    for (size_t d = 0; d < CMD_MAX_DEVICES; d++)
        close_on(k, &k->on[d]);
    for (size_t i = 0; i < k->run->n_models && k->tallies != NULL; i++)
        pare_tally_close(k->tallies[i]);
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
    cmd_devices_remark(k->run->devices);
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
                             k->on[0].reference->path, s->window, s->first + i, s->kld[i]);
    return PARE_OK;
}

/* The first window through the reference twice. */
static pare_status check_self(work *k, pare_error *err)
{
    pare_windows one = k->text.windows;
    one.n_windows = one.n_windows < 1 ? one.n_windows : 1;
    one.n_seq = 1;
    const pare_eval_job job = {.models = &k->on[0].reference,
                               .n_models = 1,
                               .reference = k->on[0].reference,
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

static pare_status measure(work *k, pare_error *err)
{
    cmd_text_run *run = k->run;
    pare_status st = open_sources(k, err);
    if (st == PARE_OK && has_reference(run) && k->text.index == 0 && !run->self_checked)
        st = check_self(k, err);
    if (st != PARE_OK)
        return st;
    const pare_eval_job job = {.models = k->on[0].models,
                               .n_models = run->n_models,
                               .reference = k->on[0].reference,
                               .windows = &k->text.windows,
                               .scores = take_own_scores,
                               .logits = wants_logits(run) ? take_logits : NULL,
                               .user = k,
                               .seconds = &run->seconds};
    return run->devices->n > 1 ? pare_evaluate_devices(&job, k->on, run->devices->n, err) : pare_evaluate(&job, err);
}

static pare_status evaluate(work *k, pare_error *err)
{
    cmd_text_run *run = k->run;
    pare_status st = open_tallies(k, err);
    if (st == PARE_OK)
        st = tell_begin(k, err);
    k->begun = st == PARE_OK;
    if (st == PARE_OK)
        st = take_measured(k, err);
    if (st == PARE_OK && k->text.windows.n_windows > 0)
        st = measure(k, err);
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
        st = evaluate(&k, err);
    if (st != PARE_OK && k.begun && cmd_mpi_rank() == 0)
        tell_broken(&k);
    close_work(&k);
    return st;
}
