/* Layers of linear attention: projections, a convolution over time, the gated delta rule, a gated norm of its heads. */
#include "eval/forward_parts.h"

#include <inttypes.h>
#include <stdlib.h>

bool pare_forward_is_recurrent(const pare_forward_weights *l)
{
    return l->w[PARE_W_SSM_CONV1D] != NULL;
}

static uint32_t width_of(const pare_linear_attention *h)
{
    return 2 * h->n_head_k * h->head_dim_k + h->n_head_v * h->head_dim_v;
}

static uint32_t inner_of(const pare_linear_attention *h)
{
    return h->n_head_v * h->head_dim_v;
}

size_t pare_forward_past_size(const pare_forward *f)
{
    const pare_linear_attention *h = &f->m->hp.linear;
    return (size_t)(h->kernel - 1) * width_of(h);
}

size_t pare_forward_state_size(const pare_forward *f)
{
    const pare_linear_attention *h = &f->m->hp.linear;
    return (size_t)h->n_head_v * h->head_dim_k * h->head_dim_v;
}

pare_status pare_forward_check_recurrent(const pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                         pare_error *err)
{
    const pare_linear_attention *h = &f->m->hp.linear;
    pare_status st;
    if (h->n_head_v == 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: layer %" PRIu32 " has linear attention, but the hyperparameters say nothing about it",
                         f->m->path, layer);
    const struct {
        pare_weight id;
        uint64_t n_rows, row_len;
    } matrices[] = {{PARE_W_ATTN_QKV, width_of(h), f->m->hp.n_embd},
                    {PARE_W_ATTN_GATE, inner_of(h), f->m->hp.n_embd},
                    {PARE_W_SSM_CONV1D, width_of(h), h->kernel},
                    {PARE_W_SSM_NORM, 1, h->head_dim_v},
                    {PARE_W_SSM_A, 1, h->n_head_v},
                    {PARE_W_SSM_OUT, f->m->hp.n_embd, inner_of(h)}};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        if ((st = pare_forward_want_matrix(f, l, matrices[i].id, layer, matrices[i].n_rows, matrices[i].row_len,
                                           err)) != PARE_OK)
            return st;
    bool pair = l->w[PARE_W_SSM_BETA_ALPHA] != NULL;
    st = pare_forward_want_matrix(f, l, pair ? PARE_W_SSM_BETA_ALPHA : PARE_W_SSM_BETA, layer,
                                  (uint64_t)h->n_head_v * (pair ? 2 : 1), f->m->hp.n_embd, err);
    if (st == PARE_OK && !pair)
        st = pare_forward_want_matrix(f, l, PARE_W_SSM_ALPHA, layer, h->n_head_v, f->m->hp.n_embd, err);
    if (st != PARE_OK)
        return st;
    if (l->b[PARE_W_SSM_DT] == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor 'blk.%" PRIu32 ".ssm_dt.bias' is missing", f->m->path,
                         layer);
    return pare_forward_want_vector(f, l->b[PARE_W_SSM_DT], h->n_head_v, err);
}

pare_status pare_forward_reserve_recurrent(pare_forward *f, uint64_t slice, pare_error *err)
{
    const pare_linear_attention *h = &f->m->hp.linear;
    const struct {
        float **buffer;
        uint64_t width;
    } shared[] = {{&f->linear.qkv, width_of(h)},      {&f->linear.mixed, width_of(h)}, {&f->linear.z, inner_of(h)},
                  {&f->linear.pair, 2 * h->n_head_v}, {&f->linear.alpha, h->n_head_v}, {&f->linear.beta, h->n_head_v}};
    pare_status st = PARE_OK;
    if (h->n_head_v == 0)
        return PARE_OK;
    for (size_t i = 0; i < sizeof shared / sizeof *shared && st == PARE_OK; i++)
        st = pare_forward_share(f, shared[i].buffer, slice, shared[i].width, err);
    if (st == PARE_OK)
        st = pare_forward_share(f, &f->linear.past, 1, pare_forward_past_size(f), err);
    if (st == PARE_OK)
        st = pare_forward_share(f, &f->linear.state, 1, pare_forward_state_size(f), err);
    if (st != PARE_OK)
        return st;
    f->linear.slots = malloc((size_t)slice * sizeof *f->linear.slots); /* a span has one token at least */
    return f->linear.slots != NULL ? PARE_OK
                                   : pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu64 " slots", slice);
}

/* Where the state of each span is. Without a cache a slice begins with the part of a sequence that goes on from the
 * slice before, or into the next one; all other spans are whole sequences. */
static void find_slots(pare_forward *f, const pare_forward_slice *s)
{
    for (uint32_t i = 0; i < s->n_spans; i++)
        f->linear.slots[i] = f->cache != NULL ? (int32_t)(s->spans[i].kv_row / f->cache->n_ctx) : i == 0 ? 0 : -1;
}

/* beta and alpha of each value head; one weight for both has them key head by key head: [beta ... alpha ...]. */
static pare_status make_rates(pare_forward *f, const pare_forward_weights *l, const float *x, uint32_t n,
                              pare_error *err)
{
    const pare_linear_attention *h = &f->m->hp.linear;
    pare_status st;
    if (l->w[PARE_W_SSM_BETA_ALPHA] == NULL) {
        st = pare_forward_linear(f, l, PARE_W_SSM_BETA, 0, h->n_head_v, x, n, f->linear.beta, err);
        if (st != PARE_OK)
            return st;
        return pare_forward_linear(f, l, PARE_W_SSM_ALPHA, 0, h->n_head_v, x, n, f->linear.alpha, err);
    }
    st = pare_forward_linear(f, l, PARE_W_SSM_BETA_ALPHA, 0, 2 * h->n_head_v, x, n, f->linear.pair, err);
    if (st != PARE_OK)
        return st;
    uint32_t share = h->n_head_v / h->n_head_k, groups = n * h->n_head_k;
    st = f->b->copy_columns(f->b, f->linear.pair, 2 * share, 0, groups, share, f->linear.beta, share, 0, err);
    if (st != PARE_OK)
        return st;
    return f->b->copy_columns(f->b, f->linear.pair, 2 * share, share, groups, share, f->linear.alpha, share, 0, err);
}

static pare_status mix_tokens(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                              const pare_forward_slice *s, pare_error *err)
{
    const pare_linear_attention *h = &f->m->hp.linear;
    find_slots(f, s);
    const pare_conv conv = {.spans = s->spans,
                            .slots = f->linear.slots,
                            .n_spans = s->n_spans,
                            .width = width_of(h),
                            .kernel = h->kernel,
                            .x = f->linear.qkv,
                            .w = l->w[PARE_W_SSM_CONV1D],
                            .past = f->cache != NULL ? f->cache->k[layer] : f->linear.past,
                            .y = f->linear.mixed};
    const pare_delta delta = {.spans = s->spans,
                              .slots = f->linear.slots,
                              .n_spans = s->n_spans,
                              .n_head_k = h->n_head_k,
                              .n_head_v = h->n_head_v,
                              .dim_k = h->head_dim_k,
                              .dim_v = h->head_dim_v,
                              .tiled = h->tiled,
                              .qkv = f->linear.mixed,
                              .alpha = f->linear.alpha,
                              .beta = f->linear.beta,
                              .a = l->w[PARE_W_SSM_A],
                              .dt = l->b[PARE_W_SSM_DT],
                              .state = f->cache != NULL ? f->cache->v[layer] : f->linear.state,
                              .out = f->o};
    pare_status st = f->b->conv(f->b, &conv, err);
    return st == PARE_OK ? f->b->delta(f->b, &delta, err) : st;
}

pare_status pare_forward_recur(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                               const pare_forward_slice *s, const float *x, pare_error *err)
{
    const pare_linear_attention *h = &f->m->hp.linear;
    uint32_t n = s->n;
    size_t n_heads = (size_t)n * h->n_head_v;
    pare_status st;
    if ((st = pare_forward_linear(f, l, PARE_W_ATTN_QKV, 0, width_of(h), x, n, f->linear.qkv, err)) != PARE_OK ||
        (st = pare_forward_linear(f, l, PARE_W_ATTN_GATE, 0, inner_of(h), x, n, f->linear.z, err)) != PARE_OK ||
        (st = make_rates(f, l, x, n, err)) != PARE_OK || (st = mix_tokens(f, l, layer, s, err)) != PARE_OK ||
        (st = pare_forward_normalize(f, l, PARE_W_SSM_NORM, f->o, n_heads, h->head_dim_v, f->o, err)) != PARE_OK)
        return st;
    return f->b->activate(f->b, PARE_ACT_SILU, f->linear.z, f->o, n_heads * h->head_dim_v, f->o, err);
}
