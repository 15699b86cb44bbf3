#include "cmd/console.h"
#include "cmd/device.h"
#include "cmd/fit_plan.h"
#include "cmd/input.h"
#include "cmd/kv_report.h"
#include "cmd/outputs.h"
#include "cmd/report_file.h"
#include "cmd/sources.h"
#include "cmd/summary.h"
#include "cmd/text_run.h"
#include "formats/open.h"

#include <stdlib.h>

typedef struct job {
    const cmd_args *args;
    pare_model model;
    cmd_devices devices;
    pare_tokenizer *tokenizer;
    pare_ids ids, mean_ids;
    cmd_kv_run run;
} job;

static pare_status check_outputs(const job *j, pare_error *err)
{
    const char *given[] = {cmd_text(j->args, OPT_FILE), cmd_text(j->args, OPT_MEAN), cmd_text(j->args, OPT_CACHE_TEXT)},
               *inputs[3];
    cmd_outputs outputs = {.inputs = inputs};
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        if (given[i] != NULL)
            inputs[outputs.n_inputs++] = given[i];
    cmd_outputs_add(&outputs, "--report", cmd_text(j->args, OPT_REPORT));
    return cmd_outputs_check(&outputs, &j->model, cmd_has(j->args, OPT_FORCE), err);
}

static pare_status read_texts(job *j, pare_error *err)
{
    const char *mean = cmd_text(j->args, OPT_MEAN);
    pare_status st = cmd_read_tokens(cmd_text(j->args, OPT_FILE), j->tokenizer, &j->ids, NULL, err);
    if (st == PARE_OK && mean != NULL)
        st = cmd_read_tokens(mean, j->tokenizer, &j->mean_ids, NULL, err);
    return st;
}

/* What needs no pass comes first: a mistake costs no time. */
static pare_status prepare(job *j, pare_error *err)
{
    cmd_kv_run *r = &j->run;
    pare_status st = cmd_check_report_name(j->args, err);
    if (st == PARE_OK)
        st = cmd_fit_memory_parse(&r->memory, j->args, err);
    if (st == PARE_OK)
        st = pare_model_open(&j->model, j->args->operands[0], PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = check_outputs(j, err);
    r->args = j->args;
    r->m = &j->model;
    if (st == PARE_OK)
        st = cmd_kv_forms(&r->request, j->args, r->m, err);
    if (st == PARE_OK)
        st = cmd_open_tokenizer(&j->tokenizer, r->m, &r->bos, err);
    if (st == PARE_OK)
        st = read_texts(j, err);
    r->tokenizer = j->tokenizer;
    r->ids = &j->ids;
    r->mean_ids = cmd_has(j->args, OPT_MEAN) ? &j->mean_ids : NULL;
    if (st == PARE_OK)
        st = cmd_kv_depths(&r->request, j->args, r->m, j->ids.n, err);
    if (st == PARE_OK)
        st = cmd_devices_open(&j->devices, j->args, 1, err);
    if (st != PARE_OK)
        return st;
    r->b = j->devices.backend[0];
    cmd_warn_of_context(r->m, "windows of", r->request.depths[r->request.n_depths - 1]);
    cmd_fit_warn_of_context(&r->memory, r->m);
    return PARE_OK;
}

static pare_status tell(job *j, const cmd_kv_choice *choice, pare_error *err)
{
    json_t *doc = NULL;
    pare_status st = cmd_kv_json(&doc, &j->run, choice, err);
    if (st == PARE_OK)
        st = cmd_devices_json(&j->devices, doc, err);
    if (st == PARE_OK) {
        json_object_set_new(doc, "compute", json_string(j->run.b->compute));
        cmd_json_resources(doc);
        st = cmd_write_report(j->args, doc, err);
    }
    if (st == PARE_OK && cmd_has(j->args, OPT_JSON))
        return cmd_print_json(j->args, doc, err);
    json_decref(doc);
    if (st == PARE_OK)
        cmd_kv_print(&j->run, choice);
    return st;
}

static pare_status check_arguments(const cmd_args *args, pare_error *err)
{
    if (cmd_has(args, OPT_LIST)) {
        if (args->n_operands > 0 || cmd_has(args, OPT_FILE))
            return pare_fail(err, PARE_ERR_USAGE, "kv: --list measures nothing: no MODEL and no --file");
        return PARE_OK;
    }
    if (args->n_operands == 0)
        return pare_fail(err, PARE_ERR_USAGE, "kv: %s is missing", args->verb->operands);
    if (!cmd_has(args, OPT_FILE))
        return pare_fail(err, PARE_ERR_USAGE, "kv: --file TEXT is missing");
    if (cmd_has(args, OPT_CONTEXT) && !cmd_has(args, OPT_VRAM) && !cmd_has(args, OPT_GPU) && !cmd_has(args, OPT_RAM))
        return pare_fail(err, PARE_ERR_USAGE, "kv: --ctx is of a budget: --vram, --gpu or --ram");
    return PARE_OK;
}

pare_status cmd_kv(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    pare_status st = check_arguments(args, err);
    if (st != PARE_OK)
        return st;
    if (cmd_has(args, OPT_LIST))
        return cmd_kv_list(args, err);
    st = prepare(&j, err);
    if (st == PARE_OK)
        st = cmd_kv_measure(&j.run, err);
    if (st == PARE_OK)
        st = cmd_sources_check(args, &j.model, err);
    if (st == PARE_OK) {
        const cmd_kv_choice choice = cmd_kv_choose(&j.run, cmd_real(args, OPT_LIMIT), cmd_has(args, OPT_RESEARCH),
                                                   cmd_number(args, OPT_CONTEXT));
        st = tell(&j, &choice, err);
        if (st == PARE_OK && choice.form == CMD_KV_NONE) {
            cmd_hint("no cache is recommended");
            st = PARE_ERR_DIFFERENCE;
        }
    }
    cmd_kv_run_close(&j.run);
    pare_tokenizer_close(j.tokenizer);
    cmd_devices_close(&j.devices); /* before the model whose weights it may hold */
    pare_model_close(&j.model);
    free(j.ids.ids);
    free(j.mean_ids.ids);
    return st;
}
