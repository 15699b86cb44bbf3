#include "cmd/record_run.h"
#include "cmd/build.h"
#include "cmd/cache_options.h"
#include "cmd/console.h"
#include "cmd/machine.h"
#include "cmd/mpi.h"
#include "core/threads.h"
#include "formats/open.h"
#include "report/record_merge.h"
#include "report/record_model.h"

#include <cblas.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
}

/* "2026-01-31T00:00:00Z" */
static json_t *now(void)
{
    char text[32];
    time_t t = time(NULL);
    struct tm utc;
    return gmtime_r(&t, &utc) != NULL && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc) > 0 ? json_string(text)
                                                                                                     : json_null();
}

/* The command line: options in their order, then the operands. */
static json_t *command_line(const cmd_args *args)
{
    json_t *list = json_pack("[s, s]", "pare", args->verb->name);
    char text[96];
    for (size_t i = 0; i < args->n_given; i++) {
        const cmd_given *g = &args->given[i];
        snprintf(text, sizeof text, "--%s", g->option->name);
        json_array_append_new(list, json_string(text));
        if (g->text != NULL)
            json_array_append_new(list, cmd_json_text(g->text, strlen(g->text)));
    }
    for (size_t i = 0; i < args->n_operands; i++)
        json_array_append_new(list, cmd_json_text(args->operands[i], strlen(args->operands[i])));
    return list;
}

json_t *cmd_json_tool(const cmd_args *args)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "name", "pare", "version", CMD_BUILD_VERSION, "commit",
                     CMD_BUILD_COMMIT, "compiler", CMD_BUILD_COMPILER, "target", CMD_BUILD_TARGET, "openblas",
                     openblas_get_config(), "argv", command_line(args));
}

static pare_status put_model(json_t *head, const char *member, const pare_model *m, pare_error *err)
{
    pare_model_hash hash = {0};
    pare_model whole = {0};
    json_t *object = NULL;
    cmd_note("hashing %s", m->path);
    if (!m->has_vocab && pare_model_open(&whole, m->path, 0, NULL) == PARE_OK)
        m = &whole; /* a reference is run without its tokenizer, which is worth a hash all the same */
    pare_status st = pare_model_hash_open(&hash, m, err);
    if (st == PARE_OK)
        st = pare_record_model(&object, m, &hash, err);
    if (st == PARE_OK && json_object_set_new(head, member, object) != 0)
        st = no_memory(err);
    pare_model_hash_close(&hash);
    pare_model_close(&whole);
    return st;
}

/* What figures depend on beside models, texts and tasks. */
static json_t *settings(const cmd_args *args)
{
    json_t *s = json_pack("{s:s, s:s, s:s, s:I}", "accumulate", "f64", "log_base", "e", "kld",
                          "KL(reference || model); kld_reverse: KL(model || reference)", "seed",
                          (json_int_t)cmd_number(args, OPT_SEED));
    cmd_cache_settings(s, args);
    return s;
}

pare_status cmd_record_open(cmd_record *r, const cmd_args *args, const pare_model *model, const pare_model *reference,
                            pare_error *err)
{
    const char *path = cmd_text(args, OPT_RECORD);
    *r = (cmd_record){.args = args};
    if (path == NULL || cmd_mpi_rank() > 0)
        return PARE_OK;
    pare_status st = pare_record_open(&r->writer, path, cmd_has(args, OPT_FORCE), err);
    r->head = json_pack("{s:o, s:o, s:{s:o}, s:{s:s, s:s, s:i}}", "settings", settings(args), "tool",
                        cmd_json_tool(args), "time", "start", now(), "machine", "cpu", cmd_cpu_model(), "cpu_features",
                        cmd_cpu_features(), "threads", pare_threads());
    if (st == PARE_OK && r->head == NULL)
        st = no_memory(err);
    if (st == PARE_OK)
        st = put_model(r->head, "model", model, err);
    if (st == PARE_OK && reference != NULL)
        st = put_model(r->head, "reference", reference, err);
    return st;
}

void cmd_record_close(cmd_record *r)
{
    pare_record_close(r->writer);
    json_decref(r->head);
    *r = (cmd_record){0};
}

/* All texts of a run share them. */
static void put_windows(json_t *s, const cmd_args *args, const pare_windows *w)
{
    cmd_json_u64(s, "n_ctx", w->n_ctx);
    cmd_json_u64(s, "step", w->step);
    cmd_json_u64(s, "first", w->first);
    cmd_json_u64(s, "n_scored", w->n_scored);
    if (cmd_has(args, OPT_CHUNKS))
        cmd_json_u64(s, "chunks", cmd_number(args, OPT_CHUNKS));
    if (cmd_has(args, OPT_SAMPLE))
        cmd_json_u64(s, "sample", cmd_number(args, OPT_SAMPLE));
    json_object_set_new(s, "bos", w->bos >= 0 ? json_integer(w->bos) : json_null());
    json_object_set_new(s, "bos_rule",
                        json_string(w->bos >= 0 ? "token 0 of each window is replaced" : "windows keep their tokens"));
}

/* Windows of the text that all parts of the evaluation together measure. */
static uint32_t count_windows(const cmd_args *args, const pare_windows *w)
{
    uint64_t n = w->n_all, chunks = cmd_number(args, OPT_CHUNKS), sample = cmd_number(args, OPT_SAMPLE);
    n = chunks > 0 && chunks < n ? chunks : n;
    return (uint32_t)(sample > 0 && sample < n ? sample : n);
}

/* What is known of the run before its windows. */
static pare_status put_run(const cmd_record *r, pare_error *err)
{
    json_t *machine = json_object_get(r->head, "machine"), *s = json_object_get(r->head, "settings");
    const char *range = cmd_text(r->args, OPT_CHUNK_RANGE);
    pare_status st = cmd_devices_json(r->run->devices, machine, err);
    bool ok = json_object_set_new(s, "compute", json_string(r->run->devices->backend[0]->compute)) == 0;
    if (ok && cmd_mpi_size() > 1)
        ok = json_object_set_new(machine, "mpi_ranks", json_integer(cmd_mpi_size())) == 0;
    if (ok && range != NULL)
        ok = json_object_set_new(r->head, "chunk_range", json_string(range)) == 0;
    return st == PARE_OK && !ok ? no_memory(err) : st;
}

/* Is what --resume goes on with of this job, as far as its texts have begun? */
static pare_status check_resumed(const cmd_record *r, pare_error *err)
{
    json_t *doc = NULL;
    if (r->resume == NULL || !r->resume->is_there)
        return PARE_OK;
    pare_status st = pare_record_document(r->writer, r->head, &doc, err);
    if (st == PARE_OK)
        st = pare_record_check_unfinished(&r->resume->part, "this run", doc, err);
    json_decref(doc);
    return st;
}

static pare_status begin_text(const cmd_corpus *text, void *user, pare_error *err)
{
    cmd_record *r = user;
    pare_digest digest;
    char sha256[PARE_SHA256_HEX], ids_sha256[PARE_SHA256_HEX];
    pare_status st = PARE_OK;
    if (text->index == 0) {
        st = put_run(r, err);
        cmd_json_u64(json_object_get(r->head, "machine"), "batch_windows", text->windows.n_seq);
        put_windows(json_object_get(r->head, "settings"), r->args, &text->windows);
    }
    if (st == PARE_OK)
        st = pare_hash_bytes(text->ids.ids, text->ids.n * sizeof *text->ids.ids, PARE_HASH_SHA256, &digest, err);
    if (st != PARE_OK)
        return st;
    pare_hex(ids_sha256, digest.sha256, sizeof digest.sha256);
    pare_hex(sha256, text->digest.sha256, sizeof text->digest.sha256);
    const pare_record_text header = {.name = text->name,
                                     .sha256 = sha256,
                                     .n_bytes = text->digest.n_bytes,
                                     .n_tokens = text->ids.n,
                                     .ids_sha256 = ids_sha256,
                                     .n_windows = count_windows(r->args, &text->windows)};
    st = pare_record_begin_text(r->writer, &header, err);
    r->n_before = pare_record_windows(r->writer);
    r->in_text = st == PARE_OK;
    return st == PARE_OK ? check_resumed(r, err) : st;
}

static pare_status take_scores(const pare_scores *scores, size_t model, void *user, pare_error *err)
{
    cmd_record *r = user;
    pare_status st = model == r->model ? pare_record_scores(r->writer, scores, err) : PARE_OK;
    r->is_broken = r->is_broken || st != PARE_OK;
    return st;
}

static pare_status end_text(const cmd_corpus *text, const pare_eval_result *results, void *user, pare_error *err)
{
    cmd_record *r = user;
    (void)text;
    r->in_text = false;
    return pare_record_end_text(r->writer, results[r->model].n_chunks > 0 ? &results[r->model] : NULL, err);
}

/* As much of the text as both the items and the figures have. */
static void broken_text(const cmd_corpus *text, const pare_eval_result *results, void *user)
{
    cmd_record *r = user;
    pare_error ignored = {0};
    if (!r->in_text)
        return;
    if (results[r->model].n_chunks != pare_record_windows(r->writer) - r->n_before ||
        end_text(text, results, user, &ignored) != PARE_OK)
        r->is_broken = true;
}

void cmd_record_listen(cmd_record *r, cmd_text_run *run)
{
    r->run = run;
    r->resume = run->resume;
    if (r->writer != NULL)
        cmd_listen(run,
                   &(cmd_listener){
                       .begin = begin_text, .scores = take_scores, .end = end_text, .broken = broken_text, .user = r});
}

pare_status cmd_record_tasks(cmd_record *r, const pare_task_scores *scores, size_t n, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && r->writer != NULL && st == PARE_OK; i++)
        st = pare_record_add_task(r->writer, &scores[i], err);
    return st;
}

/* Which runs measured the windows that this one took over. */
static pare_status put_resumed(const cmd_record *r, pare_error *err)
{
    static const char *const keep[] = {"digest", "machine", "time", "tool"};
    if (r->resume == NULL || !r->resume->is_there)
        return PARE_OK;
    const json_t *part = r->resume->part.doc;
    json_t *list = json_deep_copy(json_object_get(part, "resumed")), *row = json_object();
    if (list == NULL)
        list = json_array();
    cmd_json_u64(row, "n_windows", r->resume->n_windows);
    for (size_t i = 0; i < sizeof keep / sizeof keep[0]; i++)
        json_object_set_new(row, keep[i], json_deep_copy(json_object_get(part, keep[i])));
    bool ok = json_array_append_new(list, row) == 0;
    return json_object_set_new(r->head, "resumed", list) == 0 && ok ? PARE_OK : no_memory(err);
}

/* Complete the head and publish the files. */
static pare_status write_record(cmd_record *r, pare_error *err)
{
    pare_output_set set = {0};
    pare_status st = put_run(r, err);
    if (st == PARE_OK)
        st = put_resumed(r, err);
    bool ok = json_object_set_new(json_object_get(r->head, "time"), "end", now()) == 0;
    if (ok && r->run->self_checked)
        ok = json_object_set_new(r->head, "self_check", json_string("ok")) == 0;
    if (st == PARE_OK)
        st = ok ? pare_record_finish(r->writer, r->head, &set, err) : no_memory(err);
    if (st == PARE_OK && json_object_get(r->head, "unfinished") == NULL)
        st = pare_check_interrupt(err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    return st;
}

pare_status cmd_record_finish(cmd_record *r, pare_error *err)
{
    if (r->writer == NULL)
        return PARE_OK;
    pare_status st = write_record(r, err);
    if (st == PARE_OK)
        cmd_resume_remove(r->args);
    return st;
}

void cmd_record_keep(cmd_record *r, pare_error *err)
{
    pare_error why = {0};
    char *path = NULL, sentence[PARE_ERROR_TEXT / 2];
    const uint64_t n = r->writer != NULL ? pare_record_windows(r->writer) : 0;
    if (n <= (r->resume != NULL ? r->resume->n_windows : 0) || r->is_broken)
        return;
    pare_status st = r->in_text ? pare_record_end_text(r->writer, NULL, &why) : PARE_OK;
    if (st == PARE_OK)
        st = pare_record_unfinished_path(&path, cmd_text(r->args, OPT_RECORD), &why);
    if (st == PARE_OK)
        st = pare_record_redirect(r->writer, path, &why);
    if (st == PARE_OK && json_object_set_new(r->head, "unfinished",
                                             json_pack("{s:I, s:o}", "n_windows", (json_int_t)n, "error",
                                                       cmd_json_text(err->text, strlen(err->text)))) != 0)
        st = no_memory(&why);
    if (st == PARE_OK)
        st = write_record(r, &why);
    if (st == PARE_OK)
        snprintf(sentence, sizeof sentence, "; %" PRIu64 " window%s kept in %.300s: --resume goes on from there", n,
                 n == 1 ? " is" : "s are", path);
    else
        snprintf(sentence, sizeof sentence, "; what was measured could not be kept: %.350s", why.text);
    cmd_error_add(err, sentence);
    free(path);
}
