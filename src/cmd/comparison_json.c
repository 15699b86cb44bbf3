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

static void put_text(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, cmd_json_text(text, strlen(text)));
}

static void put_estimate(json_t *object, const char *key, const char *error_key, pare_estimate e)
{
    cmd_json_real(object, key, e.value);
    cmd_json_real(object, error_key, e.stderr_);
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
    cmd_drift_json(doc, &c->tasks, &candidate->drift);
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
