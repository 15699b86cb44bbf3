#include "eval/task_figures.h"
#include "eval/written.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double exact_match(const pare_task_scores *s, size_t i, pare_extraction how)
{
    bool asked = !s->items[i].too_long && s->task->items[i].target.len > 0;
    return asked ? s->items[i].written->right[how] : NAN;
}

double pare_item_value(const pare_task_scores *s, size_t i, pare_rule rule)
{
    const pare_item_score *score = &s->items[i];
    if (score->too_long)
        return NAN;
    if (s->task->kind == PARE_TASK_GENERATE)
        return exact_match(s, i, PARE_EXTRACT_STRICT);
    if (s->task->kind == PARE_TASK_MASS)
        return score->mass;
    if (s->task->kind == PARE_TASK_LAST_WORD)
        return score->choices[0].greedy;
    return s->task->items[i].choices[score->pick[rule]].right;
}

/* Numbers of the groups of items whose value is there, in the order in which they come; *n_groups: how many. */
static pare_status number_groups(const pare_task *task, const double *values, size_t *group, size_t *n_groups,
                                 pare_error *err)
{
    pare_index names = {0};
    pare_status st = PARE_OK;
    *n_groups = 0;
    for (size_t i = 0, k = 0; i < task->n_items && st == PARE_OK; i++) {
        int64_t old = PARE_INDEX_NONE;
        if (isnan(values[i]))
            continue;
        if (task->items[i].group.len > 0) /* an item without a group is one of its own */
            st = pare_index_add(&names, task->items[i].group, (int64_t)*n_groups, &old, err);
        group[k++] = old == PARE_INDEX_NONE ? (*n_groups)++ : (size_t)old;
    }
    pare_index_close(&names);
    return st;
}

pare_status pare_task_mean(const pare_task *task, const double *values, pare_task_figure *out, pare_error *err)
{
    pare_moments moments = {0};
    pare_estimate clustered = {NAN, NAN};
    size_t *group = calloc(task->n_items, sizeof *group), n_groups = 0;
    double *present = calloc(task->n_items, sizeof *present);
    pare_status st = PARE_OK;
    if (group == NULL || present == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu values", task->path, task->n_items);
    for (size_t i = 0; i < task->n_items && st == PARE_OK; i++)
        if (!isnan(values[i])) {
            present[moments.n] = values[i];
            pare_moments_add(&moments, values[i]);
        }
    if (st == PARE_OK)
        st = number_groups(task, values, group, &n_groups, err);
    if (st == PARE_OK && n_groups > 1 && n_groups < moments.n)
        st = pare_mean_clustered(present, group, moments.n, &clustered, err);
    out->mean = pare_mean(&moments);
    out->clustered_stderr = clustered.stderr_;
    free(group);
    free(present);
    return st;
}

static double summed_loglik(const pare_task_scores *s, size_t i, pare_rule rule)
{
    (void)rule;
    return s->items[i].too_long ? NAN : s->items[i].choices[0].loglik;
}

static double flexible_match(const pare_task_scores *s, size_t i, pare_rule rule)
{
    (void)rule;
    return exact_match(s, i, PARE_EXTRACT_FLEXIBLE);
}

/* lm-eval's perplexity of last words: e^-(mean ln p of a word). */
static void make_perplexity(pare_task_figure *f)
{
    f->mean = pare_exp_estimate((pare_estimate){-f->mean.value, f->mean.stderr_});
    f->clustered_stderr *= f->mean.value;
}

/* What is reported of each kind. */
static const struct {
    pare_task_kind kind;
    bool needs_norm;
    const char *key;
    double (*value)(const pare_task_scores *s, size_t i, pare_rule rule);
    pare_rule rule;
    void (*after)(pare_task_figure *f);
} figures[] = {
    {PARE_TASK_CHOICE, false, "acc", pare_item_value, PARE_BY_SUM, NULL},
    {PARE_TASK_CHOICE, true, "acc_norm", pare_item_value, PARE_BY_CHARS, NULL},
    {PARE_TASK_CHOICE, false, "acc_token", pare_item_value, PARE_BY_TOKENS, NULL},
    {PARE_TASK_MASS, false, "mc2", pare_item_value, PARE_BY_SUM, NULL},
    {PARE_TASK_LAST_WORD, false, "acc", pare_item_value, PARE_BY_SUM, NULL},
    {PARE_TASK_LAST_WORD, false, "perplexity", summed_loglik, PARE_BY_SUM, make_perplexity},
    {PARE_TASK_GENERATE, false, "exact_strict", pare_item_value, PARE_BY_SUM, NULL},
    {PARE_TASK_GENERATE, false, "exact_flexible", flexible_match, PARE_BY_SUM, NULL},
};

/* Of some tasks the texts are the result: nothing says which are right. */
static bool has_answers(const pare_task *task)
{
    size_t i = 0;
    while (task->kind == PARE_TASK_GENERATE && i < task->n_items && task->items[i].target.len == 0)
        i++;
    return i < task->n_items;
}

pare_status pare_task_figures(const pare_task_scores *s, pare_task_figure out[PARE_MAX_FIGURES], size_t *n,
                              pare_error *err)
{
    double *values = calloc(s->task->n_items, sizeof *values);
    pare_status st = PARE_OK;
    *n = 0;
    if (values == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu values", s->task->path, s->task->n_items);
    for (size_t k = 0; k < sizeof figures / sizeof figures[0] && st == PARE_OK; k++) {
        if (figures[k].kind != s->task->kind || (figures[k].needs_norm && !s->task->has_norm) || !has_answers(s->task))
            continue;
        for (size_t i = 0; i < s->task->n_items; i++)
            values[i] = figures[k].value(s, i, figures[k].rule);
        out[*n] = (pare_task_figure){.key = figures[k].key};
        st = pare_task_mean(s->task, values, &out[*n], err);
        if (figures[k].after != NULL)
            figures[k].after(&out[*n]);
        ++*n;
    }
    free(values);
    return st;
}
