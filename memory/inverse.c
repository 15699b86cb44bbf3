#include "memory/inverse.h"

#include "core/checked.h"
#include "memory/place_search.h"

#include <string.h>

pare_status pare_largest_context(const pare_place_query *query, bool beyond_trained, pare_context_answer *out,
                                 pare_error *err)
{
    pare_place_query q = *query;
    q.run.n_ctx = 0;
    pare_status status = pare_place_check(&q, err);
    if (status != PARE_OK)
        return status;
    const uint64_t step = pare_context_step(&q.run);
    uint64_t limit = pare_context_limit(&q.run);
    out->bound = PARE_CONTEXT_RUNTIME;
    const uint64_t trained = (uint64_t)q.model->hp->n_ctx_train * (step / PARE_CONTEXT_STEP);
    if (!beyond_trained && trained > 0 && trained < limit) {
        limit = trained;
        out->bound = PARE_CONTEXT_TRAINED;
    }
    if ((status = pare_place_longest(&q, step, limit, &out->placement, &out->n_ctx, err)) != PARE_OK)
        return status;
    if (out->n_ctx == 0) { /* asked again for the message */
        q.run.n_ctx = step < limit ? step : limit;
        return pare_place(&q, &out->placement, err);
    }
    if (out->n_ctx < limit)
        out->bound = PARE_CONTEXT_MEMORY;
    return PARE_OK;
}

const uint32_t pare_common_card_sizes[] = {6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 80, 96, 128, 141, 192, 0};

pare_status pare_context_table(const pare_place_query *query, bool beyond_trained, const uint64_t *sizes,
                               size_t n_sizes, const pare_cache_types *types, size_t n_types, uint64_t *cells,
                               pare_error *err)
{
    pare_place_query q = *query;
    pare_context_answer answer;
    q.n_devices = 1;
    for (size_t s = 0; s < n_sizes; s++) {
        q.device[0] = (pare_memory_device){.usable = sizes[s]};
        for (size_t t = 0; t < n_types; t++) {
            uint64_t per_token, *cell = &cells[s * n_types + t];
            *cell = 0;
            q.run.cache_k = types[t].k;
            q.run.cache_v = types[t].v;
            pare_status status = pare_memory_cache_per_token(q.model, types[t].k, types[t].v, &per_token, NULL);
            if (status == PARE_ERR_USAGE)
                continue; /* the model cannot have this cache */
            status = pare_largest_context(&q, beyond_trained, &answer, err);
            if (status == PARE_OK)
                *cell = answer.n_ctx;
            else if (status != PARE_ERR_DIFFERENCE)
                return status;
        }
    }
    return PARE_OK;
}

pare_status pare_cache_table(const pare_memory_model *m, const pare_cache_types *types, size_t n_types,
                             pare_cache_row *rows, pare_error *err)
{
    for (size_t t = 0; t < n_types; t++) {
        rows[t] = (pare_cache_row){.types = types[t]};
        pare_status status = pare_memory_cache_per_token(m, types[t].k, types[t].v, &rows[t].per_token, err);
        if (status == PARE_ERR_USAGE) {
            rows[t].per_token = 0;
            continue;
        }
        if (status != PARE_OK)
            return status;
        if (!pare_mul_u64(rows[t].per_token, 1000, &rows[t].per_1000) ||
            !pare_mul_u64(rows[t].per_token, 1024, &rows[t].per_1024))
            return pare_fail(err, PARE_ERR_RANGE, "a cache of %llu bytes a token overflows",
                             (unsigned long long)rows[t].per_token);
    }
    return PARE_OK;
}

static void size_of_model(const pare_memory_model *m, pare_model_verdict *v)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_memory_tensor *t = &m->tensors[i];
        double n = 1;
        for (uint32_t d = 0; d < t->n_dims; d++)
            n *= (double)t->dim[d];
        v->n_weights += n;
        v->n_bytes = t->n_bytes < UINT64_MAX - v->n_bytes ? v->n_bytes + t->n_bytes : UINT64_MAX;
    }
}

pare_status pare_largest_model(const pare_place_query *query, const pare_memory_model *models, size_t n,
                               pare_model_verdict *verdicts, size_t *best, pare_error *err)
{
    if (n == 0)
        return pare_fail(err, PARE_ERR_USAGE, "a list of no models has no largest one");
    *best = n;
    for (size_t i = 0; i < n; i++) {
        pare_place_query q = *query;
        pare_placement p;
        pare_error why = {0};
        pare_model_verdict *v = &verdicts[i];
        *v = (pare_model_verdict){0};
        size_of_model(&models[i], v);
        q.model = &models[i];
        v->status = pare_place(&q, &p, &why);
        if (v->status == PARE_ERR_MEMORY || v->status == PARE_ERR_INTERRUPTED)
            return pare_fail(err, v->status, "%s", why.text);
        if (v->status != PARE_OK) {
            pare_escape(v->why, sizeof v->why, why.text, strlen(why.text));
            continue;
        }
        v->kind = p.kind;
        const pare_model_verdict *b = *best < n ? &verdicts[*best] : NULL;
        if (b == NULL || v->n_weights > b->n_weights || (v->n_weights == b->n_weights && v->n_bytes > b->n_bytes))
            *best = i;
    }
    return PARE_OK;
}
