#include "model/meta.h"
#include "core/bytes.h"
#include "core/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} type_rows[PARE_META_TYPE_COUNT] = {
    [PARE_META_U8] = {"u8", 1},       [PARE_META_I8] = {"i8", 1},     [PARE_META_U16] = {"u16", 2},
    [PARE_META_I16] = {"i16", 2},     [PARE_META_U32] = {"u32", 4},   [PARE_META_I32] = {"i32", 4},
    [PARE_META_F32] = {"f32", 4},     [PARE_META_BOOL] = {"bool", 1}, [PARE_META_STRING] = {"string", 0},
    [PARE_META_ARRAY] = {"array", 0}, [PARE_META_U64] = {"u64", 8},   [PARE_META_I64] = {"i64", 8},
    [PARE_META_F64] = {"f64", 8},
};

const char *pare_meta_type_name(pare_meta_type type)
{
    return type_rows[type].name;
}

size_t pare_meta_type_size(pare_meta_type type)
{
    return type_rows[type].size;
}

static bool is_unsigned(pare_meta_type t)
{
    return t == PARE_META_U8 || t == PARE_META_U16 || t == PARE_META_U32 || t == PARE_META_U64;
}

static bool is_signed(pare_meta_type t)
{
    return t == PARE_META_I8 || t == PARE_META_I16 || t == PARE_META_I32 || t == PARE_META_I64;
}

void pare_meta_close(pare_meta *m)
{
    free(m->values);
    pare_index_close(&m->by_key);
    pare_arena_close(&m->arena);
    *m = (pare_meta){0};
}

static pare_status set_capacity(pare_meta *m, size_t cap, pare_error *err)
{
    size_t bytes = 0;
    pare_meta_value *values = pare_mul_size(cap, sizeof *values, &bytes) ? realloc(m->values, bytes) : NULL;
    if (values == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu metadata values", cap);
    m->values = values;
    m->cap = cap;
    return PARE_OK;
}

pare_status pare_meta_reserve(pare_meta *m, size_t n, pare_error *err)
{
    pare_status st = n > m->cap ? set_capacity(m, n, err) : PARE_OK;
    return st == PARE_OK ? pare_index_reserve(&m->by_key, n, err) : st;
}

static pare_status append(pare_meta *m, const pare_meta_value *value, pare_error *err)
{
    pare_status st = m->n == m->cap ? set_capacity(m, m->cap == 0 ? 64 : m->cap * 2, err) : PARE_OK;
    if (st == PARE_OK)
        m->values[m->n++] = *value;
    return st;
}

pare_status pare_meta_add(pare_meta *m, const char *path, const pare_meta_value *value, pare_error *err)
{
    int64_t old = PARE_INDEX_NONE;
    pare_status st = pare_index_add(&m->by_key, value->key, (int64_t)m->n, &old, err);
    if (st != PARE_OK)
        return st;
    if (old != PARE_INDEX_NONE)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%.*s' twice, at offsets %" PRIu64 " and %" PRIu64, path,
                         value->key.len < 200 ? (int)value->key.len : 200, value->key.data, m->values[old].offset,
                         value->offset);
    return append(m, value, err);
}

static pare_status copy_str(pare_arena *a, pare_str src, pare_str *dst, pare_error *err)
{
    char *p = pare_arena_copy(a, src.data, src.len, err);
    *dst = (pare_str){p, src.len};
    return p == NULL ? PARE_ERR_MEMORY : PARE_OK;
}

/* The bytes of value that live elsewhere, copied into the arena of m. The key is not touched. */
static pare_status copy_content(pare_meta *m, pare_meta_value *value, pare_error *err)
{
    if (value->type == PARE_META_STRING)
        return copy_str(&m->arena, value->v.s, &value->v.s, err);
    if (value->type != PARE_META_ARRAY)
        return PARE_OK;
    size_t bytes = 0, elem = value->elem == PARE_META_STRING ? sizeof(pare_str) : pare_meta_type_size(value->elem);
    void *p = pare_mul_size((size_t)value->n, elem, &bytes) ? pare_arena_alloc(&m->arena, bytes, err) : NULL;
    if (p == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for an array of %" PRIu64 " elements", value->n);
    if (value->elem != PARE_META_STRING) {
        if (bytes > 0)
            memcpy(p, value->v.data, bytes);
        value->v.data = p;
        return PARE_OK;
    }
    pare_str *strings = p;
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < value->n && st == PARE_OK; i++)
        st = copy_str(&m->arena, value->v.strings[i], &strings[i], err);
    value->v.strings = strings;
    return st;
}

pare_status pare_meta_set(pare_meta *m, const pare_meta_value *value, pare_error *err)
{
    pare_meta_value copy = *value;
    pare_status st = copy_content(m, &copy, err);
    if (st != PARE_OK)
        return st;
    int64_t at = pare_index_find(&m->by_key, value->key);
    if (at != PARE_INDEX_NONE) {
        copy.key = m->values[at].key;
        m->values[at] = copy;
        return PARE_OK;
    }
    if ((st = copy_str(&m->arena, value->key, &copy.key, err)) != PARE_OK)
        return st;
    return pare_meta_add(m, "metadata", &copy, err);
}

static pare_meta_value scalar(const char *key, pare_meta_type type)
{
    return (pare_meta_value){.key = {key, strlen(key)}, .type = type, .n = 1};
}

pare_status pare_meta_set_u32(pare_meta *m, const char *key, uint32_t v, pare_error *err)
{
    pare_meta_value value = scalar(key, PARE_META_U32);
    value.v.u = v;
    return pare_meta_set(m, &value, err);
}

pare_status pare_meta_set_u64(pare_meta *m, const char *key, uint64_t v, pare_error *err)
{
    pare_meta_value value = scalar(key, PARE_META_U64);
    value.v.u = v;
    return pare_meta_set(m, &value, err);
}

pare_status pare_meta_set_i32(pare_meta *m, const char *key, int32_t v, pare_error *err)
{
    pare_meta_value value = scalar(key, PARE_META_I32);
    value.v.i = v;
    return pare_meta_set(m, &value, err);
}

pare_status pare_meta_set_f32(pare_meta *m, const char *key, float v, pare_error *err)
{
    pare_meta_value value = scalar(key, PARE_META_F32);
    value.v.f = v;
    return pare_meta_set(m, &value, err);
}

pare_status pare_meta_set_bool(pare_meta *m, const char *key, bool v, pare_error *err)
{
    pare_meta_value value = scalar(key, PARE_META_BOOL);
    value.v.u = v;
    return pare_meta_set(m, &value, err);
}

pare_status pare_meta_set_str(pare_meta *m, const char *key, pare_str v, pare_error *err)
{
    pare_meta_value value = scalar(key, PARE_META_STRING);
    value.v.s = v;
    return pare_meta_set(m, &value, err);
}

pare_status pare_meta_set_strs(pare_meta *m, const char *key, const pare_str *v, size_t n, pare_error *err)
{
    pare_meta_value value = scalar(key, PARE_META_ARRAY);
    value.elem = PARE_META_STRING;
    value.n = n;
    value.v.strings = v;
    return pare_meta_set(m, &value, err);
}

pare_status pare_meta_set_array(pare_meta *m, const char *key, pare_meta_type elem, const void *data, size_t n,
                                pare_error *err)
{
    pare_meta_value value = scalar(key, PARE_META_ARRAY);
    value.elem = elem;
    value.n = n;
    value.v.data = data;
    return pare_meta_set(m, &value, err);
}

bool pare_meta_remove(pare_meta *m, const char *key)
{
    int64_t at = pare_index_find(&m->by_key, (pare_str){key, strlen(key)});
    if (at == PARE_INDEX_NONE)
        return false;
    memmove(&m->values[at], &m->values[at + 1], (m->n - (size_t)at - 1) * sizeof m->values[0]);
    m->n--;
    /* The table held every remaining key, so it cannot grow here and the additions cannot fail. */
    pare_index old = m->by_key;
    m->by_key = (pare_index){0};
    for (size_t i = 0; i < m->n; i++)
        if (pare_index_add(&m->by_key, m->values[i].key, (int64_t)i, NULL, NULL) != PARE_OK)
            break;
    pare_index_close(&old);
    return true;
}

pare_status pare_meta_copy(pare_meta *dst, const pare_meta *src, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < src->n && st == PARE_OK; i++)
        st = pare_meta_set(dst, &src->values[i], err);
    return st;
}

const pare_meta_value *pare_meta_find(const pare_meta *m, const char *key)
{
    int64_t at = pare_index_find(&m->by_key, (pare_str){key, strlen(key)});
    return at == PARE_INDEX_NONE ? NULL : &m->values[at];
}

/* The value, or NULL with *st set: PARE_OK when it may be absent. */
static const pare_meta_value *lookup(const pare_meta *m, const char *path, const char *key, bool *found,
                                     pare_status *st, pare_error *err)
{
    const pare_meta_value *value = pare_meta_find(m, key);
    *st = PARE_OK;
    if (found != NULL)
        *found = value != NULL;
    else if (value == NULL)
        *st = pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' is missing", path, key);
    return value;
}

static pare_status wrong_type(const pare_meta_value *value, const char *path, const char *key, const char *expected,
                              pare_error *err)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' at offset %" PRIu64 " is of type %s, expected %s", path, key,
                     value->offset, pare_meta_type_name(value->type), expected);
}

pare_status pare_meta_u64(const pare_meta *m, const char *path, const char *key, uint64_t min, uint64_t max,
                          uint64_t *out, bool *found, pare_error *err)
{
    pare_status st;
    const pare_meta_value *value = lookup(m, path, key, found, &st, err);
    if (value == NULL)
        return st;
    if (!is_unsigned(value->type) && !is_signed(value->type))
        return wrong_type(value, path, key, "an integer", err);
    bool negative = is_signed(value->type) && value->v.i < 0;
    if (negative || value->v.u < min || value->v.u > max) {
        char shown[32];
        snprintf(shown, sizeof shown, negative ? "%" PRId64 : "%" PRIu64, value->v.i);
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%s' at offset %" PRIu64 " is %s, allowed %" PRIu64 " to %" PRIu64, path, key,
                         value->offset, shown, min, max);
    }
    *out = value->v.u;
    return PARE_OK;
}

pare_status pare_meta_f64(const pare_meta *m, const char *path, const char *key, double *out, bool *found,
                          pare_error *err)
{
    pare_status st;
    const pare_meta_value *value = lookup(m, path, key, found, &st, err);
    if (value == NULL)
        return st;
    if (value->type == PARE_META_F32 || value->type == PARE_META_F64)
        *out = value->v.f;
    else if (is_unsigned(value->type))
        *out = (double)value->v.u;
    else if (is_signed(value->type))
        *out = (double)value->v.i;
    else
        return wrong_type(value, path, key, "a number", err);
    return PARE_OK;
}

pare_status pare_meta_bool(const pare_meta *m, const char *path, const char *key, bool *out, bool *found,
                           pare_error *err)
{
    pare_status st;
    const pare_meta_value *value = lookup(m, path, key, found, &st, err);
    if (value == NULL)
        return st;
    if (value->type != PARE_META_BOOL)
        return wrong_type(value, path, key, "bool", err);
    *out = value->v.u != 0;
    return PARE_OK;
}

pare_status pare_meta_check_name(const pare_meta_value *value, const char *path, pare_str *out, pare_error *err)
{
    pare_str s = value->v.s;
    for (size_t i = 0; i < s.len; i++) {
        char shown[200];
        if (s.data[i] < 0x20 || s.data[i] > 0x7e)
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: key '%.*s' at offset %" PRIu64
                             " is '%s': byte %zu is 0x%02x, allowed is printable ASCII",
                             path, (int)(value->key.len < 200 ? value->key.len : 200), value->key.data, value->offset,
                             pare_escape(shown, sizeof shown, s.data, s.len), i, (unsigned char)s.data[i]);
    }
    *out = s;
    return PARE_OK;
}

pare_status pare_meta_name(const pare_meta *m, const char *path, const char *key, pare_str *out, bool *found,
                           pare_error *err)
{
    pare_status st;
    const pare_meta_value *value = lookup(m, path, key, found, &st, err);
    if (value == NULL)
        return st;
    if (value->type != PARE_META_STRING)
        return wrong_type(value, path, key, "string", err);
    return pare_meta_check_name(value, path, out, err);
}

static pare_status put_u64(pare_buf *out, uint64_t v, pare_error *err)
{
    uint8_t bytes[8];
    pare_store_u64le(bytes, v);
    return pare_buf_put(out, bytes, sizeof bytes, err);
}

static pare_status put_u32(pare_buf *out, uint32_t v, pare_error *err)
{
    uint8_t bytes[4];
    pare_store_u32le(bytes, v);
    return pare_buf_put(out, bytes, sizeof bytes, err);
}

static pare_status put_str(pare_buf *out, pare_str s, pare_error *err)
{
    pare_status st = put_u64(out, s.len, err);
    return st == PARE_OK ? pare_buf_put(out, s.data, s.len, err) : st;
}

/* A scalar's little-endian bytes; all integers and bool share v.u, whose low bytes are right for negative ones too. */
static pare_status put_scalar(pare_buf *out, const pare_meta_value *value, pare_error *err)
{
    uint8_t bytes[8];
    uint64_t bits = value->v.u;
    if (value->type == PARE_META_F32)
        bits = pare_f32_to_bits((float)value->v.f);
    pare_store_u64le(bytes, bits);
    return pare_buf_put(out, bytes, pare_meta_type_size(value->type), err);
}

pare_status pare_meta_serialize(const pare_meta_value *value, pare_buf *out, pare_error *err)
{
    pare_status st = put_u32(out, value->type, err);
    if (st != PARE_OK)
        return st;
    if (value->type == PARE_META_STRING)
        return put_str(out, value->v.s, err);
    if (value->type != PARE_META_ARRAY)
        return put_scalar(out, value, err);
    if ((st = put_u32(out, value->elem, err)) != PARE_OK || (st = put_u64(out, value->n, err)) != PARE_OK)
        return st;
    if (value->elem != PARE_META_STRING)
        return pare_buf_put(out, value->v.data, (size_t)value->n * pare_meta_type_size(value->elem), err);
    for (uint64_t i = 0; i < value->n && st == PARE_OK; i++)
        st = put_str(out, value->v.strings[i], err);
    return st;
}
