#include "eval/forward_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

bool pare_forward_has_experts(const pare_forward *f, const pare_forward_weights *l)
{
    return l->w[PARE_W_FFN_GATE_INP] != NULL || (f->m->hp.n_expert > 0 && l->w[PARE_W_FFN_UP] == NULL);
}

static bool has_shared(const pare_forward_weights *l)
{
    return l->w[PARE_W_FFN_UP_SHEXP] != NULL;
}

/* [n_expert, n_rows, row_len], and a bias, where there is one, of [n_expert, n_rows] */
static pare_status want_stack(const pare_forward *f, const pare_forward_weights *l, pare_weight id, uint32_t layer,
                              uint32_t n_rows, uint32_t row_len, pare_error *err)
{
    uint32_t n_expert = f->m->hp.n_expert;
    const pare_tensor *t = l->w[id];
    pare_status st = pare_forward_want_matrix(f, l, id, layer, (uint64_t)n_expert * n_rows, row_len, err);
    if (st == PARE_OK && pare_tensor_matrices(t) != n_expert)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: tensor '%s' at offset %" PRIu64 " has %" PRIu64
                       " matrices; the hyperparameters say %" PRIu32 " experts",
                       f->m->path, t->name, t->offset, pare_tensor_matrices(t), n_expert);
    const pare_tensor *bias = l->b[id];
    if (st == PARE_OK && bias != NULL && (bias->n_rows != n_expert || bias->row_len != n_rows))
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: tensor '%s' at offset %" PRIu64 " has %" PRIu64 " rows of %" PRIu64
                       " elements; the hyperparameters say %" PRIu32 " experts of %" PRIu32,
                       f->m->path, bias->name, bias->offset, bias->n_rows, bias->row_len, n_expert, n_rows);
    return st;
}

static pare_status check_stacks(const pare_forward *f, const pare_forward_weights *l, uint32_t layer, pare_error *err)
{
    uint32_t ff = f->m->hp.n_ff_expert, n_embd = f->m->hp.n_embd;
    bool fused = l->w[PARE_W_FFN_GATE_UP_EXPS] != NULL;
    pare_status st = fused ? want_stack(f, l, PARE_W_FFN_GATE_UP_EXPS, layer, 2 * ff, n_embd, err)
                           : want_stack(f, l, PARE_W_FFN_GATE_EXPS, layer, ff, n_embd, err);
    if (st == PARE_OK && !fused)
        st = want_stack(f, l, PARE_W_FFN_UP_EXPS, layer, ff, n_embd, err);
    return st == PARE_OK ? want_stack(f, l, PARE_W_FFN_DOWN_EXPS, layer, n_embd, ff, err) : st;
}

pare_status pare_forward_check_experts(const pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                       pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    uint32_t shared = hp->n_ff_shared;
    pare_status st;
    if (hp->n_expert == 0 || hp->n_expert_used == 0 || hp->n_expert_used > hp->n_expert)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: layer %" PRIu32 " has experts, but %" PRIu32 " of %" PRIu32 " are used", f->m->path,
                         layer, hp->n_expert_used, hp->n_expert);
    if (!f->m->arch->wiring.gated_ffn)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: experts without a gate cannot be evaluated", f->m->path);
    if ((st = pare_forward_want_matrix(f, l, PARE_W_FFN_GATE_INP, layer, hp->n_expert, hp->n_embd, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->b[PARE_W_FFN_GATE_INP], hp->n_expert, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->b[PARE_W_EXPERT_BIAS], hp->n_expert, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->w[PARE_W_FFN_GATE_INP_SCALE], hp->n_embd, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->w[PARE_W_EXPERT_SCALE], hp->n_expert, err)) != PARE_OK ||
        (st = check_stacks(f, l, layer, err)) != PARE_OK || !has_shared(l))
        return st;
    if (l->w[PARE_W_FFN_GATE_INP_SHEXP] != NULL &&
        (st = pare_forward_want_matrix(f, l, PARE_W_FFN_GATE_INP_SHEXP, layer, 1, hp->n_embd, err)) != PARE_OK)
        return st;
    if ((st = pare_forward_want_matrix(f, l, PARE_W_FFN_GATE_SHEXP, layer, shared, hp->n_embd, err)) != PARE_OK ||
        (st = pare_forward_want_matrix(f, l, PARE_W_FFN_UP_SHEXP, layer, shared, hp->n_embd, err)) != PARE_OK)
        return st;
    return pare_forward_want_matrix(f, l, PARE_W_FFN_DOWN_SHEXP, layer, hp->n_embd, shared, err);
}

pare_status pare_forward_reserve_experts(pare_forward *f, uint64_t slice, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_status st;
    if (hp->n_expert == 0)
        return PARE_OK;
    if ((st = pare_forward_share(f, &f->experts.scores, slice, hp->n_expert, err)) != PARE_OK ||
        (st = pare_forward_share(f, &f->experts.in, slice, hp->n_embd, err)) != PARE_OK ||
        (st = pare_forward_share(f, &f->experts.out, slice, hp->n_embd, err)) != PARE_OK ||
        (st = pare_routing_open(&f->experts.routing, hp->n_expert, hp->n_expert_used, (uint32_t)slice, err)) != PARE_OK)
        return st;
    f->experts.every = malloc((size_t)slice * sizeof *f->experts.every);
    f->experts.share = malloc((size_t)slice * sizeof *f->experts.share);
    if (!f->b->host_memory)
        f->experts.host = malloc((size_t)slice * hp->n_expert * sizeof *f->experts.host); /* reserved before: it fits */
    f->experts.bias = malloc((size_t)hp->n_expert * sizeof *f->experts.bias);
    f->experts.scale = malloc((size_t)hp->n_expert * sizeof *f->experts.scale);
    if (f->experts.bias == NULL || f->experts.scale == NULL || f->experts.every == NULL || f->experts.share == NULL ||
        (!f->b->host_memory && f->experts.host == NULL))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the scores of %" PRIu32 " experts", f->m->path,
                         hp->n_expert);
    for (uint64_t i = 0; i < slice; i++)
        f->experts.every[i] = (int32_t)i;
    return PARE_OK;
}

void pare_forward_release_experts(pare_forward *f)
{
    free(f->experts.host);
    free(f->experts.every);
    free(f->experts.share);
    free(f->experts.bias);
    free(f->experts.scale);
    pare_routing_close(&f->experts.routing);
}

/* One expert, or the shared one: its matrices are number `matrix` of these weights. */
typedef struct expert {
    const pare_forward_weights *l;
    pare_weight gate, up, down;
    uint32_t matrix, n_ff;
    bool fused; /* gate and up are one weight, the gate's rows first */
} expert;

/* y = x W^T + bias with these rows of the expert's matrix of that weight */
static pare_status multiply(pare_forward *f, const expert *e, pare_weight id, uint32_t row, uint32_t n_rows,
                            const float *x, uint32_t n, float *y, pare_error *err)
{
    const pare_tensor *w = e->l->w[id], *bias = e->l->b[id];
    uint64_t first = e->matrix * (w->n_rows / pare_tensor_matrices(w)) + row;
    pare_status st = f->b->matmul(f->b, w, first, n_rows, x, n, y, err);
    if (st == PARE_OK && w->factor != NULL)
        st = f->b->scale(f->b, y, w->factor[e->matrix], (size_t)n * n_rows, err);
    if (st == PARE_OK && f->observe != NULL && row == 0)
        st = f->observe(w, e->matrix, x, n, f->observe_user, err);
    return st == PARE_OK && bias != NULL ? f->b->add_row(f->b, y, bias, first, n, n_rows, err) : st;
}

/* row token[i] of y += weight[i] * the expert's answer to row i of x */
static pare_status add_expert(pare_forward *f, const expert *e, const float *x, const int32_t *token,
                              const float *weight, uint32_t n, float *y, pare_error *err)
{
    uint32_t n_embd = f->m->hp.n_embd;
    pare_status st;
    if ((st = multiply(f, e, e->gate, 0, e->n_ff, x, n, f->gate, err)) != PARE_OK ||
        (st = multiply(f, e, e->up, e->fused ? e->n_ff : 0, e->n_ff, x, n, f->up, err)) != PARE_OK ||
        (st = pare_forward_activate(f, (size_t)n * e->n_ff, err)) != PARE_OK ||
        (st = multiply(f, e, e->down, 0, n_embd, f->up, n, f->experts.out, err)) != PARE_OK)
        return st;
    return f->b->scatter_add(f->b, f->experts.out, token, weight, n, n_embd, y, err);
}

/* Scores in host memory. */
static pare_status fetch(pare_forward *f, size_t n, const float **out, pare_error *err)
{
    *out = f->b->host_memory ? f->experts.scores : f->experts.host;
    if (f->b->host_memory)
        return PARE_OK;
    return f->b->download(f->b, f->experts.host, f->experts.scores, n * sizeof *f->experts.host, err);
}

static pare_status add_shared(pare_forward *f, const pare_forward_weights *l, const float *x, uint32_t n, float *y,
                              pare_error *err)
{
    const expert e = {.l = l,
                      .gate = PARE_W_FFN_GATE_SHEXP,
                      .up = PARE_W_FFN_UP_SHEXP,
                      .down = PARE_W_FFN_DOWN_SHEXP,
                      .n_ff = f->m->hp.n_ff_shared};
    bool gated = l->w[PARE_W_FFN_GATE_INP_SHEXP] != NULL;
    const float *score = NULL;
    pare_status st = PARE_OK;
    if (gated)
        st = pare_forward_linear(f, l, PARE_W_FFN_GATE_INP_SHEXP, 0, 1, x, n, f->experts.scores, err);
    if (st == PARE_OK && gated)
        st = fetch(f, n, &score, err);
    for (uint32_t i = 0; st == PARE_OK && i < n; i++)
        f->experts.share[i] = gated ? 1 / (1 + expf(-score[i])) : 1;
    return st == PARE_OK ? add_expert(f, &e, x, f->experts.every, f->experts.share, n, y, err) : st;
}

/* How the layer chooses. */
static pare_status make_rule(pare_forward *f, const pare_forward_weights *l, pare_route_rule *rule, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_tensor *bias = l->b[PARE_W_EXPERT_BIAS], *each = l->w[PARE_W_EXPERT_SCALE];
    const pare_expert_score score = pare_arch_expert_score(f->m->arch, hp);
    *rule = (pare_route_rule){.score = score,
                              .norm = hp->expert_norm || score == PARE_EXPERT_SOFTMAX_CHOSEN,
                              .scale = hp->expert_scale,
                              .n_group = hp->n_expert_group,
                              .n_group_used = hp->n_expert_group_used,
                              .group_best = hp->expert_group_best != 0 ? hp->expert_group_best : 2,
                              .bias = bias != NULL ? f->experts.bias : NULL,
                              .expert_scale = each != NULL ? f->experts.scale : NULL};
    pare_status st = bias != NULL ? pare_tensor_read_f32(bias, 0, 1, f->experts.bias, err) : PARE_OK;
    return st == PARE_OK && each != NULL ? pare_tensor_read_f32(each, 0, 1, f->experts.scale, err) : st;
}

/* f->experts.scores */
static pare_status score(pare_forward *f, const pare_forward_weights *l, const float *x, const float *routed,
                         uint32_t n, pare_error *err)
{
    uint32_t n_expert = f->m->hp.n_expert, n_embd = f->m->hp.n_embd;
    float *own = f->experts.out; /* no expert has an answer yet */
    pare_status st = PARE_OK;
    if (l->w[PARE_W_FFN_GATE_INP_SCALE] != NULL) {
        x = own;
        st = pare_forward_normalize(f, l, PARE_W_FFN_GATE_INP_SCALE, routed, n, n_embd, own, err);
        if (st == PARE_OK)
            st = f->b->scale(f->b, own, (float)(1 / sqrt((double)n_embd)), (size_t)n * n_embd, err);
    }
    return st == PARE_OK ? pare_forward_linear(f, l, PARE_W_FFN_GATE_INP, 0, n_expert, x, n, f->experts.scores, err)
                         : st;
}

pare_status pare_forward_experts(pare_forward *f, const pare_forward_weights *l, const float *x, const float *routed,
                                 uint32_t n, float *y, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_routing *r = &f->experts.routing;
    bool fused = l->w[PARE_W_FFN_GATE_UP_EXPS] != NULL;
    const float *scores;
    pare_error inner = {0};
    pare_status st;
    if ((st = score(f, l, x, routed, n, err)) != PARE_OK ||
        (st = fetch(f, (size_t)n * hp->n_expert, &scores, err)) != PARE_OK)
        return st;
    pare_route_rule rule;
    if ((st = make_rule(f, l, &rule, err)) != PARE_OK)
        return st;
    st = pare_route(&f->experts.routing, &rule, scores, n, l->w[PARE_W_FFN_GATE_INP]->name, &inner);
    if (st != PARE_OK)
        return pare_fail(err, st, "%s: %s", f->m->path, inner.text);
    st = f->b->clear(f->b, y, (size_t)n * hp->n_embd, err);
    for (uint32_t i = 0; i < hp->n_expert && st == PARE_OK; i++) {
        const expert e = {l,
                          fused ? PARE_W_FFN_GATE_UP_EXPS : PARE_W_FFN_GATE_EXPS,
                          fused ? PARE_W_FFN_GATE_UP_EXPS : PARE_W_FFN_UP_EXPS,
                          PARE_W_FFN_DOWN_EXPS,
                          i,
                          hp->n_ff_expert,
                          fused};
        uint32_t first = r->first[i], n_tokens = r->first[i + 1] - first;
        if (n_tokens == 0)
            continue;
        st = f->b->gather(f->b, x, r->token + first, n_tokens, hp->n_embd, f->experts.in, err);
        if (st == PARE_OK)
            st = add_expert(f, &e, f->experts.in, r->token + first, r->weight + first, n_tokens, y, err);
    }
    return st == PARE_OK && has_shared(l) ? add_shared(f, l, x, n, y, err) : st;
}
