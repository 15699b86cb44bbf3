/* How layers make queries, keys and values: one matrix or three, latent, or a recurrent rule in place of attention. */
#include "memory/compute_build.h"

typedef struct heads {
    cg_tensor *q, *k, *v, *gate;
} heads;

/* ---- plain ---- */

static cg_tensor *part_of(cb_build *b, cg_tensor *qkv, uint64_t head, uint64_t n_head)
{
    uint64_t row = cg_row(&b->g, qkv->type, head);
    const uint64_t ne[CG_DIMS] = {head, n_head, b->n_tokens, 1};
    const uint64_t nb[CG_DIMS] = {qkv->nb[0], row, qkv->nb[1], qkv->nb[1] * b->n_tokens};
    return cg_window(&b->g, qkv, ne, nb);
}

static cg_tensor *as_heads(cb_build *b, cg_tensor *x, uint64_t n_head)
{
    return x != NULL ? cg_shape(&b->g, x, x->ne[0] / n_head, n_head, b->n_tokens, 1) : NULL;
}

static heads fused(cb_build *b, uint32_t layer, cg_tensor *x, const pare_layer_shape *s)
{
    cg_tensor *qkv = cb_mul(b, PARE_W_ATTN_QKV, layer, x);
    heads h = {.q = part_of(b, qkv, s->head_dim_k, b->hp->n_head),
               .k = part_of(b, qkv, s->head_dim_k, s->n_head_kv),
               .v = part_of(b, qkv, s->head_dim_v, s->n_head_kv)};
    if (b->arch->wiring.qk_norm_whole) {
        h.q = cg_contiguous_as(&b->g, h.q, (uint64_t)b->hp->n_head * s->head_dim_k, b->n_tokens, 1, 1);
        h.k = cg_contiguous_as(&b->g, h.k, (uint64_t)s->n_head_kv * s->head_dim_k, b->n_tokens, 1, 1);
        h.v = cg_contiguous_as(&b->g, h.v, (uint64_t)s->n_head_kv * s->head_dim_v, b->n_tokens, 1, 1);
    }
    return h;
}

/* Half of each head's queries is a gate. */
static void take_gate(cb_build *b, heads *h, const pare_layer_shape *s)
{
    uint64_t head = s->head_dim_k, row = cg_row(&b->g, h->q->type, 2 * head), all = row * b->hp->n_head;
    const uint64_t ne[CG_DIMS] = {head, b->hp->n_head, b->n_tokens, 1};
    const uint64_t nb[CG_DIMS] = {h->q->nb[0], row, all, all * b->n_tokens};
    cg_tensor *q = h->q;
    h->q = cg_window(&b->g, q, ne, nb);
    h->gate = cg_contiguous_as(&b->g, cg_window(&b->g, q, ne, nb), head * b->hp->n_head, b->n_tokens, 1, 1);
}

static heads apart(cb_build *b, uint32_t layer, cg_tensor *x, const pare_layer_shape *s)
{
    bool own = pare_layer_of_keys(b->hp, layer) == layer;
    heads h = {.q = cb_mul(b, PARE_W_ATTN_Q, layer, x)};
    if (own)
        h.k = cb_mul(b, PARE_W_ATTN_K, layer, x);
    if (own)
        h.v = cb_has(b, PARE_W_ATTN_V, layer) ? cb_mul(b, PARE_W_ATTN_V, layer, x) : h.k;
    if (b->arch->wiring.qk_norm_whole)
        return h;
    if (b->arch->wiring.attn_gated)
        take_gate(b, &h, s);
    else
        h.q = as_heads(b, h.q, b->hp->n_head);
    h.k = as_heads(b, h.k, s->n_head_kv);
    h.v = as_heads(b, h.v, s->n_head_kv);
    return h;
}

static void norm_and_turn(cb_build *b, uint32_t layer, heads *h, const pare_layer_shape *s)
{
    const pare_wiring *w = &b->arch->wiring;
    bool norm_q = cb_has(b, PARE_W_ATTN_Q_NORM, layer), norm_k = cb_has(b, PARE_W_ATTN_K_NORM, layer);
    if (norm_q && !w->qk_norm_last)
        h->q = cb_norm(b, h->q);
    if (norm_k && !w->qk_norm_last && h->k != NULL)
        h->k = cb_norm(b, h->k);
    if (w->v_norm && h->v != NULL)
        h->v = cb_norm_rms(b, h->v);
    if (w->qk_norm_whole) {
        h->q = as_heads(b, h->q, b->hp->n_head);
        h->k = as_heads(b, h->k, s->n_head_kv);
        h->v = as_heads(b, h->v, s->n_head_kv);
    }
    h->q = cb_turn(b, layer, h->q);
    if (h->k != NULL)
        h->k = cb_turn(b, layer, h->k);
    if (norm_q && w->qk_norm_last)
        h->q = cb_norm(b, h->q);
    if (norm_k && w->qk_norm_last && h->k != NULL)
        h->k = cb_norm(b, h->k);
}

/* Queries at later positions are longer: a factor a token. */
static cg_tensor *steepen(cb_build *b, cg_tensor *q)
{
    if (b->hp->attn_steeper == 0)
        return q;
    if (b->attn_scale == NULL)
        b->attn_scale = cg_input(&b->g, PARE_TYPE_F32, 3, (const uint64_t[]){1, 1, b->n_tokens});
    return cg_binary(&b->g, q, b->attn_scale);
}

cg_tensor *cb_attention(cb_build *b, uint32_t layer, cg_tensor *x)
{
    pare_layer_shape s = pare_layer_shape_of(b->hp, layer);
    heads h = cb_has(b, PARE_W_ATTN_QKV, layer) ? fused(b, layer, x, &s) : apart(b, layer, x, &s);
    norm_and_turn(b, layer, &h, &s);
    cg_tensor *y = cb_attend(b, layer, steepen(b, h.q), h.k, h.v, NULL);
    if (h.gate != NULL)
        y = cg_binary(&b->g, y, cg_unary(&b->g, h.gate));
    return cb_mul(b, PARE_W_ATTN_OUT, layer, cb_norm_if(b, PARE_W_ATTN_SUB_NORM, layer, y));
}

/* ---- latent ---- */

static cg_tensor *latent_queries(cb_build *b, uint32_t layer, cg_tensor *x)
{
    cg_tensor *q = cb_has(b, PARE_W_ATTN_Q, layer)
                       ? cb_mul(b, PARE_W_ATTN_Q, layer, x)
                       : cb_mul(b, PARE_W_ATTN_Q_B, layer, cb_norm(b, cb_mul(b, PARE_W_ATTN_Q_A, layer, x)));
    return cg_shape(&b->g, q, b->hp->head_dim_k, b->hp->n_head, b->n_tokens, 1);
}

static cg_tensor *columns(cb_build *b, cg_tensor *x, uint64_t n0, uint64_t n1, uint64_t n2)
{
    const uint64_t ne[CG_DIMS] = {n0, n1, n2, 1};
    const uint64_t nb[CG_DIMS] = {x->nb[0], x->nb[1], n1 > 1 || n2 == 1 ? x->nb[2] : x->nb[1], x->nb[3]};
    return cg_window(&b->g, x, ne, nb);
}

/* Queries are brought to the latent space: one head of keys for all. */
static cg_tensor *attend_latent(cb_build *b, uint32_t layer, cg_tensor *q, cg_tensor *latent, cg_tensor *k_turned)
{
    cg_graph *g = &b->g;
    const pare_hparams *hp = b->hp;
    cg_tensor *q_turned = cb_turn(b, layer, columns(b, q, hp->n_rot, hp->n_head, b->n_tokens));
    cg_tensor *q_plain = columns(b, q, hp->head_dim_k - hp->n_rot, hp->n_head, b->n_tokens);
    q_plain = cg_mul_mat(g, cb_weight(b, PARE_W_ATTN_K_B, layer), cg_permute(g, q_plain, 0, 2, 1, 3));
    q = cg_concat(g, cg_permute(g, q_plain, 0, 2, 1, 3), q_turned, 0);
    latent = cg_shape(g, latent, hp->n_lora_kv, 1, b->n_tokens, 1);
    cg_tensor *k = cg_concat(g, latent, k_turned, 0);
    return cb_attend(b, layer, steepen(b, q), k, latent, cb_weight(b, PARE_W_ATTN_V_B, layer));
}

/* Keys and values are made of the latent ones, head by head. */
static cg_tensor *attend_whole(cb_build *b, uint32_t layer, cg_tensor *q, cg_tensor *latent, cg_tensor *k_turned)
{
    cg_graph *g = &b->g;
    const pare_hparams *hp = b->hp;
    uint64_t plain = hp->head_dim_k - hp->n_rot, both = plain + hp->head_dim_v;
    cg_tensor *kv = cb_mul(b, PARE_W_ATTN_KV_B, layer, latent);
    uint64_t row = cg_row(g, kv->type, both), all = row * hp->n_head;
    const uint64_t nb[CG_DIMS] = {kv->nb[0], row, all, all * b->n_tokens};
    cg_tensor *v = cg_window(g, kv, (const uint64_t[]){hp->head_dim_v, hp->n_head, b->n_tokens, 1}, nb);
    cg_tensor *k = cg_window(g, kv, (const uint64_t[]){plain, hp->n_head, b->n_tokens, 1}, nb);
    v = cg_contiguous(g, v);
    k = cg_concat(g, k, cg_repeat(g, k_turned, hp->n_rot, hp->n_head, b->n_tokens, 1), 0);
    return cb_attend(b, layer, steepen(b, cb_turn(b, layer, q)), k, v, NULL);
}

cg_tensor *cb_attention_latent(cb_build *b, uint32_t layer, cg_tensor *x)
{
    cg_tensor *q = latent_queries(b, layer, x), *kv = cb_mul(b, PARE_W_ATTN_KV_A, layer, x);
    cg_tensor *latent = cb_norm(b, columns(b, kv, b->hp->n_lora_kv, b->n_tokens, 1));
    cg_tensor *k_turned = cb_turn(b, layer, columns(b, kv, b->hp->n_rot, 1, b->n_tokens));
    cg_tensor *y = memory_is_latent(b->hp) ? attend_latent(b, layer, q, latent, k_turned)
                                           : attend_whole(b, layer, q, latent, k_turned);
    return cb_mul(b, PARE_W_ATTN_OUT, layer, y);
}

/* ---- gated delta rule (llama.cpp src/models/delta-net-base.cpp, the fused operation) ---- */

typedef struct linear {
    uint64_t k, v, n_k, n_v, channels, kernel, n_seq, n_each; /* sizes and numbers of heads; tokens of a sequence */
} linear;

/* A layer's states of all sequences: the first is cleared, those that are wanted are copied out. */
static cg_tensor *states_of(cb_build *b, cg_tensor *all, uint64_t n)
{
    cg_graph *g = &b->g;
    uint64_t row = 4 * n, none = 0;
    cg_tensor *states = cg_shape(g, all, n, all->ne[1], 1, 1);
    cg_expand(g, cg_write(g, cg_window(g, states, (const uint64_t[]){n, 1, 1, 1}, states->nb), states, NULL));
    if (b->states == NULL)
        b->states = cg_input(g, PARE_TYPE_I32, 1, &b->n_seqs);
    const uint64_t nb[CG_DIMS] = {4, 4 * b->n_seqs, 4 * b->n_seqs, 4 * b->n_seqs};
    cg_tensor *own = cg_get_rows(g, states, cg_window(g, b->states, (const uint64_t[]){b->n_seqs, 1, 1, 1}, nb));
    cg_expand(g, own);
    cg_tensor *others = cg_get_rows(g, states, cg_window(g, b->states, (const uint64_t[]){none, 1, 1, 1}, nb));
    const uint64_t into[CG_DIMS] = {4, row, row, row};
    cg_expand(g, cg_write(g, cg_window(g, all, (const uint64_t[]){n, none, 1, 1}, into), others, NULL));
    return own;
}

/* The last tokens' inputs of the convolution, then those of this batch. */
static cg_tensor *conv_inputs(cb_build *b, const linear *a, uint32_t layer, cg_tensor *qkv)
{
    cg_graph *g = &b->g;
    uint64_t n = (a->kernel - 1) * a->channels;
    cg_tensor *all = cg_stored(g, PARE_TYPE_F32, 2, (const uint64_t[]){n, b->n_seqs});
    all->place = memory_cache_place(b->l, layer);
    cg_tensor *before = cg_shape(g, states_of(b, all, n), a->kernel - 1, a->channels, a->n_seq, 1);
    cg_tensor *x = cg_concat(g, before, cg_transpose(g, qkv), 0);
    cg_tensor *last = cg_window(g, x, (const uint64_t[]){a->kernel - 1, a->channels, a->n_seq, 1}, x->nb);
    cg_expand(g, cg_write(g, cg_window(g, all, all->ne, all->nb), last, NULL));
    return x;
}

/* Queries, keys and values of the convolution's output: windows into it. */
static cg_tensor *conv_part(cb_build *b, const linear *a, cg_tensor *x, uint64_t head, uint64_t n_head)
{
    uint64_t row = 4 * a->channels;
    const uint64_t ne[CG_DIMS] = {head, n_head, a->n_each, a->n_seq};
    const uint64_t nb[CG_DIMS] = {4, 4 * head, row, row * a->n_each};
    return cg_window(&b->g, x, ne, nb);
}

static cg_tensor *more_heads(cb_build *b, const linear *a, cg_tensor *x)
{
    cg_graph *g = &b->g;
    if (a->n_k == a->n_v || b->hp->linear.tiled)
        return x;
    uint64_t share = a->n_v / a->n_k, rows = a->n_each * a->n_seq;
    x = cg_repeat(g, cg_shape(g, x, a->k, 1, a->n_k, rows), a->k, share, a->n_k, rows);
    return cg_shape(g, x, a->k, a->n_v, a->n_each, a->n_seq);
}

/* Two small matrices a token and head: how much is forgotten and how much is learned. */
static void rates(cb_build *b, const linear *a, uint32_t layer, cg_tensor *x, cg_tensor **beta, cg_tensor **decay)
{
    cg_graph *g = &b->g;
    if (cb_has(b, PARE_W_SSM_BETA_ALPHA, layer)) {
        cg_tensor *both = cb_mul(b, PARE_W_SSM_BETA_ALPHA, layer, x);
        both = cg_shape(g, both, 2 * a->n_v / a->n_k, a->n_k, a->n_each, a->n_seq);
        const uint64_t ne[CG_DIMS] = {a->n_v / a->n_k, a->n_k, a->n_each, a->n_seq};
        *beta = cg_unary(g, cg_contiguous(g, cg_window(g, both, ne, both->nb)));
        *decay = cg_contiguous_as(g, cg_window(g, both, ne, both->nb), a->n_v, a->n_each, a->n_seq, 1);
        *beta = cg_shape(g, *beta, 1, a->n_v, a->n_each, a->n_seq);
    } else {
        *beta = cg_shape(g, cb_mul(b, PARE_W_SSM_BETA, layer, x), 1, a->n_v, a->n_each, a->n_seq);
        *beta = cg_unary(g, *beta);
        *decay = cg_shape(g, cb_mul(b, PARE_W_SSM_ALPHA, layer, x), a->n_v, a->n_each, a->n_seq, 1);
        *decay = cg_unary(g, *decay);
    }
    *decay = cg_shape(g, *decay, 1, a->n_v, a->n_each, a->n_seq);
}

static cg_tensor *delta_rule(cb_build *b, const linear *a, cg_tensor *x, cg_tensor *decay, cg_tensor *beta,
                             cg_tensor *all, cg_tensor *state)
{
    cg_graph *g = &b->g;
    uint64_t n = a->n_seq * a->n_each, width = a->v * a->n_v;
    cg_tensor *q = more_heads(b, a, cg_unary(g, conv_part(b, a, x, a->k, a->n_k)));
    cg_tensor *k = more_heads(b, a, cg_unary(g, conv_part(b, a, x, a->k, a->n_k)));
    cg_tensor *v = conv_part(b, a, x, a->v, a->n_v);
    cg_tensor *y = cg_make(g, PARE_TYPE_F32, (const uint64_t[]){width, n + a->v * a->n_seq, 1, 1}, false, q, k, v);
    y->src[3] = decay;
    y->src[4] = beta;
    y->src[5] = state;
    const uint64_t nb[CG_DIMS] = {4, 4 * a->v, 4 * width, 4 * width * a->n_each};
    const uint64_t state_nb[CG_DIMS] = {4, 4 * a->v, 4 * a->v * a->v, 4 * a->v * width};
    cg_tensor *out = cg_window(g, y, (const uint64_t[]){a->v, a->n_v, a->n_each, a->n_seq}, nb);
    cg_tensor *kept = cg_window(g, y, (const uint64_t[]){a->v, a->v, a->n_v, a->n_seq}, state_nb);
    cg_expand(g, cg_write(g, cg_window(g, all, all->ne, all->nb), kept, NULL));
    return out;
}

cg_tensor *cb_attention_linear(cb_build *b, uint32_t layer, cg_tensor *x)
{
    cg_graph *g = &b->g;
    const pare_linear_attention *p = &b->hp->linear;
    linear a = {.k = p->head_dim_k, .v = p->head_dim_v, .n_k = p->n_head_k, .n_v = p->n_head_v, .kernel = p->kernel};
    a.channels = a.n_v * a.v + 2 * a.n_k * a.k;
    a.n_seq = b->n_seqs;
    a.n_each = b->n_tokens / b->n_seqs;
    cg_tensor *beta, *decay;
    cg_tensor *qkv = cb_mul(b, PARE_W_ATTN_QKV, layer, x), *z = cb_mul(b, PARE_W_ATTN_GATE, layer, x);
    qkv = cg_shape(g, qkv, qkv->ne[0], a.n_each, a.n_seq, 1);
    rates(b, &a, layer, x, &beta, &decay);
    cg_tensor *in = conv_inputs(b, &a, layer, qkv);
    uint64_t n_state = a.v * a.v * a.n_v;
    cg_tensor *all = cg_stored(g, PARE_TYPE_F32, 2, (const uint64_t[]){n_state, b->n_seqs});
    all->place = memory_cache_place(b->l, layer);
    cg_tensor *state = cg_shape(g, states_of(b, all, n_state), a.v, a.v, a.n_v, a.n_seq);
    cg_tensor *conv = cg_make(g, PARE_TYPE_F32, (const uint64_t[]){a.channels, in->ne[0] - a.kernel + 1, in->ne[2], 1},
                              false, in, NULL, NULL);
    cg_tensor *y = delta_rule(b, &a, cg_unary(g, conv), decay, beta, all, state);
    cg_tensor *gate = cg_unary(g, cg_shape(g, z, a.v, a.n_v, a.n_each, a.n_seq));
    y = cg_binary(g, cb_norm_rms(b, y), gate);
    y = cb_mul(b, PARE_W_SSM_OUT, layer, cg_shape(g, y, a.v * a.n_v, a.n_each, a.n_seq, 1));
    return cg_shape(g, y, b->hp->n_embd, b->n_tokens, 1, 1);
}
