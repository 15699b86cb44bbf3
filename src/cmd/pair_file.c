#include "cmd/pair_file.h"
#include "cmd/input.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The next line of text from *at on, without what ends it. */
static bool next_line(const pare_buf *text, size_t *at, pare_str *line)
{
    if (*at >= text->len)
        return false;
    const char *start = text->data + *at, *end = memchr(start, '\n', text->len - *at);
    size_t n = end != NULL ? (size_t)(end - start) : text->len - *at;
    *at += n + (end != NULL);
    *line = (pare_str){start, n > 0 && start[n - 1] == '\r' ? n - 1 : n};
    return true;
}

static pare_str take_field(pare_str *rest)
{
    const char *tab = rest->len > 0 ? memchr(rest->data, '\t', rest->len) : NULL;
    size_t n = tab != NULL ? (size_t)(tab - rest->data) : rest->len;
    pare_str field = {rest->data, n};
    n += tab != NULL;
    *rest = (pare_str){rest->data + n, rest->len - n};
    return field;
}

static bool read_score(pare_str field, double *out)
{
    char text[64], *end = NULL;
    if (field.len == 0 || field.len >= sizeof text)
        return false;
    memcpy(text, field.data, field.len);
    text[field.len] = '\0';
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out);
}

static pare_status add_pair(cmd_pair_file *f, pare_str line, size_t number, pare_error *err)
{
    pare_str rest = line, score;
    pare_text_pair *p = &f->pairs[f->n_pairs];
    *p = (pare_text_pair){f->n_texts, f->n_texts + 1, NAN};
    for (int i = 0; i < 2; i++) {
        f->texts[f->n_texts] = take_field(&rest);
        f->lines[f->n_texts++] = number;
    }
    score = take_field(&rest);
    bool whole = f->texts[p->a].len > 0 && f->texts[p->b].len > 0 && rest.len == 0;
    if (!whole || (score.len > 0 && !read_score(score, &p->score)))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: line %zu: expected two texts with a tab between, and perhaps another tab and a number",
                         f->name, number);
    f->n_pairs++;
    return PARE_OK;
}

/* Every text with the next ones, as many as make no more pairs than CMD_PAIR_MANY texts among themselves have. */
static pare_status pair_all(cmd_pair_file *f, pare_error *err)
{
    const size_t most = (size_t)CMD_PAIR_MANY * (CMD_PAIR_MANY - 1) / 2, n = f->n_texts;
    size_t reach = n <= CMD_PAIR_MANY ? n - 1 : most / n > 0 ? most / n : 1;
    free(f->pairs);
    f->pairs = calloc(n * reach + 1, sizeof *f->pairs);
    if (f->pairs == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the pairs of %zu texts", f->name, n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n && k <= i + reach; k++)
            f->pairs[f->n_pairs++] = (pare_text_pair){i, k, NAN};
    return PARE_OK;
}

static size_t count_lines(const pare_buf *text)
{
    size_t n = 0, at = 0;
    for (pare_str line; next_line(text, &at, &line);)
        n++;
    return n;
}

static pare_status parse(cmd_pair_file *f, pare_error *err)
{
    size_t n = count_lines(&f->bytes), number = 1, at = 0, bad = 0;
    bool pairs = f->bytes.len > 0 && memchr(f->bytes.data, '\t', f->bytes.len) != NULL;
    pare_status st = PARE_OK;
    if (!pare_utf8_valid(f->bytes.data, f->bytes.len, &bad))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: not UTF-8", f->name, bad);
    f->texts = calloc(2 * n + 1, sizeof *f->texts);
    f->lines = calloc(2 * n + 1, sizeof *f->lines);
    f->pairs = calloc(n + 1, sizeof *f->pairs);
    if (f->texts == NULL || f->lines == NULL || f->pairs == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu lines", f->name, n);
    for (pare_str line; st == PARE_OK && next_line(&f->bytes, &at, &line); number++) {
        if (line.len == 0)
            continue;
        if (pairs) {
            st = add_pair(f, line, number, err);
            continue;
        }
        f->texts[f->n_texts] = line;
        f->lines[f->n_texts++] = number;
    }
    if (st == PARE_OK && f->n_texts < 2)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %zu texts; two lines, or a pair in one, are the least", f->name,
                         f->n_texts);
    return st == PARE_OK && !pairs ? pair_all(f, err) : st;
}

pare_status cmd_pair_file_open(cmd_pair_file *f, const char *path, pare_error *err)
{
    *f = (cmd_pair_file){.name = path};
    pare_status st = cmd_read_all(path, &f->bytes, err);
    if (st == PARE_OK)
        st = parse(f, err);
    if (st != PARE_OK)
        cmd_pair_file_close(f);
    return st;
}

void cmd_pair_file_close(cmd_pair_file *f)
{
    pare_buf_close(&f->bytes);
    free(f->texts);
    free(f->lines);
    free(f->pairs);
    *f = (cmd_pair_file){0};
}
