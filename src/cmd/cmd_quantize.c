#include "cmd/build.h"
#include "cmd/console.h"
#include "cmd/input.h"
#include "cmd/quantize_options.h"
#include "cmd/quantize_report.h"
#include "cmd/sources.h"
#include "core/progress.h"
#include "eval/prefix_runs.h"
#include "formats/gguf.h"
#include "formats/imatrix_file.h"
#include "formats/open.h"
#include "model/stock.h"
#include "recipe/refine.h"
#include "recipe/refit.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    const cmd_args *args;
    const char *output;
    cmd_quantize_options given;
    pare_imatrix imatrix;
    pare_model in, out;
    pare_plan plan;
    pare_state state;
    pare_backend *backend; /* of --sequential, as the next three */
    pare_tokenizer *tokenizer;
    pare_ids ids;
    pare_prefix *prefix;
    pare_buf about; /* what the state says of the run */
    pare_refine_report refined;
    bool refitted; /* the gains of the first norm */
    cmd_kv_ready kv_ready;
    pare_pin pin;
    cmd_pinning pinning;
} job;

static pare_status check_outputs(const job *j, pare_error *err)
{
    const char *imatrix = cmd_text(j->args, OPT_IMATRIX);
    cmd_outputs outputs = {.inputs = &imatrix, .n_inputs = imatrix != NULL};
    bool force = cmd_has(j->args, OPT_FORCE) || cmd_has(j->args, OPT_DRY_RUN);
    cmd_outputs_add(&outputs, "--output", j->output);
    cmd_pinning_outputs(&j->pinning, &outputs);
    pare_status st = cmd_outputs_check(&outputs, &j->in, force, err);
    char *state = NULL;
    if (st == PARE_OK && (st = pare_state_path(&state, j->output, err)) == PARE_OK) {
        cmd_outputs_add(&outputs, "the unfinished --output", state);
        st = cmd_outputs_check(&outputs, &j->in, true, err); /* check_state looks whether it exists */
    }
    free(state);
    return st;
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
    if (st == PARE_OK && (st = cmd_sources_check(j->args, &j->in, err)) == PARE_OK &&
        (st = pare_check_interrupt(err)) == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}

/* An earlier run that did not finish left its state beside the output. */
static pare_status check_state(const job *j, pare_error *err)
{
    const bool is_there = pare_state_is_there(j->output), resume = cmd_has(j->args, OPT_RESUME);
    if (cmd_has(j->args, OPT_DRY_RUN))
        return PARE_OK;
    if (resume && !is_there)
        cmd_say("%s.pare-state: is not there: nothing to resume, all tensors are encoded",
                cmd_safe(j->output, strlen(j->output)));
    if (!is_there || resume || cmd_has(j->args, OPT_FORCE))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s.pare-state: an unfinished quantization: --resume goes on with it, --force drops it",
                     j->output);
}

/* Layers that a name as "blk.3.attn_q.weight" tells of. */
static void name_tensor(const job *j, const char *tensor, char *out, size_t size)
{
    unsigned layer = 0;
    const char *name = cmd_safe(tensor, strlen(tensor));
    if (sscanf(tensor, "blk.%u.", &layer) == 1 && j->in.hp.n_layer > layer)
        snprintf(out, size, "%s, layer %u of %u", name, layer + 1, (unsigned)j->in.hp.n_layer);
    else
        snprintf(out, size, "%s", name);
}

static void show_tensor(const pare_refine_progress *p, void *user)
{
    enum { STEPS = 10000 };
    char name[256], line[320];
    name_tensor(user, p->tensor, name, sizeof name);
    snprintf(line, sizeof line, "feedback: tensor %" PRIu32 " of %" PRIu32 ", %s", p->done + 1, p->n, name);
    if (p->done < p->n)
        pare_progress("", (uint64_t)(p->part * STEPS), STEPS, line);
    if (p->done < p->n && p->begins && !cmd_shows_progress())
        cmd_note("%s", line);
}

/* Lines that say one option, as it counts here: the same for all ways to say the same. */
static pare_status describe_option(job *j, const cmd_option *option, pare_error *err)
{
    const pare_quantize_options *q = &j->given.options;
    size_t n = option->otherwise != NULL ? 1 : cmd_count(j->args, option->id);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        const char *text = option->otherwise != NULL ? cmd_text(j->args, option->id) : cmd_nth(j->args, option->id, i);
        if (option->id == OPT_TYPE)
            text = q->preset != NULL ? q->preset->name : pare_type_get(q->pure_type)->name;
        if (option->kind == CMD_KIND_SIZE)
            st = pare_buf_printf(&j->about, err, "--%s %" PRIu64 "\n", option->name, cmd_number(j->args, option->id));
        else
            st = pare_buf_printf(&j->about, err, "--%s%s%s\n", option->name, text != NULL ? " " : "",
                                 text != NULL ? text : "");
    }
    return st;
}

/* What the bytes of a tensor depend on besides its weights and statistics, in the order of the table of options. The
 * method is feedback, whatever it is called, and nobody gets here without leave to quantize what is quantized. */
static pare_status describe_run(job *j, pare_error *err)
{
    const cmd_option *option;
    pare_status st = pare_buf_printf(&j->about, err, "pare %s (%s)\n", CMD_BUILD_VERSION, CMD_BUILD_COMMIT);
    for (size_t i = 0; (option = cmd_option_at(j->args->verb->id, i)) != NULL && st == PARE_OK; i++) {
        bool silent = option->id == OPT_METHOD || option->id == OPT_ALLOW_REQUANTIZE || option->id == OPT_REQUANTIZE;
        if ((option->traits & CMD_SHAPES_BYTES) && option->kind != CMD_KIND_PATH && !silent)
            st = describe_option(j, option, err);
    }
    return st;
}

/* The streams of --sequential, and a line about their text. */
static pare_status open_prefix(job *j, pare_error *err)
{
    const char *text = cmd_text(j->args, OPT_SEQUENTIAL), *keys = cmd_text(j->args, OPT_KV_TEXT);
    const pare_prefix_options options = {.memory = cmd_number(j->args, OPT_SEQUENTIAL_MEMORY), .beside = j->output};
    pare_digest digest;
    int64_t bos;
    char hex[2 * sizeof digest.sha256 + 1];
    if (text == NULL)
        return PARE_OK;
    if (keys != NULL && strcmp(text, "-") == 0 && strcmp(keys, "-") == 0)
        return pare_fail(err, PARE_ERR_USAGE, "quantize: --sequential and --kv-text cannot both be standard input");
    pare_status st = cmd_open_tokenizer(&j->tokenizer, &j->in, &bos, err);
    if (st == PARE_OK)
        st = cmd_read_tokens(text, j->tokenizer, &j->ids, &digest, err);
    if (st == PARE_OK)
        st = pare_backend_cpu(&j->backend, err);
    if (st == PARE_OK)
        st = pare_prefix_runs_open(&j->prefix, &j->in, j->backend, j->ids.ids, j->ids.n, bos, &options, err);
    if (st == PARE_ERR_USAGE)
        return pare_fail_in(err, st, text);
    if (st != PARE_OK)
        return st;
    pare_hex(hex, digest.sha256, sizeof digest.sha256);
    if (strcmp(text, "-") == 0)
        memcpy(j->pinning.standard_input, hex, sizeof hex);
    return pare_buf_printf(&j->about, err, "sequential %s\n", hex);
}

static void close_prefix(job *j)
{
    pare_prefix_runs_close(j->prefix);
    pare_tokenizer_close(j->tokenizer);
    if (j->backend != NULL)
        j->backend->close(j->backend);
    free(j->ids.ids);
}

/* --method feedback and --sequential need second-order statistics. */
static pare_status check_statistics(const job *j, pare_error *err)
{
    const bool sequential = cmd_has(j->args, OPT_SEQUENTIAL);
    const bool asked = strcmp(cmd_text(j->args, OPT_METHOD), "feedback") == 0;
    if (sequential && !j->given.feedback)
        return pare_fail(err, PARE_ERR_USAGE, "quantize: --sequential is a way of feedback, which --method %s is not",
                         cmd_text(j->args, OPT_METHOD));
    if ((!asked && !sequential) || j->imatrix.grams.n > 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE,
                     "quantize: %s needs second-order statistics: collect them with pare imatrix --full "
                     "and give --imatrix",
                     asked ? "--method feedback" : "--sequential");
}

/* One that was asked for in words and is not done is told of; it is done by default where it can be. */
static pare_status refit(job *j, pare_error *err)
{
    const char *why = NULL;
    pare_status st = PARE_OK;
    if (strcmp(cmd_text(j->args, OPT_REFIT), "yes") != 0)
        return PARE_OK;
    if (j->prefix != NULL)
        why = "with --sequential the matrices make up for what they would make up for";
    else if (j->refined.n_tensors == 0)
        why = "nothing is encoded with feedback";
    else
        st = pare_refit(&j->out, &j->plan, &why, err);
    j->refitted = st == PARE_OK && why == NULL;
    if (st == PARE_OK && why != NULL && cmd_has(j->args, OPT_REFIT))
        cmd_warning("--refit yes: the gains of the first norm stay: %s", why);
    return st;
}

static pare_status refine(job *j, pare_error *err)
{
    const bool resume = cmd_has(j->args, OPT_RESUME), is_there = pare_state_is_there(j->output);
    pare_status st = j->given.feedback ? describe_run(j, err) : PARE_OK;
    if (st == PARE_OK && *j->kv_ready.text != '\0')
        st = pare_buf_printf(&j->about, err, "kv-text %s\n", j->kv_ready.text);
    if (st == PARE_OK)
        st = open_prefix(j, err);
    const pare_refine_settings settings = {.output = j->output,
                                           .about = j->about.data,
                                           .resume = resume,
                                           .prefix = j->prefix,
                                           .each = show_tensor,
                                           .user = j};
    if (st == PARE_OK && j->given.feedback)
        st = pare_refine(&j->out, &j->given.options, &j->plan, &settings, &j->state, &j->refined, err);
    if (st == PARE_OK && resume && is_there && j->state.n == 0)
        st =
            pare_fail(err, PARE_ERR_USAGE,
                      "%s.pare-state: belongs to another run: this one encodes nothing with feedback; --force drops it",
                      j->output);
    if (st == PARE_OK)
        st = refit(j, err);
    if (j->refined.n_resumed > 0)
        cmd_say("%s: %" PRIu32 " tensors were encoded before", cmd_safe(j->state.path, strlen(j->state.path)),
                j->refined.n_resumed);
    return st;
}

/* What was encoded stays for --resume, unless the model is written. */
static void close_state(job *j, pare_status st, pare_error *err)
{
    char sentence[PARE_ERROR_TEXT / 2];
    if (st == PARE_OK && j->state.n > 0)
        pare_state_drop(&j->state);
    else if (st == PARE_OK && cmd_has(j->args, OPT_FORCE) && !cmd_has(j->args, OPT_DRY_RUN))
        pare_state_remove(j->output);                                        /* of an earlier run, with feedback */
    else if (pare_state_stays(&j->state) && err->status != PARE_ERR_USAGE) { /* it is another run's */
        snprintf(sentence, sizeof sentence,
                 "; %" PRIu32 " of %zu tensors are kept in %.300s: --resume goes on from there", j->state.n_kept,
                 j->state.n, j->state.path);
        cmd_error_add(err, sentence);
    }
    pare_state_close(&j->state);
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
    if (st == PARE_OK && !run.dry)
        st = refine(j, err);
    run.refitted = j->refitted;
    run.kv_ready = &j->kv_ready;
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
        st = pare_model_open_as(&j.in, args->operands[0], args->folder_name, PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = check_outputs(&j, err);
    if (st == PARE_OK)
        st = check_state(&j, err);
    if (st == PARE_OK)
        st = check_parts(&j, err);
    if (st == PARE_OK)
        st = pare_stock_complete(&j.in, err);
    if (st == PARE_OK && cmd_has(args, OPT_IMATRIX)) {
        st = pare_imatrix_open(&j.imatrix, cmd_text(args, OPT_IMATRIX), err);
        j.given.options.imatrix = &j.imatrix;
    }
    if (st == PARE_OK)
        st = cmd_kv_ready_apply(&j.kv_ready, args, &j.in, j.given.options.imatrix != NULL ? &j.imatrix : NULL, j.output,
                                &j.pinning, err);
    if (st == PARE_OK)
        st = check_statistics(&j, err);
    if (st == PARE_OK)
        st = pare_quantize(&j.out, &j.in, &j.given.options, &j.plan, err);
    if (st == PARE_OK)
        st = write_and_report(&j, err);
    close_prefix(&j);
    pare_pin_close(&j.pin);
    pare_model_close(&j.out);
    close_state(&j, st, err);
    pare_buf_close(&j.about);
    pare_model_close(&j.in);
    pare_imatrix_close(&j.imatrix);
    cmd_pinning_close(&j.pinning);
    cmd_quantize_options_close(&j.given);
    return st;
}
