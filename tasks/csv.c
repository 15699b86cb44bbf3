#include "tasks/csv.h"

#include <inttypes.h>
#include <string.h>

static bool at_line_end(const pare_csv *c)
{
    return c->at == c->len || c->data[c->at] == '\n' ||
           (c->data[c->at] == '\r' && c->at + 1 < c->len && c->data[c->at + 1] == '\n');
}

/* Text up to the next comma or the end of the line. */
static pare_status plain(pare_csv *c, pare_error *err)
{
    size_t from = c->at;
    for (; !at_line_end(c) && c->data[c->at] != ','; c->at++) {
        if (c->data[c->at] == '\r')
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: line %" PRIu64 ", column %zu of the record: carriage return without line feed",
                             c->path, c->line, c->n_fields + 1);
        c->n_stray += c->data[c->at] == '"';
    }
    return pare_buf_put(&c->text, c->data + from, c->at - from, err);
}

/* The bytes between quotes, and what stands behind the closing one; c->at is behind the opening one. */
static pare_status quoted(pare_csv *c, pare_error *err)
{
    uint64_t opened = c->line;
    pare_status st = PARE_OK;
    for (bool open = true; open && st == PARE_OK;) {
        const char *from = c->data + c->at, *quote = memchr(from, '"', c->len - c->at);
        if (quote == NULL)
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: line %" PRIu64 ", column %zu of the record: the quote is never closed", c->path,
                             opened, c->n_fields + 1);
        size_t n = (size_t)(quote - from);
        for (size_t i = 0; i < n; i++)
            c->line += from[i] == '\n';
        c->at += n + 1;
        open = c->at < c->len && c->data[c->at] == '"'; /* two quotes: one of them belongs to the text */
        st = pare_buf_put(&c->text, from, n + open, err);
        c->at += open;
    }
    if (st != PARE_OK || at_line_end(c) || c->data[c->at] == ',')
        return st;
    c->n_stray++;
    return plain(c, err);
}

static pare_status end_field(pare_csv *c, size_t begin, pare_error *err)
{
    if (c->at - begin > PARE_CSV_MAX_RECORD)
        return pare_fail(err, PARE_ERR_RANGE, "%s: line %" PRIu64 ": the record has %zu bytes or more, limit %d",
                         c->path, c->record_line, c->at - begin, PARE_CSV_MAX_RECORD);
    if (c->n_fields == PARE_CSV_MAX_FIELDS)
        return pare_fail(err, PARE_ERR_RANGE, "%s: line %" PRIu64 ": more than %d columns", c->path, c->line,
                         PARE_CSV_MAX_FIELDS);
    c->ends[c->n_fields++] = c->text.len;
    return PARE_OK;
}

/* RFC 4180, and rule 1. */
static pare_status read_record(pare_csv *c, pare_error *err)
{
    size_t begin = c->at;
    pare_status st = PARE_OK;
    for (bool open = true; open && st == PARE_OK;) {
        bool has_quotes = c->at < c->len && c->data[c->at] == '"';
        c->at += has_quotes;
        st = has_quotes ? quoted(c, err) : plain(c, err);
        if (st == PARE_OK)
            st = end_field(c, begin, err);
        open = c->at < c->len && c->data[c->at] == ',';
        c->at += open;
    }
    return st;
}

/* Where the text of a field ends that began with a quote, by rule 2: [from, to) is what is left of the line. */
static const char *closing_quote(const char *from, const char *to, const char *last_comma)
{
    for (const char *q = from; (q = memchr(q, '"', (size_t)(to - q))) != NULL; q++)
        if (q + 1 == to || (q[1] == ',' && (q + 1 == last_comma || q[2] == '"')))
            return q;
    return NULL;
}

/* Rule 2. */
static pare_status read_line(pare_csv *c, pare_error *err)
{
    const char *from = c->data + c->at, *end = memchr(from, '\n', c->len - c->at);
    const char *to = end != NULL ? end : c->data + c->len;
    to -= to > from && to[-1] == '\r';
    /* of a last field without quotes, else NULL */
    const char *last_comma = memrchr(from, ',', (size_t)(to - from));
    if (last_comma != NULL && memchr(last_comma, '"', (size_t)(to - last_comma)) != NULL)
        last_comma = NULL;
    size_t begin = c->at;
    pare_status st = PARE_OK;
    for (bool open = true; open && st == PARE_OK;) {
        const char *text = from, *stop = from < to && *from == '"' ? closing_quote(from + 1, to, last_comma) : NULL;
        if (stop != NULL) {
            text++;
            from = stop + 1;
        } else {
            stop = memchr(from, ',', (size_t)(to - from));
            stop = from = stop != NULL ? stop : to;
        }
        st = pare_buf_put(&c->text, text, (size_t)(stop - text), err);
        c->at = (size_t)(from - c->data);
        if (st == PARE_OK)
            st = end_field(c, begin, err);
        open = from < to;
        from += open; /* a comma */
    }
    return st;
}

static void begin_record(pare_csv *c, size_t at, uint64_t line)
{
    c->at = at;
    c->line = c->record_line = line;
    c->n_fields = c->n_stray = c->text.len = 0;
}

pare_status pare_csv_next(pare_csv *c, bool *more, pare_error *err)
{
    size_t begin = c->at;
    begin_record(c, begin, c->line);
    *more = c->at < c->len;
    if (!*more)
        return PARE_OK;
    pare_status st = read_record(c, err);
    bool stray = c->n_stray > 0;
    if (st == PARE_OK && stray && c->n_expected > 0 && c->n_fields != c->n_expected) {
        begin_record(c, begin, c->record_line);
        st = read_line(c, err);
    }
    if (st != PARE_OK)
        return st;
    if (c->at < c->len) {
        c->at += c->data[c->at] == '\r' ? 2 : 1;
        c->line++;
    }
    if (stray && c->n_repaired++ == 0)
        c->first_repaired = c->record_line;
    for (size_t i = 0, from = 0; i < c->n_fields; from = c->ends[i++])
        c->fields[i] = (pare_str){c->text.data == NULL ? "" : c->text.data + from, c->ends[i] - from};
    return PARE_OK;
}

void pare_csv_close(pare_csv *c)
{
    pare_buf_close(&c->text);
}
