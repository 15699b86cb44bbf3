/* Caches as parts of a plan: keys and values of layers that see all, of those with a window, and recurrent states. */
#include "core/checked.h"
#include "memory/memory_layout.h"

#include <inttypes.h>
#include <stdio.h>

typedef enum cache_kind { CACHE_FULL, CACHE_WINDOW, CACHE_STATE, CACHE_KINDS } cache_kind;

static cache_kind kind_of(const memory_layout *l, uint32_t layer)
{
    if (memory_layer_recurrent(l->hp, layer))
        return CACHE_STATE;
    return memory_layer_windowed(l, layer) ? CACHE_WINDOW : CACHE_FULL;
}

static void describe(pare_memory_part *part, const memory_layout *l, cache_kind kind, uint32_t n_layers)
{
    static const char *const names[CACHE_KINDS] = {"KV cache", "KV cache (window)", "recurrent state"};
    const char *k = pare_type_get(l->type_k)->name, *v = pare_type_get(l->type_v)->name;
    uint64_t cells = kind == CACHE_WINDOW ? l->cells_window : l->cells;
    snprintf(part->name, sizeof part->name, "%s", names[kind]);
    if (kind == CACHE_STATE)
        snprintf(part->depends, sizeof part->depends, "%" PRIu32 " layers, %" PRIu32 " sequences, f32", n_layers,
                 l->n_seq);
    else if (memory_is_latent(l->hp))
        snprintf(part->depends, sizeof part->depends,
                 "%" PRIu32 " layers, %" PRIu64 " cells x %" PRIu32 ", compressed keys and values %s", n_layers, cells,
                 l->n_stream, k);
    else
        snprintf(part->depends, sizeof part->depends,
                 "%" PRIu32 " layers, %" PRIu64 " cells x %" PRIu32 ", K %s, V %s%s", n_layers, cells, l->n_stream, k,
                 v, l->flash ? "" : " across");
}

static pare_status add_kind(pare_memory_plan *plan, const memory_layout *l, cache_kind kind, int32_t place,
                            pare_error *err)
{
    pare_memory_part part = {.kind = PARE_MEMORY_CACHE, .place = place};
    uint32_t n_layers = 0;
    for (uint32_t i = 0; i < l->hp->n_layer; i++) {
        uint64_t bytes;
        if (kind_of(l, i) != kind || memory_cache_place(l, i) != place)
            continue;
        pare_status status = memory_layer_cache(l, i, &bytes, err);
        if (status != PARE_OK)
            return status;
        if (!pare_add_u64(part.bytes, bytes, &part.bytes))
            return memory_overflow("cache", err);
        n_layers += bytes > 0;
    }
    if (n_layers == 0)
        return PARE_OK;
    part.low = part.high = part.bytes;
    describe(&part, l, kind, n_layers);
    return memory_add_part(plan, &part, err);
}

pare_status memory_plan_cache(pare_memory_plan *plan, const memory_layout *l, pare_error *err)
{
    pare_status status = PARE_OK;
    for (int32_t place = PARE_MEMORY_HOST; place < (int32_t)l->run->n_devices; place++)
        for (cache_kind kind = CACHE_FULL; kind < CACHE_KINDS && status == PARE_OK; kind++)
            status = add_kind(plan, l, kind, place, err);
    return status;
}

/* ---- figures a token ---- */

pare_status memory_token_cache(const pare_hparams *hp, uint32_t layer, pare_type k, pare_type v, uint64_t *out,
                               pare_error *err)
{
    memory_heads h = memory_heads_of(hp, layer);
    uint64_t bytes_k, bytes_v = 0;
    if (!pare_row_bytes(k, (uint64_t)h.n_kv * h.k, &bytes_k) ||
        (h.v > 0 && !pare_row_bytes(v, (uint64_t)h.n_kv * h.v, &bytes_v)))
        return pare_fail(err, PARE_ERR_USAGE,
                         "cache in %s and %s: layer %" PRIu32 " keeps %" PRIu32 " heads of %" PRIu32
                         ", no multiple of a block",
                         pare_type_get(k)->name, pare_type_get(v)->name, layer, h.n_kv, h.k);
    return pare_add_u64(bytes_k, bytes_v, out) ? PARE_OK : memory_overflow("cache", err);
}

static bool windowed(const pare_memory_model *m, uint32_t layer)
{
    return memory_has_windows(m) && pare_layer_window(m->hp, layer) > 0;
}

pare_status pare_memory_cache_per_token(const pare_memory_model *m, pare_type cache_k, pare_type cache_v, uint64_t *out,
                                        pare_error *err)
{
    *out = 0;
    for (uint32_t i = 0; i < m->hp->n_layer && !m->arch->wiring.encoder; i++) {
        uint64_t bytes;
        if (memory_layer_recurrent(m->hp, i) || windowed(m, i) || pare_layer_of_keys(m->hp, i) != i)
            continue;
        pare_status status = memory_token_cache(m->hp, i, cache_k, cache_v, &bytes, err);
        if (status != PARE_OK)
            return status;
        if (!pare_add_u64(*out, bytes, out))
            return memory_overflow("cache", err);
    }
    return PARE_OK;
}

pare_status pare_memory_cache_read(const pare_memory_model *m, pare_type cache_k, pare_type cache_v, uint64_t depth,
                                   uint64_t *out, pare_error *err)
{
    uint64_t state = 4 * (memory_conv_state(m->hp) + memory_rule_state(m->hp));
    *out = 0;
    for (uint32_t i = 0; i < m->hp->n_layer && !m->arch->wiring.encoder; i++) {
        uint64_t bytes = state, window = windowed(m, i) ? pare_layer_window(m->hp, i) : 0;
        if (!memory_layer_recurrent(m->hp, i)) {
            pare_status status = memory_token_cache(m->hp, i, cache_k, cache_v, &bytes, err);
            if (status != PARE_OK)
                return status;
            if (!pare_mul_u64(bytes, window > 0 && window < depth ? window : depth, &bytes))
                return memory_overflow("cache", err);
        }
        if (!pare_add_u64(*out, bytes, out))
            return memory_overflow("cache", err);
    }
    return PARE_OK;
}

pare_status memory_layer_kept(const memory_layout *l, uint32_t layer, uint64_t *out, pare_error *err)
{
    uint64_t tokens = l->asked, windows = (uint64_t)l->hp->window * l->n_seq;
    *out = 0;
    if (l->m->arch->wiring.encoder || pare_layer_of_keys(l->hp, layer) != layer)
        return PARE_OK;
    if (memory_layer_recurrent(l->hp, layer)) {
        *out = 4 * l->n_seq * (memory_conv_state(l->hp) + memory_rule_state(l->hp));
        return PARE_OK;
    }
    if (memory_layer_windowed(l, layer) && !l->run->swa_full && windows < tokens)
        tokens = windows;
    pare_status status = memory_token_cache(l->hp, layer, l->type_k, l->type_v, out, err);
    if (status == PARE_OK && !pare_mul_u64(*out, tokens, out))
        return memory_overflow("cache", err);
    return status;
}
