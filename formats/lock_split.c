#include "formats/lock_split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_space(const char *text, size_t at, size_t end)
{
    while (at < end && is_space(text[at]))
        at++;
    return at;
}

/* Behind the string that begins at text[at]. */
static size_t skip_string(const char *text, size_t at, size_t end)
{
    for (at++; at < end && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at < end ? at + 1 : end;
}

/* Behind the object or array that begins at text[at]; false: it does not end. */
static bool skip_container(const char *text, size_t *at, size_t end)
{
    size_t depth = 0;
    for (size_t i = *at; i < end;) {
        char c = text[i];
        if (c == '"') {
            i = skip_string(text, i, end);
            continue;
        }
        i++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0) {
            *at = i;
            return true;
        }
    }
    return false;
}

static bool is_key(const char *text, pare_span string, const char *key)
{
    size_t n = strlen(key);
    return string.to - string.from == n + 2 && memcmp(text + string.from + 1, key, n) == 0;
}

static pare_status add_array(pare_lock_split *s, const char *path, pare_span array, pare_error *err)
{
    if ((s->n & (s->n - 1)) == 0) { /* the capacity is the next power of two */
        pare_span *more = reallocarray(s->arrays, s->n == 0 ? 1 : 2 * s->n, sizeof *more);
        if (more == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu lists of tensors", path, s->n + 1);
        s->arrays = more;
    }
    s->arrays[s->n] = array;
    return pare_buf_printf(&s->rest, err, "[%zu]", s->n++);
}

pare_status pare_lock_split_open(pare_lock_split *s, const char *path, const char *text, size_t len, pare_error *err)
{
    size_t depth = 0, done = 0; /* bytes of the text that are in rest, or cut out */
    bool in_files = false;      /* from depth 2 on: in the array of the outermost object's member "files" */
    pare_status st = PARE_OK;
    *s = (pare_lock_split){0};
    for (size_t at = 0; at < len && st == PARE_OK;) {
        const char c = text[at];
        if (c != '"') {
            depth += c == '{' || c == '[';
            depth -= (c == '}' || c == ']') && depth > 0;
            in_files = in_files && depth >= 2;
            at++;
            continue;
        }
        const pare_span string = {at, skip_string(text, at, len)};
        at = skip_space(text, string.to, len);
        if (at == len || text[at] != ':') {
            at = string.to;
            continue;
        }
        at = skip_space(text, at + 1, len);
        if (at == len || text[at] != '[')
            continue;
        if (depth == 1 && is_key(text, string, "files")) {
            in_files = true;
            depth++;
            at++;
        } else if (depth == 3 && in_files && is_key(text, string, "tensors")) {
            pare_span array = {at, at};
            if (!skip_container(text, &array.to, len))
                st = pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: 'tensors' has no end", path, at);
            else if ((st = pare_buf_put(&s->rest, text + done, at - done, err)) == PARE_OK)
                st = add_array(s, path, array, err);
            done = at = array.to;
        }
    }
    if (st == PARE_OK)
        st = pare_buf_put(&s->rest, text + done, len - done, err);
    if (st != PARE_OK)
        pare_lock_split_close(s);
    return st;
}

void pare_lock_split_close(pare_lock_split *s)
{
    pare_buf_close(&s->rest);
    free(s->arrays);
    *s = (pare_lock_split){0};
}

pare_status pare_lock_split_next(const char *path, const char *text, pare_span array, size_t *at, pare_span *object,
                                 bool *more, pare_error *err)
{
    bool first = *at == 0;
    size_t i = skip_space(text, first ? array.from + 1 : *at, array.to), to;
    if (i >= array.to)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: 'tensors' has no end", path, i);
    *more = text[i] != ']' || i + 1 != array.to;
    if (*more && !first && text[i] == ',')
        i = skip_space(text, i + 1, array.to);
    else if (*more && !first)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: 'tensors': expected ',' or ']'", path, i);
    if (!*more)
        return PARE_OK;
    if (text[i] != '{' || (to = i, !skip_container(text, &to, array.to)))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: 'tensors': expected an object", path, i);
    *object = (pare_span){i, to};
    *at = to;
    return PARE_OK;
}
