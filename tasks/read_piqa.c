/* PIQA (Bisk et al., arXiv 1911.11641): the Hub's jsonl. Prompt: lm-eval 0.4, tasks/piqa. */
#include "tasks/format.h"

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    pare_str goal, solutions[2], context;
    size_t label;
    pare_status st;
    if ((st = pare_read_text(r, record, "goal", &goal, err)) != PARE_OK ||
        (st = pare_read_text(r, record, "sol1", &solutions[0], err)) != PARE_OK ||
        (st = pare_read_text(r, record, "sol2", &solutions[1], err)) != PARE_OK ||
        (st = pare_read_index(r, record, "label", 0, 2, false, &label, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "id", &out->id, err)) != PARE_OK ||
        (st = PARE_JOIN(r, &context, err, PARE_TEXT("Question: "), goal, PARE_TEXT("\nAnswer:"))) != PARE_OK)
        return st;
    return pare_put_choices(r, out, context, solutions, 2, label, err);
}

const pare_format pare_format_piqa = {
    .name = "piqa",
    .kind = PARE_TASK_CHOICE,
    .has_norm = true,
    .fields = (const char *const[]){"goal,sol1,sol2", NULL},
    .item = read_item,
};
