#include "cmd/cache_options.h"
#include "cmd/cache_text.h"
#include "cmd/console.h"
#include "cmd/eval_figures.h"
#include "cmd/device.h"
#include "cmd/input.h"
#include "cmd/outputs.h"
#include "cmd/mpi.h"
#include "cmd/logit_io.h"
#include "cmd/outputs.h"
#include "cmd/record_run.h"
#include "cmd/summary.h"
#include "cmd/sources.h"
#include "cmd/task_texts.h"
#include "cmd/text_run.h"
#include "cmd/worst_report.h"
#include "formats/open.h"
#include "report/figures.h"

#include <stdlib.h>
#include <string.h>

typedef struct job {
    const cmd_args *args;
    pare_model model, reference;
    const pare_model *models[1];
    cmd_devices devices;
    pare_tokenizer *tokenizer;
    cmd_text_run run;
    pare_worst worst;
    cmd_record record;
    cmd_resume resume;
    cmd_logit_io logits;
    pare_eval_result *results; /* [n_texts] */
    size_t n_texts;
    cmd_tasks tasks;
    pare_kv_form form;
    cmd_cache_text cache_text;
    pare_task_scores *task_scores; /* [tasks.n] */
} job;

static double tokens_per_second(const job *j)
{
    return j->run.seconds > 0 ? (double)j->run.n_tokens / j->run.seconds : 0;
}

static pare_status report_json(job *j, pare_error *err)
{
    json_t *doc = json_object(), *texts = json_array();
    pare_status st = PARE_OK;
    if (j->n_texts > 0) {
        pare_eval_result mean = pare_figures_average(j->results, j->n_texts);
        st = pare_figures_put(doc, &mean, err);
    }
    for (size_t i = 0; i < j->n_texts && st == PARE_OK; i++) {
        json_t *row = json_object();
        const char *name = cmd_nth(j->args, OPT_FILE, i);
        st = pare_figures_put(row, &j->results[i], err);
        json_object_set_new(row, "name", cmd_json_text(name, strlen(name)));
        json_array_append_new(texts, row);
    }
    json_object_set_new(doc, "texts", texts);
    if (j->run.self_checked)
        json_object_set_new(doc, "self_check", json_string("ok"));
    if (st == PARE_OK && cmd_has(j->args, OPT_WORST))
        st = cmd_json_worst(doc, &j->worst, j->tokenizer, err);
    if (st == PARE_OK)
        st = cmd_tasks_json(doc, &j->tasks, j->task_scores, err);
    cmd_logit_io_json(&j->logits, doc);
    if (st == PARE_OK && j->run.forms != NULL)
        st = cmd_cache_json(doc, j->run.forms, &j->model, err);
    cmd_cache_text_json(doc, &j->cache_text);
    json_object_set_new(doc, "device", json_string(j->devices.name));
    json_object_set_new(doc, "compute", json_string(j->devices.backend[0]->compute));
    cmd_json_real(doc, "tokens_per_second", tokens_per_second(j));
    cmd_json_resources(doc);
    if (st == PARE_OK)
        return cmd_print_json(j->args, doc, err);
    json_decref(doc);
    return st;
}

static void print_texts(const job *j)
{
    for (size_t i = 0; i < j->n_texts; i++) {
        const char *name = cmd_nth(j->args, OPT_FILE, i);
        cmd_print_figures(cmd_safe(name, strlen(name)), &j->results[i], cmd_has(j->args, OPT_CURVE));
    }
    if (j->n_texts < 2)
        return;
    pare_eval_result mean = pare_figures_average(j->results, j->n_texts);
    cmd_print_figures("mean of the texts", &mean, false);
    cmd_print_line_header(&mean);
    for (size_t i = 0; i < j->n_texts; i++) {
        const char *name = cmd_base_name(cmd_nth(j->args, OPT_FILE, i));
        cmd_print_line(cmd_safe(name, strlen(name)), &j->results[i]);
    }
    cmd_print_line("mean of the texts", &mean);
}

static pare_status report_text(job *j, pare_error *err)
{
    cmd_progress_clear();
    print_texts(j);
    pare_status st = cmd_print_worst(&j->worst, j->args, j->tokenizer, err);
    if (st == PARE_OK)
        st = cmd_tasks_print(&j->tasks, j->task_scores, err);
    cmd_logit_io_print(&j->logits);
    if (st == PARE_OK && j->run.forms != NULL)
        st = cmd_cache_print(j->run.forms, &j->model, err);
    if (j->run.self_checked)
        printf("self-check: the reference against itself differs by exactly 0\n");
    printf("%.1f tokens/s on %s in %s, %.1f s, peak memory %s\n", tokens_per_second(j), j->devices.name,
           j->devices.backend[0]->compute, cmd_seconds(), cmd_bytes(cmd_peak_rss_bytes()));
    return st;
}

/* A reference needs no tokenizer, but one that it has must be the model's. */
static pare_status open_reference(job *j, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    if (pare_model_open(&j->reference, path, 0, NULL) != PARE_OK)
        st = pare_model_open(&j->reference, path, PARE_OPEN_NO_VOCAB, err);
    return st == PARE_OK ? cmd_check_vocabularies(&j->reference, &j->model, err) : st;
}

static pare_status open_all(job *j, pare_error *err)
{
    const char *reference = cmd_text(j->args, OPT_REFERENCE);
    const size_t most = cmd_has(j->args, OPT_LOGITS) ? 1 : CMD_MAX_DEVICES; /* a store has one reader */
    pare_status st = cmd_devices_open(&j->devices, j->args, most, err);
    if (st == PARE_OK)
        st = pare_model_open(&j->model, j->args->operands[0], PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = cmd_open_tokenizer(&j->tokenizer, &j->model, &j->run.bos, err);
    if (st == PARE_OK && reference != NULL)
        st = open_reference(j, reference, err);
    j->models[0] = &j->model;
    j->run.args = j->args;
    j->run.devices = &j->devices;
    j->run.tokenizer = j->tokenizer;
    j->run.models = j->models;
    j->run.n_models = 1;
    j->run.reference = reference != NULL ? &j->reference : NULL;
    if (st == PARE_OK && cmd_has_cache(j->args)) {
        st = cmd_cache_form(j->args, &j->model, &j->form, err);
        j->run.forms = j->tasks.form = &j->form;
    }
    return st;
}

/* Files that are read beside the models. Owned; NULL: no memory. */
static const char **list_inputs(const cmd_args *args, size_t *n)
{
    static const cmd_option_id read[] = {OPT_FILE, OPT_TASK, OPT_SHOTS, OPT_LOGITS, OPT_CACHE_TEXT};
    const char **inputs = calloc(args->n_given + 1, sizeof *inputs);
    *n = 0;
    for (size_t k = 0; k < sizeof read / sizeof read[0] && inputs != NULL; k++)
        for (size_t i = 0; i < cmd_count(args, read[k]); i++)
            inputs[(*n)++] = cmd_nth(args, read[k], i);
    return inputs;
}

/* Before anything runs: no two outputs are one file, and none is an input or, without --force, exists. */
static pare_status check_outputs(const job *j, pare_error *err)
{
    const char *record = cmd_text(j->args, OPT_RECORD);
    const bool force = cmd_has(j->args, OPT_FORCE);
    char *items = NULL, *unfinished = NULL, *unfinished_items = NULL;
    cmd_outputs outputs = {0}, kept = {0};
    pare_status st = record != NULL ? pare_record_items_path(&items, record, err) : PARE_OK;
    if (st == PARE_OK && record != NULL)
        st = pare_record_unfinished_path(&unfinished, record, err);
    if (st == PARE_OK && record != NULL)
        st = pare_record_items_path(&unfinished_items, unfinished, err);
    const char **inputs = list_inputs(j->args, &outputs.n_inputs);
    if (st == PARE_OK && (outputs.inputs = inputs) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the names of files");
    cmd_outputs_add(&outputs, "--save-logits", cmd_text(j->args, OPT_SAVE_LOGITS));
    cmd_outputs_add(&outputs, "--completions", cmd_text(j->args, OPT_COMPLETIONS));
    cmd_outputs_add(&outputs, "--record", record);
    cmd_outputs_add(&outputs, "the items of --record", items);
    kept.inputs = inputs;
    kept.n_inputs = outputs.n_inputs;
    cmd_outputs_add(&kept, "what --record keeps of an unfinished run", unfinished);
    cmd_outputs_add(&kept, "items that --record keeps", unfinished_items);
    if (st == PARE_OK)
        st = cmd_outputs_check(&kept, &j->model, true, err); /* whether they exist, --resume looks at */
    if (st == PARE_OK)
        st = cmd_outputs_check(&outputs, &j->model, force, err);
    if (st == PARE_OK && j->run.reference != NULL)
        st = cmd_outputs_check(&outputs, j->run.reference, force, err);
    free(inputs);
    free(items);
    free(unfinished);
    free(unfinished_items);
    return st;
}

static void listen(job *j)
{
    j->run.resume = &j->resume;
    j->worst.n_max = cmd_number(j->args, OPT_WORST);
    const cmd_listener worst = cmd_worst_listener(&j->worst);
    if (j->worst.n_max > 0)
        cmd_listen(&j->run, &worst);
    cmd_record_listen(&j->record, &j->run);
    cmd_logit_io_attach(&j->logits, &j->run);
}

static pare_status measure(job *j, pare_error *err)
{
    pare_status st = PARE_OK;
    j->n_texts = cmd_count(j->args, OPT_FILE);
    if (j->n_texts > 0 && (j->results = calloc(j->n_texts, sizeof *j->results)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu results", j->n_texts);
    for (size_t i = 0; i < j->n_texts && st == PARE_OK; i++)
        st = cmd_run_text(&j->run, i, cmd_nth(j->args, OPT_FILE, i), &j->results[i], err);
    pare_worst_sort(&j->worst);
    if (cmd_mpi_rank() > 0)
        return st; /* the rest is for the one that tells the result */
    if (st == PARE_OK)
        st = cmd_tasks_score(&j->tasks, &j->model, j->devices.backend[0], j->tokenizer, &j->task_scores, err);
    for (size_t i = 0; i < j->tasks.n && st == PARE_OK; i++) {
        j->run.seconds += j->task_scores[i].seconds;
        j->run.n_tokens += j->task_scores[i].n_tokens;
    }
    return st;
}

static pare_status calibrate(job *j, pare_error *err)
{
    pare_window_plan plan = {0};
    pare_kv_form *form = &j->form;
    pare_status st = cmd_window_plan(j->args, &plan, err);
    return st == PARE_OK ? cmd_cache_calibrate(&j->cache_text, j->args, &j->model, j->devices.backend[0], j->tokenizer,
                                               j->run.bos, plan.n_ctx, &form, 1, err)
                         : st;
}

static pare_status run(job *j, pare_error *err)
{
    pare_status st = cmd_tasks_load(&j->tasks, j->args, err); /* first: a mistake in a file costs no time */
    if (st == PARE_OK)
        st = open_all(j, err);
    if (st == PARE_OK)
        st = cmd_texts_check(&j->tasks, err);
    if (st == PARE_OK)
        st = check_outputs(j, err);
    if (st == PARE_OK && cmd_has_cache(j->args))
        st = calibrate(j, err);
    if (st != PARE_OK)
        return st;
    st = cmd_logit_io_open(&j->logits, j->args, &j->model, j->run.reference, j->devices.backend[0]->compute, err);
    if (st == PARE_OK)
        st = cmd_resume_open(&j->resume, j->args, err);
    if (st == PARE_OK)
        st = cmd_record_open(&j->record, j->args, &j->model, j->run.reference, err);
    if (st == PARE_OK)
        st = cmd_logit_io_record(&j->logits, j->record.head, err);
    if (st != PARE_OK)
        return st;
    cmd_cache_text_json(json_object_get(j->record.head, "settings"), &j->cache_text);
    listen(j);
    st = measure(j, err);
    if (cmd_mpi_rank() > 0)
        return st;
    if (st == PARE_OK && (st = cmd_sources_check(j->args, &j->model, err)) == PARE_OK)
        st = pare_model_check_files(&j->reference, err);
    if (st == PARE_OK)
        st = cmd_logit_io_finish(&j->logits, err);
    if (st == PARE_OK)
        st = cmd_texts_write(&j->tasks, j->task_scores, err);
    if (st != PARE_OK) {
        cmd_record_keep(&j->record, err);
        return st;
    }
    st = cmd_record_tasks(&j->record, j->task_scores, j->tasks.n, err);
    if (st == PARE_OK)
        st = cmd_record_finish(&j->record, err);
    if (st == PARE_OK)
        st = cmd_has(j->args, OPT_JSON) ? report_json(j, err) : report_text(j, err);
    if (st != PARE_OK || !cmd_has(j->args, OPT_FAIL_OVER))
        return st;
    double kld = pare_figures_average(j->results, j->n_texts).kld_mean.value, limit = cmd_real(j->args, OPT_FAIL_OVER);
    if (kld <= limit)
        return PARE_OK;
    cmd_hint("mean KL divergence %.6g is above the limit %.6g", kld, limit);
    return PARE_ERR_DIFFERENCE;
}

/* What is said of texts says nothing without one. */
static const struct {
    cmd_option_id id;
    const char *name;
} need_text[] = {{OPT_REFERENCE, "reference"},
                 {OPT_LOGITS, "logits"},
                 {OPT_SAVE_LOGITS, "save-logits"},
                 {OPT_WORST, "worst"},
                 {OPT_CURVE, "curve"}};

pare_status cmd_eval(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    if (!cmd_has(args, OPT_FILE) && !cmd_has(args, OPT_TASK))
        return pare_fail(err, PARE_ERR_USAGE, "eval: --file TEXT or --task FILE is needed");
    for (size_t i = 0; i < sizeof need_text / sizeof need_text[0] && !cmd_has(args, OPT_FILE); i++)
        if (cmd_has(args, need_text[i].id))
            return pare_fail(err, PARE_ERR_USAGE, "eval: --%s needs --file", need_text[i].name);
    if (cmd_has(args, OPT_FAIL_OVER) && !cmd_has(args, OPT_REFERENCE) && !cmd_has(args, OPT_LOGITS))
        return pare_fail(err, PARE_ERR_USAGE, "eval: --fail-over needs --reference or --logits");
    pare_status st = cmd_cache_check(args, err);
    if (st == PARE_OK)
        st = cmd_mpi_start(err);
    if (st == PARE_OK && cmd_mpi_size() > 1 && cmd_has(args, OPT_SAVE_LOGITS))
        st = pare_fail(err, PARE_ERR_USAGE, "eval: --save-logits is for one rank: a store holds its windows in order");
    if (st == PARE_OK)
        st = run(&j, err);
    cmd_tasks_free_scores(&j.tasks, j.task_scores);
    cmd_tasks_close(&j.tasks);
    pare_tokenizer_close(j.tokenizer);
    cmd_cache_text_close(&j.cache_text);
    cmd_devices_close(&j.devices); /* before the models whose weights it may hold */
    pare_model_close(&j.model);
    pare_model_close(&j.reference);
    pare_worst_close(&j.worst);
    cmd_record_close(&j.record);
    cmd_resume_close(&j.resume);
    cmd_logit_io_close(&j.logits);
    free(j.results);
    return st;
}
