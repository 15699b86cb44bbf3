#include "report/record_items.h"
#include "report/record_read.h"
#include "report/record_task.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Items of several records, merged by text and window. */
typedef struct merge {
    const pare_record *records;
    pare_record_items *items; /* [n] */
    bool *more;               /* [n] items[i].line holds a line that was not used yet */
    size_t n;
} merge;

/* Does the line come behind the one with these numbers? */
static bool is_behind(const pare_record_line *line, bool is_task, size_t index, uint32_t number)
{
    if (line->is_task != is_task)
        return line->is_task;
    return line->index > index || (line->index == index && line->number > number);
}

static pare_status advance(merge *m, size_t i, pare_error *err)
{
    pare_record_items *it = &m->items[i];
    const pare_record_line *line = &it->line;
    bool is_task = line->is_task, first = it->n_lines == 0;
    size_t index = line->index;
    uint32_t number = line->number;
    pare_status st = pare_record_items_next(it, &m->more[i], err);
    if (st != PARE_OK || !m->more[i])
        return st;
    size_t n = line->is_task ? m->records[0].n_tasks : m->records[0].n_texts;
    const char *what = line->is_task ? "task" : "text";
    if (line->index >= n)
        return pare_fail(err, PARE_ERR_RANGE, "%s: line %" PRIu64 ": %s %zu, the record has %zu", it->path, it->n_lines,
                         what, line->index, n);
    if (!first && !is_behind(line, is_task, index, number))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: line %" PRIu64 ": number %" PRIu32 " of %s %zu is out of order",
                         it->path, it->n_lines, line->number, what, line->index);
    if (!line->is_task && line->scores.has_reference != m->records[0].has_reference)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: line %" PRIu64 ": %s", it->path, it->n_lines,
                         m->records[0].has_reference ? "has no scores of the reference" : "has scores of a reference");
    return PARE_OK;
}

static pare_status open_merge(merge *m, pare_error *err)
{
    pare_status st = PARE_OK;
    m->items = calloc(m->n, sizeof *m->items);
    m->more = calloc(m->n, sizeof *m->more);
    if (m->items == NULL || m->more == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu records", m->n);
    for (size_t i = 0; i < m->n && st == PARE_OK; i++) {
        st = pare_record_items_open(&m->items[i], m->records[i].items_path, err);
        if (st == PARE_OK)
            st = advance(m, i, err);
    }
    return st;
}

static void close_merge(merge *m)
{
    for (size_t i = 0; i < m->n && m->items != NULL; i++)
        pare_record_items_close(&m->items[i]);
    free(m->items);
    free(m->more);
}

/* The record whose next line is the first one of the text or task; n: none has more of it. */
static pare_status choose(const merge *m, bool is_task, size_t index, size_t *out, pare_error *err)
{
    *out = m->n;
    for (size_t i = 0; i < m->n; i++) {
        const pare_record_line *line = &m->items[i].line, *least = *out < m->n ? &m->items[*out].line : NULL;
        if (!m->more[i] || line->is_task != is_task || line->index != index)
            continue;
        if (least != NULL && line->number == least->number)
            return pare_fail(err, PARE_ERR_USAGE, "%s %" PRIu32 " of %s %zu stands in both %s and %s",
                             is_task ? "item" : "window", line->number, is_task ? "task" : "text", index,
                             m->records[*out].path, m->records[i].path);
        if (least == NULL || line->number < least->number)
            *out = i;
    }
    return PARE_OK;
}

static pare_status begin_text(const pare_record *r, size_t i, pare_record_writer *w, pare_error *err)
{
    const json_t *text = json_array_get(json_object_get(r->doc, "texts"), i);
    const pare_record_text header = {.name = json_string_value(json_object_get(text, "name")),
                                     .sha256 = json_string_value(json_object_get(text, "sha256")),
                                     .n_bytes = (uint64_t)json_integer_value(json_object_get(text, "bytes")),
                                     .n_tokens = (uint64_t)json_integer_value(json_object_get(text, "n_tokens")),
                                     .ids_sha256 = json_string_value(json_object_get(text, "ids_sha256")),
                                     .n_windows = (uint32_t)json_integer_value(json_object_get(text, "n_windows"))};
    return pare_record_begin_text(w, &header, err);
}

static pare_status replay_text(merge *m, size_t text, pare_record_writer *w, pare_replay_counts *counts,
                               pare_error *err)
{
    pare_tally *tally = NULL;
    pare_eval_result result;
    size_t from = 0;
    uint64_t before = counts->n_windows;
    pare_status st = begin_text(&m->records[0], text, w, err);
    if (st == PARE_OK)
        st = pare_tally_open(&tally, m->records[0].n_ctx, m->records[0].has_reference, err);
    while (st == PARE_OK && (st = choose(m, false, text, &from, err)) == PARE_OK && from < m->n) {
        const pare_scores *scores = &m->items[from].line.scores;
        counts->n_windows++;
        counts->n_positions += scores->n;
        if ((st = pare_tally_add(tally, scores, err)) != PARE_OK)
            st = pare_fail_in(err, st, m->items[from].path);
        else if ((st = pare_record_scores(w, scores, err)) == PARE_OK)
            st = advance(m, from, err);
    }
    bool any = counts->n_windows > before;
    if (st == PARE_OK && any)
        st = pare_tally_finish(tally, m->records[0].seed, &result, err);
    if (st == PARE_OK)
        st = pare_record_end_text(w, any ? &result : NULL, err);
    pare_tally_close(tally);
    return st;
}

/* The member of "tasks" with its figures computed again. */
static pare_status finish_task(const pare_task_read *t, const json_t *member, const char *where, pare_record_writer *w,
                               pare_error *err)
{
    json_t *copy = json_copy((json_t *)member), *figures = json_object();
    json_int_t wanted = json_integer_value(json_object_get(member, "n_items"));
    pare_status st = PARE_OK;
    if ((json_int_t)t->task.n_items != wanted)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: 'n_items' is %lld, the items are %zu", where, (long long)wanted,
                       t->task.n_items);
    if (st == PARE_OK)
        st = pare_record_task_figures(figures, &t->scores, err);
    if (st == PARE_OK && json_object_set(copy, "figures", figures) != 0)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a record");
    if (st == PARE_OK)
        st = pare_record_copy_task(w, copy, err);
    json_decref(figures);
    json_decref(copy);
    return st;
}

static pare_status replay_task(merge *m, size_t task, pare_record_writer *w, pare_replay_counts *counts,
                               pare_error *err)
{
    pare_task_read t;
    char where[512];
    size_t from = 0;
    const json_t *member = json_array_get(json_object_get(m->records[0].doc, "tasks"), task);
    snprintf(where, sizeof where, "%s: tasks[%zu]", m->records[0].path, task);
    pare_status st = pare_task_read_open(&t, member, where, err);
    while (st == PARE_OK && (st = choose(m, true, task, &from, err)) == PARE_OK && from < m->n) {
        const pare_record_items *it = &m->items[from];
        snprintf(where, sizeof where, "%s: line %" PRIu64, it->path, it->n_lines);
        counts->n_items++;
        st = pare_task_read_item(&t, it->line.item, where, err);
        if (st == PARE_OK)
            st = pare_record_copy_line(w, it->text, it->text_len, err);
        if (st == PARE_OK)
            st = advance(m, from, err);
    }
    if (st == PARE_OK)
        st = finish_task(&t, member, where, w, err);
    pare_task_read_close(&t);
    return st;
}

pare_status pare_record_replay(const pare_record *records, size_t n, pare_record_writer *w, pare_replay_counts *counts,
                               pare_error *err)
{
    pare_replay_counts own = {0};
    merge m = {.records = records, .n = n};
    pare_status st = open_merge(&m, err);
    for (size_t i = 0; i < records[0].n_texts && st == PARE_OK; i++)
        st = replay_text(&m, i, w, &own, err);
    for (size_t i = 0; i < records[0].n_tasks && st == PARE_OK; i++)
        st = replay_task(&m, i, w, &own, err);
    if (counts != NULL)
        *counts = own;
    close_merge(&m);
    return st;
}
