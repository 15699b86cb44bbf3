#include "recipe/refine.h"

#include "core/output.h"
#include "quant/feedback.h"
#include "recipe/derive.h"
#include "recipe/lookup_gram.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* On the diagonal, in parts of its mean, of what is known of inputs and of the embedding's form; and looks at every
 * code: docs/methods/FEEDBACK.md. */
static const double DAMPING = 0.01, LOOKUP_DAMPING = 0.1;
enum { SWEEPS = 4, SWEEPS_BEST = 16 };

typedef struct refinement {
    pare_model *out;
    const pare_imatrix *im;
    pare_gram lookup; /* of the token embedding; n_columns 0: none */
    pare_plan *plan;
    uint8_t *to; /* where the next tensor goes */
    int n_sweeps;
    uint32_t done, n;
    double log_ratio;
    pare_refine_report *report;
    pare_refine_fn each;
    void *user;
} refinement;

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

/* The next tensor from *at on that has these statistics and is rounded in such units, or any (0). */
static const pare_tensor *next_of(const refinement *r, const pare_gram *g, size_t unit, size_t *at)
{
    while (*at < r->out->n_tensors) {
        const pare_tensor *t = &r->out->tensors[(*at)++];
        if (gram_of(r, t) == g && (unit == 0 || pare_feedback_unit(t->type) == unit))
            return t;
    }
    return NULL;
}

static pare_status encode(refinement *r, const pare_tensor *t, const pare_form *form, pare_error *err)
{
    if (r->each != NULL)
        r->each(r->done, r->n, t->name, r->user);
    pare_status st = pare_derive_encode(t, form, r->n_sweeps, r->to, err);
    const pare_plan_row *row = plan_row(r, t);
    r->to += t->n_bytes;
    r->done++;
    r->report->n_tensors++;
    if (row != NULL && row->feedback > 0)
        r->log_ratio += log(row->feedback);
    return st;
}

/* Tensors that stay as they were for want of statistics: the first of them is named. */
static pare_status leave(refinement *r, const pare_gram *g, size_t unit, const char *why, pare_error *err)
{
    uint32_t n = 0;
    for (size_t at = 0; next_of(r, g, unit, &at) != NULL;)
        n++;
    r->report->n_without += n;
    r->done += n;
    return pare_warn(err, "%s: tensor '%s'%s: %s; encoded without feedback", r->im->path, g->name,
                     n > 1 ? " and those with the same inputs" : "", why);
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
        st = encode(r, t, &form, err);
    pare_form_close(&form);
    return st;
}

static pare_status refine_one(refinement *r, const pare_gram *g, pare_error *err)
{
    char text[128];
    size_t at = 0;
    if (next_of(r, g, 0, &at) == NULL)
        return PARE_OK;
    if (g != &r->lookup && g->count < (double)g->n_columns) {
        snprintf(text, sizeof text, "%.0f tokens are too few for the products of %" PRIu64 " columns", g->count,
                 g->n_columns);
        return leave(r, g, 0, text, err);
    }
    pare_status st = refine_units(r, g, 1, err);
    if (st == PARE_OK)
        st = refine_units(r, g, PARE_FORM_UNIT, err);
    uint64_t bytes = 0;
    if (g != &r->lookup && pare_gram_bytes(g->n_columns, &bytes))
        pare_map_release(g->lower, (size_t)bytes);
    return st;
}

pare_status pare_refine(pare_model *out, const pare_quantize_options *options, pare_plan *plan, const char *beside,
                        pare_spool *spool, pare_refine_report *report, pare_refine_fn each, void *user, pare_error *err)
{
    refinement r = {.out = out,
                    .im = options->imatrix,
                    .plan = plan,
                    .n_sweeps = options->effort == PARE_EFFORT_BEST ? SWEEPS_BEST : SWEEPS,
                    .report = report,
                    .each = each,
                    .user = user};
    uint64_t bytes = 0, whole = 0;
    *report = (pare_refine_report){.mean_ratio = NAN};
    *spool = (pare_spool){0};
    if (options->imatrix == NULL)
        return PARE_OK;
    bool found = false;
    pare_status st = pare_lookup_gram_open(&r.lookup, &found, out->source, r.im, err);
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i < out->n_tensors; i++) {
        whole += out->tensors[i].n_bytes;
        if (gram_of(&r, &out->tensors[i]) != NULL) {
            bytes += out->tensors[i].n_bytes; /* of parts of one file */
            r.n++;
        }
    }
    if (r.n > 0)
        st = pare_output_check_room(beside, bytes + whole, err); /* the spool stays until the model is written */
    if (st == PARE_OK)
        st = pare_spool_open(spool, beside, bytes, err);
    r.to = spool->data;
    for (size_t i = 0; i < r.im->grams.n && st == PARE_OK; i++)
        st = refine_one(&r, &r.im->grams.list[i], err);
    if (st == PARE_OK && found)
        st = refine_one(&r, &r.lookup, err);
    if (st == PARE_OK && r.n > 0 && each != NULL)
        each(r.n, r.n, "", user);
    if (report->n_tensors > 0)
        report->mean_ratio = exp(r.log_ratio / report->n_tensors);
    pare_lookup_gram_close(&r.lookup);
    return st;
}
