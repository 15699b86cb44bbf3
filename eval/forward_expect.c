/* What the pass tells the backend about weights that it will ask for. */
#include "eval/forward_parts.h"

#include <stdlib.h>

/* The matrices of a layer in the order in which the pass uses them. */
static const pare_weight order[] = {
    PARE_W_ATTN_QKV,       PARE_W_ATTN_K,       PARE_W_ATTN_V,         PARE_W_ATTN_Q,
    PARE_W_ATTN_OUT,       PARE_W_ATTN_GATE,    PARE_W_SSM_BETA_ALPHA, PARE_W_SSM_BETA,
    PARE_W_SSM_ALPHA,      PARE_W_SSM_OUT,      PARE_W_FFN_GATE_INP,   PARE_W_FFN_GATE_UP_EXPS,
    PARE_W_FFN_GATE_EXPS,  PARE_W_FFN_UP_EXPS,  PARE_W_FFN_DOWN_EXPS,  PARE_W_FFN_GATE_INP_SHEXP,
    PARE_W_FFN_GATE_SHEXP, PARE_W_FFN_UP_SHEXP, PARE_W_FFN_DOWN_SHEXP, PARE_W_FFN_GATE,
    PARE_W_FFN_UP,         PARE_W_FFN_DOWN};

enum { N_ORDER = sizeof order / sizeof order[0] };

static void add_all(pare_forward *f, const pare_forward_weights *from)
{
    for (int id = 0; id < PARE_W_COUNT; id++) {
        if (from->w[id] != NULL)
            f->all[f->n_all++] = from->w[id];
        if (from->b[id] != NULL)
            f->all[f->n_all++] = from->b[id];
    }
}

pare_status pare_forward_hold(pare_forward *f, pare_error *err)
{
    if (f->b->hold == NULL)
        return PARE_OK;
    f->all = malloc(((size_t)f->m->hp.n_layer + 1) * 2 * PARE_W_COUNT * sizeof *f->all);
    if (f->all == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a list of weights", f->m->path);
    add_all(f, &f->model);
    for (uint32_t i = 0; i < f->m->hp.n_layer; i++)
        add_all(f, &f->layers[i]);
    pare_status st = f->b->hold(f->b, f->all, f->n_all, err);
    if (st != PARE_OK) {
        free(f->all);
        f->all = NULL;
    }
    return st;
}

void pare_forward_drop(pare_forward *f)
{
    if (f->all != NULL)
        f->b->drop(f->b, f->all, f->n_all);
    free(f->all);
    f->all = NULL;
}

pare_status pare_forward_expect(pare_forward *f, uint32_t layer, pare_error *err)
{
    const pare_tensor *list[N_ORDER];
    size_t n = 0;
    if (f->b->expect == NULL)
        return PARE_OK;
    if (layer == f->m->hp.n_layer) {
        if (f->m->arch->wiring.encoder)
            return PARE_OK;
        pare_weight id = f->model.w[PARE_W_OUTPUT] != NULL ? PARE_W_OUTPUT : PARE_W_TOKEN_EMBD;
        return f->b->expect(f->b, &f->model.w[id], 1, err);
    }
    for (int i = 0; i < N_ORDER; i++)
        if (f->layers[layer].w[order[i]] != NULL)
            list[n++] = f->layers[layer].w[order[i]];
    return f->b->expect(f->b, list, n, err);
}
