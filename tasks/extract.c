#include "tasks/extract.h"

#include <string.h>

#define MARK "#### "

enum { MARK_LEN = sizeof MARK - 1 };

const char *const pare_extraction_names[PARE_N_EXTRACTIONS] = {"strict", "flexible"};

static size_t run_of(pare_str s, size_t at, const char *set)
{
    size_t n = 0;
    while (at + n < s.len && s.data[at + n] != '\0' && strchr(set, s.data[at + n]) != NULL)
        n++;
    return n;
}

/* Length of the match of -?[set]{least,} at byte `at`, or 0. set has no minus. */
static size_t match(pare_str s, size_t at, const char *set, size_t least)
{
    size_t minus = at < s.len && s.data[at] == '-', n = run_of(s, at + minus, set);
    return n >= least ? minus + n : 0;
}

static pare_str strict(pare_str s)
{
    for (size_t i = 0; i + MARK_LEN < s.len; i++) {
        size_t n = memcmp(s.data + i, MARK, MARK_LEN) == 0 ? match(s, i + MARK_LEN, "0123456789.,", 1) : 0;
        if (n > 0)
            return (pare_str){s.data + i + MARK_LEN, n};
    }
    return (pare_str){0};
}

static pare_str flexible(pare_str s)
{
    pare_str last = {0};
    for (size_t i = 0, n; i<s.len; i += n> 0 ? n : 1) {
        n = match(s, i, "$0123456789.,", 2);
        if (n == 0)
            n = match(s, i, "0123456789", 1);
        if (n > 0)
            last = (pare_str){s.data + i, n};
    }
    return last;
}

pare_str pare_extract(pare_extraction how, pare_str text)
{
    return how == PARE_EXTRACT_STRICT ? strict(text) : flexible(text);
}

pare_status pare_normalize_answer(pare_buf *out, pare_str text, pare_error *err)
{
    size_t start = out->len;
    pare_status st = pare_buf_reserve(out, text.len, err);
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c != ',' && c != '$')
            out->data[out->len++] = c;
    }
    char *s = out->data + start;
    size_t n = out->len - start, from = n;
    while (from > 0 && (from < MARK_LEN || memcmp(s + from - MARK_LEN, MARK, MARK_LEN) != 0))
        from--;
    memmove(s, s + from, n - from);
    n -= from;
    size_t line = n > 0 && s[n - 1] == '\n'; /* $ of a pattern is also before a last line end */
    if (n > line && s[n - 1 - line] == '.') {
        memmove(s + n - 1 - line, s + n - line, line);
        n--;
    }
    for (size_t i = 0; i < n; i++)
        if (s[i] >= 'A' && s[i] <= 'Z')
            s[i] = (char)(s[i] - 'A' + 'a');
    s[n] = '\0';
    out->len = start + n;
    return PARE_OK;
}
