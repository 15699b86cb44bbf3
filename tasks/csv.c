#include "tasks/csv.h"

#include <inttypes.h>
#include <string.h>

static pare_status wrong(const pare_csv *c, const char *what, pare_error *err)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: line %" PRIu64 ", column %zu of the record: %s", c->path, c->line,
                     c->n_fields + 1, what);
}

static bool at_line_end(const pare_csv *c)
{
    return c->data[c->at] == '\n' || (c->data[c->at] == '\r' && c->at + 1 < c->len && c->data[c->at + 1] == '\n');
}

/* The bytes between quotes; c->at is behind the opening one, and behind the closing one afterwards. */
static pare_status quoted(pare_csv *c, pare_error *err)
{
    uint64_t opened = c->line;
    pare_status st = PARE_OK;
    while (st == PARE_OK) {
        const char *from = c->data + c->at, *quote = memchr(from, '"', c->len - c->at);
        if (quote == NULL)
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: line %" PRIu64 ", column %zu of the record: the quote is never closed", c->path,
                             opened, c->n_fields + 1);
        size_t n = (size_t)(quote - from);
        for (size_t i = 0; i < n; i++)
            c->line += from[i] == '\n';
        c->at += n + 1;
        bool doubled = c->at < c->len && c->data[c->at] == '"';
        st = pare_buf_put(&c->text, from, n + doubled, err); /* one of two quotes belongs to the text */
        if (!doubled)
            break;
        c->at++;
    }
    if (st == PARE_OK && c->at < c->len && c->data[c->at] != ',' && !at_line_end(c))
        return wrong(c, "text behind the closing quote", err);
    return st;
}

static pare_status plain(pare_csv *c, pare_error *err)
{
    size_t from = c->at;
    while (c->at < c->len && c->data[c->at] != ',' && !at_line_end(c)) {
        if (c->data[c->at] == '"')
            return wrong(c, "a quote in a field that does not begin with one", err);
        if (c->data[c->at] == '\r')
            return wrong(c, "carriage return without line feed", err);
        c->at++;
    }
    return pare_buf_put(&c->text, c->data + from, c->at - from, err);
}

pare_status pare_csv_next(pare_csv *c, bool *more, pare_error *err)
{
    size_t ends[PARE_CSV_MAX_FIELDS], begin = c->at;
    pare_status st = PARE_OK;
    c->n_fields = 0;
    c->text.len = 0;
    c->record_line = c->line;
    *more = c->at < c->len;
    for (bool open = *more; open;) {
        if (c->n_fields == PARE_CSV_MAX_FIELDS)
            return pare_fail(err, PARE_ERR_RANGE, "%s: line %" PRIu64 ": more than %d columns", c->path, c->line,
                             PARE_CSV_MAX_FIELDS);
        bool has_quotes = c->at < c->len && c->data[c->at] == '"';
        c->at += has_quotes;
        if ((st = has_quotes ? quoted(c, err) : plain(c, err)) != PARE_OK)
            return st;
        if (c->at - begin > PARE_CSV_MAX_RECORD)
            return pare_fail(err, PARE_ERR_RANGE, "%s: line %" PRIu64 ": the record has %zu bytes or more, limit %d",
                             c->path, c->record_line, c->at - begin, PARE_CSV_MAX_RECORD);
        ends[c->n_fields++] = c->text.len;
        open = c->at < c->len && c->data[c->at] == ',';
        c->at += open;
    }
    if (c->at < c->len) {
        c->at += c->data[c->at] == '\r' ? 2 : 1;
        c->line++;
    }
    for (size_t i = 0, from = 0; i < c->n_fields; from = ends[i++])
        c->fields[i] = (pare_str){c->text.data == NULL ? "" : c->text.data + from, ends[i] - from};
    return PARE_OK;
}

void pare_csv_close(pare_csv *c)
{
    pare_buf_close(&c->text);
}
