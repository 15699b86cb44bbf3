/* Several budgets of one model: which sizes, and what is asked of each. A part of cmd/fit_choose.h. */
#include "cmd/fit_choose.h"
#include "formats/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PARETO = 8 };

/* The file whose tensors are all in the largest block; of a model that such blocks do not fit into, most. */
static pare_status largest_encoded(const cmd_fit_job *j, uint64_t most, uint64_t *out, pare_error *err)
{
    const pare_quantize_options options = {.preset = pare_preset_find("q8_0"),
                                           .pure_type = PARE_TYPE_NONE,
                                           .output_type = PARE_TYPE_NONE,
                                           .embedding_type = PARE_TYPE_NONE,
                                           .allow_requantize = true,
                                           .plan_only = true};
    pare_model typed = {0};
    pare_plan plan = {0};
    *out = most;
    pare_status st = pare_quantize(&typed, &j->model, &options, &plan, err);
    if (st == PARE_OK)
        st = pare_gguf_size(&typed, &(pare_write_options){0}, out, err);
    pare_model_close(&typed);
    if (st == PARE_OK && *out > most)
        *out = most;
    return st;
}

/* In equal ratios, both ends included. Without a list of types the original's own, which loses nothing, is one of
 * them: then the front ends with the largest block. */
static pare_status spread_sizes(cmd_fit_job *j, pare_error *err)
{
    uint64_t least, most;
    pare_status st = PARE_OK;
    pare_fit_range(j->fit, &least, &most);
    if (j->own.n_types == 0)
        st = largest_encoded(j, most, &most, err);
    if (st != PARE_OK)
        return st;
    const double ratio = most > least ? (double)most / (double)least : 1;
    j->own.n_sizes = ratio > 1 ? N_PARETO : 1;
    for (size_t i = 0; i < j->own.n_sizes; i++)
        j->own.sizes[i] = (uint64_t)((double)least * pow(ratio, (double)i / (N_PARETO - 1)));
    j->own.sizes[0] = least;
    if (j->own.n_sizes > 1)
        j->own.sizes[j->own.n_sizes - 1] = most;
    return PARE_OK;
}

pare_status cmd_fit_front_open(cmd_fit_job *j, pare_error *err)
{
    pare_status st = PARE_OK;
    j->own = *j->request;
    j->request = &j->own;
    if (j->own.pareto)
        st = spread_sizes(j, err);
    if (st != PARE_OK)
        return st;
    j->n_outcomes = cmd_fit_n_budgets(&j->own);
    j->outcomes = calloc(j->n_outcomes, sizeof *j->outcomes);
    if (j->outcomes == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu plans", j->n_outcomes);
    for (size_t i = 0; i < j->own.n_memories; i++)
        j->outcomes[i].memory = &j->own.memories[i];
    return PARE_OK;
}

void cmd_fit_ask(cmd_fit_job *j, size_t i)
{
    const cmd_fit_memory *m = j->outcomes[i].memory;
    if (m == NULL)
        return;
    memcpy(j->own.devices, m->devices, sizeof j->own.devices);
    j->own.n_devices = m->n_devices;
}

pare_status cmd_fit_note(cmd_fit_outcome *o, pare_status st, const pare_error *why, pare_error *err)
{
    if (st == PARE_OK || st == PARE_ERR_DIFFERENCE) {
        o->status = st;
        snprintf(o->why, sizeof o->why, "%s", st != PARE_OK ? why->text : "");
        return PARE_OK;
    }
    *err = *why;
    return st;
}

pare_status cmd_fit_front_check(const cmd_fit_job *j, pare_error *err)
{
    for (size_t i = 0; i < j->n_outcomes; i++)
        if (j->outcomes[i].status == PARE_OK)
            return PARE_OK;
    return pare_fail(err, PARE_ERR_DIFFERENCE, "%s", j->outcomes[j->n_outcomes - 1].why);
}
