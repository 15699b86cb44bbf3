#include "report/record_items.h"
#include "report/record_read.h"

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

static pare_status advance(merge *m, size_t i, pare_error *err)
{
    size_t text = m->items[i].line.text;
    uint32_t window = m->items[i].line.scores.window;
    bool first = m->items[i].n_lines == 0;
    pare_status st = pare_record_items_next(&m->items[i], &m->more[i], err);
    const pare_record_line *line = &m->items[i].line;
    if (st != PARE_OK || !m->more[i])
        return st;
    if (line->text >= m->records[0].n_texts)
        return pare_fail(err, PARE_ERR_RANGE, "%s: line %" PRIu64 ": text %zu, the record has %zu", m->items[i].path,
                         m->items[i].n_lines, line->text, m->records[0].n_texts);
    if (!first && (line->text < text || (line->text == text && line->scores.window <= window)))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: line %" PRIu64 ": window %" PRIu32 " of text %zu is out of order",
                         m->items[i].path, m->items[i].n_lines, line->scores.window, line->text);
    if (line->scores.has_reference != m->records[0].has_reference)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: line %" PRIu64 ": %s", m->items[i].path, m->items[i].n_lines,
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

/* The record whose next window is the first one of the text; n: none has more of it. */
static pare_status choose(const merge *m, size_t text, size_t *out, pare_error *err)
{
    *out = m->n;
    for (size_t i = 0; i < m->n; i++) {
        const pare_record_line *line = &m->items[i].line;
        if (!m->more[i] || line->text != text)
            continue;
        uint32_t window = line->scores.window, least = *out < m->n ? m->items[*out].line.scores.window : UINT32_MAX;
        if (window == least)
            return pare_fail(err, PARE_ERR_USAGE, "window %" PRIu32 " of text %zu stands in both %s and %s", window,
                             text, m->records[*out].path, m->records[i].path);
        if (window < least)
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
    while (st == PARE_OK && (st = choose(m, text, &from, err)) == PARE_OK && from < m->n) {
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

pare_status pare_record_replay(const pare_record *records, size_t n, pare_record_writer *w, pare_replay_counts *counts,
                               pare_error *err)
{
    pare_replay_counts own = {0};
    merge m = {.records = records, .n = n};
    pare_status st = open_merge(&m, err);
    for (size_t i = 0; i < records[0].n_texts && st == PARE_OK; i++)
        st = replay_text(&m, i, w, &own, err);
    if (counts != NULL)
        *counts = own;
    close_merge(&m);
    return st;
}
