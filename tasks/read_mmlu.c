/* MMLU (Hendrycks et al., arXiv 2009.03300): the owner's csv, with or without a header, answers as letters or as
 * indices, and the Hub's fields (question, choices, answer, subject). Prompt: lm-eval 0.4, tasks/mmlu/default. */
#include "tasks/format.h"
#include "tasks/python_text.h"

#include <string.h>

enum { N_CHOICES = 4, PASSAGE_BYTES = 200 };

static const char *const columns[N_CHOICES] = {"a", "b", "c", "d"};

static pare_status read_choices(pare_reader *r, const json_t *record, pare_str texts[N_CHOICES], pare_error *err)
{
    const json_t *list = json_object_get(record, "choices");
    pare_str *found;
    size_t n;
    pare_status st = PARE_OK;
    if (list == NULL) {
        for (size_t i = 0; i < N_CHOICES && st == PARE_OK; i++)
            st = pare_read_text(r, record, columns[i], &texts[i], err);
        return st;
    }
    if ((st = pare_read_texts(r, list, "choices", &found, &n, err)) != PARE_OK)
        return st;
    if (n != N_CHOICES)
        return pare_fail(err, PARE_ERR_RANGE, "%s: field 'choices' has %zu, expected %d", r->where, n, N_CHOICES);
    memcpy(texts, found, N_CHOICES * sizeof *texts);
    return PARE_OK;
}

/* "abstract_algebra" as the words of the description. */
static pare_status describe(pare_reader *r, pare_str subject, pare_error *err)
{
    char *words = pare_arena_copy(r->memory, subject.data, subject.len, err);
    if (words == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < subject.len; i++)
        if (words[i] == '_')
            words[i] = ' ';
    return PARE_JOIN(r, &r->description, err,
                     PARE_TEXT("The following are multiple choice questions (with answers) about "),
                     ((pare_str){words, subject.len}), PARE_TEXT(".\n\n"));
}

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    static const pare_str letters[N_CHOICES] = {{"A", 1}, {"B", 1}, {"C", 1}, {"D", 1}};
    pare_str question, texts[N_CHOICES], context, subject = r->subject;
    size_t answer;
    pare_status st;
    if ((st = pare_read_text(r, record, "question", &question, err)) != PARE_OK ||
        (st = read_choices(r, record, texts, err)) != PARE_OK ||
        (st = pare_read_index(r, record, "answer", 0, N_CHOICES, true, &answer, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "subject", &out->group, err)) != PARE_OK)
        return st;
    if (out->group.len > 0)
        subject = out->group;
    if ((st = describe(r, subject, err)) != PARE_OK ||
        (st = PARE_JOIN(r, &context, err, pare_strip(question), PARE_TEXT("\nA. "), texts[0], PARE_TEXT("\nB. "),
                        texts[1], PARE_TEXT("\nC. "), texts[2], PARE_TEXT("\nD. "), texts[3],
                        PARE_TEXT("\nAnswer:"))) != PARE_OK)
        return st;
    return pare_put_choices(r, out, context, letters, N_CHOICES, answer, err);
}

const pare_format pare_format_mmlu = {
    .name = "mmlu",
    .kind = PARE_TASK_CHOICE,
    .has_norm = true,
    .prefix = "mmlu_",
    .fields = (const char *const[]){"question,a,b,c,d,answer", "question,choices,answer", NULL},
    .item = read_item,
};
