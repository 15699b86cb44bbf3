#include "cmd/comparison.h"
#include "cmd/console.h"
#include "core/progress.h"

#include <stdlib.h>

const char *cmd_rule_name(pare_rule rule)
{
    static const char *const names[PARE_N_RULES] = {
        [PARE_BY_SUM] = "acc", [PARE_BY_CHARS] = "acc_norm", [PARE_BY_TOKENS] = "acc_token"};
    return names[rule];
}

/* The pairs of one task by each rule: measured, and added to those of all tasks. */
static pare_status pair_scores(cmd_candidate *k, size_t i, const pare_task_scores *reference,
                               const pare_task_scores *model, pare_error *err)
{
    cmd_task_drift *t = &k->tasks[i];
    pare_status st = PARE_OK;
    t->n_rules = reference->task->kind == PARE_TASK_CHOICE ? PARE_N_RULES : 1;
    for (size_t rule = 0; rule < PARE_N_RULES && st == PARE_OK; rule++) {
        st = pare_pairs_add_task(&t->pairs[rule], reference, model, (pare_rule)rule, err);
        if (st == PARE_OK)
            st = pare_drift_measure(&t->pairs[rule], &t->drift[rule], err);
        if (st == PARE_OK)
            st = pare_pairs_add_task(&k->all.pairs[rule], reference, model, (pare_rule)rule, err);
    }
    return st;
}

static void after_batch(size_t n_done, size_t n_prompts, void *user)
{
    pare_progress("prompts", n_done, n_prompts, user);
}

static pare_status first_tokens(const cmd_comparison *c, size_t i, pare_error *err)
{
    const pare_task *task = &c->tasks.list[i];
    const pare_first_token_job job = {.reference = &c->reference,
                                      .models = c->models,
                                      .n_models = c->n,
                                      .b = c->devices.backend[0],
                                      .n_ctx = (uint32_t)cmd_number(c->args, OPT_TASK_CTX),
                                      .each = after_batch,
                                      .user = task->name};
    pare_first_token *out = calloc(c->n, sizeof *out);
    if (out == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", c->n);
    pare_status st = pare_first_token_task(&job, task, c->tokenizer, out, err);
    for (size_t k = 0; k < c->n && st == PARE_OK; k++)
        c->candidates[k].tasks[i].first_token = out[k];
    free(out);
    return st;
}

static pare_status compare_candidate(cmd_comparison *c, size_t k, const pare_task_scores *reference, pare_error *err)
{
    cmd_candidate *candidate = &c->candidates[k];
    pare_task_scores *scores = NULL;
    cmd_note("tasks with %s", candidate->model.path);
    pare_status st = cmd_tasks_score(&c->tasks, &candidate->model, c->devices.backend[0], c->tokenizer, &scores, err);
    for (size_t i = 0; i < c->tasks.n && st == PARE_OK; i++)
        st = pair_scores(candidate, i, &reference[i], &scores[i], err);
    cmd_tasks_free_scores(&c->tasks, scores);
    for (size_t i = 0; i < c->tasks.n; i++)
        if (candidate->tasks[i].n_rules > candidate->all.n_rules)
            candidate->all.n_rules = candidate->tasks[i].n_rules;
    for (size_t rule = 0; rule < candidate->all.n_rules && st == PARE_OK; rule++)
        st = pare_drift_measure(&candidate->all.pairs[rule], &candidate->all.drift[rule], err);
    return st;
}

pare_status cmd_compare_tasks(cmd_comparison *c, pare_error *err)
{
    pare_task_scores *reference = NULL;
    cmd_note("tasks with %s", c->reference.path);
    pare_status st = cmd_tasks_score(&c->tasks, &c->reference, c->devices.backend[0], c->tokenizer, &reference, err);
    for (size_t k = 0; k < c->n && st == PARE_OK; k++)
        st = compare_candidate(c, k, reference, err);
    cmd_tasks_free_scores(&c->tasks, reference);
    for (size_t i = 0; i < c->tasks.n && st == PARE_OK; i++)
        st = first_tokens(c, i, err);
    return st;
}
