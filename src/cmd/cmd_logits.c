#include "cmd/console.h"
#include "cmd/device.h"
#include "cmd/input.h"
#include "cmd/outputs.h"
#include "cmd/sources.h"
#include "cmd/summary.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "core/output.h"
#include "core/progress.h"
#include "eval/embedding.h"
#include "formats/open.h"
#include "model/hparams_encoder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    const cmd_args *args;
    pare_model model;
    cmd_devices devices;
    pare_forward *forward;
    pare_output *out;
    int32_t *ids;
    float *values; /* of `slice` positions */
    uint32_t n_sequences, length, slice;
    uint32_t width;         /* of a position: the vocabulary, or a state */
    bool states, embedding; /* of each token, or one vector a sequence */
} job;

/* The ids: whole sequences of --length tokens. */
static pare_status read_ids(job *j, pare_error *err)
{
    const char *path = cmd_text(j->args, OPT_TOKENS);
    uint64_t length = cmd_number(j->args, OPT_LENGTH);
    pare_buf bytes = {0};
    pare_status st = cmd_read_all(path, &bytes, err);
    size_t n = bytes.len / sizeof *j->ids;
    if (length == 0)
        length = n;
    if (st == PARE_OK && (n == 0 || bytes.len % sizeof *j->ids != 0 || n % length != 0 || length > UINT32_MAX ||
                          n / length > UINT32_MAX))
        st = pare_fail(err, PARE_ERR_FORMAT,
                       "%s: %zu bytes, expected a multiple of %" PRIu64 " (sequences of %" PRIu64 " int32 ids)", path,
                       bytes.len, length > 0 ? 4 * length : 4, length);
    if (st == PARE_OK && (j->ids = malloc(n * sizeof *j->ids)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu ids", n);
    for (size_t i = 0; st == PARE_OK && i < n; i++)
        j->ids[i] = (int32_t)pare_load_u32le(bytes.data + 4 * i);
    if (st == PARE_OK) {
        j->length = (uint32_t)length;
        j->n_sequences = (uint32_t)(n / length);
    }
    pare_buf_close(&bytes);
    return st;
}

static pare_status open_output(job *j, uint64_t *n_bytes, pare_error *err)
{
    unsigned flags = cmd_has(j->args, OPT_FORCE) ? PARE_OUTPUT_FORCE : 0;
    const char *path = cmd_text(j->args, OPT_OUTPUT);
    size_t bytes = 0;
    enum { SLICE_BYTES = 8 << 20 };
    size_t row = (size_t)j->width * sizeof(float);
    if (!pare_mul_u64((uint64_t)j->n_sequences * (j->embedding ? 1 : j->length), row, n_bytes))
        return pare_fail(err, PARE_ERR_RANGE, "%s: the values overflow", path);
    j->slice = j->embedding ? j->n_sequences : row < SLICE_BYTES ? (uint32_t)(SLICE_BYTES / row) : 1;
    if (!pare_mul_size(j->slice, row, &bytes) || (j->values = malloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the values of %" PRIu32 " positions", j->slice);
    return pare_output_open(&j->out, path, *n_bytes, flags, err);
}

static pare_status put(job *j, uint32_t n, pare_error *err)
{
    size_t n_values = (size_t)n * j->width;
    for (size_t i = 0; i < n_values; i++)
        pare_store_f32le(j->values + i, j->values[i]);
    return pare_output_write(j->out, j->values, n_values * sizeof(float), err);
}

static pare_status write_sequence(job *j, uint32_t sequence, pare_error *err)
{
    pare_status st = pare_forward_run(j->forward, j->ids + (size_t)sequence * j->length, 1, j->length, err);
    for (uint32_t at = 0; at < j->length && st == PARE_OK; at += j->slice) {
        uint32_t n = j->length - at < j->slice ? j->length - at : j->slice;
        st = (j->states ? pare_forward_states : pare_forward_logits)(j->forward, 0, at, n, j->values, err);
        if (st == PARE_OK)
            st = put(j, n, err);
    }
    return st == PARE_OK ? pare_check_interrupt(err) : st;
}

static pare_status write_positions(job *j, pare_error *err)
{
    pare_status st = pare_forward_open(&j->forward, &j->model, j->devices.backend[0], j->length, 1, err);
    for (uint32_t i = 0; i < j->n_sequences && st == PARE_OK; i++) {
        pare_progress("sequences", i, j->n_sequences, "");
        st = write_sequence(j, i, err);
    }
    return st;
}

static pare_status write_embeddings(job *j, pare_error *err)
{
    pare_text_ids texts = {0};
    pare_pooling pooling = pare_pooling_of(&j->model, pare_pooling_find(cmd_text(j->args, OPT_POOLING)));
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < j->n_sequences && st == PARE_OK; i++)
        st = pare_text_ids_add(&texts, j->ids + (size_t)i * j->length, j->length, j->length, false, err);
    if (st == PARE_OK)
        st = pare_embed(&j->model, j->devices.backend[0], pooling, &texts, j->values, NULL, NULL, err);
    pare_text_ids_close(&texts);
    return st == PARE_OK ? put(j, j->n_sequences, err) : st;
}

static pare_status describe(const job *j, uint64_t n_bytes, pare_error *err)
{
    const char *path = cmd_text(j->args, OPT_OUTPUT);
    if (cmd_has(j->args, OPT_JSON)) {
        json_t *doc = json_object(), *shape = json_pack("[I]", (json_int_t)j->n_sequences);
        json_object_set_new(doc, "output", cmd_json_text(path, strlen(path)));
        if (!j->embedding)
            json_array_append_new(shape, json_integer(j->length));
        json_array_append_new(shape, json_integer(j->width));
        json_object_set_new(doc, "shape", shape);
        json_object_set_new(doc, "values", json_string(j->embedding ? "embeddings" : j->states ? "states" : "logits"));
        cmd_json_u64(doc, "bytes", n_bytes);
        cmd_json_resources(doc);
        return cmd_print_json(j->args, doc, err);
    }
    cmd_progress_clear();
    printf("%s: float32 [%" PRIu32, cmd_safe(path, strlen(path)), j->n_sequences);
    if (!j->embedding)
        printf(", %" PRIu32, j->length);
    printf(", %" PRIu32 "]%s, %s\n", j->width, j->states ? " of states" : "", cmd_bytes(n_bytes));
    return PARE_OK;
}

static pare_status run(job *j, pare_error *err)
{
    uint64_t n_bytes = 0;
    j->embedding = cmd_has(j->args, OPT_EMBEDDING);
    if (j->model.arch == NULL)
        return pare_arch_refuse_unknown(&j->model, err);
    j->states = j->embedding || j->model.arch->wiring.encoder;
    j->width = j->states ? j->model.hp.n_embd : j->model.hp.n_vocab;
    if (cmd_has(j->args, OPT_POOLING) && !j->embedding)
        return pare_fail(err, PARE_ERR_USAGE, "logits: --pooling needs --embedding");
    pare_status st = open_output(j, &n_bytes, err);
    if (st == PARE_OK)
        st = j->embedding ? write_embeddings(j, err) : write_positions(j, err);
    if (st == PARE_OK && (st = cmd_sources_check(j->args, &j->model, err)) == PARE_OK)
        st = pare_output_commit(j->out, err);
    return st == PARE_OK ? describe(j, n_bytes, err) : st;
}

pare_status cmd_logits(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    const char *tokens = cmd_text(args, OPT_TOKENS);
    cmd_outputs outputs = {.inputs = &tokens, .n_inputs = 1};
    cmd_outputs_add(&outputs, "--output", cmd_text(args, OPT_OUTPUT));
    pare_status st = cmd_devices_open(&j.devices, args, 1, err);
    if (st == PARE_OK)
        st = pare_model_open(&j.model, args->operands[0], PARE_OPEN_NO_VOCAB | PARE_OPEN_WEIGHTS, err);
    if (st == PARE_OK)
        st = cmd_outputs_check(&outputs, &j.model, cmd_has(args, OPT_FORCE), err);
    if (st == PARE_OK)
        st = read_ids(&j, err);
    if (st == PARE_OK)
        st = run(&j, err);
    pare_output_close(j.out);
    pare_forward_close(j.forward);
    cmd_devices_close(&j.devices); /* before the models whose weights it may hold */
    pare_model_close(&j.model);
    free(j.values);
    free(j.ids);
    return st;
}
