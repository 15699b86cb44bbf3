#include "cmd/build.h"
#include "cmd/console.h"
#include "cmd/outputs.h"
#include "cmd/record_run.h"
#include "core/json.h"
#include "core/map.h"
#include "report/record_merge.h"
#include "report/report.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DOCUMENT = 1 << 28 };

typedef struct job {
    const cmd_args *args;
    pare_record *records; /* [n], as operands */
    size_t n;
    json_t **quantize; /* [n_quantize] */
    size_t n_quantize;
    json_t *comparison;
    json_t *measured;   /* the lines of --measured */
    uint64_t n_missing; /* windows that the parts to merge lack */
} job;

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static pare_status check_usage(const job *j, pare_error *err)
{
    const char *output = cmd_text(j->args, OPT_OUTPUT), *compared = cmd_text(j->args, OPT_COMPARISON);
    if (output == NULL && !cmd_has(j->args, OPT_MERGE))
        return pare_fail(err, PARE_ERR_USAGE, "report: give -o OUT.html or OUT.md, --merge FILE, or both");
    if (output != NULL && !ends_with(output, ".html") && !ends_with(output, ".htm") && !ends_with(output, ".md"))
        return pare_fail(err, PARE_ERR_USAGE, "%s: expected a name that ends in .html or .md", output);
    if (j->args->n_operands == 0 && compared == NULL && !cmd_has(j->args, OPT_MEASURED))
        return pare_fail(err, PARE_ERR_USAGE, "report: give at least one RECORD, --comparison or --measured");
    if (j->args->n_operands == 0 && cmd_has(j->args, OPT_MERGE))
        return pare_fail(err, PARE_ERR_USAGE, "report: --merge needs records");
    return PARE_OK;
}

/* The records are loaded: their items are inputs too. */
static pare_status check_outputs(const job *j, pare_error *err)
{
    size_t n_quantize = cmd_count(j->args, OPT_QUANTIZE), n = 0;
    const char *compared = cmd_text(j->args, OPT_COMPARISON), *merged = cmd_text(j->args, OPT_MERGE);
    char *items = NULL;
    pare_status st = merged != NULL ? pare_record_items_path(&items, merged, err) : PARE_OK;
    const char **inputs = calloc(2 * j->n + n_quantize + 2, sizeof *inputs);
    if (st == PARE_OK && inputs == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the names of files");
    for (size_t i = 0; i < j->n && st == PARE_OK; i++) {
        inputs[n++] = j->records[i].path;
        inputs[n++] = j->records[i].items_path;
    }
    for (size_t i = 0; i < n_quantize && st == PARE_OK; i++)
        inputs[n++] = cmd_nth(j->args, OPT_QUANTIZE, i);
    if (compared != NULL && st == PARE_OK)
        inputs[n++] = compared;
    if (cmd_has(j->args, OPT_MEASURED) && st == PARE_OK)
        inputs[n++] = cmd_text(j->args, OPT_MEASURED);
    cmd_outputs outputs = {.inputs = inputs, .n_inputs = n};
    cmd_outputs_add(&outputs, "--output", cmd_text(j->args, OPT_OUTPUT));
    cmd_outputs_add(&outputs, "--merge", merged);
    cmd_outputs_add(&outputs, "the items of --merge", items);
    if (st == PARE_OK)
        st = cmd_outputs_check(&outputs, NULL, cmd_has(j->args, OPT_FORCE), err);
    free(inputs);
    free(items);
    return st;
}

/* A document a line. */
static pare_status load_lines(json_t **out, const char *path, pare_error *err)
{
    pare_map map = {0};
    pare_status st = pare_map_open_content(&map, path, err);
    size_t number = 1;
    *out = json_array();
    if (st == PARE_OK && map.size > MAX_DOCUMENT)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: more than %d bytes", path, MAX_DOCUMENT);
    const char *at = (const char *)map.data, *end = at + (st == PARE_OK ? map.size : 0);
    for (; at < end && st == PARE_OK; number++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t n = (size_t)((stop != NULL ? stop : end) - at);
        pare_error why = {0};
        json_t *line = NULL;
        st = pare_json_parse(&line, path, at, n, PARE_JSON_NUL, &why);
        if (st != PARE_OK)
            st = pare_fail(err, st, "line %zu: %s", number, why.text);
        else if (!json_is_object(json_array_get(json_object_get(line, "devices"), 0)))
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: line %zu: no measurement of fit --measure", path, number);
        else
            json_array_append(*out, line);
        json_decref(line);
        at += n + 1;
    }
    pare_map_close(&map);
    return st;
}

static pare_status load(job *j, pare_error *err)
{
    size_t n_quantize = cmd_count(j->args, OPT_QUANTIZE);
    const char *compared = cmd_text(j->args, OPT_COMPARISON);
    pare_status st = PARE_OK;
    j->records = calloc(j->args->n_operands + 1, sizeof *j->records);
    j->quantize = calloc(n_quantize + 1, sizeof *j->quantize);
    if (j->records == NULL || j->quantize == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu records", j->args->n_operands);
    for (; j->n < j->args->n_operands && st == PARE_OK; j->n++)
        st = pare_record_load(&j->records[j->n], j->args->operands[j->n], err);
    for (; j->n_quantize < n_quantize && st == PARE_OK; j->n_quantize++)
        st = pare_json_load(&j->quantize[j->n_quantize], cmd_nth(j->args, OPT_QUANTIZE, j->n_quantize), MAX_DOCUMENT,
                            PARE_JSON_BIG_AS_REAL | PARE_JSON_NUL, err);
    if (st == PARE_OK && compared != NULL)
        st = pare_json_load(&j->comparison, compared, MAX_DOCUMENT, PARE_JSON_BIG_AS_REAL | PARE_JSON_NUL, err);
    if (st == PARE_OK && cmd_has(j->args, OPT_MEASURED))
        st = load_lines(&j->measured, cmd_text(j->args, OPT_MEASURED), err);
    return st;
}

static pare_status merge(job *j, pare_output_set *set, pare_error *err)
{
    const char *path = cmd_text(j->args, OPT_MERGE);
    if (path == NULL)
        return PARE_OK;
    json_t *tool = cmd_json_tool(j->args);
    pare_status st =
        pare_record_merge(j->records, j->n, path, cmd_has(j->args, OPT_FORCE), tool, set, &j->n_missing, err);
    json_decref(tool);
    if (st == PARE_OK && j->n_missing > 0)
        cmd_warning("%s: %llu windows of the evaluation are in none of the records", path,
                    (unsigned long long)j->n_missing);
    return st;
}

static pare_status render(const job *j, pare_output_set *set, pare_error *err)
{
    const char *path = cmd_text(j->args, OPT_OUTPUT);
    pare_buf text = {0};
    if (path == NULL)
        return PARE_OK;
    const json_t **docs = calloc(j->n + 1, sizeof *docs);
    if (docs == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a report");
    for (size_t i = 0; i < j->n; i++)
        docs[i] = j->records[i].doc;
    const pare_report_input input = {.title = cmd_text(j->args, OPT_TITLE),
                                     .records = docs,
                                     .n_records = j->n,
                                     .quantize = (const json_t *const *)j->quantize,
                                     .n_quantize = j->n_quantize,
                                     .comparison = j->comparison,
                                     .measured = j->measured,
                                     .tool = "pare " CMD_BUILD_VERSION " (" CMD_BUILD_COMMIT ")"};
    pare_status st =
        ends_with(path, ".md") ? pare_report_markdown(&text, &input, err) : pare_report_html(&text, &input, err);
    if (st == PARE_OK)
        st = pare_output_set_add_file(set, path, text.data, text.len,
                                      cmd_has(j->args, OPT_FORCE) ? PARE_OUTPUT_FORCE : 0, err);
    pare_buf_close(&text);
    free(docs);
    return st;
}

static pare_status tell(const job *j, pare_error *err)
{
    const char *const written[] = {cmd_text(j->args, OPT_OUTPUT), cmd_text(j->args, OPT_MERGE)};
    static const char *const keys[] = {"output", "merged"};
    if (!cmd_has(j->args, OPT_JSON)) {
        for (size_t i = 0; i < 2; i++)
            if (written[i] != NULL)
                printf("%s\n", cmd_safe(written[i], strlen(written[i])));
        return PARE_OK;
    }
    json_t *doc = json_object();
    for (size_t i = 0; i < 2; i++)
        if (written[i] != NULL)
            json_object_set_new(doc, keys[i], cmd_json_text(written[i], strlen(written[i])));
    cmd_json_u64(doc, "n_records", j->n);
    if (written[1] != NULL)
        cmd_json_u64(doc, "n_missing", j->n_missing);
    return cmd_print_json(j->args, doc, err);
}

static void close_job(job *j)
{
    for (size_t i = 0; i < j->n; i++)
        pare_record_unload(&j->records[i]);
    for (size_t i = 0; i < j->n_quantize; i++)
        json_decref(j->quantize[i]);
    free(j->records);
    free(j->quantize);
    json_decref(j->comparison);
    json_decref(j->measured);
}

pare_status cmd_report(const cmd_args *args, pare_error *err)
{
    job j = {.args = args};
    pare_output_set set = {0};
    pare_status st = check_usage(&j, err);
    if (st == PARE_OK)
        st = load(&j, err);
    if (st == PARE_OK)
        st = check_outputs(&j, err);
    if (st == PARE_OK)
        st = merge(&j, &set, err);
    if (st == PARE_OK)
        st = render(&j, &set, err);
    if (st == PARE_OK)
        st = pare_check_interrupt(err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, err);
    if (st == PARE_OK)
        st = tell(&j, err);
    pare_output_set_close(&set);
    close_job(&j);
    return st;
}
