#include "core/json.h"
#include "core/map.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool memory_refused; /* a request of jansson got none: any document may lack members now */

static void *watched_malloc(size_t n)
{
    void *p = malloc(n);
    if (p == NULL)
        atomic_store(&memory_refused, true);
    return p;
}

void pare_json_watch_memory(void)
{
    json_set_alloc_funcs(watched_malloc, free);
}

/* Where in the text the values become more than a document of len bytes may have, or len: what jansson 2.14 allocates
 * for each, about (64-bit glibc). Text that is no JSON gives some number. */
static size_t too_dense(const char *s, size_t len, unsigned times)
{
    enum { OBJECT = 256, ARRAY = 112, STRING = 72, ITEM = 32, FREE = 16 << 20 };
    const uint64_t limit = FREE + times * (uint64_t)len;
    uint64_t cost = 0;
    for (size_t i = 0; i < len; i++) {
        switch (s[i]) {
        case '{':
            cost += OBJECT;
            break;
        case '[':
            cost += ARRAY;
            break;
        case ',':
            cost += ITEM;
            break;
        case '"':
            cost += STRING;
            while (++i < len && s[i] != '"')
                i += s[i] == '\\';
            break;
        default:
            continue;
        }
        if (cost > limit)
            return i;
    }
    return len;
}

pare_status pare_json_parse(json_t **out, const char *path, const void *data, size_t len, unsigned flags,
                            pare_error *err)
{
    json_error_t why;
    size_t bad = 0;
    *out = NULL;
    if (!pare_utf8_valid(data, len, &bad))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: not UTF-8", path, bad);
    const unsigned times = flags & PARE_JSON_DENSE ? 24 : 10;
    if ((bad = too_dense(data, len, times)) < len)
        return pare_fail(
            err, PARE_ERR_RANGE,
            "%s: offset %zu: too many small values: a document of %zu bytes may take %u times as many, and "
            "16 MiB, of memory",
            path, bad, len, times);
    size_t how = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | (flags & PARE_JSON_NUL ? JSON_ALLOW_NUL : 0);
    json_t *doc = json_loadb(data, len, how, &why);
    if (doc == NULL && flags & PARE_JSON_BIG_AS_REAL && json_error_code(&why) == json_error_numeric_overflow)
        doc = json_loadb(data, len, how | JSON_DECODE_INT_AS_REAL, &why);
    if (atomic_load(&memory_refused) || (doc == NULL && json_error_code(&why) == json_error_out_of_memory)) {
        json_decref(doc);
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a document of %zu bytes", path, len);
    }
    if (doc == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %d (line %d): %s", path, why.position, why.line,
                         json_error_code(&why) == json_error_null_character ? "a string holds a NUL" : why.text);
    *out = doc;
    return PARE_OK;
}

pare_status pare_json_load(json_t **out, const char *path, uint64_t max_bytes, unsigned flags, pare_error *err)
{
    pare_map file;
    *out = NULL;
    pare_status st = pare_map_open_content(&file, path, err);
    if (st == PARE_OK && file.size > max_bytes)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: %llu bytes, limit %llu", path, (unsigned long long)file.size,
                       (unsigned long long)max_bytes);
    if (st == PARE_OK)
        st =
            pare_json_parse(out, path, file.data == NULL ? (const void *)"" : file.data, (size_t)file.size, flags, err);
    pare_map_close(&file);
    return st;
}

static const char *kind_name(const json_t *v)
{
    static const char *const names[] = {"an object",     "an array", "a string", "an integer",
                                        "a real number", "true",     "false",    "null"};
    return v == NULL ? "nothing" : names[json_typeof(v)];
}

/* The member, or NULL with *st set: PARE_OK when it may be absent. */
static const json_t *member(const json_t *obj, const char *path, const char *key, bool *found, pare_status *st,
                            pare_error *err)
{
    const json_t *v = json_object_get(obj, key);
    *st = PARE_OK;
    if (v != NULL && json_is_null(v))
        v = NULL;
    if (found != NULL)
        *found = v != NULL;
    else if (v == NULL)
        *st = pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is missing", path, key);
    return v;
}

static pare_status wrong_kind(const json_t *v, const char *path, const char *key, const char *expected, pare_error *err)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is %s, expected %s", path, key, kind_name(v), expected);
}

pare_status pare_json_u64(const json_t *obj, const char *path, const char *key, uint64_t min, uint64_t max,
                          uint64_t *out, bool *found, pare_error *err)
{
    pare_status st;
    const json_t *v = member(obj, path, key, found, &st, err);
    if (v == NULL)
        return st;
    double real = json_is_real(v) ? json_real_value(v) : 0.0;
    bool integral = json_is_integer(v) || (json_is_real(v) && real == floor(real) && fabs(real) < 9007199254740992.0);
    if (!integral)
        return wrong_kind(v, path, key, "an integer", err);
    json_int_t i = json_is_integer(v) ? json_integer_value(v) : (json_int_t)real;
    if (i < 0 || (uint64_t)i < min || (uint64_t)i > max)
        return pare_fail(err, PARE_ERR_RANGE, "%s: '%s' is %lld, allowed %llu to %llu", path, key, (long long)i,
                         (unsigned long long)min, (unsigned long long)max);
    *out = (uint64_t)i;
    return PARE_OK;
}

pare_status pare_json_integer(const json_t *obj, const char *path, const char *key, uint64_t min, uint64_t max,
                              uint64_t *out, bool *found, pare_error *err)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_real(v) ? wrong_kind(v, path, key, "an integer", err)
                           : pare_json_u64(obj, path, key, min, max, out, found, err);
}

pare_status pare_json_f64(const json_t *obj, const char *path, const char *key, double *out, bool *found,
                          pare_error *err)
{
    pare_status st;
    const json_t *v = member(obj, path, key, found, &st, err);
    if (v == NULL)
        return st;
    if (!json_is_number(v))
        return wrong_kind(v, path, key, "a number", err);
    *out = json_number_value(v);
    return PARE_OK;
}

pare_status pare_json_bool(const json_t *obj, const char *path, const char *key, bool *out, bool *found,
                           pare_error *err)
{
    pare_status st;
    const json_t *v = member(obj, path, key, found, &st, err);
    if (v == NULL)
        return st;
    if (!json_is_boolean(v))
        return wrong_kind(v, path, key, "true or false", err);
    *out = json_is_true(v);
    return PARE_OK;
}

pare_status pare_json_str(const json_t *obj, const char *path, const char *key, pare_str *out, bool *found,
                          pare_error *err)
{
    pare_status st;
    const json_t *v = member(obj, path, key, found, &st, err);
    if (v == NULL)
        return st;
    if (!json_is_string(v))
        return wrong_kind(v, path, key, "a string", err);
    *out = (pare_str){json_string_value(v), json_string_length(v)};
    return PARE_OK;
}

bool pare_json_is(const json_t *v, const char *text)
{
    const size_t len = strlen(text);
    return json_is_string(v) && json_string_length(v) == len && memcmp(json_string_value(v), text, len) == 0;
}

json_t *pare_json_text(const char *text, size_t len)
{
    json_t *exact = json_stringn(text, len);
    if (exact != NULL)
        return exact;
    size_t size = len < SIZE_MAX / 4 ? 4 * len + 1 : 0;
    char *safe = size > 0 ? malloc(size) : NULL;
    json_t *escaped = safe != NULL ? json_string(pare_escape_text(safe, size, text, len)) : NULL;
    free(safe);
    return escaped;
}

json_t *pare_json_float(float v)
{
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v)
            break;
    }
    return json_real(strtod(text, NULL));
}

/* The document with reals of the fewest digits (15 to 17) at which all of them read back as they are: 1e-05 and not
 * 1.0000000000000001e-05. NULL: no memory. */
static char *dump_text(const json_t *doc)
{
    const size_t flags = JSON_SORT_KEYS | JSON_INDENT(1) | JSON_ENCODE_ANY;
    for (int digits = 15; digits < 17; digits++) {
        char *text = json_dumps(doc, flags | JSON_REAL_PRECISION(digits));
        json_t *back = text != NULL ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
        bool same = back != NULL && json_equal(doc, back);
        json_decref(back);
        if (text == NULL || same)
            return text;
        free(text);
    }
    return json_dumps(doc, flags | JSON_REAL_PRECISION(17));
}

pare_status pare_json_dump(const json_t *doc, pare_buf *out, pare_error *err)
{
    char *text = dump_text(doc);
    if (text == NULL || atomic_load(&memory_refused)) {
        free(text);
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a JSON document");
    }
    pare_status st = pare_buf_puts(out, text, err);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "\n", err);
    free(text);
    return st;
}
