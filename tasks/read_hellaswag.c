/* HellaSwag (Zellers et al., arXiv 1905.07830): the owner's and the Hub's jsonl, prepared as lm-eval 0.4 does
 * (tasks/hellaswag/utils.py), and llama.cpp's six lines an item, which are prepared already. */
#include "tasks/format.h"
#include "tasks/python_text.h"

#include <string.h>

/* Append s with " [title]" as ". ". */
static pare_status replace_titles(pare_buf *out, pare_str s, pare_error *err)
{
    static const char title[] = " [title]";
    size_t n = sizeof title - 1, from = 0;
    pare_status st = PARE_OK;
    for (const char *p; st == PARE_OK && (p = memmem(s.data + from, s.len - from, title, n)) != NULL;) {
        st = pare_buf_put(out, s.data + from, (size_t)(p - s.data) - from, err);
        if (st == PARE_OK)
            st = pare_buf_puts(out, ". ", err);
        from = (size_t)(p - s.data) + n;
    }
    return st == PARE_OK ? pare_buf_put(out, s.data + from, s.len - from, err) : st;
}

/* Offset of the next ch at or behind `at`, n when there is none; `known` is what an earlier `at` gave. */
static size_t find_next(const char *text, size_t n, size_t at, size_t known, char ch)
{
    if (known >= at && known > 0)
        return known;
    const char *p = memchr(text + at, ch, n - at);
    return p != NULL ? (size_t)(p - text) : n;
}

/* Drop each "[...]" that ends in its line: n > 0 bytes in place; returns how many are left. */
static size_t drop_brackets(char *text, size_t n)
{
    size_t kept = 0, end = 0, line = 0; /* 0: not searched yet */
    for (size_t at = 0; at < n;) {
        end = find_next(text, n, at, end, ']');
        line = find_next(text, n, at, line, '\n');
        if (text[at] == '[' && end < line)
            at = end + 1;
        else
            text[kept++] = text[at++];
    }
    return kept;
}

/* One space of each two, in place. */
static size_t halve_spaces(char *text, size_t n)
{
    size_t kept = 0;
    for (size_t at = 0; at < n; kept++) {
        bool two = at + 1 < n && text[at] == ' ' && text[at + 1] == ' ';
        text[kept] = text[at];
        at += two ? 2 : 1;
    }
    return kept;
}

/* Trim, drop the brackets of WikiHow. The result is in r->memory. */
static pare_status prepare(pare_reader *r, pare_str s, pare_str *out, pare_error *err)
{
    pare_buf text = {0};
    pare_status st = replace_titles(&text, pare_strip(s), err);
    size_t n = st == PARE_OK && text.len > 0 ? halve_spaces(text.data, drop_brackets(text.data, text.len)) : 0;
    *out = (pare_str){NULL, n};
    if (st == PARE_OK && (out->data = pare_arena_copy(r->memory, n > 0 ? text.data : "", n, err)) == NULL)
        st = PARE_ERR_MEMORY;
    pare_buf_close(&text);
    return st;
}

/* "activity: ctx_a Ctx_b" */
static pare_status read_context(pare_reader *r, const json_t *record, pare_str *out, pare_error *err)
{
    pare_str activity, a, b = {"", 0}, whole;
    pare_buf capital = {0};
    pare_status st;
    if ((st = pare_read_text(r, record, "activity_label", &activity, err)) != PARE_OK ||
        (st = pare_read_text(r, record, "ctx_a", &a, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "ctx_b", &b, err)) != PARE_OK)
        return st;
    st = pare_capitalize(&capital, b, err);
    if (st == PARE_OK)
        st = PARE_JOIN(r, &whole, err, activity, PARE_TEXT(": "), a, PARE_TEXT(" "),
                       ((pare_str){capital.data, capital.len}));
    pare_buf_close(&capital);
    return st == PARE_OK ? prepare(r, whole, out, err) : st;
}

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    pare_str context, *endings;
    size_t n, label;
    pare_status st;
    if ((st = read_context(r, record, &context, err)) != PARE_OK ||
        (st = pare_read_texts(r, json_object_get(record, "endings"), "endings", &endings, &n, err)) != PARE_OK ||
        (st = pare_read_index(r, record, "label", 0, n, false, &label, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "ind", &out->id, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "source_id", &out->group, err)) != PARE_OK)
        return st;
    for (size_t i = 0; i < n; i++) {
        if ((st = prepare(r, endings[i], &endings[i], err)) != PARE_OK)
            return st;
        if (endings[i].len == 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: field 'endings': choice %zu is empty without its brackets",
                             r->where, i);
    }
    return pare_put_choices(r, out, context, endings, n, label, err);
}

const pare_format pare_format_hellaswag = {
    .name = "hellaswag",
    .kind = PARE_TASK_CHOICE,
    .has_norm = true,
    .fields = (const char *const[]){"activity_label,ctx_a,endings,label", NULL},
    .item = read_item,
};
