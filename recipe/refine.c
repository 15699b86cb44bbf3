#include "recipe/refine.h"

#include "core/output.h"
#include "quant/feedback.h"
#include "recipe/aim.h"
#include "recipe/calibration.h"
#include "recipe/derive.h"
#include "recipe/expert_gram.h"
#include "recipe/lookup_gram.h"
#include "recipe/refine_key.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* On the diagonal, in parts of its mean, of what is known of inputs and of the embedding's form; and looks at every
 * code: docs/methods/FEEDBACK.md. */
static const double DAMPING = 0.01, LOOKUP_DAMPING = 0.1;
static const int sweeps[] = {[PARE_EFFORT_DEFAULT] = 4, [PARE_EFFORT_BEST] = 16, [PARE_EFFORT_FAST] = 0};

/* One of the models. */
typedef struct member {
    pare_refine_job *job;
    const pare_gram *lookup; /* of the token embedding; NULL: none */
    size_t *item;            /* [n_tensors] of out: its number in the state, or NO_ITEM */
    bool *ready;             /* [n_tensors] its bytes were there, or it is not wanted */
    int n_sweeps;
} member;

typedef struct refinement {
    const pare_imatrix *im;
    member *members; /* [n_members] */
    size_t n_members;
    pare_gram *lookups; /* [n_lookups] of the models that are quantized; lower NULL: it has none */
    size_t n_lookups;
    pare_prefix *prefix;
    pare_aim aim;            /* of the tensors in hand; n 0: their weights */
    const member *in_hand;   /* whose tensor */
    const pare_tensor *now;  /* in hand, */
    uint64_t first;          /* from this row on */
    double work, whole_work; /* multiplications, in some unit: of what is encoded, in all */
    pare_refine_progress told;
} refinement;
static const size_t NO_ITEM = SIZE_MAX;

/* A tensor that is to be encoded; zeroed: before the first. */
typedef struct place {
    size_t member, at; /* the one behind it */
    member *m;
    const pare_tensor *t;
} place;

static bool is_lookup(const refinement *r, const pare_gram *g)
{
    for (size_t i = 0; i < r->n_lookups; i++)
        if (g == &r->lookups[i])
            return true;
    return false;
}

/* The statistics that the tensor can be encoded with; NULL: none. */
static const pare_gram *gram_of(const member *m, const pare_tensor *t)
{
    bool lookup = strcmp(t->name, "token_embd.weight") == 0;
    const pare_gram *g = lookup ? m->lookup : pare_grams_find(&m->job->options->imatrix->grams, t->name);
    return g != NULL && pare_derive_takes_feedback(t) && g->n_columns == t->row_len ? g : NULL;
}

static pare_plan_row *plan_row(const member *m, const pare_tensor *t)
{
    for (size_t i = 0; i < m->job->plan->n; i++)
        if (strcmp(m->job->plan->rows[i].name, t->name) == 0)
            return &m->job->plan->rows[i];
    return NULL;
}

static size_t item_of(const place *p)
{
    return p->m->item[p->t - p->m->job->out->tensors];
}

/* The next tensor that is to be encoded with these statistics and is rounded in such units, or any (0). */
static bool next_of(const refinement *r, const pare_gram *g, size_t unit, place *p)
{
    for (; p->member < r->n_members; p->member++, p->at = 0) {
        p->m = &r->members[p->member];
        while (p->at < p->m->job->out->n_tensors) {
            const size_t i = p->at++;
            p->t = &p->m->job->out->tensors[i];
            if (!p->m->ready[i] && gram_of(p->m, p->t) == g && (unit == 0 || pare_feedback_unit(p->t->type) == unit))
                return true;
        }
    }
    return false;
}

static double work_of(const pare_tensor *t, uint64_t n_rows)
{
    return (double)n_rows * (double)t->row_len * (double)t->row_len;
}

static void tell(refinement *r, const member *m, const char *tensor, bool begins, double more_work)
{
    const pare_refine_settings *settings = m->job->settings;
    r->told.tensor = tensor;
    r->told.begins = begins;
    r->told.part = r->whole_work > 0 ? fmin((r->work + more_work) / r->whole_work, 1) : 1;
    if (settings->each != NULL)
        settings->each(&r->told, settings->user);
}

static void rows_done(uint64_t n_rows, void *user)
{
    refinement *r = user;
    tell(r, r->in_hand, r->now->name, false, work_of(r->now, n_rows - r->first));
}

static void take_in_hand(refinement *r, const place *p, uint64_t first)
{
    r->in_hand = p->m;
    r->now = p->t;
    r->first = first;
    if (first == 0)
        tell(r, p->m, p->t->name, true, 0);
}

/* The tensor is encoded. */
static pare_status keep(refinement *r, const place *p, const pare_gram *g, pare_error *err)
{
    pare_state_key key;
    pare_state *state = p->m->job->state;
    pare_status st = pare_refine_key(&key, p->t, r->im, g, err);
    if (st == PARE_OK)
        st = pare_state_keep(state, item_of(p), &key, plan_row(p->m, p->t), err);
    if (st == PARE_OK && r->prefix != NULL)
        r->prefix->replace(r->prefix, p->t->name, p->t->type, p->t->factor, pare_state_at(state, item_of(p)));
    p->m->job->report.n_aimed += r->aim.n > 0;
    p->m->job->report.n_tensors++;
    r->told.done++;
    return st;
}

static pare_status encode(refinement *r, const place *p, const pare_gram *g, const pare_form *form, pare_error *err)
{
    take_in_hand(r, p, 0);
    pare_status st = pare_derive_encode(p->t, form, r->aim.n > 0 ? &r->aim : NULL, p->m->n_sweeps,
                                        pare_state_at(p->m->job->state, item_of(p)), rows_done, r, err);
    r->work += work_of(p->t, p->t->n_rows);
    return st == PARE_OK ? keep(r, p, g, err) : st;
}

/* Tensors that stay as they were for want of statistics (why NULL: of tokens). */
static pare_status leave(refinement *r, const pare_gram *g, size_t unit, const char *why, pare_error *err)
{
    pare_status st = PARE_OK;
    for (place p = {0}; st == PARE_OK && next_of(r, g, unit, &p); p = (place){.member = p.member + 1}) {
        pare_refine_job *job = p.m->job;
        uint32_t n = 0;
        for (place of = {.member = p.member}; next_of(r, g, unit, &of) && of.member == p.member; n++)
            r->work += work_of(of.t, of.t->n_rows);
        job->report.n_without += n;
        r->told.done += n;
        if (job->report.without[0] == '\0')
            pare_calibration_why_without(job->report.without, sizeof job->report.without, r->im, g, why);
        if (!job->settings->quiet)
            st = pare_calibration_warn_without(r->im, g, why, n, "encoded", err);
    }
    return st;
}

/* The tensors with these statistics that are rounded in such units. */
static pare_status refine_units(refinement *r, const pare_gram *g, size_t unit, pare_error *err)
{
    pare_form form;
    pare_error why = {0};
    place p = {0};
    if (!next_of(r, g, unit, &p))
        return PARE_OK;
    double damping = is_lookup(r, g) ? LOOKUP_DAMPING : DAMPING;
    pare_status st = pare_form_open(&form, g, r->im->path, unit, damping, &why);
    if (st == PARE_ERR_RANGE)
        return leave(r, g, unit, why.text, err);
    if (st != PARE_OK)
        return pare_fail(err, st, "%s", why.text);
    for (p = (place){0}; st == PARE_OK && next_of(r, g, unit, &p);)
        st = encode(r, &p, g, &form, err);
    pare_form_close(&form);
    return st;
}

/* An expert whose products have no factor. */
static pare_status warn_expert(const pare_tensor *t, const pare_gram *g, uint64_t expert, const char *why,
                               pare_error *err)
{
    const bool named = strcmp(g->name, t->name) == 0; /* by the error of its products */
    return pare_warn(err, "%s; expert %" PRIu64 "%s%s is encoded without feedback", why, expert, named ? "" : " of ",
                     named ? "" : t->name);
}

/* An expert of these tensors under the form of its own inputs; with the last one they are done. */
static pare_status encode_expert(refinement *r, const pare_gram *g, size_t unit, pare_expert_grams *own,
                                 uint64_t expert, pare_error *err)
{
    pare_gram mean;
    pare_form form = {0};
    pare_error why = {0};
    pare_status st = pare_expert_grams_make(own, expert, &mean, err);
    if (st != PARE_OK)
        return st;
    st = pare_form_open(&form, &mean, r->im->path, unit, DAMPING, &why);
    const bool found = st == PARE_OK;
    if (!found && st != PARE_ERR_RANGE)
        return pare_fail(err, st, "%s", why.text);
    st = PARE_OK;
    for (place p = {0}; st == PARE_OK && next_of(r, g, unit, &p);) {
        const uint64_t n_rows = p.t->n_rows / g->n_experts;
        take_in_hand(r, &p, expert * n_rows);
        if (!found)
            st = warn_expert(p.t, g, expert, why.text, err);
        if (st == PARE_OK)
            st = pare_derive_encode_expert(p.t, expert, found ? &form : NULL, p.m->n_sweeps,
                                           pare_state_at(p.m->job->state, item_of(&p)), rows_done, r, err);
        r->work += work_of(p.t, n_rows);
        if (st == PARE_OK && expert + 1 == g->n_experts)
            st = keep(r, &p, g, err);
    }
    pare_form_close(&form);
    return st;
}

/* The tensors whose experts have products of their own. */
static pare_status refine_experts(refinement *r, const pare_gram *g, pare_error *err)
{
    static const size_t units[] = {1, PARE_FORM_UNIT};
    pare_expert_grams own;
    pare_error why = {0};
    pare_status st = pare_expert_grams_open(&own, g, pare_imatrix_find(r->im, g->name), r->im->path, &why);
    if (st == PARE_ERR_RANGE)
        return leave(r, g, 0, why.text, err);
    if (st != PARE_OK)
        return pare_fail(err, st, "%s", why.text);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        place p = {0};
        if (!next_of(r, g, units[u], &p))
            continue;
        for (uint64_t expert = 0; expert < g->n_experts && st == PARE_OK; expert++)
            st = encode_expert(r, g, units[u], &own, expert, err);
    }
    pare_expert_grams_close(&own);
    return st;
}

/* What the tensors with these statistics aim at. */
static pare_status take_aim(refinement *r, const pare_gram *g, pare_error *err)
{
    const member *m = &r->members[0]; /* the only one */
    const pare_tensor *t = pare_model_find(m->job->out->source, g->name);
    pare_prefix_sums sums;
    bool found = false;
    size_t position;
    if (r->prefix == NULL || is_lookup(r, g) || t == NULL || !r->prefix->position(r->prefix, g->name, &position))
        return PARE_OK;
    tell(r, m, g->name, false, 0);
    pare_status st = r->prefix->measure(r->prefix, g->name, &sums, &found, err);
    if (st != PARE_OK || !found)
        return st;
    return pare_aim_open(&r->aim, &sums, (size_t)t->row_len, (size_t)t->n_rows, g->name, err);
}

static pare_status refine_one(refinement *r, const pare_gram *g, pare_error *err)
{
    const bool lookup = is_lookup(r, g);
    place p = {0};
    if (!next_of(r, g, 0, &p))
        return PARE_OK;
    if (!lookup && g->count < (double)g->n_columns)
        return leave(r, g, 0, NULL, err);
    pare_status st = take_aim(r, g, err);
    if (st == PARE_OK)
        st = g->n_experts > 1 ? refine_experts(r, g, err) : refine_units(r, g, 1, err);
    if (st == PARE_OK && g->n_experts <= 1)
        st = refine_units(r, g, PARE_FORM_UNIT, err);
    pare_aim_close(&r->aim);
    uint64_t bytes = 0;
    if (!lookup && pare_gram_all_bytes(g, &bytes))
        pare_map_release(g->lower, (size_t)bytes);
    return st;
}

/* An earlier run's, where that is to be gone on with and is one of this model. out: bytes of the model itself. */
static pare_status open_state_file(const pare_refine_job *job, const char *text, size_t n, const uint64_t *size,
                                   uint64_t out, pare_error *err)
{
    const pare_refine_settings *settings = job->settings;
    const bool is_there = settings->resume && pare_state_is_there(settings->output);
    pare_error why = {0};
    uint64_t bytes = 0;
    pare_status st = is_there ? pare_state_open(job->state, settings->output, text, n, size, true, &why) : PARE_OK;
    if (is_there && (!settings->lenient || (st != PARE_ERR_USAGE && st != PARE_ERR_FORMAT))) {
        if (st != PARE_OK)
            *err = why;
        return st;
    }
    pare_state_close(job->state);
    st = pare_state_bytes(&bytes, text, n, size, err);
    if (st == PARE_OK && n > 0) /* the state stays until the model is written */
        st = pare_output_check_room(settings->output, bytes + out, err);
    return st == PARE_OK ? pare_state_open(job->state, settings->output, text, n, size, false, err) : st;
}

/* The tensors that will be encoded, and the state that their bytes go to. */
static pare_status open_state(refinement *r, member *m, pare_error *err)
{
    const pare_model *out = m->job->out;
    const char *about = m->job->settings->about;
    pare_buf text = {0};
    uint64_t whole = 0, *size = calloc(out->n_tensors + 1, sizeof *size);
    size_t n = 0;
    pare_status st = size != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (st == PARE_OK)
        st = pare_buf_puts(&text, about != NULL ? about : "", err);
    for (size_t i = 0; i < out->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *t = &out->tensors[i];
        whole += t->n_bytes; /* of parts of one file */
        if (gram_of(m, t) == NULL)
            continue;
        m->item[i] = n;
        size[n++] = t->n_bytes;
        st = pare_buf_printf(&text, err, "tensor %s %s %" PRIu64 " x %" PRIu64 "\n", t->name,
                             pare_type_get(t->type)->name, t->n_rows, t->row_len);
    }
    r->told.n += (uint32_t)n;
    if (st == PARE_OK)
        st = open_state_file(m->job, text.data, n, size, whole, err);
    pare_buf_close(&text);
    free(size);
    return st;
}

/* Is the tensor in the state, made of what it would be made of now? */
static pare_status take_one(refinement *r, member *m, size_t i, pare_error *err)
{
    const pare_refine_job *job = m->job;
    const pare_tensor *t = &job->out->tensors[i];
    pare_state_key key;
    pare_error why = {0};
    if (!pare_state_has(job->state, m->item[i]))
        return PARE_OK;
    pare_status st = pare_refine_key(&key, t, r->im, gram_of(m, t), err);
    if (st != PARE_OK)
        return st;
    st = pare_state_take(job->state, m->item[i], &key, t->name, plan_row(m, t), &m->ready[i], &why);
    if (st == PARE_OK || (st == PARE_ERR_USAGE && job->settings->lenient))
        return PARE_OK;
    *err = why;
    return st;
}

/* What an earlier run encoded, and what is not wanted, is ready. */
static pare_status take_state(refinement *r, member *m, pare_error *err)
{
    const pare_refine_job *job = m->job;
    const pare_refine_settings *settings = job->settings;
    pare_refine_report *report = &m->job->report;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < job->out->n_tensors && st == PARE_OK; i++) {
        const pare_tensor *t = &job->out->tensors[i];
        if (m->item[i] == NO_ITEM)
            continue;
        st = take_one(r, m, i, err);
        if (st == PARE_OK && !m->ready[i] && settings->wants != NULL && !settings->wants(t, settings->user)) {
            m->ready[i] = true;
            r->told.n--;
            continue;
        }
        if (!m->ready[i])
            r->whole_work += work_of(t, t->n_rows);
        else
            pare_derive_restore(t, pare_state_at(job->state, m->item[i]));
        if (m->ready[i] && r->prefix != NULL)
            r->prefix->replace(r->prefix, t->name, t->type, t->factor, pare_state_at(job->state, m->item[i]));
        report->n_resumed += m->ready[i];
    }
    report->n_tensors = report->n_resumed;
    r->told.done += report->n_resumed;
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

static pare_status refine_lookups(refinement *r, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < r->n_lookups && st == PARE_OK; i++)
        st = refine_one(r, &r->lookups[i], err);
    return st;
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
    pare_status st = r->prefix != NULL ? refine_lookups(r, err) : PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = refine_one(r, list[i].gram, err);
    if (st == PARE_OK && r->prefix == NULL)
        st = refine_lookups(r, err);
    free(list);
    return st;
}

/* The same whatever part of it an earlier run did. */
static double mean_ratio(const pare_refine_job *job)
{
    double logs = 0;
    for (size_t i = 0; i < job->plan->n; i++)
        if (job->plan->rows[i].feedback > 0)
            logs += log(job->plan->rows[i].feedback);
    return job->report.n_tensors > 0 ? exp(logs / job->report.n_tensors) : (double)NAN;
}

/* Of the model that job k quantizes; one for all jobs that quantize it. */
static pare_status take_lookup(refinement *r, size_t k, pare_error *err)
{
    const pare_model *source = r->members[k].job->out->source;
    bool found = false;
    for (size_t i = 0; i < k; i++)
        if (r->members[i].job->out->source == source) {
            r->members[k].lookup = r->members[i].lookup;
            return PARE_OK;
        }
    pare_gram *g = &r->lookups[r->n_lookups++];
    pare_status st = pare_lookup_gram_open(g, &found, source, r->im, err);
    r->members[k].lookup = found ? g : NULL;
    return st;
}

static pare_status open_member(refinement *r, size_t k, pare_error *err)
{
    member *m = &r->members[k];
    const size_t n = m->job->out->n_tensors;
    m->item = malloc((n + 1) * sizeof *m->item);
    m->ready = calloc(n + 1, sizeof *m->ready);
    if (m->item == NULL || m->ready == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", n);
    for (size_t i = 0; i < n; i++)
        m->item[i] = NO_ITEM;
    pare_status st = take_lookup(r, k, err);
    if (st == PARE_OK)
        st = open_state(r, m, err);
    return st == PARE_OK ? take_state(r, m, err) : st;
}

/* Nothing is known of any job yet. */
static pare_status reserve(refinement *r, pare_refine_job *jobs, size_t n, pare_error *err)
{
    r->members = calloc(n, sizeof *r->members);
    r->lookups = calloc(n, sizeof *r->lookups);
    if (r->members == NULL || r->lookups == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu models", n);
    r->n_members = n;
    for (size_t k = 0; k < n; k++) {
        const pare_effort effort = jobs[k].options->effort;
        r->members[k] = (member){.job = &jobs[k], .n_sweeps = effort != PARE_EFFORT_RTN ? sweeps[effort] : 0};
    }
    return PARE_OK;
}

static void close_refinement(refinement *r)
{
    for (size_t k = 0; k < r->n_members; k++) {
        free(r->members[k].item);
        free(r->members[k].ready);
    }
    for (size_t i = 0; i < r->n_lookups; i++)
        pare_lookup_gram_close(&r->lookups[i]);
    free(r->members);
    free(r->lookups);
}

pare_status pare_refine_together(pare_refine_job *jobs, size_t n, pare_error *err)
{
    for (size_t k = 0; k < n; k++) {
        assert(jobs[k].options->imatrix == jobs[0].options->imatrix && (n == 1 || jobs[k].settings->prefix == NULL));
        jobs[k].report = (pare_refine_report){.mean_ratio = NAN};
        *jobs[k].state = (pare_state){0};
    }
    if (n == 0 || jobs[0].options->imatrix == NULL)
        return PARE_OK;
    refinement r = {.im = jobs[0].options->imatrix, .prefix = jobs[0].settings->prefix};
    pare_status st = reserve(&r, jobs, n, err);
    for (size_t k = 0; k < n && st == PARE_OK; k++)
        st = open_member(&r, k, err);
    if (st == PARE_OK)
        st = refine_in_order(&r, err);
    if (st == PARE_OK && r.told.n > 0)
        tell(&r, &r.members[0], "", false, 0);
    for (size_t k = 0; k < n; k++)
        jobs[k].report.mean_ratio = mean_ratio(&jobs[k]);
    close_refinement(&r);
    return st;
}

pare_status pare_refine(pare_model *out, const pare_quantize_options *options, pare_plan *plan,
                        const pare_refine_settings *settings, pare_state *state, pare_refine_report *report,
                        pare_error *err)
{
    pare_refine_job job = {.out = out, .options = options, .plan = plan, .settings = settings, .state = state};
    pare_status st = pare_refine_together(&job, 1, err);
    *report = job.report;
    return st;
}
