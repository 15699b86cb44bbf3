#include "cmd/console.h"
#include "cmd/fit_measure.h"
#include "cmd/fit_options.h"
#include "cmd/fit_report.h"
#include "cmd/summary.h"
#include "cmd/outputs.h"
#include "cmd/report_file.h"
#include "cmd/sources.h"
#include "formats/open.h"
#include "model/stock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* measured: NULL, or of the best. failed: why nothing fits, where nothing does. */
static pare_status print_plan(const cmd_args *args, const cmd_fit_plan *p, const pare_occupied *measured,
                              const pare_error *failed, pare_error *err)
{
    pare_status st = PARE_OK;
    if (cmd_has(args, OPT_JSON)) {
        json_t *doc = cmd_fit_json_request(p), *list = json_array(), *item = NULL;
        for (size_t i = p->n; i-- > 0 && st == PARE_OK;)
            if ((st = cmd_fit_json_candidate(&item, p, &p->candidates[i], &p->candidates[i] == p->best, err)) ==
                PARE_OK)
                json_array_append_new(list, item);
            else
                json_decref(item);
        json_object_set_new(doc, "candidates", list);
        if (p->best != NULL)
            json_object_set_new(doc, "best", json_string(p->best->name));
        if (measured != NULL)
            json_object_set_new(doc, "measured", cmd_fit_json_measured(p->best, measured));
        if (failed->status != PARE_OK)
            json_object_set_new(doc, "error", cmd_json_error(failed));
        cmd_json_resources(doc);
        if (st != PARE_OK) {
            json_decref(doc);
            return st;
        }
        return cmd_print_json(args, doc, err);
    }
    cmd_progress_clear();
    cmd_fit_print_head(p);
    cmd_fit_print_candidates(p);
    if (p->best != NULL) {
        putchar('\n');
        st = cmd_fit_print_candidate(p, p->best, err);
    }
    if (st == PARE_OK && measured != NULL)
        cmd_fit_print_measured(p->best, measured);
    return st == PARE_OK ? cmd_fit_print_cache(p->model, err) : st;
}

/* The model at path under the request. model and plan are the caller's to close. */
static pare_status plan_model(const char *path, const cmd_fit_request *r, pare_model *model, cmd_fit_plan *plan,
                              pare_error *err)
{
    pare_status st = pare_model_open(model, path, PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = pare_stock_complete(model, err);
    if (st == PARE_OK) {
        cmd_fit_warn_of_context(r, model);
        st = cmd_fit_plan_make(plan, r, model, err);
    }
    return st;
}

/* --measure: what the best one takes on the cards. out is allocated, NULL where nothing is measured. */
static pare_status measure_best(pare_occupied **out, const cmd_args *args, const cmd_fit_plan *p, pare_error *err)
{
    *out = NULL;
    if (!cmd_has(args, OPT_MEASURE) || p->best == NULL)
        return PARE_OK;
    if ((*out = calloc(1, sizeof **out)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for measurements");
    pare_status st = cmd_fit_measure(*out, args, p, p->best, err);
    return st == PARE_OK ? cmd_fit_log(args, p, p->best, *out, err) : st;
}

static pare_status show_plan(const cmd_args *args, const cmd_fit_plan *p, pare_error *err)
{
    pare_error failed = {0};
    pare_occupied *measured;
    pare_status fits = p->best != NULL ? PARE_OK : cmd_fit_refuse(p, &failed);
    pare_status st = measure_best(&measured, args, p, err);
    if (st == PARE_OK && measured != NULL && !measured->fits)
        fits = pare_fail(&failed, PARE_ERR_DIFFERENCE, "%s", measured->why);
    if (st == PARE_OK)
        st = print_plan(args, p, measured, &failed, err);
    free(measured);
    if (st == PARE_OK && fits != PARE_OK) {
        *err = failed;
        st = fits;
    }
    return st;
}

static pare_status plan_memory(const cmd_args *args, const cmd_fit_request *r, pare_error *err)
{
    pare_model model = {0};
    cmd_fit_plan plan = {0};
    pare_status st = cmd_fit_check_log(args, err);
    if (st == PARE_OK)
        st = plan_model(args->operands[0], r, &model, &plan, err);
    if (st == PARE_OK && cmd_has(args, OPT_TABLE))
        st = cmd_fit_print_table(args, &plan, err);
    else if (st == PARE_OK)
        st = show_plan(args, &plan, err);
    cmd_fit_plan_close(&plan);
    pare_model_close(&model);
    return st;
}

/* Is a, as it fits, the larger model? More weights, then more bytes for them. */
static bool is_larger(const pare_model *a, const cmd_fit_plan *a_plan, const pare_model *b, const cmd_fit_plan *b_plan)
{
    const uint64_t n_a = pare_model_n_params(a), n_b = pare_model_n_params(b);
    return n_a != n_b ? n_a > n_b : a_plan->best->file_bytes > b_plan->best->file_bytes;
}

/* None fits: why the one does not whose smallest file is the smallest. */
static void refuse_all(const cmd_fit_plan *plans, size_t n, pare_error *failed)
{
    const cmd_fit_plan *least = NULL;
    pare_error why = {0};
    for (size_t i = 0; i < n; i++) {
        const cmd_fit_candidate *c = cmd_fit_smallest(&plans[i]);
        if (c != NULL && (least == NULL || c->file_bytes < cmd_fit_smallest(least)->file_bytes))
            least = &plans[i];
    }
    cmd_fit_refuse(least != NULL ? least : &plans[0], &why);
    pare_fail(failed, PARE_ERR_DIFFERENCE, "fit: none of %zu models fits; the smallest: %s", n, why.text);
}

/* The largest of several models. */
static pare_status plan_models(const cmd_args *args, const cmd_fit_request *r, pare_error *err)
{
    const size_t n = args->n_operands;
    pare_model *models = calloc(n, sizeof *models);
    cmd_fit_plan *plans = calloc(n, sizeof *plans);
    size_t best = n;
    pare_status st =
        models == NULL || plans == NULL ? pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", n) : PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        st = plan_model(args->operands[i], r, &models[i], &plans[i], err);
        if (st == PARE_OK && plans[i].best != NULL &&
            (best == n || is_larger(&models[i], &plans[i], &models[best], &plans[best])))
            best = i;
    }
    pare_error failed = {0};
    if (st == PARE_OK && best == n)
        refuse_all(plans, n, &failed);
    if (st == PARE_OK)
        st = cmd_fit_print_largest(args, plans, n, best, &failed, err);
    if (st == PARE_OK && best == n) {
        *err = failed;
        st = failed.status;
    }
    for (size_t i = 0; i < n && models != NULL && plans != NULL; i++) {
        cmd_fit_plan_close(&plans[i]);
        pare_model_close(&models[i]);
    }
    free(models);
    free(plans);
    return st;
}

/* The folder in which several models have theirs. */
static pare_status make_parent(const char *path, pare_error *err)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot make the folder: %s", path, strerror(errno));
    return PARE_OK;
}

/* OUT.fit, unless --state names another folder; of several models one each in it. Owned by the caller. */
static pare_status name_state(char **out, const cmd_args *args, size_t model, pare_error *err)
{
    const char *given = cmd_text(args, OPT_STATE), *output = cmd_text(args, OPT_OUTPUT);
    pare_buf name = {0};
    pare_status st;
    if (given == NULL && output == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "fit: without --output, --state FOLDER says where measurements stay");
    if (given == NULL)
        st = pare_buf_printf(&name, err, "%s.fit", output);
    else if (args->n_operands == 1)
        st = pare_buf_printf(&name, err, "%s", given);
    else if ((st = make_parent(given, err)) == PARE_OK)
        st = pare_buf_printf(&name, err, "%s/model-%zu", given, model + 1);
    *out = name.data;
    return st;
}

/* A folder that is not there, or not to be written to. */
static pare_status check_folder(const char *path, pare_error *err)
{
    char *folder = path != NULL ? strdup(path) : NULL;
    char *slash = folder != NULL ? strrchr(folder, '/') : NULL;
    if (slash != NULL)
        slash[slash == folder] = '\0';
    const bool ok = path == NULL || access(slash != NULL ? folder : ".", W_OK) == 0;
    free(folder);
    return ok ? PARE_OK : pare_fail(err, PARE_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
}

/* What exists already, or can have no place, is found before hours of work. */
static pare_status check_outputs(const cmd_args *args, pare_error *err)
{
    const char *inputs[] = {cmd_text(args, OPT_FILE), cmd_text(args, OPT_TEST), cmd_text(args, OPT_IMATRIX)};
    const char *given[3];
    cmd_outputs outputs = {.inputs = given};
    cmd_pinning pinning = {0};
    for (size_t i = 0; i < 3; i++)
        if (inputs[i] != NULL)
            given[outputs.n_inputs++] = inputs[i];
    pare_status st = cmd_check_report_name(args, err);
    if (st == PARE_OK)
        st = check_folder(cmd_text(args, OPT_OUTPUT), err);
    if (st == PARE_OK)
        st = check_folder(cmd_text(args, OPT_REPORT), err);
    if (st == PARE_OK && cmd_has(args, OPT_OUTPUT))
        st = cmd_pinning_open(&pinning, args, cmd_text(args, OPT_OUTPUT), false, err);
    cmd_outputs_add(&outputs, "--output", cmd_text(args, OPT_OUTPUT));
    cmd_outputs_add(&outputs, "--report", cmd_text(args, OPT_REPORT));
    cmd_pinning_outputs(&pinning, &outputs);
    if (st == PARE_OK)
        st = cmd_outputs_check(&outputs, NULL, cmd_has(args, OPT_FORCE), err);
    cmd_pinning_close(&pinning);
    return st;
}

static pare_status make_document(json_t **out, const cmd_fit_job *jobs, size_t n, pare_error *err)
{
    if (n == 1)
        return cmd_fit_json_outcomes(out, &jobs[0], err);
    json_t *doc = *out = json_object(), *list = json_array();
    pare_status st = PARE_OK;
    json_object_set_new(doc, "models", list);
    cmd_json_u64(doc, "best", cmd_fit_best_model(jobs, n));
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        json_t *item = NULL;
        st = cmd_fit_json_outcomes(&item, &jobs[i], err);
        json_array_append_new(list, item);
    }
    return st;
}

static pare_status report_choice(const cmd_args *args, const cmd_fit_job *jobs, size_t n, pare_error *err)
{
    json_t *doc = NULL;
    pare_status st = make_document(&doc, jobs, n, err);
    if (st == PARE_OK)
        st = cmd_write_report(args, doc, err);
    if (st == PARE_OK && cmd_has(args, OPT_JSON)) {
        cmd_json_resources(doc);
        return cmd_print_json(args, doc, err);
    }
    json_decref(doc);
    if (st != PARE_OK)
        return st;
    if (n > 1)
        cmd_fit_print_models(jobs, n);
    else
        st = cmd_fit_print_outcomes(&jobs[0], err);
    printf("%.1f s, peak memory %s\n", cmd_seconds(), cmd_bytes(cmd_peak_rss_bytes()));
    return st;
}

/* One model of several may be too large: then it is no candidate. All of them: an error. */
static pare_status choose_types(const cmd_args *args, const cmd_fit_request *r, pare_error *err)
{
    const size_t n = args->n_operands;
    cmd_devices devices = {0};
    pare_error why = {0};
    size_t n_fit = 0;
    cmd_fit_job *jobs = calloc(n, sizeof *jobs);
    if (jobs == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", n);
    pare_status st = check_outputs(args, err);
    if (st == PARE_OK)
        st = cmd_devices_open(&devices, args, 1, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        char *state = NULL;
        why = (pare_error){0};
        st = name_state(&state, args, i, &why);
        if (st == PARE_OK)
            st = cmd_fit_choose(&jobs[i], args, r, &devices, args->operands[i], state,
                                cmd_text(args, OPT_OUTPUT), &why);
        if (st == PARE_ERR_DIFFERENCE && n > 1) {
            cmd_say("%s", why.text);
            cmd_fit_job_close(&jobs[i]);
            jobs[i].path = args->operands[i];
            st = PARE_OK;
        } else if (st != PARE_OK)
            *err = why;
        n_fit += jobs[i].n_outcomes > 0;
        free(state);
    }
    if (st == PARE_OK && n_fit == 0)
        st = pare_fail(err, PARE_ERR_DIFFERENCE, "fit: none of %zu models fits; the last: %s", n, why.text);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = cmd_sources_check(args, &jobs[i].model, err);
    if (st == PARE_OK)
        st = report_choice(args, jobs, n, err);
    for (size_t i = 0; i < n; i++)
        cmd_fit_job_close(&jobs[i]);
    free(jobs);
    cmd_devices_close(&devices);
    return st;
}

static bool is_standard_input(const cmd_args *args, cmd_option_id id)
{
    const char *path = cmd_text(args, id);
    return path != NULL && strcmp(path, "-") == 0;
}

pare_status cmd_fit(const cmd_args *args, pare_error *err)
{
    cmd_fit_request r = {0};
    const char *gpu = cmd_text(args, OPT_GPU);
    if (gpu != NULL && strcmp(gpu, "list") == 0)
        return cmd_fit_print_cards(args, err);
    if (args->n_operands == 0)
        return pare_fail(err, PARE_ERR_USAGE, "fit: MODEL is missing");
    if (is_standard_input(args, OPT_FILE) && is_standard_input(args, OPT_TEST))
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: --file - and --test - both read standard input, which is there once: name a file");
    if (cmd_has(args, OPT_TABLE) && (cmd_has(args, OPT_FILE) || args->n_operands > 1))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --table is of one MODEL, without a text");
    if (cmd_has(args, OPT_REPORT) && (!cmd_has(args, OPT_FILE) || args->n_operands > 1))
        return pare_fail(err, PARE_ERR_USAGE, "fit: --report shows what one MODEL came to on a text: -f TEXT");
    if (args->n_operands > 1 && cmd_has(args, OPT_OUTPUT))
        return pare_fail(err, PARE_ERR_USAGE, "fit: several models make no one --output; without it they are compared");
    pare_status st = cmd_fit_request_parse(&r, args, err);
    if (st == PARE_OK)
        st = cmd_fit_chooses(args)  ? choose_types(args, &r, err)
             : args->n_operands > 1 ? plan_models(args, &r, err)
                                    : plan_memory(args, &r, err);
    cmd_fit_request_close(&r);
    return st;
}
