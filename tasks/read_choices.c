/* Items whose prompt is made already: query, choices and the number of the right one (gold), as lm-eval's documents
 * have them; and the same out of llama.cpp's six lines an item. */
#include "tasks/format.h"

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    pare_str context, *choices;
    size_t n, gold;
    pare_status st;
    if ((st = pare_read_text(r, record, "query", &context, err)) != PARE_OK ||
        (st = pare_read_texts(r, json_object_get(record, "choices"), "choices", &choices, &n, err)) != PARE_OK ||
        (st = pare_read_index(r, record, "gold", 0, n, false, &gold, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "id", &out->id, err)) != PARE_OK ||
        (st = pare_read_optional(r, record, "group", &out->group, err)) != PARE_OK)
        return st;
    return pare_put_choices(r, out, context, choices, n, gold, err);
}

const pare_format pare_format_choices = {
    .name = "choices",
    .kind = PARE_TASK_CHOICE,
    .has_norm = true,
    .fields = (const char *const[]){"query,choices,gold", NULL},
    .item = read_item,
};

const pare_format pare_format_hellaswag_text = {
    .name = "hellaswag-text",
    .container = PARE_CONTAINER_LINES,
    .kind = PARE_TASK_CHOICE,
    .has_norm = true,
    .fields = (const char *const[]){"query,choices,gold", NULL},
    .item = read_item,
};
