/* GSM8K (Cobbe et al., arXiv 2110.14168): the owner's jsonl. Prompt, stops and rules: lm-eval 0.4, tasks/gsm8k. */
#include "tasks/extract.h"
#include "tasks/format.h"

#include <string.h>

static pare_status read_item(pare_reader *r, const json_t *record, pare_item *out, pare_error *err)
{
    pare_str question, answer;
    pare_buf target = {0};
    pare_status st;
    if ((st = pare_read_text(r, record, "question", &question, err)) != PARE_OK ||
        (st = pare_read_text(r, record, "answer", &answer, err)) != PARE_OK)
        return st;
    if (memmem(answer.data, answer.len, "#### ", 5) == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: field 'answer' has no '#### ' in front of its result", r->where);
    if ((st = PARE_JOIN(r, &out->prompt, err, PARE_TEXT("Question: "), question, PARE_TEXT("\nAnswer:"))) != PARE_OK ||
        (st = PARE_JOIN(r, &out->solution, err, PARE_TEXT(" "), answer)) != PARE_OK)
        return st;
    if ((st = pare_normalize_answer(&target, answer, err)) == PARE_OK && target.len == 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: field 'answer' has nothing behind '#### '", r->where);
    if (st == PARE_OK)
        st = PARE_JOIN(r, &out->target, err, (pare_str){target.data, target.len});
    pare_buf_close(&target);
    return st;
}

const pare_format pare_format_gsm8k = {
    .name = "gsm8k",
    .kind = PARE_TASK_GENERATE,
    .fields = (const char *const[]){"question,answer", NULL},
    .item = read_item,
    .stops = (const char *const[]){"Question:", "</s>", "<|im_end|>", NULL},
    .max_tokens = 256, /* lm-eval's default */
};
