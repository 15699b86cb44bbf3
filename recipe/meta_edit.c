#include "recipe/meta_edit.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_KEY = 65535 }; /* as GGUF allows */

/* Names of types; the range of the integers. */
static const struct {
    const char *name;
    pare_meta_type type;
    bool adapts;
} type_names[] = {
    {"int", PARE_META_I64, true},     {"float", PARE_META_F32, true},      {"bool", PARE_META_BOOL, false},
    {"str", PARE_META_STRING, false}, {"string", PARE_META_STRING, false}, {"u8", PARE_META_U8, false},
    {"i8", PARE_META_I8, false},      {"u16", PARE_META_U16, false},       {"i16", PARE_META_I16, false},
    {"u32", PARE_META_U32, false},    {"i32", PARE_META_I32, false},       {"u64", PARE_META_U64, false},
    {"i64", PARE_META_I64, false},    {"f32", PARE_META_F32, false},       {"f64", PARE_META_F64, false},
};

static bool is_signed(pare_meta_type t)
{
    return t == PARE_META_I8 || t == PARE_META_I16 || t == PARE_META_I32 || t == PARE_META_I64;
}

static bool is_integer(pare_meta_type t)
{
    return is_signed(t) || t == PARE_META_U8 || t == PARE_META_U16 || t == PARE_META_U32 || t == PARE_META_U64;
}

static bool is_float(pare_meta_type t)
{
    return t == PARE_META_F32 || t == PARE_META_F64;
}

/* Can an integer type hold -magnitude or magnitude? */
static bool holds(pare_meta_type t, bool negative, uint64_t magnitude)
{
    unsigned bits = 8 * (unsigned)pare_meta_type_size(t);
    uint64_t top = is_signed(t) ? (UINT64_C(1) << (bits - 1)) - 1 : UINT64_MAX >> (64 - bits);
    if (negative && magnitude > 0)
        return is_signed(t) && magnitude <= top + 1;
    return magnitude <= top;
}

/* Text that is a number: v->v and, for an adapting integer, the type that a new key gets. */
static pare_status parse_integer(pare_meta_edit *e, const char *text, pare_error *err)
{
    static const pare_meta_type wide[] = {PARE_META_U32, PARE_META_I32, PARE_META_U64, PARE_META_I64};
    bool negative = *text == '-';
    const char *digits = text + negative;
    size_t n = strspn(digits, "0123456789");
    errno = 0;
    uint64_t magnitude = strtoull(digits, NULL, 10);
    if (n == 0 || digits[n] != '\0')
        return pare_fail(err, PARE_ERR_USAGE, "--metadata: key '%.*s': '%s' is no whole number", (int)e->value.key.len,
                         e->value.key.data, text);
    bool fits = errno == 0 && (e->adapts || holds(e->value.type, negative, magnitude));
    for (size_t i = 0; i < sizeof wide / sizeof *wide && e->adapts; i++) {
        e->value.type = wide[i];
        if ((fits = errno == 0 && holds(wide[i], negative, magnitude)))
            break;
    }
    if (!fits)
        return pare_fail(err, PARE_ERR_USAGE, "--metadata: key '%.*s': %s is outside of the range of %s",
                         (int)e->value.key.len, e->value.key.data, text,
                         e->adapts ? "64-bit integers" : pare_meta_type_name(e->value.type));
    if (negative)
        e->value.v.i = magnitude > 0 ? -(int64_t)(magnitude - 1) - 1 : 0;
    else
        e->value.v.u = magnitude;
    return PARE_OK;
}

static pare_status parse_float(pare_meta_edit *e, const char *text, pare_error *err)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    bool number = end != text && *end == '\0' && strpbrk(text, " \t\nxX") == NULL;
    if (!number || !isfinite(v) || (e->value.type == PARE_META_F32 && !isfinite((float)v)))
        return pare_fail(err, PARE_ERR_USAGE, "--metadata: key '%.*s': '%s' is no finite number that %s holds",
                         (int)e->value.key.len, e->value.key.data, text, pare_meta_type_name(e->value.type));
    e->value.v.f = v;
    return PARE_OK;
}

static pare_status parse_value(pare_meta_edit *e, const char *text, pare_error *err)
{
    const pare_str key = e->value.key;
    if (is_integer(e->value.type))
        return parse_integer(e, text, err);
    if (is_float(e->value.type))
        return parse_float(e, text, err);
    if (e->value.type == PARE_META_BOOL) {
        e->value.v.u = strcmp(text, "true") == 0;
        if (e->value.v.u || strcmp(text, "false") == 0)
            return PARE_OK;
        return pare_fail(err, PARE_ERR_USAGE, "--metadata: key '%.*s': '%s' is neither true nor false", (int)key.len,
                         key.data, text);
    }
    e->value.v.s = (pare_str){text, strlen(text)};
    if (pare_utf8_valid(text, strlen(text), NULL))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "--metadata: key '%.*s': the text is not UTF-8", (int)key.len, key.data);
}

/* Words of lower-case letters, digits, _ and -, divided by single dots. */
static bool is_key(pare_str key)
{
    bool in_word = false;
    for (size_t i = 0; i < key.len; i++) {
        char c = key.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!letter && (c != '.' || !in_word))
            return false;
        in_word = letter;
    }
    return in_word && key.len <= MAX_KEY;
}

static bool starts_with(pare_str s, const char *part)
{
    size_t n = strlen(part);
    return s.len >= n && memcmp(s.data, part, n) == 0;
}

static bool ends_with(pare_str s, const char *part)
{
    size_t n = strlen(part);
    return s.len >= n && memcmp(s.data + s.len - n, part, n) == 0;
}

/* Why this key is not the user's, or NULL. */
static const char *why_refused(pare_str key)
{
    static const char *const own[] = {"general.file_type", "general.quantization_version"};
    static const char *const layout[] = {"general.architecture", "general.alignment"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (pare_str_equal(key, own[i]))
            return "pare writes it to say what it did";
    if (starts_with(key, "quantize.imatrix."))
        return "pare writes it to say what it did";
    for (size_t i = 0; i < sizeof layout / sizeof *layout; i++)
        if (pare_str_equal(key, layout[i]))
            return "it says how the file is to be read";
    if (starts_with(key, "split.") || ends_with(key, ".block_count"))
        return "it says how the file is to be read";
    return NULL;
}

static pare_status find_type(pare_meta_edit *e, const char *name, size_t len, pare_error *err)
{
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++)
        if (strlen(type_names[i].name) == len && memcmp(type_names[i].name, name, len) == 0) {
            e->value.type = type_names[i].type;
            e->adapts = type_names[i].adapts;
            return PARE_OK;
        }
    return pare_fail(err, PARE_ERR_USAGE,
                     "--metadata: key '%.*s': unknown type '%.*s'; int, float, bool, str and u8 i8 u16 i16 u32 i32 u64 "
                     "i64 f32 f64 string are known",
                     (int)e->value.key.len, e->value.key.data, (int)len, name);
}

pare_status pare_meta_edit_parse(pare_meta_edit *edit, const char *text, pare_error *err)
{
    const char *equals = strchr(text, '='), *colon = equals != NULL ? strchr(equals, ':') : NULL;
    *edit = (pare_meta_edit){.value = {.n = 1}};
    if (colon == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "--metadata '%s': expected KEY=TYPE:VALUE", text);
    edit->value.key = (pare_str){text, (size_t)(equals - text)};
    if (!is_key(edit->value.key))
        return pare_fail(err, PARE_ERR_USAGE,
                         "--metadata '%s': a key is made of words of a-z, 0-9, _ and -, divided by dots", text);
    const char *why = why_refused(edit->value.key);
    if (why != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "--metadata: key '%.*s' cannot be set: %s", (int)edit->value.key.len,
                         text, why);
    pare_status st = find_type(edit, equals + 1, (size_t)(colon - equals - 1), err);
    return st == PARE_OK ? parse_value(edit, colon + 1, err) : st;
}

/* Give an adapting value the type of the one it replaces. */
static pare_status adapt(const pare_meta_edit *e, const pare_meta_value *old, pare_meta_value *v, pare_error *err)
{
    bool integer = is_integer(v->type), negative = integer && is_signed(v->type) && v->v.i < 0;
    const char *name = pare_meta_type_name(old->type);
    if ((integer && !is_integer(old->type)) || (!integer && !is_float(old->type)))
        return pare_fail(err, PARE_ERR_USAGE, "--metadata: key '%.*s' is of type %s in the model, not %s",
                         (int)e->value.key.len, e->value.key.data, name, integer ? "an integer" : "a float");
    if (integer && !holds(old->type, negative, negative ? -(uint64_t)v->v.i : v->v.u))
        return pare_fail(err, PARE_ERR_USAGE,
                         "--metadata: key '%.*s' is of type %s in the model, which cannot hold the value",
                         (int)e->value.key.len, e->value.key.data, name);
    v->type = old->type;
    return PARE_OK;
}

static pare_status apply_one(pare_model *m, const pare_meta_edit *e, pare_error *err)
{
    int64_t at = pare_index_find(&m->meta.by_key, e->value.key);
    const pare_meta_value *old = at == PARE_INDEX_NONE ? NULL : &m->meta.values[at];
    pare_meta_value v = e->value;
    pare_status st = PARE_OK;
    if (old != NULL && old->type == PARE_META_ARRAY)
        return pare_fail(err, PARE_ERR_USAGE,
                         "--metadata: key '%.*s' is an array of %" PRIu64 " in the model; arrays "
                         "are not replaced",
                         (int)v.key.len, v.key.data, old->n);
    if (old != NULL && e->adapts)
        st = adapt(e, old, &v, err);
    else if (old != NULL && old->type != v.type)
        st = pare_warn(err, "--metadata: key '%.*s' is of type %s in the model and becomes %s: readers may refuse it",
                       (int)v.key.len, v.key.data, pare_meta_type_name(old->type), pare_meta_type_name(v.type));
    if (v.type == PARE_META_F32)
        v.v.f = (double)(float)v.v.f;
    return st == PARE_OK ? pare_meta_set(&m->meta, &v, err) : st;
}

/* Read again what the metadata says of tensors and tokenizer, as whoever opens the file will. */
static pare_status check_edited(pare_model *m, pare_error *err)
{
    pare_error why = {0};
    pare_model probe = *m; /* a view: what the source alone says of hyperparameters stays in m */
    pare_status st = PARE_OK;
    if (m->has_vocab) {
        pare_vocab_close(&m->vocab);
        st = pare_vocab_from_meta(&m->vocab, &m->meta, m->path, &m->has_vocab, &why);
    }
    if (st == PARE_OK && m->arch != NULL) {
        probe.hp = (pare_hparams){0};
        st = pare_hparams_from_meta(&probe.hp, m->arch, &m->meta, m->path, &why);
    }
    if (st == PARE_OK && m->arch != NULL)
        st = pare_arch_check(&probe, &why);
    if (st == PARE_OK || st == PARE_ERR_MEMORY)
        return st == PARE_OK ? st : pare_fail(err, st, "%s", why.text);
    return pare_fail(err, PARE_ERR_USAGE, "--metadata: the model would not be readable: %s", why.text);
}

pare_status pare_meta_edits_apply(pare_model *m, const pare_meta_edit *edits, size_t n, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        for (size_t k = 0; k < i && st == PARE_OK; k++)
            if (edits[k].value.key.len == edits[i].value.key.len &&
                memcmp(edits[k].value.key.data, edits[i].value.key.data, edits[i].value.key.len) == 0)
                st = pare_fail(err, PARE_ERR_USAGE, "--metadata: key '%.*s' is given twice",
                               (int)edits[i].value.key.len, edits[i].value.key.data);
        if (st == PARE_OK)
            st = apply_one(m, &edits[i], err);
    }
    return st == PARE_OK && n > 0 ? check_edited(m, err) : st;
}
