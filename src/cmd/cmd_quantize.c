#include "cmd/console.h"
#include "cmd/quantize_options.h"
#include "cmd/quantize_report.h"
#include "core/progress.h"
#include "formats/gguf.h"
#include "formats/imatrix_file.h"
#include "formats/open.h"
#include "model/stock.h"
#include "recipe/refine.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct job {
    const cmd_args *args;
    const char *output;
    cmd_quantize_options given;
    pare_imatrix imatrix;
    pare_model in, out;
    pare_plan plan;
    pare_spool spool;
    pare_refine_report refined;
    pare_pin pin;
    cmd_pinning pinning;
} job;

static pare_status check_outputs(const job *j, pare_error *err)
{
    const char *imatrix = cmd_text(j->args, OPT_IMATRIX);
    cmd_outputs outputs = {.inputs = &imatrix, .n_inputs = imatrix != NULL};
    bool force = cmd_has(j->args, OPT_FORCE) || cmd_has(j->args, OPT_DRY_RUN);
    cmd_outputs_add(&outputs, "--output", j->output);
    cmd_outputs_add(&outputs, "--lock", j->pinning.lock);
    cmd_outputs_add(&outputs, "--sums", j->pinning.sums);
    return cmd_outputs_check(&outputs, &j->in, force, err);
}

/* --keep-split asks for the parts of a GGUF set; a Hub folder's shards hold other tensors in another order. */
static pare_status check_parts(const job *j, pare_error *err)
{
    if (!cmd_has(j->args, OPT_KEEP_SPLIT))
        return PARE_OK;
    if (cmd_has(j->args, OPT_SPLIT_SIZE))
        return pare_fail(err, PARE_ERR_USAGE, "quantize: --keep-split and --split-size exclude each other");
    if (j->in.format != PARE_FORMAT_GGUF)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: --keep-split keeps the parts of a GGUF set; for other models there is "
                         "--split-size",
                         j->in.path);
    return PARE_OK;
}

/* The model, its lock and its checksums appear together. */
static pare_status write_files(job *j, pare_write_options options, pare_error *err)
{
    pare_output_set set = {0};
    pare_pin *pin = j->pinning.wanted || cmd_has(j->args, OPT_JSON) ? &j->pin : NULL;
    j->pin.files_only = !j->pinning.wanted;
    pare_status st = cmd_pinning_hash_inputs(&j->pinning, j->args, &j->in, err);
    options.pending = &set;
    if (st == PARE_OK)
        st = pare_gguf_write(&j->out, j->output, &options, pin, err);
    if (st == PARE_OK)
        st = cmd_pinning_add(&j->pinning, j->args, pin, &set, err);
    if (st == PARE_OK && (st = pare_check_interrupt(err)) == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}

static void show_tensor(uint32_t done, uint32_t n, const char *tensor, void *user)
{
    (void)user;
    if (cmd_shows_progress())
        pare_progress("feedback", done, n, tensor);
    else if (done < n)
        cmd_note("feedback: tensor %" PRIu32 " of %" PRIu32 ", %s", done + 1, n, tensor);
}

static pare_status write_and_report(job *j, pare_error *err)
{
    const pare_write_options options = {.force = cmd_has(j->args, OPT_FORCE),
                                        .split_bytes = cmd_number(j->args, OPT_SPLIT_SIZE),
                                        .keep_split = cmd_has(j->args, OPT_KEEP_SPLIT)};
    cmd_quantize_run run = {.args = j->args,
                            .output = j->output,
                            .out = &j->out,
                            .plan = &j->plan,
                            .refined = &j->refined,
                            .pin = &j->pin,
                            .pinning = &j->pinning,
                            .dry = cmd_has(j->args, OPT_DRY_RUN)};
    pare_status st = pare_gguf_size(&j->out, &options, &run.planned, err);
    if (st == PARE_OK)
        st = cmd_quantize_warn(&run, err);
    if (st == PARE_OK && !run.dry && j->given.feedback)
        st = pare_refine(&j->out, &j->given.options, &j->plan, j->output, &j->spool, &j->refined, show_tensor, NULL,
                         err);
    if (st == PARE_OK && !run.dry)
        st = write_files(j, options, err);
    return st == PARE_OK ? cmd_quantize_report(&run, err) : st;
}

pare_status cmd_quantize(const cmd_args *args, pare_error *err)
{
    job j = {.args = args, .output = cmd_text(args, OPT_OUTPUT), .refined.mean_ratio = NAN};
    pare_status st = cmd_quantize_options_parse(&j.given, args, err);
    if (st == PARE_OK)
        st = cmd_pinning_open(&j.pinning, args, j.output, false, err);
    if (st == PARE_OK)
        st = pare_model_open(&j.in, args->operands[0], 0, err);
    if (st == PARE_OK)
        st = check_outputs(&j, err);
    if (st == PARE_OK)
        st = check_parts(&j, err);
    if (st == PARE_OK)
        st = pare_stock_complete(&j.in, err);
    if (st == PARE_OK && cmd_has(args, OPT_IMATRIX)) {
        st = pare_imatrix_open(&j.imatrix, cmd_text(args, OPT_IMATRIX), err);
        j.given.options.imatrix = &j.imatrix;
    }
    if (st == PARE_OK && strcmp(cmd_text(args, OPT_METHOD), "feedback") == 0 && j.imatrix.grams.n == 0)
        st = pare_fail(
            err, PARE_ERR_USAGE,
            "quantize: --method feedback needs second-order statistics: collect them with pare imatrix --full "
            "and give --imatrix");
    if (st == PARE_OK)
        st = pare_quantize(&j.out, &j.in, &j.given.options, &j.plan, err);
    if (st == PARE_OK)
        st = write_and_report(&j, err);
    pare_pin_close(&j.pin);
    pare_model_close(&j.out);
    pare_spool_close(&j.spool);
    pare_model_close(&j.in);
    pare_imatrix_close(&j.imatrix);
    cmd_pinning_close(&j.pinning);
    cmd_quantize_options_close(&j.given);
    return st;
}
