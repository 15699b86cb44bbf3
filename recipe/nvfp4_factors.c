#include "recipe/nvfp4_factors.h"

#include "model/stock.h"

#include <stdlib.h>

/* Runtimes unite these: a number for each such set of a layer, 0: none. */
static unsigned united_with(pare_weight id)
{
    static const struct {
        pare_weight id;
        unsigned set;
    } united[] = {{PARE_W_ATTN_Q, 1},      {PARE_W_ATTN_K, 1},         {PARE_W_ATTN_V, 1},
                  {PARE_W_FFN_GATE, 2},    {PARE_W_FFN_UP, 2},         {PARE_W_FFN_GATE_EXPS, 3},
                  {PARE_W_FFN_UP_EXPS, 3}, {PARE_W_FFN_GATE_SHEXP, 4}, {PARE_W_FFN_UP_SHEXP, 4}};
    for (size_t i = 0; i < sizeof united / sizeof *united; i++)
        if (united[i].id == id)
            return united[i].set;
    return 0;
}

static pare_status add_one(pare_model *out, const pare_tensor *t, uint64_t united, pare_factor **to, pare_error *err)
{
    pare_factor *f = pare_arena_alloc(&out->arena, sizeof *f, err);
    float *value =
        f != NULL ? pare_arena_alloc(&out->arena, (size_t)pare_tensor_matrices(t) * sizeof *value, err) : NULL;
    if (value == NULL)
        return PARE_ERR_MEMORY;
    *f = (pare_factor){.weight = t, .value = value, .united = united, .lock = PTHREAD_MUTEX_INITIALIZER};
    *to = f;
    return PARE_OK;
}

/* The tensors of one weight in all layers. */
static pare_status add_weight(pare_model *out, const pare_model *in, pare_weight id, const bool *wanted,
                              pare_factor **of, pare_error *err)
{
    enum { SETS = 5 };
    unsigned set = united_with(id);
    uint32_t n_layers = pare_weight_per_layer(id) ? in->hp.n_layer : 1;
    pare_status st = PARE_OK;
    for (uint32_t layer = 0; layer < n_layers && st == PARE_OK; layer++) {
        const pare_tensor *t = pare_model_weight(in, id, layer, "weight");
        size_t i = t != NULL ? (size_t)(t - in->tensors) : 0;
        if (t != NULL && wanted[i] && of[i] == NULL && pare_stock_has_factor(in, id, layer))
            st = add_one(out, t, set > 0 ? (uint64_t)layer * SETS + set : 0, &of[i], err);
    }
    return st;
}

pare_status pare_nvfp4_factors(pare_model *out, const pare_model *in, const bool *wanted, pare_factor **of,
                               pare_error *err)
{
    size_t n = 0;
    pare_factor **all = malloc((in->n_tensors + 1) * sizeof *all);
    pare_status st =
        all != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu factors", in->n_tensors);
    for (size_t i = 0; in->arch != NULL && i < in->arch->n_weights && st == PARE_OK; i++)
        st = add_weight(out, in, in->arch->weights[i].id, wanted, of, err);
    for (size_t i = 0; i < in->n_tensors && st == PARE_OK; i++)
        if (of[i] != NULL)
            all[n++] = of[i];
    if (st == PARE_OK)
        pare_factors_unite(all, n);
    free(all);
    return st;
}
