/* BoolQ (Clark et al., arXiv 1905.10044): the owner's jsonl (answer true or false) and SuperGLUE's (label). Prompt:
 * lm-eval 0.4, tasks/super_glue/boolq. */
#include "tasks/format.h"

static pare_status read_answer(pare_reader *r, const json_t *record, size_t *answer, pare_error *err)
{
    const char *key = json_object_get(record, "label") != NULL ? "label" : "answer";
    const json_t *v = json_object_get(record, key);
    if (!json_is_boolean(v))
        return pare_read_index(r, record, key, 0, 2, false, answer, err);
    *answer = json_is_true(v);
    return PARE_OK;
}

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    static const pare_str answers[2] = {{"no", 2}, {"yes", 3}};
    pare_str question, context;
    size_t answer;
    pare_status st;
    if ((st = pare_read_text(r, record, "passage", &out->group, err)) != PARE_OK ||
        (st = pare_read_text(r, record, "question", &question, err)) != PARE_OK ||
        (st = read_answer(r, record, &answer, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "idx", &out->id, err)) != PARE_OK ||
        (st = PARE_JOIN(r, &context, err, out->group, PARE_TEXT("\nQuestion: "), question, PARE_TEXT("?\nAnswer:"))) !=
            PARE_OK)
        return st;
    return pare_put_choices(r, out, context, answers, 2, answer, err);
}

const pare_format pare_format_boolq = {
    .name = "boolq",
    .kind = PARE_TASK_CHOICE,
    .has_norm = true,
    .fields = (const char *const[]){"passage,question,label", "passage,question,answer", NULL},
    .item = read_item,
};
