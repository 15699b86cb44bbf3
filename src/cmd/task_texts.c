#include "cmd/task_texts.h"

#include "cmd/console.h"
#include "core/output.h"
#include "eval/written.h"

#include <inttypes.h>
#include <string.h>

/* The task that --completions is about: the only one of texts; t->n when there is none or several. */
static size_t only_task(const cmd_tasks *t)
{
    size_t found = t->n, n = 0;
    for (size_t i = 0; i < t->n; i++)
        if (t->list[i].kind == PARE_TASK_GENERATE && n++ == 0)
            found = i;
    return n == 1 ? found : t->n;
}

pare_status cmd_texts_check(const cmd_tasks *t, pare_error *err)
{
    if (cmd_has(t->args, OPT_COMPLETIONS) && only_task(t) == t->n)
        return pare_fail(
            err, PARE_ERR_USAGE,
            "%s: --completions needs one --task that the model answers in its own words (HumanEval, GSM8K)",
            t->args->verb->name);
    return PARE_OK;
}

void cmd_texts_warn(const pare_task_scores *s)
{
    uint64_t n_cut = pare_n_cut(s);
    if (n_cut > 0)
        cmd_warning("%s: %" PRIu64 " of %zu texts end because the context of %" PRIu32 " tokens is full",
                    cmd_safe(s->task->path, strlen(s->task->path)), n_cut, s->task->n_items, s->n_ctx);
}

void cmd_texts_put(json_t *row, const pare_item *item, const pare_item_score *score)
{
    const pare_written *w = score->written;
    json_object_set_new(row, "text", json_stringn(w->text.data != NULL ? w->text.data : "", w->text.len));
    cmd_json_u64(row, "n_tokens", w->n_tokens);
    json_object_set_new(row, "ending", json_string(pare_ending_name(w->ending)));
    if (item->target.len == 0)
        return;
    json_object_set_new(row, "target", json_stringn(item->target.data, item->target.len));
    for (int how = 0; how < PARE_N_EXTRACTIONS; how++) {
        const pare_str *answer = &w->answer[how];
        json_t *result = json_object();
        if (answer->len > 0)
            json_object_set_new(result, "answer", json_stringn(answer->data, answer->len));
        json_object_set_new(result, "right", json_boolean(w->right[how]));
        json_object_set_new(row, pare_extraction_names[how], result);
    }
}

pare_status cmd_texts_write(const cmd_tasks *t, const pare_task_scores *scores, pare_error *err)
{
    const char *path = cmd_text(t->args, OPT_COMPLETIONS);
    if (path == NULL)
        return PARE_OK;
    return pare_write_completions(&scores[only_task(t)], path, cmd_has(t->args, OPT_FORCE) ? PARE_OUTPUT_FORCE : 0,
                                  err);
}
