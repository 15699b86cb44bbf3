#include "core/checked.h"
#include "memory/memory_layout.h"

#include <stdio.h>
#include <string.h>

const char *pare_memory_kind_name(pare_memory_kind kind)
{
    static const char *const names[PARE_MEMORY_KINDS] = {"weights", "cache",  "output", "compute",
                                                         "driver",  "beside", "reserve"};
    return kind < PARE_MEMORY_KINDS ? names[kind] : "";
}

pare_status memory_add_part(pare_memory_plan *plan, const pare_memory_part *part, pare_error *err)
{
    if (plan->n_parts == PARE_MEMORY_MAX_PARTS)
        return pare_fail(err, PARE_ERR_RANGE, "a plan of more than %d parts", PARE_MEMORY_MAX_PARTS);
    plan->parts[plan->n_parts++] = *part;
    return PARE_OK;
}

void memory_set_words(pare_memory_part *part, const char *name, const char *depends)
{
    snprintf(part->name, sizeof part->name, "%s", name);
    snprintf(part->depends, sizeof part->depends, "%s", depends);
}

void memory_add_missing(pare_memory_plan *plan, const char *what)
{
    if (plan->n_missing < PARE_MEMORY_MAX_MISSING)
        plan->missing[plan->n_missing++] = what;
}

pare_status memory_sum_up(pare_memory_plan *plan, pare_error *err)
{
    for (size_t i = 0; i < plan->n_parts; i++) {
        const pare_memory_part *p = &plan->parts[i];
        pare_memory_sum *s = p->place == PARE_MEMORY_HOST ? &plan->host : &plan->device[p->place];
        if (!pare_add_u64(s->bytes, p->bytes, &s->bytes) || !pare_add_u64(s->low, p->low, &s->low) ||
            !pare_add_u64(s->high, p->high, &s->high))
            return memory_overflow("plan", err);
    }
    return PARE_OK;
}

uint64_t pare_memory_of_kind(const pare_memory_plan *plan, pare_memory_kind kind, int32_t place)
{
    uint64_t sum = 0; /* no more than the plan's sum, which held */
    for (size_t i = 0; i < plan->n_parts; i++)
        if (plan->parts[i].kind == kind && plan->parts[i].place == place)
            sum += plan->parts[i].bytes;
    return sum;
}

/* An expert of a layer is read by a share of the tokens; of the embedding one row. */
uint64_t memory_read_of(const pare_hparams *hp, const pare_memory_tensor *t)
{
    if (pare_memory_is_expert(t) && hp->n_expert > 0)
        return t->n_bytes / hp->n_expert * hp->n_expert_used;
    return memory_is_table(hp, t) ? (t->dim[0] > 0 ? t->n_bytes / t->dim[0] : 0) : t->n_bytes;
}

bool memory_is_table(const pare_hparams *hp, const pare_memory_tensor *t)
{
    return (strcmp(t->name, "token_embd.weight") == 0 && !hp->tied_output) ||
           strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0 ||
           strcmp(t->name, "per_layer_token_embd.weight") == 0;
}

pare_status pare_memory_read_per_token(const pare_memory_model *m, uint64_t *out, pare_error *err)
{
    *out = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!pare_add_u64(*out, memory_read_of(m->hp, &m->tensors[i]), out))
            return memory_overflow("weights", err);
    return PARE_OK;
}
