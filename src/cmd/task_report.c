#include "cmd/task_report.h"

#include "cmd/console.h"
#include "cmd/task_texts.h"
#include "cmd/text_run.h"
#include "core/progress.h"
#include "eval/task_figures.h"
#include "eval/written.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_GROUP_SHOWN = 200 /* bytes: a name, not a passage */ };

static pare_status check_options(const cmd_args *args, pare_error *err)
{
    static const struct {
        cmd_option_id id;
        const char *name;
    } need_task[] = {{OPT_TASK_FORMAT, "task-format"}, {OPT_TASK_CTX, "task-ctx"},
                     {OPT_TASK_ITEMS, "task-items"},   {OPT_SHOTS, "shots"},
                     {OPT_N_SHOT, "n-shot"},           {OPT_LIMIT, "limit"},
                     {OPT_DESCRIPTION, "description"}, {OPT_COMPLETIONS, "completions"}};
    for (size_t i = 0; i < sizeof need_task / sizeof need_task[0] && !cmd_has(args, OPT_TASK); i++)
        if (cmd_has(args, need_task[i].id))
            return pare_fail(err, PARE_ERR_USAGE, "%s: --%s needs --task", args->verb->name, need_task[i].name);
    return PARE_OK;
}

pare_status cmd_tasks_load(cmd_tasks *t, const cmd_args *args, pare_error *err)
{
    const pare_task_options options = {.format = cmd_text(args, OPT_TASK_FORMAT),
                                       .shots = cmd_text(args, OPT_SHOTS),
                                       .n_shot = (uint32_t)cmd_number(args, OPT_N_SHOT),
                                       .limit = cmd_number(args, OPT_LIMIT),
                                       .description = cmd_text(args, OPT_DESCRIPTION)};
    size_t n = cmd_count(args, OPT_TASK);
    *t = (cmd_tasks){.args = args};
    pare_status st = check_options(args, err);
    if (st != PARE_OK || n == 0)
        return st;
    if ((t->list = calloc(n, sizeof *t->list)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tasks", n);
    for (; t->n < n && st == PARE_OK; t->n += st == PARE_OK)
        st = pare_task_load(&t->list[t->n], cmd_nth(args, OPT_TASK, t->n), &options, err);
    return st;
}

void cmd_tasks_close(cmd_tasks *t)
{
    for (size_t i = 0; i < t->n; i++)
        pare_task_close(&t->list[i]);
    free(t->list);
    *t = (cmd_tasks){0};
}

static void after_batch(size_t n_done, size_t n_items, void *user)
{
    const pare_task *task = user;
    pare_progress("items", n_done, n_items, task->name);
}

static pare_status score_one(const cmd_tasks *t, size_t i, const pare_scorer *with, pare_task_scores *out,
                             pare_error *err)
{
    const pare_task *task = &t->list[i];
    pare_status st = pare_score_task(out, task, with, err);
    if (st == PARE_OK && out->n_too_long > 0)
        cmd_warning("%s: %" PRIu64 " of %zu items are longer than %" PRIu32 " tokens: not scored",
                    cmd_safe(task->path, strlen(task->path)), out->n_too_long, task->n_items, out->n_ctx);
    if (st == PARE_OK)
        cmd_texts_warn(out);
    return st;
}

pare_status cmd_tasks_score(const cmd_tasks *t, const pare_model *m, pare_backend *b, const pare_tokenizer *tokenizer,
                            pare_task_scores **scores, pare_error *err)
{
    pare_status st = PARE_OK;
    *scores = NULL;
    if (t->n == 0)
        return PARE_OK;
    if ((*scores = calloc(t->n, sizeof **scores)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for scores of %zu tasks", t->n);
    cmd_warn_of_context(m, "prompts of up to", (uint32_t)cmd_number(t->args, OPT_TASK_CTX));
    for (size_t i = 0; i < t->n && st == PARE_OK; i++) {
        const pare_scorer with = {.m = m,
                                  .form = t->form,
                                  .b = b,
                                  .tokenizer = tokenizer,
                                  .n_ctx = (uint32_t)cmd_number(t->args, OPT_TASK_CTX),
                                  .each = after_batch,
                                  .user = &t->list[i]};
        st = score_one(t, i, &with, &(*scores)[i], err);
    }
    if (st != PARE_OK) {
        cmd_tasks_free_scores(t, *scores);
        *scores = NULL;
    }
    return st;
}

void cmd_tasks_free_scores(const cmd_tasks *t, pare_task_scores *scores)
{
    for (size_t i = 0; scores != NULL && i < t->n; i++)
        pare_task_scores_close(&scores[i]);
    free(scores);
}

/* Mean over several tasks: each counts the same, or each of its items does. */
typedef struct pooled {
    double sum, variance, weight;
} pooled;

static void pool(pooled *p, const pare_task_figure *f, double weight)
{
    p->sum += weight * f->mean.value;
    p->variance += weight * weight * f->mean.stderr_ * f->mean.stderr_;
    p->weight += weight;
}

/* Without an error where a task has none, as one of a single item. */
static void print_pooled(const pooled *p)
{
    double error = 100 * sqrt(p->variance) / p->weight;
    printf("%.2f %%", 100 * p->sum / p->weight);
    if (isfinite(error))
        printf(" +/- %.2f", error);
}

static void print_figure(const pare_task_figure *f)
{
    bool share = strcmp(f->key, "perplexity") != 0;
    double scale = share ? 100 : 1;
    printf("  %s %.2f%s", f->key, scale * f->mean.value, share ? " %" : "");
    if (isfinite(f->mean.stderr_))
        printf(" +/- %.2f", scale * f->mean.stderr_);
    if (isfinite(f->clustered_stderr))
        printf(" (by groups %.2f)", scale * f->clustered_stderr);
}

pare_status cmd_tasks_print(const cmd_tasks *t, const pare_task_scores *scores, pare_error *err)
{
    pooled by_task = {0}, by_item = {0};
    for (size_t i = 0; i < t->n; i++) {
        const pare_task *task = &t->list[i];
        pare_task_figure figures[PARE_MAX_FIGURES];
        size_t n, n_scored = task->n_items - (size_t)scores[i].n_too_long;
        pare_status st = pare_task_figures(&scores[i], figures, &n, err);
        if (st != PARE_OK)
            return st;
        printf("%s: %zu item%s, %" PRIu32 "-shot%s", cmd_safe(task->name, strlen(task->name)), n_scored,
               n_scored == 1 ? "" : "s", task->n_shot,
               n_scored == 0 ? ""
               : n > 0       ? ":"
                             : "; its own tool scores the texts");
        for (size_t k = 0; k < n && n_scored > 0; k++)
            print_figure(&figures[k]);
        if (scores[i].n_too_long > 0)
            printf("  (%" PRIu64 " too long)", scores[i].n_too_long);
        printf("\n");
        if (n_scored > 0 && n > 0) {
            pool(&by_task, &figures[0], 1);
            pool(&by_item, &figures[0], (double)n_scored);
        }
    }
    if (by_task.weight > 1) {
        printf("mean of %zu tasks: ", (size_t)by_task.weight);
        print_pooled(&by_task);
        printf("; of their %.0f items: ", by_item.weight);
        print_pooled(&by_item);
        printf("\n");
    }
    return PARE_OK;
}

static json_t *json_choice(const pare_choice *choice, const pare_choice_score *score)
{
    json_t *row = json_object();
    cmd_json_real(row, "loglik", score->loglik);
    cmd_json_real(row, "own_loglik", score->own_loglik);
    cmd_json_u64(row, "n_tokens", score->n_tokens);
    cmd_json_u64(row, "n_own_tokens", score->n_own_tokens);
    cmd_json_u64(row, "n_chars", score->n_chars);
    cmd_json_u64(row, "n_bytes", score->n_bytes);
    json_object_set_new(row, "greedy", json_boolean(score->greedy));
    json_object_set_new(row, "right", json_boolean(choice->right));
    return row;
}

static void put_choices(json_t *row, const pare_item *item, const pare_item_score *score)
{
    json_t *choices = json_array(), *picks = json_array();
    for (size_t k = 0; k < item->n_choices && !score->too_long; k++)
        json_array_append_new(choices, json_choice(&item->choices[k], &score->choices[k]));
    for (int rule = 0; rule < PARE_N_RULES && !score->too_long; rule++)
        json_array_append_new(picks, json_integer((json_int_t)score->pick[rule]));
    cmd_json_u64(row, "answer", item->answer);
    json_object_set_new(row, "choices", choices);
    json_object_set_new(row, "picks", picks); /* by acc, acc_norm, acc_token */
}

static json_t *json_item(const pare_task_scores *s, size_t i)
{
    const pare_item *item = &s->task->items[i];
    const pare_item_score *score = &s->items[i];
    json_t *row = json_object();
    json_object_set_new(row, "id", cmd_json_text(item->id.data, item->id.len));
    if (item->group.len > 0 && item->group.len <= MAX_GROUP_SHOWN)
        json_object_set_new(row, "group", cmd_json_text(item->group.data, item->group.len));
    json_object_set_new(row, "too_long", json_boolean(score->too_long));
    if (score->written != NULL)
        cmd_texts_put(row, item, score);
    else
        put_choices(row, item, score);
    return row;
}

static void put_figures(json_t *row, const pare_task_figure *figures, size_t n)
{
    char key[64];
    for (size_t k = 0; k < n; k++) {
        const pare_task_figure *f = &figures[k];
        cmd_json_real(row, f->key, f->mean.value);
        snprintf(key, sizeof key, "%s_stderr", f->key);
        cmd_json_real(row, key, f->mean.stderr_);
        snprintf(key, sizeof key, "%s_stderr_clustered", f->key);
        cmd_json_real(row, key, f->clustered_stderr);
    }
    if (n == 0)
        return;
    /* The figure that the task is known by goes by one name for all tasks. */
    cmd_json_real(row, "accuracy", figures[0].mean.value);
    cmd_json_real(row, "stderr", figures[0].mean.stderr_);
    cmd_json_real(row, "stderr_clustered", figures[0].clustered_stderr);
}

static pare_status json_task(json_t *rows, const cmd_tasks *t, const pare_task_scores *s, pare_error *err)
{
    const pare_task *task = s->task;
    pare_task_figure figures[PARE_MAX_FIGURES];
    size_t n;
    pare_status st = pare_task_figures(s, figures, &n, err);
    if (st != PARE_OK)
        return st;
    json_t *row = json_object();
    json_object_set_new(row, "name", cmd_json_text(task->name, strlen(task->name)));
    json_object_set_new(row, "path", cmd_json_text(task->path, strlen(task->path)));
    json_object_set_new(row, "format", json_string(task->format));
    json_object_set_new(row, "sha256", json_string(task->sha256));
    if (task->n_shot > 0)
        json_object_set_new(row, "shots_sha256", json_string(task->shots_sha256));
    cmd_json_u64(row, "n_shot", task->n_shot);
    cmd_json_u64(row, "n", task->n_items - s->n_too_long);
    cmd_json_u64(row, "n_in_file", task->n_in_file);
    cmd_json_u64(row, "n_too_long", s->n_too_long);
    if (task->kind == PARE_TASK_GENERATE)
        cmd_json_u64(row, "n_cut", pare_n_cut(s));
    cmd_json_u64(row, "n_ctx", s->n_ctx);
    cmd_json_u64(row, "n_tokens", s->n_tokens);
    cmd_json_real(row, "seconds", s->seconds);
    put_figures(row, figures, n);
    if (cmd_has(t->args, OPT_TASK_ITEMS)) {
        json_t *items = json_array();
        for (size_t i = 0; i < task->n_items; i++)
            json_array_append_new(items, json_item(s, i));
        json_object_set_new(row, "items", items);
    }
    json_array_append_new(rows, row);
    return PARE_OK;
}

pare_status cmd_tasks_json(json_t *doc, const cmd_tasks *t, const pare_task_scores *scores, pare_error *err)
{
    json_t *rows = json_array();
    pare_status st = PARE_OK;
    if (t->n == 0) {
        json_decref(rows);
        return PARE_OK;
    }
    json_object_set_new(doc, "tasks", rows);
    for (size_t i = 0; i < t->n && st == PARE_OK; i++)
        st = json_task(rows, t, &scores[i], err);
    return st;
}
