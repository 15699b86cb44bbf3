/* Parts that graphs of all families are made of. */
#include "memory/compute_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- weights ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(a, (*(const pare_memory_tensor *const *)b)->name);
}

static const pare_memory_tensor *find_as(cb_build *b, pare_weight id, uint32_t layer, const char *suffix)
{
    char name[128];
    pare_weight_name(name, sizeof name, id, layer, suffix);
    const pare_memory_tensor **at = bsearch(name, b->by_name, b->l->m->n_tensors, sizeof *b->by_name, by_name);
    return at != NULL ? *at : NULL;
}

static const pare_memory_tensor *find(cb_build *b, pare_weight id, uint32_t layer)
{
    const pare_arch_weight *w = pare_arch_weight_of(b->arch, id);
    bool bias = w != NULL && (w->flags & PARE_BIAS_ALONE) != 0;
    return find_as(b, id, layer, bias ? "bias" : "weight");
}

bool cb_has(cb_build *b, pare_weight id, uint32_t layer)
{
    return find(b, id, layer) != NULL;
}

static cg_tensor *stored_weight(cb_build *b, const pare_memory_tensor *t)
{
    uint64_t ne[CG_DIMS];
    if (t == NULL)
        return NULL;
    for (uint32_t i = 0; i < t->n_dims; i++)
        ne[i] = t->dim[t->n_dims - 1 - i];
    cg_tensor *w = cg_stored(&b->g, t->type, t->n_dims, ne);
    w->place = memory_tensor_place(b->l, t);
    w->weight = true;
    return w;
}

cg_tensor *cb_weight(cb_build *b, pare_weight id, uint32_t layer)
{
    return stored_weight(b, find(b, id, layer));
}

/* In place, but a bias may lie elsewhere; chosen: of experts. */
static cg_tensor *biased(cb_build *b, pare_weight id, uint32_t layer, cg_tensor *x, cg_tensor *chosen)
{
    cg_tensor *bias = stored_weight(b, find_as(b, id, layer, "bias"));
    return bias != NULL ? cg_like(&b->g, x, true, bias, chosen) : x;
}

cg_tensor *cb_mul(cb_build *b, pare_weight id, uint32_t layer, cg_tensor *x)
{
    cg_tensor *w = cb_weight(b, id, layer);
    return w != NULL ? biased(b, id, layer, cg_mul_mat(&b->g, w, x), NULL) : x;
}

/* ---- norms: ggml_norm may not work in place, ggml_rms_norm may ---- */

cg_tensor *cb_norm_rms(cb_build *b, cg_tensor *x)
{
    return cg_unary(&b->g, x);
}

/* With devices, the product with the weight decides where it runs; all layers on devices: the norm too, by its layer
 * (llama_context::graph_get_cb). */
cg_tensor *cb_norm(cb_build *b, cg_tensor *x)
{
    cg_graph *g = &b->g;
    cg_tensor *y = cg_like(g, x, b->arch->wiring.norm == PARE_NORM_RMS, NULL, NULL);
    if (g->n_devices == 0 || b->arch->wiring.bare_norms)
        return y;
    if (b->force_norms)
        y->place = g->place;
    cg_tensor *w = cg_stored(g, PARE_TYPE_F32, 1, x->ne);
    w->weight = true;
    return cg_binary(g, y, w);
}

cg_tensor *cb_norm_if(cb_build *b, pare_weight id, uint32_t layer, cg_tensor *x)
{
    return cb_has(b, id, layer) ? cb_norm(b, x) : x;
}

/* ---- inputs ---- */

/* Tokens, or vectors in their place: both are there, the second ones are never used. */
cg_tensor *cb_embed(cb_build *b)
{
    uint64_t ne[2] = {b->hp->n_embd, b->n_tokens};
    b->g.place = PARE_MEMORY_HOST;
    b->tokens = cg_input(&b->g, PARE_TYPE_I32, 1, &ne[1]);
    cg_tensor *x = cg_get_rows(&b->g, cb_weight(b, PARE_W_TOKEN_EMBD, 0), b->tokens);
    cg_expand(&b->g, x);
    cg_expand(&b->g, cg_input(&b->g, PARE_TYPE_F32, 2, ne));
    return x;
}

/* Positions in text, and for vision models in time, height, width and one more. */
cg_tensor *cb_positions(cb_build *b)
{
    uint64_t n = b->n_tokens * (b->arch->stock_positions > 0 || b->hp->rope_sections[0] > 0 ? 4 : 1);
    if (b->positions == NULL)
        b->positions = cg_input(&b->g, PARE_TYPE_I32, 1, &n);
    return b->positions;
}

cg_tensor *cb_out_rows(cb_build *b)
{
    if (b->out_rows == NULL)
        b->out_rows = cg_input(&b->g, PARE_TYPE_I32, 1, &b->n_outputs);
    return b->out_rows;
}

/* Divisors of RoPE's angles lie where the layer does. */
static cg_tensor *turn_factors(cb_build *b, uint32_t layer)
{
    static const pare_weight ids[] = {PARE_W_ROPE_FREQS, PARE_W_ROPE_FACTORS_LONG, PARE_W_ROPE_FACTORS_SHORT};
    bool plain = b->arch->window_rope_plain && memory_layer_windowed(b->l, layer);
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !plain; i++) {
        cg_tensor *w = cb_weight(b, ids[i], 0);
        if (w == NULL)
            continue;
        w->place = memory_layer_place(b->l, layer);
        return w;
    }
    return NULL;
}

cg_tensor *cb_turn(cb_build *b, uint32_t layer, cg_tensor *x)
{
    bool all = b->arch->stock_window_layers > 0 && !b->l->windows;
    if (b->arch->wiring.rope == PARE_ROPE_NONE || (pare_layers_have(&b->hp->no_rope, layer) && !all))
        return x;
    cg_tensor *y = cg_like(&b->g, x, true, cb_positions(b), turn_factors(b, layer));
    y->turns = true;
    return y;
}

/* ---- caches ---- */

/* The largest power of two, from 64 on, that divides the heads; of values always 64. Only where all heads of the cache
 * are alike and a multiple of 64 (llama_kv_cache: attn_rot_k, attn_rot_v). */
static cg_tensor *hadamard(cb_build *b, bool windowed, bool values)
{
    pare_type type = values ? b->l->type_v : b->l->type_k;
    uint32_t head = 0, turn = 64;
    memory_heads first = memory_heads_of(b->hp, 0);
    for (uint32_t i = 0; i < b->hp->n_layer; i++) {
        memory_heads h = memory_heads_of(b->hp, i);
        uint32_t n = values ? h.v : h.k;
        if (memory_layer_windowed(b->l, i) != windowed || !memory_layer_has_cache(b->l, i))
            continue;
        if (head > 0 && n != head)
            return NULL;
        head = n;
    }
    if (pare_type_get(type)->block_len == 1 || head == 0 || (values ? first.v : first.k) % 64 != 0 ||
        memory_is_latent(b->hp))
        return NULL;
    while (!values && head % (2 * turn) == 0)
        turn *= 2;
    return cg_input(&b->g, PARE_TYPE_F32, 2, (const uint64_t[]){turn, turn});
}

static cb_cache *cache_of(cb_build *b, uint32_t layer)
{
    bool windowed = memory_layer_windowed(b->l, layer), encoder = b->arch->wiring.encoder;
    cb_cache *c = &b->caches[windowed];
    if (c->mask != NULL)
        return c;
    uint64_t cells = windowed ? b->l->cells_window : b->l->cells, streams = encoder ? 1 : b->l->n_stream;
    uint64_t v_rows = b->n_tokens * (b->l->flash ? 1 : b->l->v_width);
    c->mask = cg_input(&b->g, b->l->flash ? PARE_TYPE_F16 : PARE_TYPE_F32, 4,
                       (const uint64_t[]){encoder ? b->n_tokens : cells, b->n_tokens / streams, 1, streams});
    c->k_rows = cg_input(&b->g, PARE_TYPE_I64, 1, &b->n_tokens);
    c->v_rows = cg_input(&b->g, PARE_TYPE_I64, 1, &v_rows);
    c->k_turn = encoder ? NULL : hadamard(b, windowed, false);
    c->v_turn = encoder ? NULL : hadamard(b, windowed, true);
    return c;
}

static cg_tensor *turned(cb_build *b, cg_tensor *x, cg_tensor *by)
{
    if (by == NULL || x == NULL)
        return x;
    uint64_t n = by->ne[0], rows = cg_n(x) / n;
    cg_tensor *y = cg_is_contiguous(x) ? cg_shape(&b->g, x, n, rows, 1, 1) : cg_contiguous_as(&b->g, x, n, rows, 1, 1);
    return cg_shape(&b->g, cg_mul_mat(&b->g, by, y), x->ne[0], x->ne[1], x->ne[2], x->ne[3]);
}

static cg_tensor *rows_of(cb_build *b, cg_tensor *x)
{
    uint64_t n = x->ne[0] * x->ne[1];
    const uint64_t ne[CG_DIMS] = {n, x->ne[2], 1, 1};
    const uint64_t nb[CG_DIMS] = {x->nb[0], x->nb[2], x->nb[2] * x->ne[2], x->nb[2] * x->ne[2]};
    return cg_window(&b->g, x, ne, nb);
}

static cg_tensor *stored_cache(cb_build *b, pare_type type, uint64_t width, uint64_t cells)
{
    cg_tensor *t = cg_stored(&b->g, type, 3, (const uint64_t[]){width, cells, b->l->n_stream});
    t->place = memory_cache_place(b->l, pare_layer_of_keys(b->hp, b->layer));
    return t;
}

static cg_tensor *flat(cb_build *b, cg_tensor *cache)
{
    return b->l->n_stream > 1 ? cg_shape(&b->g, cache, cache->ne[0], cache->ne[1] * cache->ne[2], 1, 1) : cache;
}

static void store_k(cb_build *b, cg_tensor *cache, cg_tensor *k, cg_tensor *rows)
{
    cg_expand(&b->g, cg_write(&b->g, flat(b, cache), rows_of(b, k), rows));
}

/* Without flash attention the cache of values lies across: a row is an element of a head. */
static void store_v(cb_build *b, cg_tensor *cache, cg_tensor *v, cg_tensor *rows)
{
    if (b->l->flash) {
        cg_expand(&b->g, cg_write(&b->g, flat(b, cache), rows_of(b, v), rows));
        return;
    }
    uint64_t n = v->ne[0] * v->ne[1];
    bool merges = v->nb[2] == n * v->nb[0];
    v = merges ? cg_shape(&b->g, v, n, v->ne[2], 1, 1) : cg_contiguous_as(&b->g, v, n, v->ne[2], 1, 1);
    if (n < cache->ne[0])
        v = cg_make(&b->g, v->type, (const uint64_t[]){cache->ne[0], v->ne[1], 1, 1}, false, v, NULL, NULL);
    cg_tensor *into = cg_shape(&b->g, cache, 1, cg_n(cache), 1, 1);
    cg_expand(&b->g, cg_write(&b->g, into, cg_shape(&b->g, v, 1, cg_n(v), 1, 1), rows));
}

/* Heads of a cache [size, heads, cells, streams]; across: [cells, heads, size, streams]. */
static cg_tensor *cached(cb_build *b, cg_tensor *cache, uint32_t head, uint32_t n_head, bool across)
{
    uint64_t cells = cache->ne[1], unit = across ? cells : head;
    const pare_type_info *type = pare_type_get(cache->type);
    uint64_t row = unit * type->block_bytes / type->block_len, all = cache->ne[0] * type->block_bytes / type->block_len;
    const uint64_t ne[CG_DIMS] = {across ? cells : head, n_head, across ? head : cells, b->l->n_stream};
    const uint64_t nb[CG_DIMS] = {cache->nb[0], across ? row * head : row, across ? row : all, all * cells};
    return cg_window(&b->g, cache, ne, nb);
}

/* ---- attention ---- */

static cg_tensor *attend_fused(cb_build *b, cg_tensor *q, cg_tensor *k, cg_tensor *v, cg_tensor *mask,
                               cg_tensor *v_latent)
{
    cg_graph *g = &b->g;
    if (k->type == PARE_TYPE_F32)
        k = cg_cast(g, k, PARE_TYPE_F16);
    if (v->type == PARE_TYPE_F32)
        v = cg_cast(g, v, PARE_TYPE_F16);
    cg_tensor *x =
        cg_make(g, PARE_TYPE_F32, (const uint64_t[]){v->ne[0], q->ne[2], q->ne[1], q->ne[3]}, false, q, k, v);
    x->src[3] = mask;
    x->src[4] = cb_weight(b, PARE_W_ATTN_SINKS, b->layer);
    x->attention = true;
    if (v_latent != NULL) {
        x = cg_mul_mat(g, v_latent, cg_permute(g, x, 0, 2, 1, 3));
        x = cg_contiguous(g, cg_permute(g, x, 0, 2, 1, 3));
    }
    return cg_shape(g, x, x->ne[0] * x->ne[1], x->ne[2] * x->ne[3], 1, 1);
}

static cg_tensor *attend_plain(cb_build *b, cg_tensor *q, cg_tensor *k, cg_tensor *v, cg_tensor *mask,
                               cg_tensor *v_latent, bool across)
{
    cg_graph *g = &b->g;
    cg_tensor *scores = cg_like(g, cg_mul_mat(g, k, q), true, mask, cb_weight(b, PARE_W_ATTN_SINKS, b->layer));
    if (!across)
        v = cg_contiguous(g, cg_transpose(g, v));
    cg_tensor *x = cg_mul_mat(g, v, scores);
    if (v_latent != NULL)
        x = cg_mul_mat(g, v_latent, x);
    x = cg_permute(g, x, 0, 2, 1, 3);
    return cg_contiguous_as(g, x, x->ne[0] * x->ne[1], x->ne[2] * x->ne[3], 1, 1);
}

static cg_tensor *attend(cb_build *b, cg_tensor *q, cg_tensor *k, cg_tensor *v, cg_tensor *mask, cg_tensor *v_latent,
                         bool across)
{
    cg_graph *g = &b->g;
    uint64_t streams = k->ne[3], rows = q->ne[2] / streams;
    const uint64_t ne[CG_DIMS] = {q->ne[0], q->ne[1], rows, streams};
    const uint64_t nb[CG_DIMS] = {q->nb[0], q->nb[1], q->nb[2], q->nb[2] * rows};
    q = cg_permute(g, cg_window(g, q, ne, nb), 0, 2, 1, 3);
    k = cg_permute(g, k, 0, 2, 1, 3);
    v = cg_permute(g, v, 0, 2, 1, 3);
    cg_tensor *x =
        b->l->flash ? attend_fused(b, q, k, v, mask, v_latent) : attend_plain(b, q, k, v, mask, v_latent, across);
    cg_expand(g, x);
    return x;
}

cg_tensor *cb_attend(cb_build *b, uint32_t layer, cg_tensor *q, cg_tensor *k, cg_tensor *v, cg_tensor *v_latent)
{
    cb_cache *c = cache_of(b, layer);
    b->layer = layer;
    bool latent = memory_is_latent(b->hp), encoder = b->arch->wiring.encoder, across = !b->l->flash && !latent;
    memory_heads h = memory_heads_of(b->hp, layer);
    uint64_t cells = memory_layer_windowed(b->l, layer) ? b->l->cells_window : b->l->cells;
    q = turned(b, q, c->k_turn);
    k = turned(b, k, c->k_turn);
    v = turned(b, v, c->v_turn);
    cg_tensor *second = b->l->windows || encoder ? k : v, *third = b->l->windows || encoder ? v : k;
    cg_expand(&b->g, q);
    if (second != NULL)
        cg_expand(&b->g, second);
    if (third != NULL)
        cg_expand(&b->g, third);
    if (encoder)
        return attend(b, q, k, v, c->mask, NULL, false);
    cg_tensor *cache_k = stored_cache(b, b->l->type_k, (uint64_t)h.n_kv * h.k, cells);
    cg_tensor *cache_v =
        latent ? NULL : stored_cache(b, b->l->type_v, b->l->flash ? (uint64_t)h.n_kv * h.v : b->l->v_width, cells);
    if (k != NULL)
        store_k(b, cache_k, k, c->k_rows);
    if (v != NULL && !latent)
        store_v(b, cache_v, v, c->v_rows);
    cg_tensor *keys = cached(b, cache_k, h.k, h.n_kv, false), *values;
    if (latent)
        values = cg_window(&b->g, keys, (const uint64_t[]){v->ne[0], keys->ne[1], keys->ne[2], keys->ne[3]}, keys->nb);
    else
        values = cached(b, cache_v, h.v, h.n_kv, across);
    return turned(b, attend(b, q, keys, values, c->mask, v_latent, across), c->v_turn);
}

/* ---- FFN ---- */

static cg_tensor *activated(cb_build *b, uint32_t layer, pare_weight up_id, pare_weight gate_id, cg_tensor *x)
{
    cg_tensor *up = cb_mul(b, up_id, layer, x);
    if (cb_has(b, gate_id, layer))
        return cg_gated(&b->g, cb_mul(b, gate_id, layer, x), up);
    return b->arch->wiring.gated_ffn ? cg_gated(&b->g, up, NULL) : cg_unary(&b->g, up);
}

cg_tensor *cb_ffn(cb_build *b, uint32_t layer, cg_tensor *x)
{
    if (!cb_has(b, PARE_W_FFN_UP, layer))
        return x;
    x = activated(b, layer, PARE_W_FFN_UP, PARE_W_FFN_GATE, x);
    return cb_mul(b, PARE_W_FFN_DOWN, layer, cb_norm_if(b, PARE_W_FFN_SUB_NORM, layer, x));
}

/* Scores of experts outside of the best groups are put out of the question. */
static cg_tensor *mask_groups(cb_build *b, cg_tensor *scores, uint64_t n_expert, uint64_t n_tokens)
{
    cg_graph *g = &b->g;
    uint64_t n_group = b->hp->n_expert_group, each = n_expert / n_group;
    cg_tensor *groups = cg_shape(g, scores, each, n_group, n_tokens, 1);
    cg_tensor *best = cg_top_k(g, groups, 2);
    best = cg_get_rows(g, cg_shape(g, groups, 1, each, n_group, n_tokens), best);
    best = cg_sum_rows(g, cg_shape(g, best, best->ne[1], best->ne[2], best->ne[3], 1));
    best = cg_shape(g, best, best->ne[1], best->ne[2], 1, 1);
    cg_tensor *chosen = cg_top_k(g, best, b->hp->n_expert_group_used);
    cg_tensor *kept = cg_get_rows(g, groups, chosen);
    kept = cg_write(g, cg_unary(g, groups), kept, chosen);
    return cg_shape(g, kept, n_expert, n_tokens, 1, 1);
}

static cg_tensor *expert_weights(cb_build *b, uint32_t layer, cg_tensor *logits, cg_tensor **chosen)
{
    cg_graph *g = &b->g;
    uint64_t n_expert = logits->ne[0], n_tokens = logits->ne[1], n_used = b->hp->n_expert_used;
    bool late = pare_arch_expert_score(b->arch, b->hp) == PARE_EXPERT_SOFTMAX_CHOSEN;
    cg_tensor *probs = late ? logits : cg_unary(g, logits), *scores = probs;
    if (cb_has(b, PARE_W_EXPERT_BIAS, layer))
        scores = cg_unary(g, probs);
    if (b->hp->n_expert_group > 1)
        scores = mask_groups(b, scores, n_expert, n_tokens);
    *chosen = cg_top_k(g, scores, n_used);
    cg_tensor *w = cg_get_rows(g, cg_shape(g, probs, 1, n_expert, n_tokens, 1), *chosen);
    if (late)
        w = cg_shape(g, cg_unary(g, cg_shape(g, w, n_used, n_tokens, 1, 1)), 1, n_used, n_tokens, 1);
    if (b->hp->expert_norm && !late) {
        w = cg_shape(g, w, n_used, n_tokens, 1, 1);
        w = cg_shape(g, cg_binary(g, w, cg_unary(g, cg_sum_rows(g, w))), 1, n_used, n_tokens, 1);
    }
    if (b->hp->expert_scale != 0 && b->hp->expert_scale != 1)
        w = cg_unary(g, w);
    cg_expand(g, w);
    return w;
}

static cg_tensor *mul_experts(cb_build *b, pare_weight id, uint32_t layer, cg_tensor *x, cg_tensor *chosen)
{
    return biased(b, id, layer, cg_mul_mat_id(&b->g, cb_weight(b, id, layer), x, chosen), chosen);
}

static cg_tensor *expert_hidden(cb_build *b, uint32_t layer, cg_tensor *x, cg_tensor *chosen)
{
    cg_graph *g = &b->g;
    if (cb_has(b, PARE_W_FFN_GATE_UP_EXPS, layer)) {
        cg_tensor *y = mul_experts(b, PARE_W_FFN_GATE_UP_EXPS, layer, x, chosen);
        const uint64_t ne[CG_DIMS] = {y->ne[0] / 2, y->ne[1], y->ne[2], 1};
        return cg_gated(g, cg_window(g, y, ne, y->nb), cg_window(g, y, ne, y->nb));
    }
    cg_tensor *up = mul_experts(b, PARE_W_FFN_UP_EXPS, layer, x, chosen);
    if (!cb_has(b, PARE_W_FFN_GATE_EXPS, layer))
        return cg_unary(g, up);
    return cg_gated(g, mul_experts(b, PARE_W_FFN_GATE_EXPS, layer, x, chosen), up);
}

static cg_tensor *shared_expert(cb_build *b, uint32_t layer, cg_tensor *x)
{
    cg_graph *g = &b->g;
    cg_tensor *y = activated(b, layer, PARE_W_FFN_UP_SHEXP, PARE_W_FFN_GATE_SHEXP, x);
    y = cb_mul(b, PARE_W_FFN_DOWN_SHEXP, layer, y);
    if (cb_has(b, PARE_W_FFN_GATE_INP_SHEXP, layer)) {
        cg_tensor *w = cb_weight(b, PARE_W_FFN_GATE_INP_SHEXP, layer);
        y = cg_binary(g, y, cg_unary(g, cg_mul_mat(g, cg_shape(g, w, w->ne[0], cg_n(w) / w->ne[0], 1, 1), x)));
    }
    return y;
}

cg_tensor *cb_experts(cb_build *b, uint32_t layer, cg_tensor *x, cg_tensor *logits)
{
    cg_graph *g = &b->g;
    uint64_t n_embd = x->ne[0], n_tokens = x->ne[1];
    cg_tensor *chosen, *out = NULL;
    if (logits == NULL)
        logits = cb_mul(b, PARE_W_FFN_GATE_INP, layer, x);
    cg_tensor *w = expert_weights(b, layer, logits, &chosen);
    cg_tensor *y = expert_hidden(b, layer, cg_shape(g, x, n_embd, 1, n_tokens, 1), chosen);
    y = cg_binary(g, mul_experts(b, PARE_W_FFN_DOWN_EXPS, layer, y, chosen), w);
    cg_expand(g, y);
    uint64_t n_used = b->hp->n_expert_used;
    cg_tensor **parts = pare_arena_alloc(&g->arena, n_used * sizeof(cg_tensor *), NULL);
    if (parts == NULL || n_used == 0)
        return cg_no_memory(g);
    const uint64_t ne[CG_DIMS] = {n_embd, n_tokens, 1, 1};
    const uint64_t nb[CG_DIMS] = {y->nb[0], y->nb[2], y->nb[2] * n_tokens, y->nb[2] * n_tokens};
    for (uint64_t i = 0; i < n_used; i++) {
        parts[i] = cg_window(g, y, ne, nb);
        cg_expand(g, parts[i]);
    }
    out = parts[0];
    for (uint64_t i = 1; i < n_used; i++) {
        out = cg_binary(g, out, parts[i]);
        cg_expand(g, out);
    }
    if (n_used == 1)
        out = cg_contiguous(g, out);
    return cb_has(b, PARE_W_FFN_UP_SHEXP, layer) ? cg_binary(g, out, shared_expert(b, layer, x)) : out;
}
