/* WinoGrande (Sakaguchi et al., arXiv 1907.10641): the owner's and the Hub's jsonl, and the csv that llama.cpp reads.
 * Each choice is a context, the sentence up to the gap and what fills it; what is scored is the rest of the sentence,
 * the same for both (lm-eval 0.4, tasks/winogrande). */
#include "tasks/format.h"
#include "tasks/python_text.h"

#include <string.h>

/* Both sentences of a pair of twins have one id up to the last dash. */
static pare_str twins(pare_str id)
{
    size_t n = id.len;
    while (n > 0 && id.data[n - 1] != '-')
        n--;
    return (pare_str){id.data, n > 1 ? n - 1 : 0};
}

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    pare_str sentence, options[2];
    pare_status st;
    if ((st = pare_read_text(r, record, "sentence", &sentence, err)) != PARE_OK ||
        (st = pare_read_text(r, record, "option1", &options[0], err)) != PARE_OK ||
        (st = pare_read_text(r, record, "option2", &options[1], err)) != PARE_OK ||
        (st = pare_read_index(r, record, "answer", 1, 2, false, &out->answer, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "qID", &out->id, err)) != PARE_OK)
        return st;
    const char *gap = memchr(sentence.data, '_', sentence.len);
    if (gap == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: field 'sentence' has no gap '_'", r->where);
    size_t before = (size_t)(gap - sentence.data);
    pare_str rest = pare_strip((pare_str){gap + 1, sentence.len - before - 1}), continuation;
    if (rest.len == 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: field 'sentence' has nothing behind its gap", r->where);
    if ((st = PARE_JOIN(r, &continuation, err, PARE_TEXT(" "), rest)) != PARE_OK)
        return st;
    if ((out->choices = pare_arena_alloc(r->memory, 2 * sizeof *out->choices, err)) == NULL)
        return PARE_ERR_MEMORY;
    out->n_choices = 2;
    out->group = twins(out->id);
    for (size_t i = 0; i < 2 && st == PARE_OK; i++) {
        pare_choice *c = &out->choices[i];
        st = PARE_JOIN(r, &c->context, err, ((pare_str){sentence.data, before}), options[i]);
        c->continuation = continuation;
        c->answer = (pare_str){continuation.data + 1, rest.len};
        c->right = i == out->answer;
    }
    return st;
}

const pare_format pare_format_winogrande = {
    .name = "winogrande",
    .kind = PARE_TASK_CHOICE,
    .has_norm = false,
    .fields = (const char *const[]){"sentence,option1,option2,answer", NULL},
    .item = read_item,
};
