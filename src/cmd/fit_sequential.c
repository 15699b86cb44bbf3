/* --sequential: the chosen types, encoded in the order of a pass (docs/methods/SEQUENTIAL.md). A part of
 * cmd/fit_choose.h. */
#include "cmd/build.h"
#include "cmd/console.h"
#include "cmd/fit_choose.h"
#include "core/hash.h"
#include "core/progress.h"
#include "eval/prefix_runs.h"
#include "recipe/refine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ENOUGH = 16384 /* tokens that pare_prefix_runs_open takes, if they are there */ };

/* What the statistics are of; with --imatrix what types are chosen by. Never what the result is measured on. */
static const pare_ids *text_of(const cmd_fit_job *j)
{
    return j->calibration.n > 0 ? &j->calibration : &j->text;
}

static pare_status open_streams(cmd_fit_job *j, pare_error *err)
{
    const pare_prefix_options options = {.memory = cmd_number(j->args, OPT_SEQUENTIAL_MEMORY),
                                         .beside = j->sequential.path.data};
    const pare_ids *text = text_of(j);
    pare_status st = pare_backend_cpu(&j->sequential.backend, err);
    return st == PARE_OK ? pare_prefix_runs_open(&j->sequential.prefix, &j->model, j->sequential.backend, text->ids,
                                                 text->n, j->bos, &options, err)
                         : st;
}

static void close_streams(cmd_fit_job *j)
{
    pare_prefix_runs_close(j->sequential.prefix);
    if (j->sequential.backend != NULL)
        j->sequential.backend->close(j->sequential.backend);
    j->sequential.prefix = NULL;
    j->sequential.backend = NULL;
}

void cmd_fit_sequential_close(cmd_fit_job *j)
{
    close_streams(j);
    pare_state_close(&j->sequential.state);
    pare_buf_close(&j->sequential.path);
    j->sequential = (cmd_fit_sequential){0};
}

pare_status cmd_fit_sequential_check(cmd_fit_job *j, pare_error *err)
{
    if (!cmd_has(j->args, OPT_SEQUENTIAL))
        return PARE_OK;
    if (j->imatrix.grams.n == 0)
        return pare_fail(err, PARE_ERR_USAGE,
                         "fit: --sequential needs second-order statistics: %s has none; pare imatrix --full collects "
                         "them, and so does fit without --imatrix",
                         j->imatrix.path);
    if (text_of(j)->n < ENOUGH)
        cmd_warning(
            "--sequential: %zu tokens of text are few, %d would be looked at: what the matrices take back may be "
            "of this text alone",
            text_of(j)->n, ENOUGH);
    pare_status st = pare_buf_printf(&j->sequential.path, err, "%s/check", j->state);
    if (st == PARE_OK)
        st = open_streams(j, err);
    cmd_fit_sequential_close(j);
    return st;
}

static void tell(const pare_refine_progress *p, void *user)
{
    enum { STEPS = 10000 };
    char line[320];
    (void)user;
    snprintf(line, sizeof line, "in the order of a pass: tensor %" PRIu32 " of %" PRIu32 ", %s", p->done + 1, p->n,
             cmd_safe(p->tensor, strlen(p->tensor)));
    if (p->done < p->n)
        pare_progress("", (uint64_t)(p->part * STEPS), STEPS, line);
}

/* What the bytes depend on besides types, weights and statistics. */
static pare_status describe(const cmd_fit_job *j, pare_buf *out, pare_error *err)
{
    pare_digest text;
    char hex[2 * sizeof text.xxh3_128 + 1];
    const pare_ids *ids = text_of(j);
    pare_status st = pare_hash_bytes(ids->ids, ids->n * sizeof *ids->ids, PARE_HASH_XXH3, &text, err);
    if (st != PARE_OK)
        return st;
    pare_hex(hex, text.xxh3_128, sizeof text.xxh3_128);
    return pare_buf_printf(out, err, "pare fit %s (%s), effort %d\nsequential %s\n", CMD_BUILD_VERSION,
                           CMD_BUILD_COMMIT, (int)j->request->effort, hex);
}

/* What an earlier run left is taken over if resume says so and it is of the same plan. */
static pare_status refine(cmd_fit_job *j, const char *about, bool resume, pare_model *out, pare_plan *plan,
                          pare_refine_report *report, pare_error *err)
{
    const pare_quantize_options options = {
        .imatrix = &j->imatrix, .effort = j->request->effort, .allow_requantize = j->request->allow_requantize};
    pare_status st = open_streams(j, err);
    const pare_refine_settings settings = {.output = j->sequential.path.data,
                                           .about = about,
                                           .resume = resume,
                                           .quiet = true, /* said when the tensors were encoded for the choice */
                                           .prefix = j->sequential.prefix,
                                           .each = tell};
    return st == PARE_OK ? pare_refine(out, &options, plan, &settings, &j->sequential.state, report, err) : st;
}

static pare_status encode(cmd_fit_job *j, const pare_fit_result *r, const char *name, bool resume, pare_model *out,
                          pare_plan *plan, pare_error *err)
{
    pare_buf about = {0};
    pare_refine_report report = {0};
    pare_status st = pare_buf_printf(&j->sequential.path, err, "%s/%s", j->state, name);
    if (st == PARE_OK)
        st = describe(j, &about, err);
    if (st == PARE_OK)
        st = pare_fit_derive(j->fit, r, out, plan, err);
    if (st == PARE_OK)
        st = refine(j, about.data, resume, out, plan, &report, err);
    if (st == PARE_OK)
        st = pare_fit_fill(j->fit, r, out, plan, err);
    j->sequential.n = st == PARE_OK ? report.n_tensors : 0;
    close_streams(j);
    pare_buf_close(&about);
    return st;
}

pare_status cmd_fit_sequential_make(cmd_fit_job *j, const pare_fit_result *r, const char *name, pare_model *out,
                                    pare_plan *plan, pare_error *err)
{
    pare_error why = {0};
    pare_model_close(out); /* before the state that its bytes lie in */
    cmd_fit_sequential_close(j);
    pare_status st = encode(j, r, name, true, out, plan, &why);
    if (st == PARE_ERR_USAGE || st == PARE_ERR_FORMAT) { /* the state is of another plan, or damaged */
        pare_model_close(out);
        cmd_fit_sequential_close(j);
        return encode(j, r, name, false, out, plan, err);
    }
    if (st != PARE_OK)
        *err = why;
    return st;
}
