#include "cmd/fit_plan.h"
#include "cmd/console.h"
#include "cmd/summary.h"
#include "formats/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void cmd_fit_warn_of_context(const cmd_fit_request *r, const pare_model *m)
{
    if (r->run.n_ctx > 0 && m->hp.n_ctx_train > 0 && r->run.n_ctx / r->run.n_seq > m->hp.n_ctx_train)
        cmd_warning("%s: a context of %" PRIu64 " tokens a sequence is more than the %" PRIu32
                    " that it was trained for",
                    cmd_safe(m->path, strlen(m->path)), r->run.n_ctx / r->run.n_seq, m->hp.n_ctx_train);
}

void cmd_fit_query(pare_place_query *query, const cmd_fit_request *request, const pare_memory_model *m)
{
    *query = (pare_place_query){.model = m,
                                .runtime = request->runtime,
                                .run = request->run,
                                .n_devices = request->n_devices,
                                .host_bytes = request->ram > 0 ? request->ram : PARE_NO_LIMIT,
                                .devices_only = request->n_devices > 0 && request->ram == 0};
    memcpy(query->device, request->devices, sizeof query->device);
    if (query->run.n_ctx == 0)
        query->run.n_ctx = m->hp->n_ctx_train;
}

/* What keeps one candidate from fitting is its own affair; a request that makes no sense is everybody's, and only then
 * in err. */
static pare_status keep_reason(cmd_fit_candidate *c, const pare_error *why, pare_error *err)
{
    if (why->status != PARE_ERR_DIFFERENCE && why->status != PARE_ERR_UNSUPPORTED) {
        *err = *why;
        return why->status;
    }
    c->status = why->status;
    snprintf(c->why, sizeof c->why, "%s", why->text);
    return PARE_OK;
}

static pare_status look_at_context(cmd_fit_candidate *c, const pare_place_query *query, pare_error *err)
{
    pare_context_answer *answer = malloc(sizeof *answer);
    pare_error why = {0};
    if (answer == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan");
    pare_status st = pare_largest_context(query, false, answer, &why);
    if (st == PARE_OK) {
        c->largest = answer->n_ctx;
        c->bound = answer->bound;
    } else if (st == PARE_ERR_DIFFERENCE)
        st = PARE_OK; /* even the smallest context is too much */
    else
        *err = why;
    free(answer);
    return st;
}

pare_status cmd_fit_candidate_make(cmd_fit_candidate *c, const cmd_fit_request *request, const pare_model *typed,
                                   pare_error *err)
{
    pare_memory_model m = {0};
    pare_place_query query;
    pare_error why = {0};
    c->bits = cmd_bits_per_weight(typed);
    pare_status st = pare_gguf_size(typed, &(pare_write_options){0}, &c->file_bytes, err);
    if (st == PARE_OK)
        st = pare_memory_model_of(&m, typed, err);
    if (st == PARE_OK) {
        cmd_fit_query(&query, request, &m);
        st = look_at_context(c, &query, err);
    }
    if (st == PARE_OK && pare_place(&query, &c->placement, &why) != PARE_OK) {
        st = keep_reason(c, &why, err);
    } else if (st == PARE_OK) {
        const pare_speed_input input = {.depth = query.run.n_ctx / query.run.n_seq};
        pare_placement_apply(&c->placement, &m);
        st = pare_speed_estimate(&c->speed, &query, &c->placement, &input, err);
    }
    pare_memory_model_close(&m);
    return st;
}

static pare_status look_at(cmd_fit_plan *p, const pare_preset *preset, pare_error *err)
{
    cmd_fit_candidate *c = &p->candidates[p->n];
    const pare_quantize_options options = {.preset = preset,
                                           .pure_type = PARE_TYPE_NONE,
                                           .output_type = PARE_TYPE_NONE,
                                           .embedding_type = PARE_TYPE_NONE,
                                           .overrides = p->request->keep,
                                           .n_overrides = p->request->n_keep,
                                           .override_option = "--keep",
                                           .effort = PARE_EFFORT_DEFAULT,
                                           .allow_requantize = true,
                                           .plan_only = true};
    pare_model out = {0};
    pare_plan plan = {0};
    pare_error why = {0};
    *c = (cmd_fit_candidate){.name = preset != NULL ? preset->name : "as it is", .preset = preset};
    pare_status st = PARE_OK;
    if (preset != NULL) {
        const bool is_made = pare_quantize(&out, p->model, &options, &plan, &why) == PARE_OK;
        c->needs_imatrix = plan.n_needing > 0;
        if (!is_made) {
            pare_model_close(&out);
            return keep_reason(c, &why, err); /* not counted: there is no such file */
        }
    }
    st = cmd_fit_candidate_make(c, p->request, preset != NULL ? &out : p->model, err);
    pare_model_close(&out);
    if (st == PARE_OK)
        p->n++;
    return st;
}

static int compare_candidates(const void *a, const void *b)
{
    const cmd_fit_candidate *x = a, *y = b;
    if (x->file_bytes != y->file_bytes)
        return x->file_bytes < y->file_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Floats that take as much as the model does add nothing to it. */
static void drop_useless(cmd_fit_plan *p)
{
    uint64_t as_it_is = UINT64_MAX;
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (p->candidates[i].preset == NULL)
            as_it_is = p->candidates[i].file_bytes;
    for (size_t i = 0; i < p->n; i++)
        if (p->candidates[i].preset == NULL || p->candidates[i].file_bytes < as_it_is || p->n == 1)
            p->candidates[n++] = p->candidates[i];
    p->n = n;
}

/* Types for models that were trained in them are no choice for others. */
static const cmd_fit_candidate *find_best(const cmd_fit_plan *p)
{
    for (size_t i = p->n; i-- > 0;)
        if (p->candidates[i].status == PARE_OK &&
            (p->candidates[i].preset == NULL || !p->candidates[i].preset->trained))
            return &p->candidates[i];
    return NULL;
}

const cmd_fit_candidate *cmd_fit_smallest(const cmd_fit_plan *p)
{
    const cmd_fit_candidate *least = NULL;
    for (size_t i = p->n; i-- > 0;)
        if (p->candidates[i].preset == NULL || !p->candidates[i].preset->trained || least == NULL)
            least = &p->candidates[i];
    return least;
}

pare_status cmd_fit_refuse(const cmd_fit_plan *p, pare_error *err)
{
    const cmd_fit_candidate *least = cmd_fit_smallest(p);
    if (least == NULL)
        return pare_fail(err, PARE_ERR_DIFFERENCE, "%s: no type can be planned for", p->model->path);
    if (p->request->preset != NULL)
        return pare_fail(err, PARE_ERR_DIFFERENCE, "%s does not fit in %s: %s", p->model->path, least->name,
                         least->why);
    return pare_fail(err, PARE_ERR_DIFFERENCE, "%s does not fit in any type; the smallest, %s: %s", p->model->path,
                     least->name, least->why);
}

pare_status cmd_fit_plan_make(cmd_fit_plan *p, const cmd_fit_request *request, const pare_model *model, pare_error *err)
{
    size_t n = 1;
    while (pare_preset_at(n - 1) != NULL)
        n++;
    *p = (cmd_fit_plan){.model = model,
                        .request = request,
                        .n_ctx = request->run.n_ctx > 0 ? request->run.n_ctx : model->hp.n_ctx_train,
                        .candidates = calloc(n, sizeof *p->candidates)};
    if (p->candidates == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu plans", n);
    pare_status st = request->preset != NULL ? look_at(p, request->preset, err) : look_at(p, NULL, err);
    for (size_t i = 0; request->preset == NULL && st == PARE_OK && pare_preset_at(i) != NULL; i++)
        if ((st = pare_check_interrupt(err)) == PARE_OK)
            st = look_at(p, pare_preset_at(i), err);
    drop_useless(p);
    qsort(p->candidates, p->n, sizeof *p->candidates, compare_candidates);
    p->best = find_best(p);
    return st;
}

void cmd_fit_plan_close(cmd_fit_plan *p)
{
    free(p->candidates);
    *p = (cmd_fit_plan){0};
}
