/* LAMBADA (Paperno et al., arXiv 1606.06031): jsonl with one text a line, whose last word is to be told. Words are
 * divided at single spaces, as lm-eval 0.4 (tasks/lambada) does. */
#include "tasks/format.h"

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    pare_str text;
    pare_status st = pare_read_text(r, record, "text", &text, err);
    if (st != PARE_OK)
        return st;
    size_t space = text.len;
    while (space > 0 && text.data[space - 1] != ' ')
        space--;
    if (space <= 1 || space == text.len)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: field 'text' %s", r->where,
                         space == text.len ? "ends with a space: its last word is empty" : "has a single word");
    if ((out->choices = pare_arena_alloc(r->memory, sizeof *out->choices, err)) == NULL)
        return PARE_ERR_MEMORY;
    out->n_choices = 1;
    out->choices[0] = (pare_choice){.context = {text.data, space - 1},
                                    .continuation = {text.data + space - 1, text.len - space + 1},
                                    .answer = {text.data + space, text.len - space},
                                    .right = true};
    return PARE_OK;
}

const pare_format pare_format_lambada = {
    .name = "lambada",
    .kind = PARE_TASK_LAST_WORD,
    .fields = (const char *const[]){"text", NULL},
    .item = read_item,
};
