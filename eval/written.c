#include "eval/written.h"

#include "core/output.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct writing {
    pare_task_scores *out;
    const pare_scorer *with;
    size_t n_done;
    pare_buf scratch;
} writing;

/* A copy in the memory of the scores. */
static pare_status keep(writing *w, pare_str *out, pare_error *err)
{
    char *copy = pare_arena_copy(&w->out->memory, w->scratch.data != NULL ? w->scratch.data : "", w->scratch.len, err);
    if (copy == NULL)
        return PARE_ERR_MEMORY;
    *out = (pare_str){copy, w->scratch.len};
    return PARE_OK;
}

static pare_status take_answer(writing *w, const pare_item *item, pare_extraction how, pare_written *out,
                               pare_error *err)
{
    pare_str found = pare_extract(how, out->text);
    w->scratch.len = 0;
    pare_status st = pare_normalize_answer(&w->scratch, found, err);
    if (st == PARE_OK)
        st = keep(w, &out->answer[how], err);
    if (st != PARE_OK)
        return st;
    const pare_str *answer = &out->answer[how];
    out->right[how] =
        answer->len > 0 && answer->len == item->target.len && memcmp(answer->data, item->target.data, answer->len) == 0;
    return PARE_OK;
}

static pare_status take(size_t i, const pare_completion *c, void *user, pare_error *err)
{
    writing *w = user;
    const pare_item *item = &w->out->task->items[i];
    pare_item_score *score = &w->out->items[i];
    pare_written *written = pare_arena_alloc(&w->out->memory, sizeof *written, err);
    if (written == NULL)
        return PARE_ERR_MEMORY;
    written->n_tokens = c->n;
    written->ending = c->ending;
    w->scratch.len = 0;
    pare_status st = pare_buf_put_utf8(&w->scratch, c->text.data, c->text.len, err);
    if (st == PARE_OK)
        st = keep(w, &written->text, err);
    for (int how = 0; how < PARE_N_EXTRACTIONS && st == PARE_OK && item->target.len > 0; how++)
        st = take_answer(w, item, (pare_extraction)how, written, err);
    score->written = written;
    score->too_long = c->ending == PARE_ENDS_UNASKED;
    w->out->n_too_long += score->too_long;
    w->out->n_tokens += c->n;
    if (st == PARE_OK && w->with->each != NULL)
        w->with->each(++w->n_done, w->out->task->n_items, w->with->user);
    return st;
}

static pare_status write_all(writing *w, pare_ids *prompts, pare_completion *texts, pare_error *err)
{
    const pare_task *task = w->out->task;
    const pare_scorer *with = w->with;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < task->n_items && st == PARE_OK; i++) {
        st = pare_prompt_ids(with->tokenizer, &with->m->vocab, task->items[i].prompt, PARE_TOKENIZE_SPECIAL,
                             &prompts[i], err);
        w->out->n_tokens += prompts[i].n;
    }
    const pare_generate_job job = {.m = with->m,
                                   .b = with->b,
                                   .tokenizer = with->tokenizer,
                                   .vocab = &with->m->vocab,
                                   .prompts = prompts,
                                   .n_prompts = task->n_items,
                                   .form = with->form,
                                   .n_ctx = w->out->n_ctx,
                                   .max_tokens = task->max_tokens,
                                   .stops = task->stops,
                                   .n_stops = task->n_stops,
                                   .done = take,
                                   .user = w};
    return st == PARE_OK ? pare_generate(&job, texts, err) : st;
}

pare_status pare_score_written(pare_task_scores *out, const pare_task *task, const pare_scorer *with, pare_error *err)
{
    writing w = {.out = out, .with = with};
    pare_ids *prompts = calloc(task->n_items, sizeof *prompts);
    pare_completion *texts = calloc(task->n_items, sizeof *texts);
    pare_status st = PARE_OK;
    out->items = pare_arena_alloc(&out->memory, task->n_items * sizeof *out->items, err);
    if (out->items == NULL)
        st = PARE_ERR_MEMORY;
    else if (prompts == NULL || texts == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu items", task->path, task->n_items);
    if (st == PARE_OK)
        st = write_all(&w, prompts, texts, err);
    for (size_t i = 0; i < task->n_items; i++) {
        if (prompts != NULL)
            free(prompts[i].ids);
        if (texts != NULL)
            pare_completion_close(&texts[i]);
    }
    free(prompts);
    free(texts);
    pare_buf_close(&w.scratch);
    return st;
}

uint64_t pare_n_cut(const pare_task_scores *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->task->n_items; i++)
        n += s->items[i].written != NULL && s->items[i].written->ending == PARE_ENDS_BY_CONTEXT;
    return n;
}

static pare_status put_line(pare_buf *out, pare_str id, pare_str text, pare_error *err)
{
    json_t *row = json_pack("{s:s%, s:s%}", "task_id", id.data, id.len, "completion", text.data, text.len);
    char *line = row != NULL ? json_dumps(row, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    pare_status st = line != NULL
                         ? pare_buf_puts(out, line, err)
                         : pare_fail(err, PARE_ERR_MEMORY, "no memory for a completion of %zu bytes", text.len);
    if (st == PARE_OK)
        st = pare_buf_puts(out, "\n", err);
    free(line);
    json_decref(row);
    return st;
}

pare_status pare_write_completions(const pare_task_scores *s, const char *path, unsigned flags, pare_error *err)
{
    pare_buf lines = {0};
    pare_status st = PARE_OK;
    if (s->task->kind != PARE_TASK_GENERATE)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: the items of %s are scored by likelihood: there are no texts",
                         s->task->path, s->task->name);
    for (size_t i = 0; i < s->task->n_items && st == PARE_OK; i++)
        if (!s->items[i].too_long)
            st = put_line(&lines, s->task->items[i].id, s->items[i].written->text, err);
    if (st == PARE_OK)
        st = pare_output_file(path, lines.data, lines.len, flags, err);
    pare_buf_close(&lines);
    return st;
}
