#include "tasks/format.h"

#include "core/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A row a format, in its reader's file. */
extern const pare_format pare_format_arc, pare_format_boolq, pare_format_choices, pare_format_gsm8k,
    pare_format_hellaswag, pare_format_hellaswag_text, pare_format_humaneval, pare_format_lambada,
    pare_format_llama_cpp_choice, pare_format_mmlu, pare_format_openbookqa, pare_format_piqa,
    pare_format_truthfulqa_mc1, pare_format_truthfulqa_mc2, pare_format_winogrande;

const pare_format *const pare_formats[] = {
    &pare_format_llama_cpp_choice,
    &pare_format_hellaswag_text,
    &pare_format_hellaswag,
    &pare_format_truthfulqa_mc1,
    &pare_format_truthfulqa_mc2,
    &pare_format_mmlu,
    &pare_format_arc,
    &pare_format_openbookqa,
    &pare_format_piqa,
    &pare_format_winogrande,
    &pare_format_boolq,
    &pare_format_choices,
    &pare_format_gsm8k,
    &pare_format_humaneval,
    &pare_format_lambada,
    NULL,
};

const char *pare_task_format_name(size_t i)
{
    return i < sizeof pare_formats / sizeof pare_formats[0] - 1 ? pare_formats[i]->name : NULL;
}

const pare_format *pare_format_named(const char *name)
{
    for (size_t i = 0; pare_formats[i] != NULL; i++)
        if (strcmp(pare_formats[i]->name, name) == 0)
            return pare_formats[i];
    return NULL;
}

static bool has_all(const json_t *record, const char *names)
{
    for (size_t len; *names != '\0'; names += len + (names[len] == ',')) {
        len = strcspn(names, ",");
        if (json_object_getn(record, names, len) == NULL)
            return false;
    }
    return true;
}

static bool fits(const pare_format *f, pare_container container, const json_t *record)
{
    bool special = container == PARE_CONTAINER_LINES || container == PARE_CONTAINER_BINARY;
    if (f->container != (special ? container : PARE_CONTAINER_ANY) || f->fields == NULL)
        return false;
    for (size_t i = 0; f->fields[i] != NULL; i++)
        if (has_all(record, f->fields[i]))
            return true;
    return false;
}

const pare_format *pare_format_of(pare_container container, const json_t *record)
{
    size_t i = 0;
    while (pare_formats[i] != NULL && !fits(pare_formats[i], container, record))
        i++;
    return pare_formats[i];
}

static const char *kind_of(const json_t *v)
{
    static const char *const kinds[] = {"an object", "an array", "a text", "an integer",
                                        "a real",    "true",     "false",  "null"};
    return v == NULL ? "missing" : kinds[json_typeof(v)];
}

pare_status pare_wrong_field(const pare_reader *r, const char *key, const json_t *found, const char *expected,
                             pare_error *err)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: field '%s' is %s; %s is expected", r->where, key, kind_of(found),
                     expected);
}

/* Copy of a text or of an integer's digits; false: v is neither. */
static pare_status copy_text(pare_reader *r, const json_t *v, bool *is_text, pare_str *out, pare_error *err)
{
    char digits[24];
    pare_str s = {digits, 0};
    *is_text = json_is_string(v) || json_is_integer(v);
    if (!*is_text)
        return PARE_OK;
    if (json_is_string(v))
        s = (pare_str){json_string_value(v), json_string_length(v)};
    else
        s.len = (size_t)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    *out = (pare_str){pare_arena_copy(r->memory, s.data, s.len, err), s.len};
    return out->data != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

pare_status pare_read_text(pare_reader *r, const json_t *record, const char *key, pare_str *out, pare_error *err)
{
    const json_t *v = json_object_get(record, key);
    bool is_text;
    pare_status st = copy_text(r, v, &is_text, out, err);
    if (st == PARE_OK && !is_text)
        return pare_wrong_field(r, key, v, "a text", err);
    if (st == PARE_OK && out->len == 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: field '%s' is empty", r->where, key);
    return st;
}

pare_status pare_read_optional(pare_reader *r, const json_t *record, const char *key, pare_str *out, pare_error *err)
{
    const json_t *v = json_object_get(record, key);
    if (v == NULL || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0))
        return PARE_OK;
    return pare_read_text(r, record, key, out, err);
}

pare_status pare_read_texts(pare_reader *r, const json_t *list, const char *what, pare_str **out, size_t *n,
                            pare_error *err)
{
    if (!json_is_array(list))
        return pare_wrong_field(r, what, list, "a list of texts", err);
    *n = json_array_size(list);
    if (*n == 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: field '%s' is empty; at least one choice is expected", r->where,
                         what);
    if (*n > PARE_MAX_CHOICES)
        return pare_fail(err, PARE_ERR_RANGE, "%s: field '%s' has %zu choices, limit %d", r->where, what, *n,
                         PARE_MAX_CHOICES);
    if ((*out = pare_arena_alloc(r->memory, *n * sizeof **out, err)) == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < *n; i++) {
        bool is_text;
        pare_status st = copy_text(r, json_array_get(list, i), &is_text, *out + i, err);
        if (st != PARE_OK)
            return st;
        if (!is_text || (*out)[i].len == 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: field '%s': choice %zu is %s; a text is expected", r->where,
                             what, i, is_text ? "empty" : kind_of(json_array_get(list, i)));
    }
    return PARE_OK;
}

/* The digits of s as a number; false: something else, or above 9 digits. */
static bool parse_digits(pare_str s, size_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
        *out = *out * 10 + (size_t)(s.data[i] - '0');
    }
    return s.len > 0 && s.len <= 9;
}

pare_status pare_read_index(pare_reader *r, const json_t *record, const char *key, size_t first, size_t n, bool letters,
                            size_t *out, pare_error *err)
{
    pare_str s;
    size_t value;
    char by_letter[32] = "";
    const json_t *v = json_object_get(record, key);
    if (!json_is_integer(v) && !json_is_string(v))
        return pare_wrong_field(r, key, v, "an index", err);
    pare_status st = pare_read_text(r, record, key, &s, err);
    if (st != PARE_OK)
        return st;
    if (letters && s.len == 1 && s.data[0] >= 'A' && s.data[0] <= 'Z')
        value = (size_t)(s.data[0] - 'A') + first;
    else if (!parse_digits(s, &value))
        value = SIZE_MAX;
    if (value >= first && value - first < n) {
        *out = value - first;
        return PARE_OK;
    }
    if (letters && n <= 26)
        snprintf(by_letter, sizeof by_letter, ", or A to %c", (char)('A' + n - 1));
    return pare_fail(err, PARE_ERR_RANGE, "%s: field '%s' is '%.*s', allowed %zu to %zu%s", r->where, key,
                     (int)(s.len < 100 ? s.len : 100), s.data, first, first + n - 1, by_letter);
}

pare_status pare_join(pare_reader *r, const pare_str *parts, size_t n, pare_str *out, pare_error *err)
{
    size_t len = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        if (!pare_add_size(len, parts[i].len, &len))
            return pare_fail(err, PARE_ERR_RANGE, "%s: the text is too long", r->where);
    char *text = pare_arena_alloc(r->memory, len + 1, err);
    if (text == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < n; at += parts[i++].len)
        if (parts[i].len > 0)
            memcpy(text + at, parts[i].data, parts[i].len);
    *out = (pare_str){text, len};
    return PARE_OK;
}

pare_status pare_put_choices(pare_reader *r, pare_item *item, pare_str context, const pare_str *answers, size_t n,
                             size_t answer, pare_error *err)
{
    if ((item->choices = pare_arena_alloc(r->memory, n * sizeof *item->choices, err)) == NULL)
        return PARE_ERR_MEMORY;
    item->n_choices = n;
    item->answer = answer;
    for (size_t i = 0; i < n; i++) {
        pare_choice *c = &item->choices[i];
        pare_status st = PARE_JOIN(r, &c->continuation, err, PARE_TEXT(" "), answers[i]);
        if (st != PARE_OK)
            return st;
        c->context = context;
        c->answer = (pare_str){c->continuation.data + 1, answers[i].len};
        c->right = i == answer;
    }
    return PARE_OK;
}
