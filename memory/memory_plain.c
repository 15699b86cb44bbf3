/* Weights and cache and nothing else: the least that any runtime needs, and what guides add up. Cells are not rounded,
 * windows are kept exactly, tensors lie back to back. */
#include "core/checked.h"
#include "memory/memory_runtimes.h"

#include <inttypes.h>
#include <stdio.h>

static pare_status add_weights(pare_memory_plan *plan, const memory_layout *l, int32_t place, pare_error *err)
{
    pare_memory_part part = {.kind = PARE_MEMORY_WEIGHTS, .place = place, .name = "weights"};
    uint64_t n = 0;
    for (size_t i = 0; i < l->m->n_tensors; i++) {
        const pare_memory_tensor *t = &l->m->tensors[i];
        if (memory_tensor_place(l, t) != place)
            continue;
        n++;
        if (!pare_add_u64(part.bytes, t->n_bytes, &part.bytes))
            return memory_overflow("weights", err);
    }
    part.low = part.high = part.bytes;
    snprintf(part.depends, sizeof part.depends, "%" PRIu64 " tensors", n);
    return n > 0 ? memory_add_part(plan, &part, err) : PARE_OK;
}

static pare_status add_cache(pare_memory_plan *plan, const memory_layout *l, int32_t place, pare_error *err)
{
    pare_memory_part part = {.kind = PARE_MEMORY_CACHE, .place = place, .name = "cache"};
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->hp->n_layer; i++) {
        uint64_t bytes;
        if (memory_cache_place(l, i) != place)
            continue;
        pare_status status = memory_layer_kept(l, i, &bytes, err);
        if (status != PARE_OK)
            return status;
        if (!pare_add_u64(part.bytes, bytes, &part.bytes))
            return memory_overflow("cache", err);
        n += bytes > 0;
    }
    part.low = part.high = part.bytes;
    snprintf(part.depends, sizeof part.depends, "%" PRIu32 " layers, %" PRIu64 " tokens, K %s, V %s", n, l->asked,
             pare_type_get(l->type_k)->name, pare_type_get(l->type_v)->name);
    return n > 0 ? memory_add_part(plan, &part, err) : PARE_OK;
}

static pare_status plan_plain(pare_memory_plan *out, const pare_memory_model *m, const pare_memory_run *run,
                              pare_error *err)
{
    memory_layout l;
    *out = (pare_memory_plan){0};
    pare_status status = memory_layout_of(&l, m, run, err);
    if (status == PARE_OK)
        memory_note_request(out, &l);
    for (int32_t place = PARE_MEMORY_HOST; place < (int32_t)run->n_devices && status == PARE_OK; place++) {
        status = add_weights(out, &l, place, err);
        if (status == PARE_OK)
            status = add_cache(out, &l, place, err);
    }
    if (status == PARE_OK)
        status = memory_plan_beside(out, &l, err);
    memory_add_missing(out, "intermediate results, logits, buffers and contexts of whatever runs it");
    if (status == PARE_OK) {
        out->n_ctx = l.asked;
        out->n_ctx_seq = run->per_sequence ? l.asked / l.n_seq : l.asked;
    }
    return status == PARE_OK ? memory_sum_up(out, err) : status;
}

const pare_memory_runtime memory_plain = {"plain", "weights and cache alone", plan_plain};
