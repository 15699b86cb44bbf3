#include "cmd/console.h"
#include "cmd/device.h"
#include "cmd/input.h"
#include "cmd/outputs.h"
#include "cmd/sources.h"
#include "cmd/summary.h"
#include "cmd/unfinished.h"
#include "core/progress.h"
#include "eval/collect.h"
#include "formats/imatrix_file.h"
#include "formats/open.h"
#include "recipe/calibration.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    const cmd_args *args;
    pare_model model;
    cmd_devices devices;
    pare_tokenizer *tokenizer;
    int64_t bos;
    pare_imatrix all; /* what is written: the earlier files, then the texts */
    cmd_unfinished unfinished;
    pare_pin pin;
    cmd_pinning pinning;
} job;

static pare_status check_outputs(job *j, pare_error *err)
{
    size_t n_in = cmd_count(j->args, OPT_IN), n_texts = cmd_count(j->args, OPT_FILE);
    const char **inputs = malloc((n_in + n_texts + 1) * sizeof *inputs);
    if (inputs == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu names", n_in + n_texts);
    for (size_t i = 0; i < n_in; i++)
        inputs[i] = cmd_nth(j->args, OPT_IN, i);
    for (size_t i = 0; i < n_texts; i++)
        inputs[n_in + i] = cmd_nth(j->args, OPT_FILE, i);
    cmd_outputs outputs = {.inputs = inputs, .n_inputs = n_in + n_texts};
    cmd_outputs_add(&outputs, "--output", cmd_text(j->args, OPT_OUTPUT));
    cmd_pinning_outputs(&j->pinning, &outputs);
    pare_status st = cmd_outputs_check(&outputs, &j->model, cmd_has(j->args, OPT_FORCE), err);
    if (st == PARE_OK)
        st = cmd_unfinished_open(&j->unfinished, j->args, &outputs, &j->model, err);
    free(inputs);
    return st;
}

static pare_status open_all(job *j, pare_error *err)
{
    pare_status st = cmd_pinning_open(&j->pinning, j->args, cmd_text(j->args, OPT_OUTPUT), false, err);
    if (st == PARE_OK)
        st = cmd_devices_open(&j->devices, j->args, 1, err);
    j->pinning.devices = &j->devices;
    if (st == PARE_OK)
        st = pare_model_open_as(&j->model, j->args->operands[0], j->args->folder_name, PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = cmd_open_tokenizer(&j->tokenizer, &j->model, &j->bos, err);
    return st == PARE_OK ? check_outputs(j, err) : st;
}

/* Earlier statistics come first, so that a file that does not fit is found before the work. */
static pare_status add_file(job *j, const char *path, pare_error *err)
{
    pare_imatrix earlier = {0};
    pare_status st = pare_imatrix_open(&earlier, path, err);
    if (st == PARE_OK)
        st = pare_calibration_check(&earlier, &j->model, err);
    if (st == PARE_OK)
        st = pare_imatrix_merge(&j->all, &earlier, err);
    pare_imatrix_close(&earlier);
    return st;
}

static void after_batch(uint32_t n_done, uint32_t n_chunks, void *user)
{
    (void)user;
    if (cmd_shows_progress())
        pare_progress("windows", n_done, n_chunks, "");
    else
        cmd_note("window %" PRIu32 " of %" PRIu32, n_done, n_chunks);
}

static pare_gram_experts experts_of(const cmd_args *args)
{
    const char *how = cmd_text(args, OPT_FULL_EXPERTS);
    if (strcmp(how, "auto") == 0)
        return PARE_GRAM_EXPERTS_AUTO;
    return strcmp(how, "own") == 0 ? PARE_GRAM_EXPERTS_OWN : PARE_GRAM_EXPERTS_SHARED;
}

/* Nothing is copied where there is nothing to add to. */
static pare_status add_seen(job *j, pare_imatrix *seen, pare_error *err)
{
    if (j->all.n > 0)
        return pare_imatrix_merge(&j->all, seen, err);
    j->all = *seen;
    *seen = (pare_imatrix){0};
    return PARE_OK;
}

static pare_status add_text(job *j, size_t number, pare_error *err)
{
    const char *path = cmd_nth(j->args, OPT_FILE, number);
    const bool full = cmd_has(j->args, OPT_FULL);
    const pare_collect_options options = {.n_ctx = (uint32_t)cmd_number(j->args, OPT_CONTEXT),
                                          .n_chunks = (uint32_t)cmd_number(j->args, OPT_CHUNKS),
                                          .output_weight = cmd_has(j->args, OPT_OUTPUT_WEIGHT) || full,
                                          .full = full,
                                          .full_bytes = cmd_number(j->args, OPT_FULL_MEMORY),
                                          .experts = experts_of(j->args),
                                          .state = full ? cmd_unfinished_state(&j->unfinished, number) : NULL,
                                          .output = cmd_text(j->args, OPT_OUTPUT),
                                          .state_batches = (uint32_t)cmd_number(j->args, OPT_KEEP_EVERY),
                                          .resume = cmd_unfinished_is_there(&j->unfinished, number)};
    pare_ids ids = {0};
    pare_imatrix seen = {0};
    const char *name = cmd_base_name(path);
    pare_digest digest;
    pare_status st = cmd_read_tokens(path, j->tokenizer, &ids, &digest, err);
    if (st == PARE_OK && strcmp(path, "-") == 0)
        pare_hex(j->pinning.standard_input, digest.sha256, sizeof digest.sha256);
    if (st == PARE_OK)
        st = pare_collect(&seen, &j->model, j->devices.backend[0], ids.ids, ids.n, j->bos, &options, after_batch, NULL,
                          err);
    if (st == PARE_ERR_USAGE && !options.resume) /* else it may be the kept state that does not fit */
        pare_fail_in(err, st, path);
    if (st == PARE_OK)
        st = pare_imatrix_add_dataset(&seen, (pare_str){name, strlen(name)}, err);
    if (st == PARE_OK)
        st = add_seen(j, &seen, err);
    pare_imatrix_close(&seen);
    free(ids.ids);
    return st == PARE_OK ? cmd_unfinished_end_text(&j->unfinished, number, &j->all, err) : st;
}

/* Tokens that each expert of each layer saw. */
static json_t *json_experts(const pare_imatrix *im)
{
    const pare_imatrix_entry *e;
    uint32_t layer = 0;
    json_t *all = json_array();
    for (size_t at = 0; (e = pare_imatrix_next_experts(im, &at, &layer)) != NULL;) {
        json_t *row = json_object(), *tokens = json_array(), *unseen = json_array();
        for (uint64_t i = 0; i < e->n_counts; i++) {
            json_array_append_new(tokens, json_integer((json_int_t)e->counts[i]));
            if (!(e->counts[i] > 0))
                json_array_append_new(unseen, json_integer((json_int_t)i));
        }
        json_object_set_new(row, "layer", json_integer(layer));
        json_object_set_new(row, "tokens", tokens);
        json_object_set_new(row, "unseen", unseen);
        json_array_append_new(all, row);
    }
    return all;
}

/* How the tokens spread over the experts, and by layer the experts that none of them reached. */
static pare_status print_experts(const pare_imatrix *im, pare_error *err)
{
    const pare_imatrix_entry *e;
    uint32_t layer = 0;
    uint64_t n = 0, n_experts = 0, n_unseen = 0;
    double least = INFINITY, most = 0;
    pare_buf lines = {0};
    pare_status st = PARE_OK;
    for (size_t at = 0; st == PARE_OK && (e = pare_imatrix_next_experts(im, &at, &layer)) != NULL;) {
        pare_buf list = {0};
        for (uint64_t i = 0; i < e->n_counts; i++) {
            least = fmin(least, e->counts[i]);
            most = fmax(most, e->counts[i]);
        }
        st = pare_imatrix_unseen(e, &n, &list, err);
        if (st == PARE_OK && n > 0)
            st = pare_buf_printf(&lines, err, "  layer %" PRIu32 ": %s\n", layer, list.data);
        n_experts += e->n_experts;
        n_unseen += n;
        pare_buf_close(&list);
    }
    if (st == PARE_OK && n_experts > 0)
        printf("%" PRIu64 " experts in all layers saw %.0f to %.0f tokens; %" PRIu64 " saw none%s\n%s", n_experts,
               least, most, n_unseen, n_unseen > 0 ? ":" : "", lines.len > 0 ? lines.data : "");
    pare_buf_close(&lines);
    return st;
}

static pare_status report(const job *j, pare_error *err)
{
    const char *output = cmd_text(j->args, OPT_OUTPUT);
    if (cmd_has(j->args, OPT_JSON)) {
        json_t *doc = json_object(), *datasets = json_array();
        json_object_set_new(doc, "output", cmd_json_text(output, strlen(output)));
        cmd_json_u64(doc, "n_entries", j->all.n);
        cmd_json_u64(doc, "n_chunks", j->all.chunk_count);
        cmd_json_u64(doc, "n_ctx", j->all.chunk_size);
        for (size_t i = 0; i < j->all.n_datasets; i++)
            json_array_append_new(datasets, cmd_json_text(j->all.datasets[i].data, j->all.datasets[i].len));
        json_object_set_new(doc, "datasets", datasets);
        if (j->model.hp.n_expert > 0)
            json_object_set_new(doc, "experts", json_experts(&j->all));
        cmd_json_u64(doc, "bytes", cmd_pin_bytes(&j->pin));
        cmd_json_files(doc, &j->pin);
        cmd_signing_json(doc, &j->pinning.signing);
        cmd_json_resources(doc);
        return cmd_print_json(j->args, doc, err);
    }
    cmd_progress_clear();
    printf("%s: %zu tensors, %" PRIu32 " windows of %" PRIu32 " tokens, %s\n", cmd_safe(output, strlen(output)),
           j->all.n, j->all.chunk_count, j->all.chunk_size, cmd_bytes(cmd_pin_bytes(&j->pin)));
    pare_status st = print_experts(&j->all, err);
    cmd_signing_print(&j->pinning.signing);
    printf("%.1f s, peak memory %s\n", cmd_seconds(), cmd_bytes(cmd_peak_rss_bytes()));
    return st;
}

/* The statistics, and with --pin the lock and the checksums, appear together. */
static pare_status write_files(job *j, pare_error *err)
{
    pare_output_set set = {0};
    pare_status st = cmd_pinning_hash_inputs(&j->pinning, j->args, &j->model, err);
    if (st == PARE_OK)
        st = pare_imatrix_write_in(&set, &j->all, cmd_text(j->args, OPT_OUTPUT), cmd_has(j->args, OPT_FORCE), &j->pin,
                                   err);
    if (st == PARE_OK)
        st = cmd_pinning_add(&j->pinning, j->args, &j->pin, &set, err);
    if (st == PARE_OK && (st = cmd_sources_check(j->args, &j->model, err)) == PARE_OK &&
        (st = pare_check_interrupt(err)) == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}

static pare_status run(job *j, pare_error *err)
{
    pare_status st = open_all(j, err);
    const char *earlier = cmd_unfinished_texts(&j->unfinished);
    j->all.chunk_size = (uint32_t)cmd_number(j->args, OPT_CONTEXT);
    if (earlier != NULL && st == PARE_OK)
        st = add_file(j, earlier, err);
    for (size_t i = 0; i < cmd_count(j->args, OPT_IN) && earlier == NULL && st == PARE_OK; i++)
        st = add_file(j, cmd_nth(j->args, OPT_IN, i), err);
    for (size_t i = j->unfinished.n_done; i < cmd_count(j->args, OPT_FILE) && st == PARE_OK; i++)
        st = add_text(j, i, err);
    if (st == PARE_OK)
        st = write_files(j, err);
    if (st == PARE_OK)
        cmd_unfinished_remove(&j->unfinished);
    return st == PARE_OK ? report(j, err) : st;
}

pare_status cmd_imatrix(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    pare_status st = run(&j, err);
    if (st != PARE_OK)
        cmd_unfinished_tell(&j.unfinished, err);
    cmd_unfinished_close(&j.unfinished);
    pare_pin_close(&j.pin);
    cmd_pinning_close(&j.pinning);
    pare_imatrix_close(&j.all);
    pare_tokenizer_close(j.tokenizer);
    cmd_devices_close(&j.devices); /* before the models whose weights it may hold */
    pare_model_close(&j.model);
    return st;
}
