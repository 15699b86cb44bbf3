#include "report/record.h"
#include "core/hash.h"
#include "report/record_items.h"
#include "report/record_seal.h"
#include "report/record_task.h"

#include <stdlib.h>
#include <string.h>

/* What a window adds up to, position after position. */
typedef struct window_sum {
    uint32_t window, n, same_top1;
    double nll, ref_nll, kld, kld_reverse;
} window_sum;

struct pare_record_writer {
    char *path, *items_path; /* NULL: nothing is written */
    unsigned flags;
    pare_output *items;
    pare_hasher hasher;
    uint64_t n_lines;
    pare_buf line;

    json_t *texts, *tasks;
    json_t *text; /* the one that was begun, borrowed from texts */
    bool has_reference;
    window_sum *windows; /* [n_windows] of that text */
    size_t n_windows, cap_windows;
    uint64_t n_all_windows;    /* of all texts */
    pare_eval_result *results; /* [n_results] one a text that has a result */
    size_t n_results;
};

static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
}

/* path with another end for ".json", or behind it. */
static pare_status change_end(char **out, const char *path, const char *end, pare_error *err)
{
    pare_buf name = {0};
    size_t n = strlen(path), stem = n > 5 && strcmp(path + n - 5, ".json") == 0 ? n - 5 : n;
    pare_status st = pare_buf_printf(&name, err, "%.*s%s", (int)stem, path, end);
    *out = name.data;
    return st;
}

pare_status pare_record_items_path(char **out, const char *path, pare_error *err)
{
    return change_end(out, path, ".jsonl", err);
}

pare_status pare_record_unfinished_path(char **out, const char *path, pare_error *err)
{
    return change_end(out, path, ".unfinished.json", err);
}

static pare_status open_items(pare_record_writer *w, const char *path, pare_error *err)
{
    pare_status st = pare_record_items_path(&w->items_path, path, err);
    if (st == PARE_OK && (w->path = strdup(path)) == NULL)
        st = no_memory(err);
    if (st == PARE_OK)
        st = pare_hasher_open(&w->hasher, PARE_HASH_SHA256, err);
    return st == PARE_OK ? pare_output_open(&w->items, w->items_path, 0, w->flags, err) : st;
}

pare_status pare_record_open(pare_record_writer **out, const char *path, bool force, pare_error *err)
{
    pare_record_writer *w = *out = calloc(1, sizeof *w);
    if (w == NULL || (w->texts = json_array()) == NULL || (w->tasks = json_array()) == NULL) {
        pare_record_close(w);
        *out = NULL;
        return no_memory(err);
    }
    w->flags = force ? PARE_OUTPUT_FORCE : 0;
    pare_status st = path != NULL ? open_items(w, path, err) : PARE_OK;
    if (st != PARE_OK) {
        pare_record_close(w);
        *out = NULL;
    }
    return st;
}

pare_status pare_record_redirect(pare_record_writer *w, const char *path, pare_error *err)
{
    char *items_path = NULL, *copy = strdup(path);
    pare_status st = copy != NULL ? pare_record_items_path(&items_path, path, err) : no_memory(err);
    if (st == PARE_OK)
        st = pare_output_redirect(w->items, items_path, PARE_OUTPUT_FORCE, err);
    if (st != PARE_OK) {
        free(items_path);
        free(copy);
        return st;
    }
    free(w->path);
    free(w->items_path);
    w->path = copy;
    w->items_path = items_path;
    w->flags = PARE_OUTPUT_FORCE;
    return PARE_OK;
}

uint64_t pare_record_windows(const pare_record_writer *w)
{
    return w->n_all_windows;
}

void pare_record_close(pare_record_writer *w)
{
    if (w == NULL)
        return;
    pare_output_close(w->items);
    pare_hasher_close(&w->hasher);
    pare_buf_close(&w->line);
    json_decref(w->texts);
    json_decref(w->tasks);
    free(w->windows);
    free(w->results);
    free(w->items_path);
    free(w->path);
    free(w);
}

pare_status pare_record_begin_text(pare_record_writer *w, const pare_record_text *text, pare_error *err)
{
    w->text = json_object();
    bool ok = json_object_set_new(w->text, "name", pare_json_text(text->name, strlen(text->name))) == 0 &&
              json_object_set_new(w->text, "sha256", json_string(text->sha256)) == 0 &&
              json_object_set_new(w->text, "bytes", json_integer((json_int_t)text->n_bytes)) == 0 &&
              json_object_set_new(w->text, "n_tokens", json_integer((json_int_t)text->n_tokens)) == 0 &&
              json_object_set_new(w->text, "ids_sha256", json_string(text->ids_sha256)) == 0 &&
              json_object_set_new(w->text, "n_windows", json_integer(text->n_windows)) == 0;
    w->n_windows = 0;
    return json_array_append_new(w->texts, w->text) == 0 && ok ? PARE_OK : no_memory(err);
}

/* The line that w->line holds. */
static pare_status put_line(pare_record_writer *w, pare_error *err)
{
    w->n_lines++;
    pare_status st = pare_hasher_add(&w->hasher, w->line.data, w->line.len, err);
    return st == PARE_OK ? pare_output_write(w->items, w->line.data, w->line.len, err) : st;
}

static void add_up(window_sum *sum, const pare_scores *s)
{
    *sum = (window_sum){.window = s->window, .n = s->n};
    for (uint32_t i = 0; i < s->n; i++) {
        sum->nll += s->nll[i];
        if (!s->has_reference)
            continue;
        sum->ref_nll += s->ref_nll[i];
        sum->kld += s->kld[i];
        sum->kld_reverse += s->kld_reverse[i];
        sum->same_top1 += s->same_top1[i];
    }
}

pare_status pare_record_scores(pare_record_writer *w, const pare_scores *s, pare_error *err)
{
    if (w->n_windows == w->cap_windows) {
        size_t cap = w->cap_windows > 0 ? 2 * w->cap_windows : 64;
        window_sum *more = reallocarray(w->windows, cap, sizeof *more);
        if (more == NULL)
            return no_memory(err);
        w->windows = more;
        w->cap_windows = cap;
    }
    w->has_reference = s->has_reference;
    w->n_all_windows++;
    add_up(&w->windows[w->n_windows++], s);
    if (w->items == NULL)
        return PARE_OK;
    w->line.len = 0;
    pare_status st = pare_record_put_scores(&w->line, json_array_size(w->texts) - 1, s, err);
    return st == PARE_OK ? put_line(w, err) : st;
}

static json_t *count_of_window(const window_sum *s, size_t field)
{
    return json_integer(*(const uint32_t *)((const char *)s + field));
}

static json_t *sum_of_window(const window_sum *s, size_t field)
{
    return json_real(*(const double *)((const char *)s + field));
}

/* Columns, because a column is one line a window shorter than an object a window. */
static pare_status put_windows(const pare_record_writer *w, pare_error *err)
{
    static const struct {
        const char *key;
        size_t field;
        bool needs_reference;
        json_t *(*value)(const window_sum *s, size_t field);
    } columns[] = {{"window", offsetof(window_sum, window), false, count_of_window},
                   {"n", offsetof(window_sum, n), false, count_of_window},
                   {"nll", offsetof(window_sum, nll), false, sum_of_window},
                   {"ref_nll", offsetof(window_sum, ref_nll), true, sum_of_window},
                   {"kld", offsetof(window_sum, kld), true, sum_of_window},
                   {"kld_reverse", offsetof(window_sum, kld_reverse), true, sum_of_window},
                   {"same_top1", offsetof(window_sum, same_top1), true, count_of_window}};
    json_t *windows = json_object();
    bool ok = json_object_set_new(w->text, "windows", windows) == 0;
    for (size_t c = 0; c < sizeof columns / sizeof columns[0] && ok; c++) {
        if (columns[c].needs_reference && !w->has_reference)
            continue;
        json_t *column = json_array();
        ok = json_object_set_new(windows, columns[c].key, column) == 0;
        for (size_t i = 0; i < w->n_windows && ok; i++)
            ok = json_array_append_new(column, columns[c].value(&w->windows[i], columns[c].field)) == 0;
    }
    return ok ? PARE_OK : no_memory(err);
}

pare_status pare_record_end_text(pare_record_writer *w, const pare_eval_result *result, pare_error *err)
{
    pare_status st = put_windows(w, err);
    if (st != PARE_OK || result == NULL)
        return st;
    pare_eval_result *more = reallocarray(w->results, w->n_results + 1, sizeof *more);
    if (more == NULL)
        return no_memory(err);
    w->results = more;
    w->results[w->n_results++] = *result;
    json_t *figures = json_object();
    if (json_object_set_new(w->text, "figures", figures) != 0)
        return no_memory(err);
    return pare_figures_put(figures, result, err);
}

pare_status pare_record_copy_line(pare_record_writer *w, const char *line, size_t len, pare_error *err)
{
    if (w->items == NULL)
        return PARE_OK;
    w->line.len = 0;
    pare_status st = pare_buf_put(&w->line, line, len, err);
    if (st == PARE_OK)
        st = pare_buf_put(&w->line, "\n", 1, err);
    return st == PARE_OK ? put_line(w, err) : st;
}

pare_status pare_record_copy_task(pare_record_writer *w, const json_t *member, pare_error *err)
{
    return json_array_append(w->tasks, (json_t *)member) == 0 ? PARE_OK : no_memory(err);
}

pare_status pare_record_add_task(pare_record_writer *w, const pare_task_scores *s, pare_error *err)
{
    json_t *member = NULL;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < s->task->n_items && st == PARE_OK && w->items != NULL; i++) {
        w->line.len = 0;
        st = pare_record_put_item(&w->line, json_array_size(w->tasks), s, i, err);
        if (st == PARE_OK)
            st = put_line(w, err);
    }
    if (st == PARE_OK)
        st = pare_record_task(&member, s, err);
    if (st == PARE_OK)
        st = pare_record_copy_task(w, member, err);
    json_decref(member);
    return st;
}

pare_status pare_record_document(const pare_record_writer *w, const json_t *head, json_t **out, pare_error *err)
{
    json_t *doc = json_deep_copy(head), *average = json_object();
    bool ok = json_object_set_new(doc, "format", json_string(PARE_RECORD_FORMAT)) == 0 &&
              json_object_set_new(doc, "schema", json_integer(PARE_RECORD_SCHEMA)) == 0 &&
              json_object_set_new(doc, "texts", json_deep_copy(w->texts)) == 0 &&
              json_object_set_new(doc, "tasks", json_deep_copy(w->tasks)) == 0;
    pare_status st = ok ? PARE_OK : no_memory(err);
    if (st == PARE_OK && w->n_results > 0) {
        const pare_eval_result mean = pare_figures_average(w->results, w->n_results);
        st = pare_figures_put(average, &mean, err);
    }
    if (st == PARE_OK && json_object_set(doc, "average", average) != 0)
        st = no_memory(err);
    json_decref(average);
    *out = st == PARE_OK ? doc : NULL;
    if (st != PARE_OK)
        json_decref(doc);
    return st;
}

static pare_status finish_items(pare_record_writer *w, json_t *doc, pare_error *err)
{
    pare_digest digest;
    char hex[PARE_SHA256_HEX];
    const char *slash = strrchr(w->items_path, '/'), *name = slash != NULL ? slash + 1 : w->items_path;
    pare_status st = pare_hasher_finish(&w->hasher, &digest, err);
    if (st == PARE_OK)
        st = pare_output_finish(w->items, err);
    if (st != PARE_OK)
        return st;
    pare_hex(hex, digest.sha256, sizeof digest.sha256);
    json_t *items = json_pack("{s:s, s:s, s:I, s:I}", "name", name, "sha256", hex, "bytes", (json_int_t)digest.n_bytes,
                              "lines", (json_int_t)w->n_lines);
    return json_object_set_new(doc, "items", items) == 0 ? PARE_OK : no_memory(err);
}

pare_status pare_record_finish(pare_record_writer *w, const json_t *head, pare_output_set *set, pare_error *err)
{
    json_t *doc = NULL;
    pare_buf text = {0};
    pare_status st = pare_record_document(w, head, &doc, err);
    if (st == PARE_OK)
        st = finish_items(w, doc, err);
    if (st == PARE_OK)
        st = pare_record_seal(doc, &text, err);
    if (st == PARE_OK)
        st = pare_output_set_add_file(set, w->path, text.data, text.len, w->flags, err);
    if (st == PARE_OK) {
        st = pare_output_set_add(set, w->items, err);
        w->items = NULL;
    }
    pare_buf_close(&text);
    json_decref(doc);
    return st;
}
