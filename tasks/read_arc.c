/* ARC (Clark et al., arXiv 1803.05457) and OpenBookQA (Mihaylov et al., arXiv 1809.02789): the Hub's jsonl (choices as
 * lists text and label) and the owner's (question with stem and choices, which both share: OpenBookQA is then known by
 * its name only). Prompts: lm-eval 0.4, tasks/arc and tasks/openbookqa. */
#include "tasks/format.h"
#include "tasks/python_text.h"

#include <string.h>

/* One list of the members `key` of a list of objects; a new reference, NULL without memory or without such a list. */
static json_t *members(const json_t *list, const char *key)
{
    json_t *all = json_array();
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const json_t *v = json_object_get(entry, key);
        json_array_append_new(all, v != NULL ? json_copy((json_t *)v) : json_null());
    }
    return all;
}

/* Bytes of s that a message has room for. */
static int shown(pare_str s)
{
    return (int)(s.len < 100 ? s.len : 100);
}

static pare_status find_answer(pare_reader *r, const json_t *record, const pare_str *labels, size_t n, size_t *answer,
                               pare_error *err)
{
    pare_str key;
    pare_status st = pare_read_text(r, record, "answerKey", &key, err);
    if (st != PARE_OK)
        return st;
    key = pare_strip(key);
    for (*answer = 0; *answer < n; ++*answer)
        if (labels[*answer].len == key.len && memcmp(labels[*answer].data, key.data, key.len) == 0)
            return PARE_OK;
    const pare_str first = labels[0], last = labels[n - 1];
    return pare_fail(err, PARE_ERR_RANGE,
                     "%s: field 'answerKey' is '%.*s', which is none of the %zu labels '%.*s' to '%.*s'", r->where,
                     shown(key), key.data, n, shown(first), first.data, shown(last), last.data);
}

/* The choices behind `context`, which stand in `choices`: {text: [], label: []} or [{text, label}]. */
static pare_status read_choices(pare_reader *r, const json_t *record, const json_t *choices, pare_str context,
                                pare_item *out, pare_error *err)
{
    bool nested = json_is_array(choices);
    json_t *text = nested ? members(choices, "text") : json_incref(json_object_get(choices, "text"));
    json_t *label = nested ? members(choices, "label") : json_incref(json_object_get(choices, "label"));
    pare_str *texts, *labels;
    size_t n, n_labels, answer;
    pare_status st;
    if ((st = pare_read_texts(r, text, "choices.text", &texts, &n, err)) != PARE_OK ||
        (st = pare_read_texts(r, label, "choices.label", &labels, &n_labels, err)) != PARE_OK)
        goto done;
    if (n != n_labels) {
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: field 'choices' has %zu texts and %zu labels", r->where, n, n_labels);
        goto done;
    }
    if ((st = find_answer(r, record, labels, n, &answer, err)) == PARE_OK)
        st = pare_put_choices(r, out, context, texts, n, answer, err);
done:
    json_decref(text);
    json_decref(label);
    return st;
}

/* stem_key: of the Hub's fields */
static pare_status read_question(pare_reader *r, const json_t *record, const char *stem_key, bool has_frame,
                                 pare_item *out, pare_error *err)
{
    const json_t *nested = json_object_get(record, "question");
    bool is_nested = json_is_object(nested);
    pare_str stem, context;
    pare_status st;
    if ((st = pare_read_text(r, is_nested ? nested : record, is_nested ? "stem" : stem_key, &stem, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "id", &out->id, err)) != PARE_OK)
        return st;
    context = stem;
    if (has_frame &&
        (st = PARE_JOIN(r, &context, err, PARE_TEXT("Question: "), stem, PARE_TEXT("\nAnswer:"))) != PARE_OK)
        return st;
    return read_choices(r, record, json_object_get(is_nested ? nested : record, "choices"), context, out, err);
}

static pare_status read_arc(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    return read_question(r, record, "question", true, out, err);
}

static pare_status read_openbookqa(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    return read_question(r, record, "question_stem", false, out, err);
}

const pare_format pare_format_arc = {
    .name = "arc",
    .kind = PARE_TASK_CHOICE,
    .has_norm = true,
    .fields = (const char *const[]){"question,answerKey", NULL},
    .item = read_arc,
};

const pare_format pare_format_openbookqa = {
    .name = "openbookqa",
    .kind = PARE_TASK_CHOICE,
    .has_norm = true,
    .fields = (const char *const[]){"question_stem,choices,answerKey", NULL},
    .item = read_openbookqa,
};
