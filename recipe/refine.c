#include "recipe/refine.h"

#include "core/output.h"
#include "quant/feedback.h"
#include "recipe/aim.h"
#include "recipe/calibration.h"
#include "recipe/derive.h"
#include "recipe/expert_gram.h"
#include "recipe/lookup_gram.h"
#include "recipe/refine_key.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* On the diagonal, in parts of its mean, of what is known of inputs and of the embedding's form; and looks at every
 * code: docs/methods/FEEDBACK.md. */
static const double DAMPING = 0.01, LOOKUP_DAMPING = 0.1;
static const int sweeps[] = {[PARE_EFFORT_DEFAULT] = 4, [PARE_EFFORT_BEST] = 16, [PARE_EFFORT_FAST] = 0};

typedef struct refinement {
    pare_model *out;
    const pare_imatrix *im;
    pare_gram lookup; /* of the token embedding; n_columns 0: none */
    pare_plan *plan;
    pare_state *state;
    pare_prefix *prefix;
    bool quiet;
    pare_aim aim; /* of the tensors in hand; n 0: their weights */
    size_t *item; /* [out->n_tensors] its number in the state, or NO_ITEM */
    bool *ready;  /* [out->n_tensors] its bytes were there, or it is not wanted */
    int n_sweeps;
    const pare_tensor *now;  /* in hand */
    double work, whole_work; /* multiplications, in some unit: of what is encoded, in all */
    pare_refine_progress told;
    pare_refine_report *report;
    pare_refine_fn each;
    void *user;
} refinement;
static const size_t NO_ITEM = SIZE_MAX;

/* The statistics that the tensor can be encoded with; NULL: none. */
static const pare_gram *gram_of(const refinement *r, const pare_tensor *t)
{
    bool lookup = strcmp(t->name, "token_embd.weight") == 0;
    const pare_gram *g = lookup ? &r->lookup : pare_grams_find(&r->im->grams, t->name);
    if (!pare_derive_takes_feedback(t) || (lookup && r->lookup.lower == NULL))
        g = NULL;
    return g != NULL && g->n_columns == t->row_len ? g : NULL;
}

static pare_plan_row *plan_row(const refinement *r, const pare_tensor *t)
{
    for (size_t i = 0; i < r->plan->n; i++)
        if (strcmp(r->plan->rows[i].name, t->name) == 0)
            return &r->plan->rows[i];
    return NULL;
}

static size_t index_of(const refinement *r, const pare_tensor *t)
{
    return (size_t)(t - r->out->tensors);
}

/* The next tensor from *at on that is to be encoded with these statistics and is rounded in such units, or any (0). */
static const pare_tensor *next_of(const refinement *r, const pare_gram *g, size_t unit, size_t *at)
{
    while (*at < r->out->n_tensors) {
        const pare_tensor *t = &r->out->tensors[(*at)++];
        if (gram_of(r, t) == g && !r->ready[index_of(r, t)] && (unit == 0 || pare_feedback_unit(t->type) == unit))
            return t;
    }
    return NULL;
}

static double work_of(const pare_tensor *t, uint64_t n_rows)
{
    return (double)n_rows * (double)t->row_len * (double)t->row_len;
}

static void tell(refinement *r, const char *tensor, bool begins, double more_work)
{
    r->told.tensor = tensor;
    r->told.begins = begins;
    r->told.part = r->whole_work > 0 ? fmin((r->work + more_work) / r->whole_work, 1) : 1;
    if (r->each != NULL)
        r->each(&r->told, r->user);
}

static void rows_done(uint64_t n_rows, void *user)
{
    refinement *r = user;
    tell(r, r->now->name, false, work_of(r->now, n_rows));
}

/* Each expert under the form of its own inputs; one whose products have no factor is named. */
static pare_status encode_experts(refinement *r, const pare_tensor *t, pare_expert_grams *own, uint8_t *to,
                                  pare_error *err)
{
    const bool named = strcmp(own->all->name, t->name) == 0; /* by the error of its products */
    const char *of = named ? "" : " of ", *name = named ? "" : t->name;
    pare_gram g;
    pare_status st = PARE_OK;
    for (uint64_t e = 0; e < own->all->n_experts && st == PARE_OK; e++) {
        pare_form form = {0};
        pare_error why = {0};
        if ((st = pare_expert_grams_make(own, e, &g, err)) != PARE_OK)
            return st;
        st = pare_form_open(&form, &g, r->im->path, pare_feedback_unit(t->type), DAMPING, &why);
        bool found = st == PARE_OK;
        if (st == PARE_ERR_RANGE)
            st = pare_warn(err, "%s; expert %" PRIu64 "%s%s is encoded without feedback", why.text, e, of, name);
        else if (st != PARE_OK)
            return pare_fail(err, st, "%s", why.text);
        if (st == PARE_OK)
            st = pare_derive_encode_expert(t, e, found ? &form : NULL, r->n_sweeps, to, rows_done, r, err);
        pare_form_close(&form);
    }
    return st;
}

/* form: of all tokens, or own: of each expert's. */
static pare_status encode(refinement *r, const pare_tensor *t, const pare_gram *g, const pare_form *form,
                          pare_expert_grams *own, pare_error *err)
{
    pare_state_key key;
    size_t item = r->item[index_of(r, t)];
    r->now = t;
    tell(r, t->name, true, 0);
    pare_status st = pare_refine_key(&key, t, r->im, g, err);
    if (st == PARE_OK && form != NULL)
        st = pare_derive_encode(t, form, r->aim.n > 0 ? &r->aim : NULL, r->n_sweeps, pare_state_at(r->state, item),
                                rows_done, r, err);
    else if (st == PARE_OK)
        st = encode_experts(r, t, own, pare_state_at(r->state, item), err);
    if (st == PARE_OK)
        st = pare_state_keep(r->state, item, &key, plan_row(r, t), err);
    if (st == PARE_OK && r->prefix != NULL)
        r->prefix->replace(r->prefix, t->name, t->type, t->factor, pare_state_at(r->state, item));
    r->report->n_aimed += r->aim.n > 0;
    r->work += work_of(t, t->n_rows);
    r->told.done++;
    r->report->n_tensors++;
    return st;
}

/* Tensors that stay as they were for want of statistics (why NULL: of tokens). */
static pare_status leave(refinement *r, const pare_gram *g, size_t unit, const char *why, pare_error *err)
{
    uint32_t n = 0;
    const pare_tensor *t;
    for (size_t at = 0; (t = next_of(r, g, unit, &at)) != NULL; n++)
        r->work += work_of(t, t->n_rows);
    r->report->n_without += n;
    r->told.done += n;
    if (r->report->without[0] == '\0')
        pare_calibration_why_without(r->report->without, sizeof r->report->without, r->im, g, why);
    return r->quiet ? PARE_OK : pare_calibration_warn_without(r->im, g, why, n, "encoded", err);
}

/* The tensors with these statistics that are rounded in such units. */
static pare_status refine_units(refinement *r, const pare_gram *g, size_t unit, pare_error *err)
{
    pare_form form;
    pare_error why = {0};
    size_t at = 0;
    const pare_tensor *t;
    if (next_of(r, g, unit, &at) == NULL)
        return PARE_OK;
    double damping = g == &r->lookup ? LOOKUP_DAMPING : DAMPING;
    pare_status st = pare_form_open(&form, g, r->im->path, unit, damping, &why);
    if (st == PARE_ERR_RANGE)
        return leave(r, g, unit, why.text, err);
    if (st != PARE_OK)
        return pare_fail(err, st, "%s", why.text);
    for (at = 0; st == PARE_OK && (t = next_of(r, g, unit, &at)) != NULL;)
        st = encode(r, t, g, &form, NULL, err);
    pare_form_close(&form);
    return st;
}

/* The tensors whose experts have products of their own. */
static pare_status refine_experts(refinement *r, const pare_gram *g, pare_error *err)
{
    pare_expert_grams own;
    const pare_tensor *t;
    pare_error why = {0};
    pare_status st = pare_expert_grams_open(&own, g, pare_imatrix_find(r->im, g->name), r->im->path, &why);
    if (st == PARE_ERR_RANGE)
        return leave(r, g, 0, why.text, err);
    if (st != PARE_OK)
        return pare_fail(err, st, "%s", why.text);
    for (size_t at = 0; st == PARE_OK && (t = next_of(r, g, 0, &at)) != NULL;)
        st = encode(r, t, g, NULL, &own, err);
    pare_expert_grams_close(&own);
    return st;
}

/* What the tensors with these statistics aim at. */
static pare_status take_aim(refinement *r, const pare_gram *g, pare_error *err)
{
    const pare_tensor *t = pare_model_find(r->out->source, g->name);
    pare_prefix_sums sums;
    bool found = false;
    size_t position;
    if (r->prefix == NULL || g == &r->lookup || t == NULL || !r->prefix->position(r->prefix, g->name, &position))
        return PARE_OK;
    tell(r, g->name, false, 0);
    pare_status st = r->prefix->measure(r->prefix, g->name, &sums, &found, err);
    if (st != PARE_OK || !found)
        return st;
    return pare_aim_open(&r->aim, &sums, (size_t)t->row_len, (size_t)t->n_rows, g->name, err);
}

static pare_status refine_one(refinement *r, const pare_gram *g, pare_error *err)
{
    size_t at = 0;
    if (next_of(r, g, 0, &at) == NULL)
        return PARE_OK;
    if (g != &r->lookup && g->count < (double)g->n_columns)
        return leave(r, g, 0, NULL, err);
    pare_status st = take_aim(r, g, err);
    if (st == PARE_OK)
        st = g->n_experts > 1 ? refine_experts(r, g, err) : refine_units(r, g, 1, err);
    if (st == PARE_OK && g->n_experts <= 1)
        st = refine_units(r, g, PARE_FORM_UNIT, err);
    pare_aim_close(&r->aim);
    uint64_t bytes = 0;
    if (g != &r->lookup && pare_gram_all_bytes(g, &bytes))
        pare_map_release(g->lower, (size_t)bytes);
    return st;
}

/* The tensors that will be encoded, and the state that their bytes go to. */
static pare_status open_state(refinement *r, const pare_refine_settings *settings, pare_error *err)
{
    pare_buf text = {0};
    uint64_t bytes = 0, whole = 0, *size = calloc(r->out->n_tensors + 1, sizeof *size);
    size_t n = 0;
    bool is_there = settings->resume && pare_state_is_there(settings->output);
    pare_status st = size != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (st == PARE_OK)
        st = pare_buf_puts(&text, settings->about != NULL ? settings->about : "", err);
    for (size_t i = 0; i < r->out->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *t = &r->out->tensors[i];
        whole += t->n_bytes; /* of parts of one file */
        if (gram_of(r, t) == NULL)
            continue;
        r->item[i] = n;
        size[n++] = t->n_bytes;
        st = pare_buf_printf(&text, err, "tensor %s %s %" PRIu64 " x %" PRIu64 "\n", t->name,
                             pare_type_get(t->type)->name, t->n_rows, t->row_len);
    }
    r->told.n = (uint32_t)n;
    if (st == PARE_OK)
        st = pare_state_bytes(&bytes, text.data, n, size, err);
    if (st == PARE_OK && n > 0 && !is_there) /* the state stays until the model is written */
        st = pare_output_check_room(settings->output, bytes + whole, err);
    if (st == PARE_OK)
        st = pare_state_open(r->state, settings->output, text.data, n, size, settings->resume, err);
    pare_buf_close(&text);
    free(size);
    return st;
}

/* Take what an earlier run encoded with g. */
static pare_status take_state(refinement *r, const pare_refine_settings *settings, pare_error *err)
{
    pare_state_key key;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < r->out->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *t = &r->out->tensors[i];
        if (r->item[i] == NO_ITEM)
            continue;
        if (pare_state_has(r->state, r->item[i])) {
            st = pare_refine_key(&key, t, r->im, gram_of(r, t), err);
            if (st == PARE_OK)
                st = pare_state_take(r->state, r->item[i], &key, t->name, plan_row(r, t), &r->ready[i], err);
        }
        if (st == PARE_OK && !r->ready[i] && settings->wants != NULL && !settings->wants(t, settings->user)) {
            r->ready[i] = true;
            r->told.n--;
            continue;
        }
        if (!r->ready[i])
            r->whole_work += work_of(t, t->n_rows);
        else
            pare_derive_restore(t, pare_state_at(r->state, r->item[i]));
        if (r->ready[i] && r->prefix != NULL)
            r->prefix->replace(r->prefix, t->name, t->type, t->factor, pare_state_at(r->state, r->item[i]));
        r->report->n_resumed += r->ready[i];
    }
    r->report->n_tensors = r->told.done = r->report->n_resumed;
    return st;
}

typedef struct placed {
    size_t position;
    const pare_gram *gram;
} placed;

static int by_position(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    return x->gram < y->gram ? -1 : 1;
}

/* With streams those of the embedding first, then as the matrices follow each other in a pass, those that it does not
 * meet last; else as they come. */
static pare_status refine_in_order(refinement *r, pare_error *err)
{
    const size_t n = r->im->grams.n;
    placed *list = malloc((n + 1) * sizeof *list);
    if (list == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu statistics", n);
    for (size_t i = 0; i < n; i++) {
        list[i] = (placed){SIZE_MAX, &r->im->grams.list[i]};
        if (r->prefix != NULL && !r->prefix->position(r->prefix, list[i].gram->name, &list[i].position))
            list[i].position = SIZE_MAX;
    }
    qsort(list, n, sizeof *list, by_position);
    pare_status st = r->prefix != NULL && r->lookup.lower != NULL ? refine_one(r, &r->lookup, err) : PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = refine_one(r, list[i].gram, err);
    if (st == PARE_OK && r->prefix == NULL && r->lookup.lower != NULL)
        st = refine_one(r, &r->lookup, err);
    free(list);
    return st;
}

static pare_status refine_all(refinement *r, const pare_refine_settings *settings, pare_error *err)
{
    pare_status st = take_state(r, settings, err);
    if (st == PARE_OK)
        st = refine_in_order(r, err);
    if (st == PARE_OK && r->told.n > 0)
        tell(r, "", false, 0);
    return st;
}

/* The same whatever part of it an earlier run did. */
static double mean_ratio(const refinement *r)
{
    double logs = 0;
    for (size_t i = 0; i < r->plan->n; i++)
        if (r->plan->rows[i].feedback > 0)
            logs += log(r->plan->rows[i].feedback);
    return r->report->n_tensors > 0 ? exp(logs / r->report->n_tensors) : (double)NAN;
}

pare_status pare_refine(pare_model *out, const pare_quantize_options *options, pare_plan *plan,
                        const pare_refine_settings *settings, pare_state *state, pare_refine_report *report,
                        pare_error *err)
{
    refinement r = {.out = out,
                    .im = options->imatrix,
                    .plan = plan,
                    .state = state,
                    .prefix = settings->prefix,
                    .quiet = settings->quiet,
                    .n_sweeps = options->effort != PARE_EFFORT_RTN ? sweeps[options->effort] : 0,
                    .report = report,
                    .each = settings->each,
                    .user = settings->user};
    bool found = false;
    *report = (pare_refine_report){.mean_ratio = NAN};
    *state = (pare_state){0};
    if (options->imatrix == NULL)
        return PARE_OK;
    r.item = malloc((out->n_tensors + 1) * sizeof *r.item);
    r.ready = calloc(out->n_tensors + 1, sizeof *r.ready);
    for (size_t i = 0; r.item != NULL && i < out->n_tensors; i++)
        r.item[i] = NO_ITEM;
    pare_status st = PARE_OK;
    if (r.item == NULL || r.ready == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", out->n_tensors);
    if (st == PARE_OK)
        st = pare_lookup_gram_open(&r.lookup, &found, out->source, r.im, err);
    if (st == PARE_OK)
        st = open_state(&r, settings, err);
    if (st == PARE_OK)
        st = refine_all(&r, settings, err);
    report->mean_ratio = mean_ratio(&r);
    pare_lookup_gram_close(&r.lookup);
    free(r.item);
    free(r.ready);
    return st;
}
