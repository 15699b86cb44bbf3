/* Attention of the forward pass: queries, keys and values, what is done to their heads, and where they are kept. */
#include "eval/forward_parts.h"

#include <math.h>

/* y = queries, keys or values of x; row: where their part starts in the fused weight */
static pare_status project(pare_forward *f, const pare_forward_weights *l, pare_weight id, uint32_t row,
                           uint32_t n_rows, const pare_forward_slice *s, const float *x, float *y, pare_error *err)
{
    bool fused = l->w[PARE_W_ATTN_QKV] != NULL;
    float clamp = f->m->hp.qkv_clamp;
    pare_status st = pare_forward_linear(f, l, fused ? PARE_W_ATTN_QKV : id, fused ? row : 0, n_rows, x, s->n, y, err);
    return st == PARE_OK && clamp != 0 ? f->b->clamp(f->b, y, clamp, (size_t)s->n * n_rows, err) : st;
}

/* Norm of each head, or of all together, of q or k. */
static pare_status normalize_heads(pare_forward *f, const pare_forward_weights *l, pare_weight norm_id, uint32_t n_head,
                                   uint32_t dim, const pare_forward_slice *s, float *x, pare_error *err)
{
    if (l->w[norm_id] == NULL)
        return PARE_OK;
    if (f->m->arch->wiring.qk_norm_whole)
        return pare_forward_normalize(f, l, norm_id, x, s->n, n_head * dim, x, err);
    return pare_forward_normalize(f, l, norm_id, x, (uint64_t)s->n * n_head, dim, x, err);
}

pare_rope pare_forward_rope_of(const pare_forward *f, uint32_t layer, uint32_t n_head, const pare_forward_slice *s)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_wiring *wiring = &f->m->arch->wiring;
    const pare_layer_shape of = pare_layer_shape_of(hp, layer);
    bool windowed = f->cos_sin_window != NULL && pare_layer_window(hp, layer) > 0;
    bool turns = wiring->rope != PARE_ROPE_NONE && !pare_layers_have(&hp->no_rope, layer);
    return (pare_rope){.positions = s->positions,
                       .n = s->n,
                       .n_head = n_head,
                       .head_dim = of.head_dim_k,
                       .n_rot = turns ? of.n_rot : 0,
                       .layout = wiring->rope,
                       .cos_sin = windowed ? f->cos_sin_window : f->cos_sin};
}

/* Norm, then RoPE (or the other way round), on q or k. */
static pare_status prepare_heads(pare_forward *f, uint32_t layer, pare_weight norm_id, uint32_t n_head,
                                 const pare_forward_slice *s, float *x, pare_error *err)
{
    const pare_forward_weights *l = &f->layers[layer];
    const pare_wiring *wiring = &f->m->arch->wiring;
    const pare_rope rope = pare_forward_rope_of(f, layer, n_head, s);
    pare_status st = PARE_OK;
    if (!wiring->qk_norm_last)
        st = normalize_heads(f, l, norm_id, n_head, rope.head_dim, s, x, err);
    if (st == PARE_OK && f->kv.on && norm_id == PARE_W_ATTN_K_NORM)
        st = pare_forward_keep_raw(f, layer, s, x, err);
    if (st == PARE_OK && rope.n_rot > 0)
        st = f->b->rope(f->b, &rope, x, err);
    return st == PARE_OK && wiring->qk_norm_last ? normalize_heads(f, l, norm_id, n_head, rope.head_dim, s, x, err)
                                                 : st;
}

/* Where keys that later layers share are kept; -1: nobody shares those of this layer. */
static int kept(const pare_forward *f, uint32_t layer)
{
    const pare_hparams *hp = &f->m->hp;
    uint32_t from = pare_layer_of_keys(hp, layer);
    for (uint32_t i = hp->n_layer - hp->n_layer_shared_kv; i < hp->n_layer; i++)
        if (pare_layer_of_keys(hp, i) == from)
            return pare_layer_window(hp, from) > 0;
    return -1;
}

float *pare_forward_keys(const pare_forward *f, uint32_t layer)
{
    int i = kept(f, layer);
    return i < 0 ? f->k : f->kept_k[i];
}

float *pare_forward_values(const pare_forward *f, uint32_t layer)
{
    int i = kept(f, layer);
    return i < 0 ? f->v : f->kept_v[i];
}

static pare_status normalize_values(pare_forward *f, uint64_t n, uint32_t dim, float *v, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    return f->b->norm(
        f->b,
        &(pare_norm_op){.kind = f->m->arch->wiring.norm, .x = v, .n = n, .width = dim, .eps = hp->norm_eps, .y = v},
        err);
}

/* Keys and values of the slice from where they were made to their places in the cache. */
static pare_status copy_to_cache(pare_forward *f, uint32_t layer, const pare_forward_slice *s, pare_error *err)
{
    pare_backend *b = f->b;
    const pare_forward_widths of = pare_forward_widths_of(f, layer);
    pare_status st = PARE_OK;
    for (const pare_attention_span *p = s->spans; p < s->spans + s->n_spans && st == PARE_OK; p++) {
        size_t from = s->first + p->row, to = p->kv_row + p->n_past;
        st = b->copy(b, (float *)f->cache->k[layer] + to * of.n_k, pare_forward_keys(f, layer) + from * of.n_k,
                     p->n * sizeof(float) * of.n_k, err);
        if (st == PARE_OK && f->cache->v[layer] != NULL)
            st = b->copy(b, (float *)f->cache->v[layer] + to * of.n_v, pare_forward_values(f, layer) + from * of.n_v,
                         p->n * sizeof(float) * of.n_v, err);
    }
    return st;
}

/* Keys and values of the slice have been made. */
static pare_status store(pare_forward *f, uint32_t layer, const pare_forward_slice *s, pare_error *err)
{
    const uint32_t n_k = pare_forward_widths_of(f, layer).n_k;
    pare_status st = PARE_OK;
    if (f->keys != NULL)
        st = f->keys(layer, s->n, n_k, pare_forward_keys(f, layer) + s->first * n_k, f->keys_user, err);
    if (st != PARE_OK)
        return st;
    if (f->kv.on)
        return pare_forward_keep_slice(f, layer, s, err);
    return f->cache != NULL ? copy_to_cache(f, layer, s, err) : PARE_OK;
}

static pare_status attention(pare_forward *f, uint32_t layer, const pare_forward_slice *s, pare_attention *a,
                             pare_error *err)
{
    if (f->kv.on)
        return pare_forward_attend_kept(f, layer, s, a, err);
    pare_status st = PARE_OK;
    if (f->cache != NULL && pare_forward_values_in_keys(f))
        st = pare_forward_take_values(f, a->k, s, a, err);
    return st == PARE_OK ? f->b->attention(f->b, a, err) : st;
}

static pare_status show_heads(const pare_forward *f, uint32_t layer, const pare_forward_slice *s,
                              const pare_attention *a, pare_error *err)
{
    if (f->heads == NULL || f->cache != NULL)
        return PARE_OK;
    const pare_rope keys = pare_forward_rope_of(f, pare_layer_of_keys(&f->m->hp, layer), a->n_head_kv, s);
    return f->heads(layer, a, &keys, f->heads_user, err);
}

static pare_status show_queries(const pare_forward *f, uint32_t layer, const pare_forward_slice *s, pare_error *err)
{
    if (f->queries == NULL)
        return PARE_OK;
    return f->queries(layer, s->n, pare_forward_widths_of(f, layer).n_q, f->q, f->queries_user, err);
}

/* f->q = queries of x; with gates between them, f->gates = these */
static pare_status make_queries(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                const pare_forward_slice *s, const float *x, pare_error *err)
{
    uint32_t dim = pare_layer_shape_of(&f->m->hp, layer).head_dim_k, heads = s->n * f->m->hp.n_head;
    uint32_t n_q = pare_forward_widths_of(f, layer).n_q;
    if (!f->m->arch->wiring.attn_gated)
        return project(f, l, PARE_W_ATTN_Q, 0, n_q, s, x, f->q, err);
    pare_status st = project(f, l, PARE_W_ATTN_Q, 0, 2 * n_q, s, x, f->q_gate, err);
    if (st == PARE_OK)
        st = f->b->copy_columns(f->b, f->q_gate, 2 * dim, 0, heads, dim, f->q, dim, 0, err);
    return st == PARE_OK ? f->b->copy_columns(f->b, f->q_gate, 2 * dim, dim, heads, dim, f->gates, dim, 0, err) : st;
}

bool pare_forward_keys_as_values(const pare_forward *f, const pare_forward_weights *l, uint32_t layer)
{
    return f->m->hp.keys_as_values && pare_layer_window(&f->m->hp, layer) == 0 && l->w[PARE_W_ATTN_V] == NULL &&
           l->w[PARE_W_ATTN_QKV] == NULL;
}

pare_status pare_forward_make_keys(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                   const pare_forward_slice *s, const float *x, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_layer_shape shape = pare_layer_shape_of(hp, layer);
    const pare_forward_widths of = pare_forward_widths_of(f, layer);
    float *k = pare_forward_keys(f, layer) + s->first * of.n_k, *v = pare_forward_values(f, layer) + s->first * of.n_v;
    pare_status st;
    if (pare_layer_of_keys(hp, layer) != layer)
        return PARE_OK;
    if (pare_forward_is_latent(f)) {
        st = pare_forward_latent_keys(f, l, s, x, k, v, err);
        return st == PARE_OK ? store(f, layer, s, err) : st;
    }
    if ((st = project(f, l, PARE_W_ATTN_K, of.n_q, of.n_k, s, x, k, err)) != PARE_OK)
        return st;
    if (pare_forward_keys_as_values(f, l, layer))
        st = f->b->copy(f->b, v, k, sizeof(float) * s->n * of.n_k, err);
    else
        st = project(f, l, PARE_W_ATTN_V, of.n_q + of.n_k, of.n_v, s, x, v, err);
    if (st != PARE_OK || (st = prepare_heads(f, layer, PARE_W_ATTN_K_NORM, shape.n_head_kv, s, k, err)) != PARE_OK)
        return st;
    if (f->m->arch->wiring.v_norm)
        st = normalize_values(f, (uint64_t)s->n * shape.n_head_kv, shape.head_dim_v, v, err);
    return st == PARE_OK ? store(f, layer, s, err) : st;
}

static float score_scale(const pare_forward *f, uint32_t head_dim)
{
    const pare_hparams *hp = &f->m->hp;
    double scale = hp->attn_scale != 0 ? (double)hp->attn_scale : 1.0 / sqrt((double)head_dim);
    return (float)(f->m->arch->yarn_scores ? scale * pare_rope_score_scale(hp) : scale);
}

pare_status pare_forward_attend(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                const pare_forward_slice *s, const float *x, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_layer_shape of = pare_layer_shape_of(hp, layer);
    uint32_t n_o = pare_forward_widths_of(f, layer).n_o;
    pare_attention a = {
        .spans = s->spans,
        .n_spans = s->n_spans,
        .n_head = hp->n_head,
        .n_head_kv = of.n_head_kv,
        .head_dim_k = of.head_dim_k,
        .head_dim_v = of.head_dim_v,
        .window = pare_layer_window(hp, layer),
        .causal = !hp->both_ways,
        .scale = score_scale(f, of.head_dim_k),
        .softcap = hp->attn_softcap,
        .alibi = hp->alibi_max,
        .q = f->q,
        .k = f->cache != NULL ? f->cache->k[pare_layer_of_keys(hp, layer)] : pare_forward_keys(f, layer),
        .v = f->cache != NULL ? f->cache->v[pare_layer_of_keys(hp, layer)] : pare_forward_values(f, layer),
        .sinks = l->w[PARE_W_ATTN_SINKS],
        .out = f->o,
    };
    pare_status st;
    if (pare_forward_is_latent(f)) {
        if ((st = pare_forward_latent_queries(f, l, s, x, &a, err)) != PARE_OK ||
            (st = attention(f, layer, s, &a, err)) != PARE_OK)
            return st;
        return pare_forward_latent_values(f, l, s, err);
    }
    if ((st = make_queries(f, l, layer, s, x, err)) != PARE_OK ||
        (st = prepare_heads(f, layer, PARE_W_ATTN_Q_NORM, hp->n_head, s, f->q, err)) != PARE_OK ||
        (st = show_queries(f, layer, s, err)) != PARE_OK || (st = show_heads(f, layer, s, &a, err)) != PARE_OK ||
        (st = attention(f, layer, s, &a, err)) != PARE_OK)
        return st;
    if (f->m->arch->wiring.attn_gated)
        st = f->b->activate(f->b, PARE_ACT_SIGMOID, f->gates, f->o, (size_t)s->n * n_o, f->o, err);
    if (st != PARE_OK || l->w[PARE_W_ATTN_SUB_NORM] == NULL)
        return st;
    return pare_forward_normalize(f, l, PARE_W_ATTN_SUB_NORM, f->o, s->n, n_o, f->o, err);
}
