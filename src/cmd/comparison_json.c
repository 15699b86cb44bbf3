#include "cmd/comparison.h"
#include "cmd/console.h"
#include "cmd/summary.h"
#include "report/figures.h"

#include <string.h>

static const char *const state_names[] = {[PARE_WEIGHT_SAME] = "same",
                                          [PARE_WEIGHT_CHANGED] = "changed",
                                          [PARE_WEIGHT_SHAPE] = "shape",
                                          [PARE_WEIGHT_REMOVED] = "removed",
                                          [PARE_WEIGHT_ADDED] = "added"};

static const char *const verdict_names[] = {[PARE_DRIFT_NO_ITEMS] = "no_items",
                                            [PARE_DRIFT_NOT_RESOLVED] = "not_resolved",
                                            [PARE_DRIFT_LOSS] = "loss",
                                            [PARE_DRIFT_GAIN] = "gain"};

static void put_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, cmd_json_text(text, strlen(text)));
}

static void put_estimate(json_t *object, const char *key, const char *error_key, pare_estimate e)
{
    cmd_json_real(object, key, e.value);
    cmd_json_real(object, error_key, e.stderr_);
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
    put_estimate(row, "difference", "difference_stderr", d->difference);
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
    put_estimate(row, "kld_mean", "kld_stderr", f->kld);
    cmd_json_real(row, "kld_max", f->kld_max);
    return row;
}

static json_t *json_tasks(const cmd_comparison *c, const cmd_candidate *k)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->tasks.n; i++) {
        const pare_task *task = &c->tasks.list[i];
        json_t *row = json_object();
        put_text(row, "name", task->name);
        put_text(row, "path", task->path);
        put_text(row, "format", task->format);
        put_text(row, "sha256", task->sha256);
        cmd_json_u64(row, "n_items", task->n_items);
        cmd_json_u64(row, "n_shot", task->n_shot);
        json_object_set_new(row, "rules", json_rules(&k->tasks[i], task));
        json_object_set_new(row, "first_token", json_first_token(&k->tasks[i].first_token));
        json_array_append_new(list, row);
    }
    return list;
}

static void put_change(json_t *row, const pare_weight_change *w)
{
    cmd_json_u64(row, "n_weights", w->n_weights);
    cmd_json_u64(row, "n_weights_changed", w->n_changed);
    if (w->n_nonfinite > 0)
        cmd_json_u64(row, "n_nonfinite", w->n_nonfinite);
    cmd_json_real(row, "max_abs", w->max_abs);
    cmd_json_real(row, "relative", pare_weight_relative(w));
}

static json_t *json_tensor(const pare_weight_row *t)
{
    json_t *row = json_object();
    put_text(row, "name", t->name);
    json_object_set_new(row, "state", json_string(state_names[t->state]));
    if (t->original != NULL)
        json_object_set_new(row, "from", json_string(pare_type_get(t->original->type)->name));
    if (t->modified != NULL)
        json_object_set_new(row, "to", json_string(pare_type_get(t->modified->type)->name));
    if (t->state != PARE_WEIGHT_SAME && t->state != PARE_WEIGHT_CHANGED)
        return row;
    json_object_set_new(row, "same_bytes", json_boolean(t->change.same_bytes));
    if (t->decoded)
        put_change(row, &t->change);
    return row;
}

static json_t *json_weights(const pare_weight_drift *w)
{
    json_t *doc = json_object(), *kinds = json_array(), *tensors = json_array();
    for (size_t i = 0; i < w->n_kinds; i++) {
        json_t *row = json_object();
        put_text(row, "name", w->kinds[i].name);
        cmd_json_u64(row, "n_tensors", w->kinds[i].n_tensors);
        cmd_json_u64(row, "n_changed", w->kinds[i].n_changed);
        put_change(row, &w->kinds[i].change);
        json_array_append_new(kinds, row);
    }
    for (size_t i = 0; i < w->n_rows; i++)
        json_array_append_new(tensors, json_tensor(&w->rows[i]));
    cmd_json_u64(doc, "n_tensors", w->n_rows);
    cmd_json_u64(doc, "n_changed", w->n_most);
    put_change(doc, &w->total);
    json_object_set_new(doc, "same_bytes", json_boolean(w->total.same_bytes));
    json_object_set_new(doc, "kinds", kinds);
    json_object_set_new(doc, "tensors", tensors);
    return doc;
}

static pare_status put_texts(json_t *doc, const cmd_comparison *c, size_t k, pare_error *err)
{
    json_t *list = json_array(), *mean = json_object();
    pare_eval_result average;
    pare_status st = PARE_OK;
    json_object_set_new(doc, "texts", list);
    json_object_set_new(doc, "mean", mean);
    for (size_t i = 0; i < c->n_texts && st == PARE_OK; i++) {
        json_t *row = json_object();
        const char *name = cmd_nth(c->args, OPT_FILE, i);
        put_text(row, "name", name);
        st = pare_figures_put(row, &c->results[i * c->n + k], err);
        put_estimate(row, "first_token_kld", "first_token_kld_stderr", pare_mean(&c->candidates[k].first[i]));
        json_array_append_new(list, row);
    }
    if (st == PARE_OK)
        st = cmd_comparison_mean(c, k, &average, err);
    return st == PARE_OK ? pare_figures_put(mean, &average, err) : st;
}

static uint64_t file_bytes(const pare_model *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n_files; i++)
        n += m->files[i].size;
    return n;
}

static pare_status put_candidate(json_t *doc, const cmd_comparison *c, size_t k, pare_error *err)
{
    const cmd_candidate *candidate = &c->candidates[k];
    pare_status st = PARE_OK;
    put_text(doc, "model", candidate->model.path);
    cmd_json_u64(doc, "bytes", file_bytes(&candidate->model));
    cmd_json_real(doc, "bits_per_weight", cmd_bits_per_weight(&candidate->model));
    if (c->n_texts > 0)
        st = put_texts(doc, c, k, err);
    if (c->n_pair_files > 0)
        json_object_set_new(doc, "embeddings", cmd_json_embeddings(c, k));
    if (c->tasks.n > 0)
        json_object_set_new(doc, "tasks", json_tasks(c, candidate));
    if (c->tasks.n > 1)
        json_object_set_new(doc, "all_tasks", json_rules(&candidate->all, NULL));
    if (candidate->has_weights)
        json_object_set_new(doc, "weights", json_weights(&candidate->weights));
    else if (candidate->why_not[0] != '\0')
        put_text(doc, "weights_left_out", candidate->why_not);
    return st;
}

pare_status cmd_json_comparison(json_t **out, const cmd_comparison *c, const json_t *failures, pare_error *err)
{
    json_t *doc = json_object(), *models = json_array();
    pare_status st = PARE_OK;
    json_object_set_new(doc, "models", models);
    put_text(doc, "reference", c->reference.path);
    for (size_t k = 0; k < c->n && st == PARE_OK; k++) {
        json_t *row = json_object();
        st = put_candidate(row, c, k, err);
        json_array_append_new(models, row);
    }
    json_object_set_new(doc, "failures", json_deep_copy(failures));
    if (c->run.self_checked)
        json_object_set_new(doc, "self_check", json_string("ok"));
    json_object_set_new(doc, "device", json_string(c->devices.name));
    json_object_set_new(doc, "compute", json_string(c->devices.backend[0]->compute));
    if (c->run.seconds > 0)
        cmd_json_real(doc, "tokens_per_second", (double)c->run.n_tokens / c->run.seconds);
    cmd_json_resources(doc);
    if (st == PARE_OK)
        *out = doc;
    else
        json_decref(doc);
    return st;
}
