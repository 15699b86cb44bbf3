/* What `pare kv` measured, as a document: a part of cmd/kv_report.h. */
#include "cmd/cache_options.h"
#include "cmd/console.h"
#include "cmd/kv_report.h"
#include "report/figures.h"

#include <math.h>
#include <string.h>

static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

/* {median, n_broken, errors [n_layer][n_head]}; a head that is not there is null. */
static json_t *heads_of(const pare_head_errors *e)
{
    json_t *o = json_object(), *layers = json_array();
    for (uint32_t l = 0; l < e->n_layer; l++) {
        json_t *row = json_array();
        for (uint32_t h = 0; h < e->n_head; h++)
            json_array_append_new(row, real_or_null(e->error[(size_t)l * e->n_head + h]));
        json_array_append_new(layers, row);
    }
    cmd_json_real(o, "median", e->median);
    cmd_json_u64(o, "n_broken", pare_head_errors_broken(e));
    json_object_set_new(o, "errors", layers);
    return o;
}

static json_t *broken_of(const cmd_kv_run *r, size_t form)
{
    const pare_head_errors *e = &r->heads[form];
    json_t *list = json_array();
    char text[CMD_KV_SENTENCE];
    for (uint32_t l = 0; l < e->n_layer; l++)
        for (uint32_t h = 0; h < e->n_head; h++)
            if (pare_head_breaks(e, l, h)) {
                cmd_kv_head_sentence(r, form, l, h, text);
                json_array_append_new(list,
                                      json_pack("{s:I, s:I, s:f, s:I, s:s}", "layer", (json_int_t)l, "head",
                                                (json_int_t)h, "error", e->error[(size_t)l * e->n_head + h], "key_head",
                                                (json_int_t)pare_key_head_of(r->m, l, h), "text", text));
            }
    return list;
}

/* {lengths: [{n_ctx, found, ln_p}]} of the lengths that have room for a key. */
static json_t *needle_of(const cmd_kv_run *r, size_t row)
{
    json_t *lengths = json_array(), *o = json_object();
    for (size_t l = r->first_needle; l < r->request.n_depths; l++) {
        json_t *found = json_array(), *ln_p = json_array(), *length = json_object();
        for (int d = 0; d < CMD_KV_NEEDLE_DEPTHS; d++) {
            const pare_needle_cell *cell = &cmd_kv_needles(r, l, row)[d];
            json_array_append_new(found, json_integer((json_int_t)cell->n_found));
            json_array_append_new(ln_p, real_or_null(cell->ln_p));
        }
        cmd_json_u64(length, "n_ctx", r->request.depths[l]);
        json_object_set_new(length, "found", found);
        json_object_set_new(length, "ln_p", ln_p);
        json_array_append_new(lengths, length);
    }
    json_object_set_new(o, "lengths", lengths);
    return o;
}

static pare_status form_of(const cmd_kv_run *r, size_t i, json_t **out, pare_error *err)
{
    const cmd_kv_form *f = &r->request.forms[i];
    json_t *o = *out = cmd_cache_members(&f->form, r->m, err), *lengths = json_array();
    pare_status st = o != NULL ? PARE_OK : err->status;
    for (size_t d = 0; d < r->request.n_depths && st == PARE_OK; d++) {
        json_t *figures = json_object();
        json_array_append_new(lengths, figures);
        st = pare_figures_put(figures, cmd_kv_result(r, d, i), err);
        if (st == PARE_OK)
            st = pare_figures_put_tails(figures, cmd_kv_result(r, d, i), err);
    }
    if (o == NULL) {
        json_decref(lengths);
        return st;
    }
    json_object_set_new(o, "lengths", lengths);
    json_object_set_new(o, "name", json_string(f->name));
    json_object_set_new(o, "without_mean", json_boolean(f->has_mean));
    json_object_set_new(o, "research", json_boolean(f->programs[0] == '\0'));
    if (f->programs[0] != '\0')
        json_object_set_new(o, "programs", json_string(f->programs));
    json_object_set_new(o, "heads", heads_of(&r->heads[i]));
    json_object_set_new(o, "broken", broken_of(r, i));
    if (r->needles != NULL)
        json_object_set_new(o, "needle", needle_of(r, i + 1));
    if (r->contexts != NULL && r->contexts[i] > 0)
        cmd_json_u64(o, "largest_context", r->contexts[i]);
    return st;
}

static json_t *keys_of(const pare_key_heads *k)
{
    json_t *layers = json_array();
    for (uint32_t l = 0; l < k->n_layer; l++) {
        json_t *row = json_array();
        for (uint32_t h = 0; h < k->n_head; h++) {
            const pare_key_head *head = &k->head[(size_t)l * k->n_head + h];
            json_t *o = json_object();
            if (!isnan(head->times)) {
                cmd_json_u64(o, "channel", head->channel);
                cmd_json_real(o, "times", head->times);
                cmd_json_real(o, "mean", head->mean);
                cmd_json_real(o, "deviation", head->deviation);
            }
            json_array_append_new(row, o);
        }
        json_array_append_new(layers, row);
    }
    return layers;
}

static json_t *recommendation_of(const cmd_kv_run *r, const cmd_kv_choice *c)
{
    char text[CMD_KV_SENTENCE];
    json_t *o = json_object();
    uint32_t depth;
    cmd_kv_sentence(r, c, text);
    json_object_set_new(o, "text", json_string(text));
    if (c->form != CMD_KV_NONE) {
        const cmd_kv_form *f = &r->request.forms[c->form];
        json_object_set_new(o, "name", json_string(f->name));
        json_object_set_new(o, "keys", json_string(cmd_cache_layer(&f->form, r->m).k->name));
        json_object_set_new(o, "values", json_string(cmd_cache_layer(&f->form, r->m).v->name));
        json_object_set_new(o, "research", json_boolean(f->programs[0] == '\0'));
        cmd_json_u64(o, "bytes_1024_tokens", f->bytes_1024);
        cmd_json_real(o, "kld_mean", cmd_kv_worst(r, c->form, &depth).value);
        cmd_json_u64(o, "n_ctx", depth);
        if (r->contexts != NULL && r->contexts[c->form] > 0)
            cmd_json_u64(o, "largest_context", r->contexts[c->form]);
    } else if (c->closest != CMD_KV_NONE)
        json_object_set_new(o, "closest", json_string(r->request.forms[c->closest].name));
    return o;
}

static json_t *left_out_of(const cmd_kv_request *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_left_out; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "name", r->left_out[i].name, "why", r->left_out[i].why));
    return list;
}

pare_status cmd_kv_json(json_t **out, const cmd_kv_run *r, const cmd_kv_choice *choice, pare_error *err)
{
    json_t *doc = *out = json_object(), *forms = json_array();
    const char *text = cmd_text(r->args, OPT_FILE);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < r->request.n_forms && st == PARE_OK; i++) {
        json_t *o = NULL;
        st = form_of(r, i, &o, err);
        json_array_append_new(forms, o);
    }
    json_object_set_new(doc, "caches", forms);
    json_object_set_new(doc, "model", cmd_json_text(r->m->path, strlen(r->m->path)));
    json_object_set_new(doc, "text", cmd_json_text(text, strlen(text)));
    cmd_json_real(doc, "limit", cmd_real(r->args, OPT_LIMIT));
    json_object_set_new(doc, "left_out", left_out_of(&r->request));
    cmd_cache_text_json(doc, &r->cache_text);
    json_object_set_new(doc, "key_heads", keys_of(&r->keys));
    if (r->needles != NULL) {
        json_t *needle = needle_of(r, 0), *depths = json_array();
        for (int d = 0; d < CMD_KV_NEEDLE_DEPTHS; d++)
            json_array_append_new(depths, json_real((double)d / (CMD_KV_NEEDLE_DEPTHS - 1)));
        json_object_set_new(needle, "depths", depths);
        cmd_json_u64(needle, "n_keys", r->n_keys);
        json_object_set_new(doc, "needle", needle);
    }
    json_object_set_new(doc, "recommendation", recommendation_of(r, choice));
    if (st != PARE_OK) {
        json_decref(doc);
        *out = NULL;
    }
    return st;
}
