#include "formats/json_cursor.h"
#include "core/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t pare_cursor_offset(const pare_json_cursor *c)
{
    return c->base + c->at;
}

static void skip_space(pare_json_cursor *c)
{
    while (c->at < c->len && memchr(" \t\n\r", c->text[c->at], 4) != NULL)
        c->at++;
}

static pare_status unexpected(const pare_json_cursor *c, const char *where, const char *expected, pare_error *err)
{
    char found[16] = "the end";
    if (c->at < c->len) {
        size_t n = pare_utf8_next(c->text + c->at, c->len - c->at, NULL);
        snprintf(found, sizeof found, "'%.*s'", n > 0 ? (int)n : 1, c->text + c->at);
    }
    return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": %s: found %s, expected %s", c->path,
                     pare_cursor_offset(c), where, found, expected);
}

bool pare_cursor_at(pare_json_cursor *c, char ch)
{
    skip_space(c);
    return c->at < c->len && c->text[c->at] == ch;
}

pare_status pare_cursor_expect(pare_json_cursor *c, char ch, const char *where, pare_error *err)
{
    const char expected[] = {'\'', ch, '\'', '\0'};
    if (!pare_cursor_at(c, ch))
        return unexpected(c, where, expected, err);
    c->at++;
    return PARE_OK;
}

pare_status pare_cursor_item(pare_json_cursor *c, size_t n, char close, const char *where, bool *more, pare_error *err)
{
    *more = false;
    if (pare_cursor_at(c, close)) {
        c->at++;
        return PARE_OK;
    }
    *more = true;
    if (n == 0)
        return PARE_OK;
    const char expected[] = {'\'', ',', '\'', ' ', 'o', 'r', ' ', '\'', close, '\'', '\0'};
    if (!pare_cursor_at(c, ','))
        return unexpected(c, where, expected, err);
    c->at++;
    return pare_cursor_at(c, close) ? unexpected(c, where, "another item after the comma", err) : PARE_OK;
}

/* The four digits behind "\u". */
static bool read_hex4(const char *s, size_t left, uint32_t *out)
{
    if (left < 4)
        return false;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char ch = s[i];
        int digit = ch >= '0' && ch <= '9'   ? ch - '0'
                    : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                    : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                             : -1;
        if (digit < 0)
            return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

/* Decode the escape whose backslash is at c->at to dst (4 bytes of room), step behind it. 0: it is malformed. */
static size_t decode_escape(pare_json_cursor *c, char *dst)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *s = c->text + c->at;
    size_t left = c->len - c->at;
    uint32_t high = 0, low = 0;
    const char *simple = left < 2 ? NULL : memchr(names, s[1], sizeof names - 1);
    if (simple != NULL) {
        dst[0] = values[simple - names];
        c->at += 2;
        return 1;
    }
    if (left < 2 || s[1] != 'u' || !read_hex4(s + 2, left - 2, &high) || high == 0)
        return 0;
    size_t used = 6;
    if (high >= 0xd800 && high < 0xdc00) {
        if (left < 12 || s[6] != '\\' || s[7] != 'u' || !read_hex4(s + 8, left - 8, &low) || low < 0xdc00 ||
            low > 0xdfff)
            return 0;
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        used = 12;
    }
    size_t n = pare_utf8_put(dst, high);
    c->at += n > 0 ? used : 0;
    return n;
}

/* The closing quote of the string whose content starts at c->at, or c->len; *escaped: a backslash lies before it. */
static size_t find_quote(const pare_json_cursor *c, bool *escaped)
{
    size_t end = c->at;
    *escaped = false;
    while (end < c->len && c->text[end] != '"') {
        bool escape = c->text[end] == '\\';
        *escaped |= escape;
        end += escape && end + 1 < c->len ? 2 : 1;
    }
    return end;
}

pare_status pare_cursor_string(pare_json_cursor *c, const char *where, pare_str *out, pare_error *err)
{
    bool escaped;
    if (!pare_cursor_at(c, '"'))
        return unexpected(c, where, "a string", err);
    c->at++;
    size_t end = find_quote(c, &escaped), n = 0;
    char *copy = escaped ? pare_arena_alloc(c->arena, end - c->at, err) : NULL;
    if (escaped && copy == NULL)
        return PARE_ERR_MEMORY;
    *out = (pare_str){escaped ? copy : c->text + c->at, 0};
    while (c->at < end) {
        unsigned char byte = (unsigned char)c->text[c->at];
        if (byte < 0x20)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": %s: control byte 0x%02x inside a string",
                             c->path, pare_cursor_offset(c), where, byte);
        if (byte == '\\') {
            size_t put = decode_escape(c, copy + n); /* an escape is never shorter than what it stands for */
            if (put == 0)
                return pare_fail(err, PARE_ERR_FORMAT,
                                 "%s: offset %" PRIu64 ": %s: escape that is malformed, a lone surrogate or a NUL",
                                 c->path, pare_cursor_offset(c), where);
            n += put;
            continue;
        }
        if (escaped)
            copy[n] = (char)byte;
        n++;
        c->at++;
    }
    if (c->at >= c->len)
        return unexpected(c, where, "'\"'", err);
    c->at++;
    out->len = n;
    return PARE_OK;
}

pare_status pare_cursor_u64(pare_json_cursor *c, const char *where, uint64_t *out, pare_error *err)
{
    uint64_t value = 0;
    skip_space(c);
    size_t start = c->at;
    for (; c->at < c->len && c->text[c->at] >= '0' && c->text[c->at] <= '9'; c->at++)
        if (!pare_mul_u64(value, 10, &value) || !pare_add_u64(value, (uint64_t)(c->text[c->at] - '0'), &value))
            return pare_fail(err, PARE_ERR_RANGE, "%s: offset %" PRIu64 ": %s: integer above 2^64 - 1", c->path,
                             c->base + start, where);
    bool leading_zero = c->at > start + 1 && c->text[start] == '0';
    if (leading_zero)
        c->at = start;
    if (c->at == start || (c->at < c->len && memchr(".eE", c->text[c->at], 3) != NULL))
        return unexpected(c, where, "a non-negative integer of plain digits", err);
    *out = value;
    return PARE_OK;
}

bool pare_cursor_skip(pare_json_cursor *c)
{
    size_t depth = 0, start;
    skip_space(c);
    for (start = c->at; c->at < c->len; c->at++) {
        char ch = c->text[c->at];
        bool escaped;
        if (ch == '"') {
            c->at++;
            c->at = find_quote(c, &escaped);
            if (c->at >= c->len)
                return false;
        } else if (ch == '{' || ch == '[')
            depth++;
        else if (depth == 0 && memchr(",}]", ch, 3) != NULL)
            return c->at > start;
        else if (ch == '}' || ch == ']')
            depth--;
    }
    return c->at > start && depth == 0;
}

pare_status pare_cursor_end(pare_json_cursor *c, const char *where, pare_error *err)
{
    skip_space(c);
    return c->at < c->len ? unexpected(c, where, "only spaces up to the end", err) : PARE_OK;
}
