#include "cmd/metadata.h"
#include "cmd/console.h"
#include "core/bytes.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Element i of an array, or the value itself, as a scalar. */
static pare_meta_value element(const pare_meta_value *value, uint64_t i)
{
    pare_meta_value e = {.type = value->type, .n = 1};
    if (value->type != PARE_META_ARRAY)
        return *value;
    e.type = value->elem;
    if (e.type == PARE_META_STRING) {
        e.v.s = value->v.strings[i];
        return e;
    }
    size_t size = pare_meta_type_size(e.type);
    uint8_t raw[8] = {0};
    memcpy(raw, (const uint8_t *)value->v.data + i * size, size);
    uint64_t bits = pare_load_u64le(raw);
    if (e.type == PARE_META_F32)
        e.v.f = pare_load_f32le(raw);
    else if (e.type == PARE_META_F64)
        memcpy(&e.v.f, &bits, sizeof bits);
    else if (e.type == PARE_META_I8 || e.type == PARE_META_I16 || e.type == PARE_META_I32)
        e.v.i = (int64_t)(bits << (64 - 8 * size)) >> (64 - 8 * size); /* sign extension */
    else
        e.v.u = bits;
    return e;
}

static bool is_float(pare_meta_type type)
{
    return type == PARE_META_F32 || type == PARE_META_F64;
}

static bool is_signed(pare_meta_type type)
{
    return type == PARE_META_I8 || type == PARE_META_I16 || type == PARE_META_I32 || type == PARE_META_I64;
}

/* The fewest digits that read back as the same number. */
static void float_text(char *dst, size_t size, double value, bool single)
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(dst, size, "%.*g", digits, value);
        double back = strtod(dst, NULL);
        if (single ? (float)back == (float)value : back == value)
            return;
    }
}

/* A scalar that is no string. */
static void number_text(char *dst, size_t size, const pare_meta_value *e)
{
    if (e->type == PARE_META_BOOL)
        snprintf(dst, size, "%s", e->v.u != 0 ? "true" : "false");
    else if (is_float(e->type))
        float_text(dst, size, e->v.f, e->type == PARE_META_F32);
    else if (is_signed(e->type))
        snprintf(dst, size, "%" PRId64, e->v.i);
    else
        snprintf(dst, size, "%" PRIu64, e->v.u);
}

static json_t *scalar_json(const pare_meta_value *e)
{
    char text[32];
    if (e->type == PARE_META_STRING)
        return cmd_json_text(e->v.s.data, e->v.s.len);
    if (e->type == PARE_META_BOOL)
        return json_boolean(e->v.u != 0);
    if (is_float(e->type) && isfinite(e->v.f))
        return json_real(e->v.f);
    if (is_signed(e->type) || (!is_float(e->type) && e->v.u <= INT64_MAX))
        return json_integer(is_signed(e->type) ? e->v.i : (json_int_t)e->v.u);
    number_text(text, sizeof text, e); /* above int64, NaN, infinity */
    return json_string(text);
}

json_t *cmd_json_meta(const pare_meta_value *value, bool whole)
{
    if (value->type != PARE_META_ARRAY)
        return scalar_json(value);
    if (value->n > CMD_SHORT_ARRAY && !whole)
        return json_pack("{s:s, s:I}", "elem", pare_meta_type_name(value->elem), "n", (json_int_t)value->n);
    json_t *list = json_array();
    for (uint64_t i = 0; i < value->n; i++) {
        pare_meta_value e = element(value, i);
        json_array_append_new(list, scalar_json(&e));
    }
    return list;
}

json_t *cmd_json_metadata(const pare_meta *meta, bool whole)
{
    json_t *doc = json_object();
    for (size_t i = 0; i < meta->n; i++) {
        json_t *key = cmd_json_text(meta->values[i].key.data, meta->values[i].key.len);
        json_object_setn_new(doc, json_string_value(key), json_string_length(key),
                             cmd_json_meta(&meta->values[i], whole));
        json_decref(key);
    }
    return doc;
}

static void print_scalar(const pare_meta_value *e)
{
    char text[32];
    if (e->type == PARE_META_STRING) {
        printf("\"%s\"%s", cmd_safe(e->v.s.data, e->v.s.len < 100 ? e->v.s.len : 100), e->v.s.len > 100 ? "..." : "");
        return;
    }
    number_text(text, sizeof text, e);
    fputs(text, stdout);
}

void cmd_print_meta(const pare_meta_value *value)
{
    enum { SHOWN = 6 };
    printf("%s = ", cmd_safe(value->key.data, value->key.len));
    if (value->type == PARE_META_ARRAY)
        printf("%s[%" PRIu64 "]: ", pare_meta_type_name(value->elem), value->n);
    for (uint64_t i = 0; i < value->n && i < SHOWN; i++) {
        pare_meta_value e = element(value, i);
        fputs(i > 0 ? ", " : "", stdout);
        print_scalar(&e);
    }
    puts(value->n > SHOWN ? ", ..." : "");
}

/* Newlines and tabs are kept, everything else that a terminal acts on is escaped. */
static void print_text(pare_str s)
{
    for (size_t at = 0; at < s.len;) {
        size_t n = 0;
        while (at + n < s.len && n < 120 && s.data[at + n] != '\n' && s.data[at + n] != '\t')
            n++;
        while (n == 120 && n > 1 && ((unsigned char)s.data[at + n] & 0xc0) == 0x80) /* not inside a character */
            n--;
        fputs(cmd_safe(s.data + at, n), stdout);
        at += n;
        if (at < s.len && (s.data[at] == '\n' || s.data[at] == '\t'))
            putchar(s.data[at++]);
    }
    putchar('\n');
}

void cmd_print_meta_whole(const pare_meta_value *value)
{
    for (uint64_t i = 0; i < value->n; i++) {
        pare_meta_value e = element(value, i);
        if (e.type == PARE_META_STRING)
            print_text(e.v.s);
        else {
            print_scalar(&e);
            putchar('\n');
        }
    }
}
