/* HumanEval (Chen et al., arXiv 2107.03374): the owner's jsonl. The text behind the prompt is the result, up to the
 * first of the paper's stops; its own tool runs it against the tests. Length: lm-eval 0.4, tasks/humaneval. */
#include "tasks/format.h"

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    pare_status st = pare_read_text(r, record, "task_id", &out->id, err);
    return st == PARE_OK ? pare_read_text(r, record, "prompt", &out->prompt, err) : st;
}

const pare_format pare_format_humaneval = {
    .name = "humaneval",
    .kind = PARE_TASK_GENERATE,
    .has_own_shots = true,
    .fields = (const char *const[]){"task_id,prompt,entry_point", NULL},
    .item = read_item,
    .stops = (const char *const[]){"\nclass", "\ndef", "\n#", "\nif", "\nprint", NULL},
    .max_tokens = 1024,
};
