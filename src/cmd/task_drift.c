#include "cmd/task_drift.h"
#include "cmd/console.h"
#include "core/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_WIDTH = 24 };

const char *cmd_rule_name(pare_rule rule)
{
    static const char *const names[PARE_N_RULES] = {
        [PARE_BY_SUM] = "acc", [PARE_BY_CHARS] = "acc_norm", [PARE_BY_TOKENS] = "acc_token"};
    return names[rule];
}

/* Texts whose answers the benchmark's own tool judges cannot be paired here. */
static pare_status check_targets(const pare_task *task, pare_error *err)
{
    bool has_target = task->kind != PARE_TASK_GENERATE || task->n_items == 0;
    for (size_t i = 0; i < task->n_items && !has_target; i++)
        has_target = task->items[i].target.len > 0;
    if (has_target)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %s has no answers to compare with: its own tool judges them",
                     task->path, task->name);
}

pare_status cmd_drift_open(cmd_tasks *t, const cmd_args *args, pare_error *err)
{
    pare_status st = cmd_tasks_load(t, args, err);
    for (size_t i = 0; i < t->n && st == PARE_OK; i++)
        st = check_targets(&t->list[i], err);
    return st;
}

/* ---- measuring -------------------------------------------------------------------------------------------------- */

/* The pairs of one task by each rule: measured, and added to those of all tasks. */
static pare_status pair_scores(cmd_drift *d, size_t i, const pare_task_scores *reference, const pare_task_scores *model,
                               pare_error *err)
{
    cmd_task_drift *t = &d->tasks[i];
    pare_status st = PARE_OK;
    t->n_rules = reference->task->kind == PARE_TASK_CHOICE ? PARE_N_RULES : 1;
    for (size_t rule = 0; rule < PARE_N_RULES && st == PARE_OK; rule++) {
        st = pare_pairs_add_task(&t->pairs[rule], reference, model, (pare_rule)rule, err);
        if (st == PARE_OK)
            st = pare_drift_measure(&t->pairs[rule], &t->drift[rule], err);
        if (st == PARE_OK)
            st = pare_pairs_add_task(&d->all.pairs[rule], reference, model, (pare_rule)rule, err);
    }
    if (t->n_rules > d->all.n_rules)
        d->all.n_rules = t->n_rules;
    return st;
}

static pare_status measure_model(const cmd_tasks *t, const cmd_drift_models *with, size_t k,
                                 const pare_task_scores *reference, cmd_drift *d, pare_error *err)
{
    const pare_model *m = with->models[k];
    pare_task_scores *scores = NULL;
    d->tasks = calloc(t->n, sizeof *d->tasks);
    if (d->tasks == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tasks", t->n);
    d->n = t->n;
    cmd_note("tasks with %s", m->path);
    pare_status st = cmd_tasks_score(t, m, with->backend, with->tokenizer, &scores, err);
    for (size_t i = 0; i < t->n && st == PARE_OK; i++)
        st = pair_scores(d, i, &reference[i], &scores[i], err);
    cmd_tasks_free_scores(t, scores);
    for (size_t rule = 0; rule < d->all.n_rules && st == PARE_OK; rule++)
        st = pare_drift_measure(&d->all.pairs[rule], &d->all.drift[rule], err);
    return st;
}

static void after_batch(size_t n_done, size_t n_prompts, void *user)
{
    pare_progress("prompts", n_done, n_prompts, user);
}

static pare_status first_tokens(const cmd_tasks *t, const cmd_drift_models *with, size_t i, cmd_drift *drift,
                                pare_error *err)
{
    const pare_task *task = &t->list[i];
    const pare_first_token_job job = {.reference = with->reference,
                                      .models = with->models,
                                      .n_models = with->n_models,
                                      .b = with->backend,
                                      .n_ctx = (uint32_t)cmd_number(t->args, OPT_TASK_CTX),
                                      .each = after_batch,
                                      .user = task->name};
    pare_first_token *out = calloc(with->n_models, sizeof *out);
    if (out == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", with->n_models);
    pare_status st = pare_first_token_task(&job, task, with->tokenizer, out, err);
    for (size_t k = 0; k < with->n_models && st == PARE_OK; k++)
        drift[k].tasks[i].first_token = out[k];
    free(out);
    return st;
}

pare_status cmd_drift_measure(const cmd_tasks *t, const cmd_drift_models *with, const pare_task_scores *reference,
                              cmd_drift *drift, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t k = 0; k < with->n_models && t->n > 0 && st == PARE_OK; k++)
        st = measure_model(t, with, k, reference, &drift[k], err);
    for (size_t i = 0; i < t->n && st == PARE_OK; i++)
        st = first_tokens(t, with, i, drift, err);
    return st;
}

static void close_drift(cmd_task_drift *t)
{
    for (size_t rule = 0; rule < PARE_N_RULES; rule++)
        pare_pairs_close(&t->pairs[rule]);
}

void cmd_drift_close(cmd_drift *d)
{
    for (size_t i = 0; i < d->n; i++)
        close_drift(&d->tasks[i]);
    close_drift(&d->all);
    free(d->tasks);
    *d = (cmd_drift){0};
}

/* ---- showing ---------------------------------------------------------------------------------------------------- */

static void print_drift(const char *name, pare_rule rule, const pare_drift *d)
{
    char sentence[256], change[64];
    snprintf(change, sizeof change, "%+.2f (%+.2f .. %+.2f)", 100 * d->difference.value, 100 * d->interval.lo,
             100 * d->interval.hi);
    if (d->n == 0)
        printf("  %s\n", name);
    else
        printf("  %-*s  %-9s %8.2f %8.2f  %-26s %5" PRIu64 " %6" PRIu64 " %5" PRIu64 "  %6.2f  %-9.2g\n", NAME_WIDTH,
               name, cmd_rule_name(rule), 100 * d->reference_accuracy, 100 * d->accuracy, change, d->lost, d->gained,
               d->moved, 100 * d->agreement, d->p);
    printf("    %s", pare_drift_sentence(d, sentence, sizeof sentence));
    if (d->n_left_out > 0)
        printf("; %" PRIu64 " items do not fit into the context and are left out", d->n_left_out);
    putchar('\n');
}

/* By every rule that says something else than the first one. */
static void print_rules(const char *name, const cmd_task_drift *t, size_t n_rules)
{
    const pare_drift *first = &t->drift[0];
    for (size_t rule = 0; rule < n_rules; rule++) {
        const pare_drift *d = &t->drift[rule];
        if (rule == 0 || d->both_right != first->both_right || d->lost != first->lost || d->gained != first->gained ||
            d->moved != first->moved)
            print_drift(name, (pare_rule)rule, d);
    }
}

void cmd_drift_print(const cmd_tasks *t, const cmd_drift *d)
{
    bool has_norm = false;
    if (d->n == 0)
        return;
    printf("  %-*s  %-9s %8s %8s  %-26s %5s %6s %5s  %6s  %s\n", NAME_WIDTH, "task (%)", "rule", "refer.", "model",
           "change, points (95 %)", "lost", "gained", "moved", "same", "p");
    for (size_t i = 0; i < d->n; i++) {
        const pare_task *task = &t->list[i];
        const pare_first_token *first = &d->tasks[i].first_token;
        has_norm = has_norm || task->has_norm;
        print_rules(cmd_safe(task->name, strlen(task->name)), &d->tasks[i], task->has_norm ? d->tasks[i].n_rules : 1);
        if (first->n > 0)
            printf("    KL divergence at the first token of the answer: %.4g +/- %.2g nat, largest %.3g (%" PRIu64
                   " prompts)\n",
                   first->kld.value, first->kld.stderr_, first->kld_max, first->n);
    }
    if (d->n > 1)
        print_rules("all tasks", &d->all, has_norm ? d->all.n_rules : 1);
}

static const char *const verdict_names[] = {[PARE_DRIFT_NO_ITEMS] = "no_items",
                                            [PARE_DRIFT_NOT_RESOLVED] = "not_resolved",
                                            [PARE_DRIFT_LOSS] = "loss",
                                            [PARE_DRIFT_GAIN] = "gain"};

static void put_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, cmd_json_text(text, strlen(text)));
}

static json_t *json_drift(const pare_drift *d)
{
    char sentence[256];
    json_t *row = json_object();
    cmd_json_u64(row, "n_items", d->n);
    cmd_json_u64(row, "n_left_out", d->n_left_out);
    cmd_json_u64(row, "n_groups", d->n_groups);
    cmd_json_u64(row, "both_right", d->both_right);
    cmd_json_u64(row, "both_wrong", d->both_wrong);
    cmd_json_u64(row, "lost", d->lost);
    cmd_json_u64(row, "gained", d->gained);
    cmd_json_u64(row, "moved", d->moved);
    cmd_json_real(row, "reference_accuracy", d->reference_accuracy);
    cmd_json_real(row, "accuracy", d->accuracy);
    cmd_json_real(row, "agreement", d->agreement);
    cmd_json_real(row, "flip_rate", d->flip_rate);
    cmd_json_real(row, "mcnemar_p", d->p);
    cmd_json_real(row, "difference", d->difference.value);
    cmd_json_real(row, "difference_stderr", d->difference.stderr_);
    json_object_set_new(row, "clustered", json_boolean(d->clustered));
    if (d->n > 1)
        json_object_set_new(row, "difference_t", json_pack("[f, f]", d->interval.lo, d->interval.hi));
    cmd_json_real(row, "detectable", d->detectable);
    json_object_set_new(row, "verdict", json_string(verdict_names[d->verdict]));
    put_text(row, "sentence", pare_drift_sentence(d, sentence, sizeof sentence));
    return row;
}

/* The items whose answer is another one. */
static json_t *json_changed(const pare_task *task, const pare_pairs *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->n; i++) {
        const pare_pair *pair = &p->pair[i];
        const pare_str id = task->items[pair->item].id;
        const bool before = pair->reference.right, after = pair->model.right;
        if (before == after && pair->reference.choice == pair->model.choice)
            continue;
        json_t *row = json_object();
        json_object_set_new(row, "id", cmd_json_text(id.data, id.len));
        cmd_json_u64(row, "item", pair->item);
        json_object_set_new(row, "change", json_string(before == after ? "moved" : before ? "lost" : "gained"));
        if (task->kind == PARE_TASK_CHOICE || task->kind == PARE_TASK_MASS) {
            cmd_json_u64(row, "reference", pair->reference.choice);
            cmd_json_u64(row, "model", pair->model.choice);
        }
        json_array_append_new(list, row);
    }
    return list;
}

/* task: NULL for several tasks together, whose items are listed with each. */
static json_t *json_rules(const cmd_task_drift *t, const pare_task *task)
{
    json_t *rules = json_object();
    for (size_t rule = 0; rule < t->n_rules; rule++) {
        json_t *row = json_drift(&t->drift[rule]);
        if (task != NULL)
            json_object_set_new(row, "changed", json_changed(task, &t->pairs[rule]));
        json_object_set_new(rules, cmd_rule_name((pare_rule)rule), row);
    }
    return rules;
}

static json_t *json_first_token(const pare_first_token *f)
{
    json_t *row = json_object();
    cmd_json_u64(row, "n_prompts", f->n);
    cmd_json_u64(row, "n_too_long", f->n_too_long);
    cmd_json_real(row, "kld_mean", f->kld.value);
    cmd_json_real(row, "kld_stderr", f->kld.stderr_);
    cmd_json_real(row, "kld_max", f->kld_max);
    return row;
}

void cmd_drift_json(json_t *doc, const cmd_tasks *t, const cmd_drift *d)
{
    if (d->n == 0)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < d->n; i++) {
        const pare_task *task = &t->list[i];
        json_t *row = json_object();
        put_text(row, "name", task->name);
        put_text(row, "path", task->path);
        put_text(row, "format", task->format);
        put_text(row, "sha256", task->sha256);
        cmd_json_u64(row, "n_items", task->n_items);
        cmd_json_u64(row, "n_shot", task->n_shot);
        json_object_set_new(row, "rules", json_rules(&d->tasks[i], task));
        json_object_set_new(row, "first_token", json_first_token(&d->tasks[i].first_token));
        json_array_append_new(list, row);
    }
    json_object_set_new(doc, "tasks", list);
    if (d->n > 1)
        json_object_set_new(doc, "all_tasks", json_rules(&d->all, NULL));
}
