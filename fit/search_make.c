/* Plans as models: composed of what was encoded, and run as a whole. */
#include "fit/search_parts.h"

#include "recipe/derive.h"
#include "recipe/refit.h"

#include <stdlib.h>
#include <string.h>

/* The type of most weights: what the file says it is. */
static pare_type main_type(const pare_fit *f, const size_t *at)
{
    uint64_t weights[PARE_TYPE_COUNT] = {0};
    pare_type most = PARE_TYPE_F32;
    for (size_t i = 0; i < f->n_items; i++) {
        const pare_type type = f->items[i].choices[at[i]].type;
        weights[type] += f->items[i].n_weights;
        if (weights[type] > weights[most])
            most = type;
    }
    return most;
}

static pare_status list_types(const pare_fit *f, const size_t *at, pare_type_override *to, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < f->n_items && st == PARE_OK; i++) {
        char *pattern = NULL;
        st = pare_pattern_of_name(&pattern, f->o.model->tensors[f->items[i].tensor].name, err);
        to[i] = (pare_type_override){pattern, f->items[i].choices[at[i]].type};
    }
    return st;
}

static pare_status derive_with(pare_fit *f, const size_t *at, const pare_type_override *types, pare_model *out,
                               pare_plan *plan, pare_error *err)
{
    const pare_quantize_options options = {.pure_type = main_type(f, at),
                                           .output_type = PARE_TYPE_NONE,
                                           .embedding_type = PARE_TYPE_NONE,
                                           .overrides = types,
                                           .n_overrides = f->n_items,
                                           .imatrix = f->o.imatrix,
                                           .effort = f->o.effort,
                                           .allow_requantize = f->o.allow_requantize,
                                           .edits = f->o.edits,
                                           .n_edits = f->o.n_edits,
                                           .no_factors = true,
                                           .plan_only = f->o.imatrix_later,
                                           .measured = true};
    return pare_quantize(out, f->o.model, &options, plan, err);
}

void pare_fit_place(const pare_fit *f, const size_t *at, pare_model *out, pare_plan *plan)
{
    for (size_t i = 0; i < f->n_items; i++) {
        const pare_tensor *t = pare_model_find(out, f->o.model->tensors[f->items[i].tensor].name);
        const pare_encoding *made = f->items[i].choices[at[i]].made;
        if (made == NULL || pare_derive_is_stored(t))
            continue;
        if (made->data != NULL)
            pare_derive_restore(t, made->data);
        for (size_t k = 0; k < plan->n; k++)
            if (strcmp(plan->rows[k].name, t->name) == 0) {
                plan->rows[k].error = made->error;
                plan->rows[k].form = made->form;
                plan->rows[k].weighted_error = made->weighted_error;
                plan->rows[k].feedback = made->feedback;
                plan->rows[k].lossless = made->lossless;
            }
    }
}

pare_status pare_fit_compose(pare_fit *f, const size_t *at, pare_model *out, pare_plan *plan, pare_error *err)
{
    pare_status st = pare_fit_compose_bare(f, at, out, plan, err);
    if (st == PARE_OK)
        pare_fit_place(f, at, out, plan);
    return st;
}

pare_status pare_fit_compose_bare(pare_fit *f, const size_t *at, pare_model *out, pare_plan *plan, pare_error *err)
{
    pare_type_override *types = calloc(f->n_items + 1, sizeof *types);
    pare_status st = types != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu types", f->n_items);
    *out = (pare_model){0};
    if (st == PARE_OK)
        st = list_types(f, at, types, err);
    if (st == PARE_OK)
        st = derive_with(f, at, types, out, plan, err);
    for (size_t i = 0; types != NULL && i < f->n_items; i++)
        free((char *)(uintptr_t)types[i].pattern);
    free(types);
    return st;
}

/* ---- the gains of the first norm ---- */

static const char norm_name[] = "blk.0.attn_norm.weight";

/* Do both plans have the same around the first norm? */
static bool same_start(const pare_fit *f, const size_t *a, const size_t *b)
{
    for (size_t i = 0; i < f->n_items; i++)
        if (f->items[i].first && a[i] != b[i])
            return false;
    return true;
}

static pare_status fit_norm(pare_fit *f, const size_t *at, pare_fit_norm *to, pare_error *err)
{
    pare_model out = {0};
    pare_plan plan = {0};
    const char *why = "";
    pare_status st = pare_fit_compose(f, at, &out, &plan, err);
    if (st == PARE_OK)
        st = pare_refit(&out, &plan, &why, err);
    const pare_tensor *norm = st == PARE_OK && why == NULL ? pare_model_find(&out, norm_name) : NULL;
    if (norm != NULL && (to->bytes = malloc((size_t)norm->n_bytes)) != NULL)
        memcpy(to->bytes, pare_derive_stored(norm), (size_t)norm->n_bytes);
    if (norm != NULL && to->bytes == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a norm");
    pare_model_close(&out);
    return st;
}

static pare_status add_norm(pare_fit *f, const size_t *at, const pare_fit_norm **out, pare_error *err)
{
    if (f->n_norms == f->cap_norms) {
        const size_t cap = f->cap_norms > 0 ? 2 * f->cap_norms : 16;
        pare_fit_norm *norms = realloc(f->norms, cap * sizeof *norms);
        if (norms == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu norms", cap);
        f->norms = norms;
        f->cap_norms = cap;
    }
    pare_fit_norm *n = &f->norms[f->n_norms];
    *n = (pare_fit_norm){.at = malloc((f->n_items + 1) * sizeof *n->at)};
    if (n->at == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    memcpy(n->at, at, f->n_items * sizeof *at);
    f->n_norms++;
    *out = n;
    return fit_norm(f, at, n, err);
}

static pare_status find_norm(pare_fit *f, const size_t *at, const pare_fit_norm **out, pare_error *err)
{
    for (size_t i = 0; i < f->n_norms; i++)
        if (same_start(f, f->norms[i].at, at)) {
            *out = &f->norms[i];
            return PARE_OK;
        }
    return add_norm(f, at, out, err);
}

/* ---- runs ---- */

static pare_status place_norm(pare_fit *f, const size_t *at, pare_error *err)
{
    const pare_tensor *t = pare_model_find(f->o.model, norm_name);
    const pare_fit_norm *norm = NULL;
    bool own = t == NULL || f->o.no_refit;
    for (size_t i = 0; i < f->n_items && !own; i++)
        own = at[i] == PARE_FIT_OWN;
    pare_status st = own ? PARE_OK : find_norm(f, at, &norm, err);
    if (st != PARE_OK || t == NULL)
        return st;
    return pare_trial_set(f->trial, (size_t)(t - f->o.model->tensors), PARE_TYPE_F32, own ? NULL : norm->bytes, err);
}

static pare_status place_item(pare_fit *f, const pare_fit_item *item, size_t k, pare_error *err)
{
    const pare_encoding *made = k != PARE_FIT_OWN ? item->choices[k].made : NULL;
    return pare_trial_set(f->trial, item->tensor, made != NULL ? made->type : PARE_TYPE_NONE,
                          made != NULL ? made->data : NULL, err);
}

static pare_status place(pare_fit *f, const size_t *at, pare_error *err)
{
    pare_status st = place_norm(f, at, err);
    for (size_t i = 0; i < f->n_items && st == PARE_OK; i++)
        st = place_item(f, &f->items[i], at[i], err);
    return st;
}

/* What a run of the plan is known by. */
static pare_status key_of(const pare_fit *f, const size_t *at, uint32_t n_windows, pare_memo_key *out, pare_error *err)
{
    pare_hasher h = {0};
    pare_digest d;
    const uint32_t what[] = {n_windows, !f->o.no_refit};
    pare_status st = pare_hasher_open(&h, PARE_HASH_XXH3, err);
    if (st == PARE_OK)
        st = pare_hasher_add(&h, what, sizeof what, err);
    for (size_t i = 0; i < f->n_items && st == PARE_OK; i++) {
        const pare_memo_key own = {0}, *digest = at[i] != PARE_FIT_OWN ? &f->items[i].choices[at[i]].digest : &own;
        st = pare_hasher_add(&h, digest, sizeof *digest, err);
    }
    if (st == PARE_OK)
        st = pare_hasher_finish(&h, &d, err);
    pare_hasher_close(&h);
    if (st == PARE_OK)
        memcpy(out->xxh3_128, d.xxh3_128, sizeof out->xxh3_128);
    return st;
}

/* Run what is placed, unless it was run before: then *out is what came out. */
static pare_status run_once(pare_fit *f, const pare_memo_key *key, uint32_t n_windows, pare_trial_score *out,
                            pare_error *err)
{
    pare_status st = pare_trial_run(f->trial, n_windows, out, NULL, err);
    f->n_runs++;
    return st == PARE_OK ? pare_memo_add(&f->memo, key, out, err) : st;
}

pare_status pare_fit_run(pare_fit *f, const size_t *at, uint32_t n_windows, pare_trial_score *out, pare_error *err)
{
    pare_memo_key key;
    bool more;
    if (n_windows == 0)
        n_windows = pare_fit_plan_windows(f);
    pare_status st = pare_fit_need(f, at, &more, err);
    if (st == PARE_OK)
        st = key_of(f, at, n_windows, &key, err);
    if (st != PARE_OK || pare_memo_find(&f->memo, &key, out))
        return st;
    pare_trial_begin(f->trial, n_windows);
    st = place(f, at, err);
    return st == PARE_OK ? run_once(f, &key, n_windows, out, err) : st;
}

pare_status pare_fit_look_up(pare_fit *f, const size_t *at, bool *found, pare_trial_score *out, pare_error *err)
{
    pare_memo_key key;
    *found = false;
    for (size_t i = 0; i < f->n_items; i++)
        if (pare_fit_is_lacking(f, &f->items[i], at[i]))
            return PARE_OK;
    pare_status st = key_of(f, at, pare_fit_plan_windows(f), &key, err);
    *found = st == PARE_OK && pare_memo_find(&f->memo, &key, out);
    return st;
}

/* The states are to wait at the item's stage, with the plan's tensors before it. */
static pare_status go_to(pare_fit *f, uint32_t stage, pare_error *err)
{
    pare_status st = PARE_OK;
    while (pare_trial_stage(f->trial) < stage && st == PARE_OK)
        st = pare_trial_advance(f->trial, err);
    return st;
}

pare_status pare_fit_begin_swaps(pare_fit *f, const size_t *at, pare_error *err)
{
    bool more;
    pare_trial_begin(f->trial, pare_fit_swap_windows(f));
    pare_status st = pare_fit_need(f, at, &more, err);
    return st == PARE_OK ? place(f, at, err) : st;
}

pare_status pare_fit_swap(pare_fit *f, size_t *at, size_t i, size_t k, pare_trial_score *out, pare_error *err)
{
    const pare_fit_item *item = &f->items[i];
    const size_t was = at[i];
    const uint32_t n_windows = pare_fit_swap_windows(f);
    pare_memo_key key;
    bool more;
    at[i] = k;
    pare_status st = pare_fit_need(f, at, &more, err);
    if (st == PARE_OK)
        st = key_of(f, at, n_windows, &key, err);
    at[i] = was;
    if (st == PARE_OK && more)
        st = place(f, at, err);
    if (st == PARE_OK && !pare_memo_find(&f->memo, &key, out)) {
        st = go_to(f, item->stage, err); /* the way there is the plan's */
        at[i] = k;
        if (st == PARE_OK)
            st = place_item(f, item, k, err);
        if (st == PARE_OK && item->first)
            st = place_norm(f, at, err);
        if (st == PARE_OK)
            st = run_once(f, &key, n_windows, out, err);
        at[i] = was;
        if (st == PARE_OK)
            st = place_item(f, item, was, err);
        if (st == PARE_OK && item->first)
            st = place_norm(f, at, err);
    }
    at[i] = was;
    return st;
}
