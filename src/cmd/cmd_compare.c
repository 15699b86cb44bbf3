#include "cmd/comparison.h"
#include "cmd/comparison_report.h"
#include "cmd/console.h"
#include "cmd/device.h"
#include "cmd/input.h"
#include "cmd/report_file.h"
#include "cmd/sources.h"
#include "formats/open.h"
#include "report/figures.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static pare_status open_candidates(cmd_comparison *c, pare_error *err)
{
    pare_status st = PARE_OK;
    c->n = c->args->n_operands - 1;
    c->candidates = calloc(c->n, sizeof *c->candidates);
    c->models = calloc(c->n, sizeof *c->models);
    if (c->candidates == NULL || c->models == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", c->n);
    for (size_t k = 0; k < c->n && st == PARE_OK; k++) {
        c->models[k] = &c->candidates[k].model;
        st = pare_model_open(&c->candidates[k].model, c->args->operands[k + 1], PARE_OPEN_WEIGHTS, err);
        if (st == PARE_OK && c->n_texts + c->n_pair_files + c->tasks.n > 0)
            st = cmd_check_vocabularies(&c->reference, &c->candidates[k].model, err);
    }
    return st;
}

static pare_status open_all(cmd_comparison *c, pare_error *err)
{
    c->n_texts = cmd_has(c->args, OPT_EMBEDDING) ? 0 : cmd_count(c->args, OPT_FILE);
    pare_status st =
        cmd_drift_open(&c->tasks, c->args, err); /* before any model runs, so that a wrong file is told at once */
    if (st == PARE_OK)
        st = cmd_open_pairs(c, err);
    if (st == PARE_OK)
        st = cmd_devices_open(&c->devices, c->args, CMD_MAX_DEVICES, err);
    if (st == PARE_OK)
        st = pare_model_open(&c->reference, c->args->operands[0], PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = open_candidates(c, err);
    if (st == PARE_OK && c->n_texts + c->n_pair_files + c->tasks.n > 0)
        st = cmd_open_tokenizer(&c->tokenizer, &c->reference, &c->run.bos, err);
    return st;
}

static pare_status take_begin(const cmd_corpus *text, void *user, pare_error *err)
{
    (void)err;
    ((cmd_comparison *)user)->text = text->index;
    return PARE_OK;
}

static pare_status take_scores(const pare_scores *s, size_t model, void *user, pare_error *err)
{
    cmd_comparison *c = user;
    (void)err;
    if (s->n > 0)
        pare_moments_add(&c->candidates[model].first[c->text], s->kld[0]);
    return PARE_OK;
}

static pare_status compare_texts(cmd_comparison *c, pare_error *err)
{
    const cmd_listener first = {.begin = take_begin, .scores = take_scores, .user = c};
    pare_status st = PARE_OK;
    c->results = calloc(c->n_texts * c->n + 1, sizeof *c->results);
    for (size_t k = 0; k < c->n; k++) {
        c->candidates[k].first = calloc(c->n_texts + 1, sizeof *c->candidates[k].first);
        if (c->results == NULL || c->candidates[k].first == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for the figures of %zu models", c->n);
    }
    c->run.args = c->args;
    c->run.devices = &c->devices;
    c->run.tokenizer = c->tokenizer;
    c->run.models = c->models;
    c->run.n_models = c->n;
    c->run.reference = &c->reference;
    cmd_listen(&c->run, &first);
    for (size_t i = 0; i < c->n_texts && st == PARE_OK; i++)
        st = cmd_run_text(&c->run, i, cmd_nth(c->args, OPT_FILE, i), c->results + i * c->n, err);
    return st;
}

static pare_status compare_weights(cmd_comparison *c, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t k = 0; k < c->n && st == PARE_OK && !cmd_has(c->args, OPT_NO_WEIGHTS); k++) {
        cmd_candidate *candidate = &c->candidates[k];
        pare_error why = {0};
        st = pare_weights_comparable(&c->reference, &candidate->model, &why);
        if (st == PARE_ERR_UNSUPPORTED) { /* said, and left out */
            memcpy(candidate->why_not, why.text, sizeof why.text);
            st = PARE_OK;
            continue;
        }
        if (st != PARE_OK && err != NULL)
            *err = why;
        if (st == PARE_OK)
            st = pare_weight_drift_measure(&candidate->weights, &c->reference, &candidate->model, err);
        candidate->has_weights = st == PARE_OK;
    }
    return st;
}

pare_status cmd_comparison_mean(const cmd_comparison *c, size_t k, pare_eval_result *out, pare_error *err)
{
    pare_eval_result *column = malloc(c->n_texts * sizeof *column);
    if (column == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu results", c->n_texts);
    for (size_t i = 0; i < c->n_texts; i++)
        column[i] = c->results[i * c->n + k];
    *out = pare_figures_average(column, c->n_texts);
    free(column);
    return PARE_OK;
}

static void add_failure(json_t *failures, const char *fmt, ...) PARE_PRINTF(2, 3);
static void add_failure(json_t *failures, const char *fmt, ...)
{
    char text[PARE_ERROR_TEXT];
    va_list list;
    va_start(list, fmt);
    vsnprintf(text, sizeof text, fmt, list);
    va_end(list);
    json_array_append_new(failures, cmd_json_text(text, strlen(text)));
}

static pare_status check_divergence(const cmd_comparison *c, json_t *failures, pare_error *err)
{
    const double limit = cmd_real(c->args, OPT_FAIL_OVER);
    pare_status st = PARE_OK;
    for (size_t k = 0; k < c->n && st == PARE_OK && cmd_has(c->args, OPT_FAIL_OVER); k++) {
        pare_eval_result mean;
        st = cmd_comparison_mean(c, k, &mean, err);
        if (st == PARE_OK && !(mean.kld_mean.value <= limit))
            add_failure(failures, "%s: mean KL divergence %.6g is above the limit %.6g", c->models[k]->path,
                        mean.kld_mean.value, limit);
    }
    return st;
}

/* By the rules that the task's owner reports. */
static void check_drops(const cmd_comparison *c, json_t *failures)
{
    const double limit = cmd_real(c->args, OPT_FAIL_DROP);
    for (size_t k = 0; k < c->n && cmd_has(c->args, OPT_FAIL_DROP); k++)
        for (size_t i = 0; i < c->tasks.n; i++) {
            const cmd_task_drift *t = &c->candidates[k].drift.tasks[i];
            for (size_t rule = 0; rule < (c->tasks.list[i].has_norm ? t->n_rules : 1); rule++)
                if (-100 * t->drift[rule].difference.value > limit)
                    add_failure(failures, "%s: %s %s drops by %.2f points, more than the limit %.2f",
                                c->models[k]->path, c->tasks.list[i].name, cmd_rule_name((pare_rule)rule),
                                -100 * t->drift[rule].difference.value, limit);
        }
}

static void check_cosines(const cmd_comparison *c, json_t *failures)
{
    const double limit = cmd_real(c->args, OPT_FAIL_UNDER);
    for (size_t k = 0; k < c->n && cmd_has(c->args, OPT_FAIL_UNDER); k++)
        for (size_t i = 0; i < c->n_pair_files; i++) {
            const pare_embedding_drift *d = &c->candidates[k].embeddings[i];
            if (!(d->cosine.value >= limit))
                add_failure(failures, "%s: %s: mean cosine %.6f is below the limit %.6g", c->models[k]->path,
                            c->pair_files[i].file.name, d->cosine.value, limit);
        }
}

static pare_status check_limits(const cmd_comparison *c, json_t *failures, pare_error *err)
{
    pare_status st = check_divergence(c, failures, err);
    if (st == PARE_OK)
        check_drops(c, failures);
    if (st == PARE_OK)
        check_cosines(c, failures);
    return st;
}

static pare_status show(const cmd_comparison *c, pare_error *err)
{
    json_t *failures = json_array(), *failure, *doc = NULL;
    size_t i;
    pare_status st = check_limits(c, failures, err);
    const bool failed = json_array_size(failures) > 0;
    if (st == PARE_OK)
        st = cmd_json_comparison(&doc, c, failures, err);
    if (st == PARE_OK)
        st = cmd_write_report(c->args, doc, err);
    if (st == PARE_OK && cmd_has(c->args, OPT_JSON))
        st = cmd_print_json(c->args, json_incref(doc), err);
    else if (st == PARE_OK)
        st = cmd_print_comparison(c, err);
    if (st == PARE_OK)
        json_array_foreach(failures, i, failure) cmd_hint("%s", json_string_value(failure));
    json_decref(doc);
    json_decref(failures);
    return st == PARE_OK && failed ? PARE_ERR_DIFFERENCE : st;
}

static void close_all(cmd_comparison *c)
{
    cmd_devices_close(&c->devices); /* before the models whose weights it may hold */
    for (size_t k = 0; k < c->n && c->candidates != NULL; k++) {
        cmd_candidate *candidate = &c->candidates[k];
        cmd_drift_close(&candidate->drift);
        pare_weight_drift_close(&candidate->weights);
        free(candidate->first);
        free(candidate->embeddings);
        pare_model_close(&candidate->model);
    }
    cmd_close_pairs(c);
    cmd_tasks_close(&c->tasks);
    pare_tokenizer_close(c->tokenizer);
    pare_model_close(&c->reference);
    free(c->candidates);
    free(c->models);
    free(c->results);
}

static pare_status check_options(const cmd_args *args, pare_error *err)
{
    if (cmd_has(args, OPT_EMBEDDING) && !cmd_has(args, OPT_FILE))
        return pare_fail(err, PARE_ERR_USAGE, "compare: --embedding needs -f TEXT");
    if ((cmd_has(args, OPT_FAIL_UNDER) || cmd_has(args, OPT_POOLING)) && !cmd_has(args, OPT_EMBEDDING))
        return pare_fail(err, PARE_ERR_USAGE, "compare: --fail-under and --pooling need --embedding");
    if (cmd_has(args, OPT_FAIL_OVER) && cmd_has(args, OPT_EMBEDDING))
        return pare_fail(err, PARE_ERR_USAGE,
                         "compare: --fail-over is a limit of divergence; of embeddings there is --fail-under COSINE");
    if (cmd_has(args, OPT_FAIL_OVER) && !cmd_has(args, OPT_FILE))
        return pare_fail(err, PARE_ERR_USAGE, "compare: --fail-over needs -f TEXT");
    if (cmd_has(args, OPT_FAIL_DROP) && !cmd_has(args, OPT_TASK))
        return pare_fail(err, PARE_ERR_USAGE, "compare: --fail-drop needs --task FILE");
    if (cmd_has(args, OPT_NO_WEIGHTS) && !cmd_has(args, OPT_FILE) && !cmd_has(args, OPT_TASK))
        return pare_fail(err, PARE_ERR_USAGE, "compare: nothing to compare; give -f TEXT or --task FILE");
    return PARE_OK;
}

static pare_status check_sources(const cmd_comparison *c, pare_error *err)
{
    pare_status st = cmd_sources_check(c->args, &c->reference, err);
    for (size_t k = 0; k < c->n && st == PARE_OK; k++)
        st = pare_model_check_files(&c->candidates[k].model, err);
    return st;
}

pare_status cmd_compare(const cmd_args *args, pare_error *err)
{
    cmd_comparison c = {.args = args};
    pare_status st = check_options(args, err);
    if (st == PARE_OK)
        st = open_all(&c, err);
    if (st == PARE_OK)
        st = cmd_check_report(&c, err);
    if (st == PARE_OK)
        st = compare_texts(&c, err);
    if (st == PARE_OK)
        st = cmd_compare_embeddings(&c, err);
    if (st == PARE_OK)
        st = cmd_compare_tasks(&c, err);
    if (st == PARE_OK)
        st = compare_weights(&c, err);
    if (st == PARE_OK)
        st = check_sources(&c, err);
    if (st == PARE_OK)
        st = show(&c, err);
    close_all(&c);
    return st;
}
