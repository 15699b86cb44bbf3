#include "eval/forward_parts.h"

#include <inttypes.h>
#include <math.h>

void pare_forward_observe(pare_forward *f, pare_observe_fn fn, void *user)
{
    f->observe = fn;
    f->observe_user = user;
}

typedef pare_status (*product_fn)(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                                  uint32_t n, float *y, pare_error *err);

/* y = product(x) + bias, or y += for a product that adds */
static pare_status linear(pare_forward *f, const pare_forward_weights *l, pare_weight id, product_fn product,
                          uint32_t row, uint32_t n_rows, const float *x, uint32_t n, float *y, pare_error *err)
{
    pare_status st = product(f->b, l->w[id], row, n_rows, x, n, y, err);
    if (st == PARE_OK && f->observe != NULL && row == 0)
        st = f->observe(l->w[id], 0, x, n, f->observe_user, err);
    if (st == PARE_OK && l->b[id] != NULL)
        st = f->b->add_row(f->b, y, l->b[id], row, n, n_rows, err);
    return st;
}

pare_status pare_forward_linear(pare_forward *f, const pare_forward_weights *l, pare_weight id, uint32_t row,
                                uint32_t n_rows, const float *x, uint32_t n, float *y, pare_error *err)
{
    bool router = id == PARE_W_FFN_GATE_INP;
    return linear(f, l, id, router ? f->b->matmul_f32 : f->b->matmul, row, n_rows, x, n, y, err);
}

void pare_forward_begin(pare_forward *f, pare_cache *cache)
{
    f->n_seq = f->n = f->n_rows = f->n_spans = f->first = f->n_kept = 0;
    f->x_is_normal = false;
    f->cache = cache;
}

/* A run passes through a layer in slices: whole sequences, as many as there is room for, or a part of one. A token sees
 * only tokens before it, so slices in turn give what all tokens at once would. The rows of a slice's spans count from
 * its start; row 0 begins the next slice. */
void pare_forward_add(pare_forward *f, uint32_t n, uint32_t n_past, size_t kv_row)
{
    const pare_attention_span *last = f->n_spans > 0 ? &f->spans[f->n_spans - 1] : NULL;
    uint32_t row = last != NULL ? last->row + last->n : 0;
    for (uint32_t done = 0; done < n;) {
        uint32_t part = n - done < f->slice_tokens ? n - done : f->slice_tokens;
        if (part > f->slice_tokens - row || done > 0)
            row = 0;
        f->spans[f->n_spans++] =
            (pare_attention_span){.row = row, .n = part, .n_past = n_past + done, .kv_row = kv_row};
        for (uint32_t t = 0; t < part; t++)
            f->positions[f->n_rows++] = (int32_t)(n_past + done + t);
        done += part;
    }
}

typedef struct slice {
    size_t first; /* row of x */
    uint32_t n;   /* tokens */
    const int32_t *positions;
    const pare_attention_span *spans;
    uint32_t n_spans;
} slice;

/* Go on to the next slice of the run, from a zeroed one to the first. */
static bool next_slice(const pare_forward *f, slice *s)
{
    const pare_attention_span *end = f->spans + f->n_spans;
    *s = (slice){.first = s->first + s->n, .spans = s->spans != NULL ? s->spans + s->n_spans : f->spans};
    if (s->spans == end)
        return false;
    s->positions = f->positions + s->first;
    do
        s->n += s->spans[s->n_spans++].n;
    while (s->spans + s->n_spans < end && s->spans[s->n_spans].row != 0);
    return true;
}

static float *slice_x(const pare_forward *f, const slice *s)
{
    return f->x + s->first * f->m->hp.n_embd;
}

/* y = norm(x) with the weight of that name over groups of `width` */
static pare_status normalize(pare_forward *f, const pare_forward_weights *l, pare_weight id, const float *x, uint64_t n,
                             uint32_t width, float *y, pare_error *err)
{
    pare_norm_op op = {.kind = f->m->arch->wiring.norm,
                       .x = x,
                       .n = n,
                       .width = width,
                       .weight = l->w[id],
                       .bias = l->b[id],
                       .eps = f->m->hp.norm_eps,
                       .y = y};
    return f->b->norm(f->b, &op, err);
}

/* y = queries, keys or values of x; row: where their part starts in the fused weight */
static pare_status project(pare_forward *f, const pare_forward_weights *l, pare_weight id, uint32_t row,
                           uint32_t n_rows, const slice *s, const float *x, float *y, pare_error *err)
{
    bool fused = l->w[PARE_W_ATTN_QKV] != NULL;
    return pare_forward_linear(f, l, fused ? PARE_W_ATTN_QKV : id, fused ? row : 0, n_rows, x, s->n, y, err);
}

/* Norm of each head (or of all together), then RoPE, on q or k. */
static pare_status prepare_heads(pare_forward *f, const pare_forward_weights *l, pare_weight norm_id, uint32_t n_head,
                                 const slice *s, float *x, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_wiring *wiring = &f->m->arch->wiring;
    pare_status st = PARE_OK;
    if (l->w[norm_id] != NULL) {
        uint64_t groups = wiring->qk_norm_whole ? s->n : (uint64_t)s->n * n_head;
        uint32_t width = wiring->qk_norm_whole ? n_head * hp->head_dim_k : hp->head_dim_k;
        st = normalize(f, l, norm_id, x, groups, width, x, err);
    }
    if (st != PARE_OK || wiring->rope == PARE_ROPE_NONE || hp->n_rot == 0)
        return st;
    pare_rope rope = {.positions = s->positions,
                      .n = s->n,
                      .n_head = n_head,
                      .head_dim = hp->head_dim_k,
                      .n_rot = hp->n_rot,
                      .layout = wiring->rope,
                      .cos_sin = f->cos_sin};
    return f->b->rope(f->b, &rope, x, err);
}

/* Keys and values of the slice from f->k and f->v to their places in the cache. */
static pare_status store(pare_forward *f, uint32_t layer, const slice *s, pare_error *err)
{
    pare_backend *b = f->b;
    pare_status st = PARE_OK;
    for (const pare_attention_span *p = s->spans; p < s->spans + s->n_spans && st == PARE_OK; p++) {
        size_t from = s->first + p->row, to = p->kv_row + p->n_past;
        st = b->copy(b, f->cache->k[layer] + to * f->n_k, f->k + from * f->n_k, p->n * sizeof(float) * f->n_k, err);
        if (st == PARE_OK)
            st = b->copy(b, f->cache->v[layer] + to * f->n_v, f->v + from * f->n_v, p->n * sizeof(float) * f->n_v, err);
    }
    return st;
}

/* Keys and values of x behind those of the tokens before it. */
static pare_status make_keys(pare_forward *f, const pare_forward_weights *l, uint32_t layer, const slice *s,
                             const float *x, pare_error *err)
{
    float *k = f->k + s->first * f->n_k, *v = f->v + s->first * f->n_v;
    pare_status st;
    if ((st = project(f, l, PARE_W_ATTN_K, f->n_q, f->n_k, s, x, k, err)) != PARE_OK ||
        (st = project(f, l, PARE_W_ATTN_V, f->n_q + f->n_k, f->n_v, s, x, v, err)) != PARE_OK ||
        (st = prepare_heads(f, l, PARE_W_ATTN_K_NORM, f->m->hp.n_head_kv, s, k, err)) != PARE_OK)
        return st;
    return f->cache != NULL ? store(f, layer, s, err) : PARE_OK;
}

/* o = attention(x) to the keys that are there */
static pare_status attend(pare_forward *f, const pare_forward_weights *l, uint32_t layer, const slice *s,
                          const float *x, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_attention a = {
        .spans = s->spans,
        .n_spans = s->n_spans,
        .n_head = hp->n_head,
        .n_head_kv = hp->n_head_kv,
        .head_dim_k = hp->head_dim_k,
        .head_dim_v = hp->head_dim_v,
        .window = pare_layer_window(hp, layer),
        .causal = true,
        .scale = hp->attn_scale != 0 ? hp->attn_scale : (float)(1.0 / sqrt((double)hp->head_dim_k)),
        .softcap = hp->attn_softcap,
        .q = f->q,
        .k = f->cache != NULL ? f->cache->k[layer] : f->k,
        .v = f->cache != NULL ? f->cache->v[layer] : f->v,
        .sinks = l->w[PARE_W_ATTN_SINKS],
        .out = f->o,
    };
    pare_status st;
    if ((st = project(f, l, PARE_W_ATTN_Q, 0, f->n_q, s, x, f->q, err)) != PARE_OK ||
        (st = prepare_heads(f, l, PARE_W_ATTN_Q_NORM, hp->n_head, s, f->q, err)) != PARE_OK)
        return st;
    return f->b->attention(f->b, &a, err);
}

/* up = act(gate(x)) * up(x) or act(up(x)) for n tokens */
static pare_status dense_ffn(pare_forward *f, const pare_forward_weights *l, const float *x, uint32_t n,
                             pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_wiring *wiring = &f->m->arch->wiring;
    bool fused = pare_forward_gate_is_fused(f, l);
    pare_status st = PARE_OK;
    if (wiring->gated_ffn)
        st = pare_forward_linear(f, l, fused ? PARE_W_FFN_UP : PARE_W_FFN_GATE, 0, hp->n_ff, x, n, f->gate, err);
    if (st != PARE_OK ||
        (st = pare_forward_linear(f, l, PARE_W_FFN_UP, fused ? hp->n_ff : 0, hp->n_ff, x, n, f->up, err)) != PARE_OK)
        return st;
    return f->b->activate(f->b, wiring->act, wiring->gated_ffn ? f->gate : NULL, f->up, (size_t)n * hp->n_ff, f->up,
                          err);
}

static float residual_scale(const pare_forward *f)
{
    return f->m->hp.residual_scale != 0 ? f->m->hp.residual_scale : 1;
}

/* Add the branch to the residual stream, after its own norm where the layer has one. */
static pare_status add_branch(pare_forward *f, const pare_forward_weights *l, pare_weight post_norm, const slice *s,
                              pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_status st = PARE_OK;
    if (l->w[post_norm] != NULL)
        st = normalize(f, l, post_norm, f->branch, s->n, hp->n_embd, f->branch, err);
    if (st != PARE_OK)
        return st;
    return f->b->add(f->b, slice_x(f, s), f->branch, residual_scale(f), (size_t)s->n * hp->n_embd, err);
}

/* The product that ends a part of a layer, added to the residual stream: at once where nothing is done to it before. */
static pare_status add_product(pare_forward *f, const pare_forward_weights *l, pare_weight id, const float *in,
                               pare_weight post_norm, const slice *s, pare_error *err)
{
    uint32_t n_embd = f->m->hp.n_embd;
    if (f->b->matmul_add != NULL && l->w[post_norm] == NULL && residual_scale(f) == 1)
        return linear(f, l, id, f->b->matmul_add, 0, n_embd, in, s->n, slice_x(f, s), err);
    pare_status st = pare_forward_linear(f, l, id, 0, n_embd, in, s->n, f->branch, err);
    return st == PARE_OK ? add_branch(f, l, post_norm, s, err) : st;
}

/* The input of a part of a layer: the residual stream, normalised where the layer has that norm. */
static pare_status part_input(pare_forward *f, const pare_forward_weights *l, pare_weight norm, const slice *s,
                              const float **in, pare_error *err)
{
    *in = l->w[norm] != NULL ? f->h : slice_x(f, s);
    if (l->w[norm] == NULL)
        return PARE_OK;
    return normalize(f, l, norm, slice_x(f, s), s->n, f->m->hp.n_embd, f->h, err);
}

/* In the last layer, what follows keys and values is needed for the tokens only whose logits are read: move their rows
 * of x together at the front of x, behind those of the slices before, and make a slice of them. */
static pare_status drop_tokens(pare_forward *f, slice *s, pare_error *err)
{
    slice t = {.first = f->n_kept, .positions = f->kept_positions, .spans = f->kept_spans};
    for (const pare_attention_span *p = s->spans; p < s->spans + s->n_spans; p++) {
        uint32_t skip = f->first < p->n_past ? 0 : f->first - p->n_past, n = skip < p->n ? p->n - skip : 0;
        if (n == 0)
            continue;
        f->kept_spans[t.n_spans++] = (pare_attention_span){t.n, n, p->n_past + skip, p->kv_row};
        for (uint32_t i = 0; i < n; i++, t.n++) {
            f->kept_rows[t.n] = (int32_t)(p->row + skip + i);
            f->kept_positions[t.n] = (int32_t)(p->n_past + skip + i);
        }
    }
    f->n_kept += t.n;
    size_t n_embd = f->m->hp.n_embd;
    pare_status st = PARE_OK;
    if (t.n > 0)
        st = f->b->gather(f->b, slice_x(f, s), f->kept_rows, t.n, (uint32_t)n_embd, f->branch, err);
    if (st == PARE_OK && t.n > 0)
        st = f->b->copy(f->b, slice_x(f, &t), f->branch, t.n * n_embd * sizeof(float), err);
    *s = t;
    return st;
}

static pare_status run_layer(pare_forward *f, uint32_t layer, slice *s, pare_error *err)
{
    const pare_forward_weights *l = &f->layers[layer];
    bool parallel = f->m->arch->wiring.parallel_residual && !f->m->hp.residual_in_turn;
    /* Parallel layers with one norm feed both parts from it; with attn_norm_2 that one feeds attention. */
    pare_weight attn_norm = parallel && l->w[PARE_W_ATTN_NORM_2] != NULL ? PARE_W_ATTN_NORM_2 : PARE_W_ATTN_NORM;
    pare_weight ffn_norm = parallel && l->w[PARE_W_FFN_NORM] == NULL ? PARE_W_ATTN_NORM : PARE_W_FFN_NORM;
    const float *in;
    pare_status st;
    if ((st = part_input(f, l, attn_norm, s, &in, err)) != PARE_OK ||
        (st = make_keys(f, l, layer, s, in, err)) != PARE_OK)
        return st;
    if (layer + 1 == f->m->hp.n_layer && f->first > 0) {
        if ((st = drop_tokens(f, s, err)) != PARE_OK || s->n == 0)
            return st;
        if ((st = part_input(f, l, attn_norm, s, &in, err)) != PARE_OK)
            return st;
    }
    if ((st = attend(f, l, layer, s, in, err)) != PARE_OK)
        return st;
    if (parallel && (st = part_input(f, l, ffn_norm, s, &in, err)) != PARE_OK)
        return st;
    if ((st = add_product(f, l, PARE_W_ATTN_OUT, f->o, PARE_W_ATTN_POST_NORM, s, err)) != PARE_OK)
        return st;
    if (!parallel && (st = part_input(f, l, ffn_norm, s, &in, err)) != PARE_OK)
        return st;
    if (pare_forward_has_experts(f, l)) {
        st = pare_forward_experts(f, l, in, s->n, f->branch, err);
        return st == PARE_OK ? add_branch(f, l, PARE_W_FFN_POST_NORM, s, err) : st;
    }
    st = dense_ffn(f, l, in, s->n, err);
    return st == PARE_OK ? add_product(f, l, PARE_W_FFN_DOWN, f->up, PARE_W_FFN_POST_NORM, s, err) : st;
}

/* x += the learned embeddings of the slice's positions */
static pare_status add_positions(pare_forward *f, const slice *s, pare_error *err)
{
    pare_status st = f->b->embed(f->b, f->model.w[PARE_W_POS_EMBD], f->positions + s->first, s->n, f->h, err);
    return st == PARE_OK ? f->b->add(f->b, slice_x(f, s), f->h, 1, (size_t)s->n * f->m->hp.n_embd, err) : st;
}

/* x = embeddings of the tokens, with learned positions and the norm that some families put behind them */
static pare_status embed_tokens(pare_forward *f, const int32_t *ids, const slice *s, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    uint32_t n = s->n;
    float *x = slice_x(f, s);
    pare_status st = f->b->embed(f->b, f->model.w[PARE_W_TOKEN_EMBD], ids + s->first, n, x, err);
    if (st == PARE_OK && hp->embd_scale != 0 && hp->embd_scale != 1)
        st = f->b->scale(f->b, x, hp->embd_scale, (size_t)n * hp->n_embd, err);
    if (st == PARE_OK && f->model.w[PARE_W_POS_EMBD] != NULL)
        st = add_positions(f, s, err);
    if (st == PARE_OK && f->model.w[PARE_W_TOKEN_EMBD_NORM] != NULL)
        st = normalize(f, &f->model, PARE_W_TOKEN_EMBD_NORM, x, n, hp->n_embd, x, err);
    return st;
}

pare_status pare_forward_pass(pare_forward *f, const int32_t *ids, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < f->n_rows && st == PARE_OK; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= hp->n_vocab)
            st = pare_fail(err, PARE_ERR_RANGE,
                           "%s: token %" PRIu32 " of the input has id %" PRId32 "; the model has %" PRIu32
                           " rows of embeddings",
                           f->m->path, i, ids[i], hp->n_vocab);
    if (st == PARE_OK)
        st = pare_forward_enter_workspace(f, err);
    if (st == PARE_OK)
        st = pare_forward_expect(f, 0, err);
    for (slice s = {0}; st == PARE_OK && next_slice(f, &s);)
        st = embed_tokens(f, ids, &s, err);
    for (uint32_t i = 0; st == PARE_OK && i < hp->n_layer; i++) {
        st = pare_forward_expect(f, i + 1, err);
        for (slice s = {0}; st == PARE_OK && next_slice(f, &s);)
            if ((st = pare_check_interrupt(err)) == PARE_OK) {
                f->at = (uint32_t)s.first;
                st = run_layer(f, i, &(slice){s.first, s.n, s.positions, s.spans, s.n_spans}, err);
            }
    }
    f->n_seq = st == PARE_OK ? 1 : 0;
    f->n = st == PARE_OK ? f->n_rows : 0;
    return st;
}

pare_status pare_forward_run(pare_forward *f, const int32_t *ids, uint32_t n_seq, uint32_t n, pare_error *err)
{
    return pare_forward_run_from(f, ids, n_seq, n, 0, err);
}

pare_status pare_forward_run_from(pare_forward *f, const int32_t *ids, uint32_t n_seq, uint32_t n, uint32_t first,
                                  pare_error *err)
{
    pare_forward_begin(f, NULL);
    if (n_seq == 0 || n == 0 || n > f->n_ctx || n_seq > f->max_tokens / n || first >= n)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: %" PRIu32 " sequences of %" PRIu32 " tokens; prepared for %" PRIu32
                         " tokens, of sequences of up to %" PRIu32,
                         f->m->path, n_seq, n, f->max_tokens, f->n_ctx);
    f->first = f->m->hp.n_layer > 0 ? first : 0;
    for (uint32_t s = 0; s < n_seq; s++)
        pare_forward_add(f, n, 0, (size_t)s * n);
    pare_status st = pare_forward_pass(f, ids, err);
    if (st == PARE_OK) {
        f->n_seq = n_seq;
        f->n = n;
    }
    return st;
}

pare_status pare_forward_run_each(pare_forward *f, const int32_t *ids, const uint32_t *n, uint32_t n_seq,
                                  pare_error *err)
{
    uint32_t total = 0;
    pare_forward_begin(f, NULL);
    for (uint32_t s = 0; s < n_seq; s++) {
        if (n[s] == 0 || n[s] > f->n_ctx || n[s] > f->max_tokens - total)
            return pare_fail(err, PARE_ERR_USAGE,
                             "%s: sequence %" PRIu32 " of %" PRIu32 " tokens behind %" PRIu32 "; prepared for %" PRIu32
                             " tokens, of sequences of up to %" PRIu32,
                             f->m->path, s, n[s], total, f->max_tokens, f->n_ctx);
        pare_forward_add(f, n[s], 0, total);
        total += n[s];
    }
    return pare_forward_pass(f, ids, err);
}

static pare_weight output_weight(const pare_forward *f)
{
    return f->model.w[PARE_W_OUTPUT] != NULL ? PARE_W_OUTPUT : PARE_W_TOKEN_EMBD;
}

static float logit_scale(const pare_forward *f)
{
    return f->m->hp.logit_scale != 0 ? f->m->hp.logit_scale : 1;
}

/* Logits of n hidden states x into y, device memory; at most a slice. */
static pare_status output_rows(pare_forward *f, const float *x, uint32_t n, float *y, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    size_t n_all = (size_t)n * hp->n_vocab;
    pare_status st = PARE_OK;
    if (!f->x_is_normal)
        st = normalize(f, &f->model, PARE_W_OUTPUT_NORM, x, n, hp->n_embd, f->h, err);
    if (st == PARE_OK)
        st = pare_forward_linear(f, &f->model, output_weight(f), 0, hp->n_vocab, f->x_is_normal ? x : f->h, n, y, err);
    if (st == PARE_OK && logit_scale(f) != 1)
        st = f->b->scale(f->b, y, logit_scale(f), n_all, err);
    if (st == PARE_OK && hp->final_softcap != 0)
        st = f->b->softcap(f->b, y, hp->final_softcap, n_all, err);
    return st;
}

/* Logits of n rows of x from `first` on, or of those that rows, if not NULL, names. */
static pare_status logits_of(pare_forward *f, size_t first, const int32_t *rows, uint32_t n, float *out,
                             pare_error *err)
{
    size_t n_vocab = f->m->hp.n_vocab, n_embd = f->m->hp.n_embd;
    uint32_t most = n < f->slice_tokens ? n : f->slice_tokens;
    float *y = NULL;
    pare_status st = pare_forward_enter_workspace(f, err);
    if (st == PARE_OK && n > 0 && !f->b->host_memory &&
        (y = f->b->alloc(f->b, most * n_vocab * sizeof *y, err)) == NULL)
        st = PARE_ERR_MEMORY;
    for (uint32_t done = 0; st == PARE_OK && done < n; done += most) {
        uint32_t part = n - done < most ? n - done : most;
        float *to = out + done * n_vocab;
        if (rows != NULL)
            st = f->b->gather(f->b, f->x, rows + done, part, (uint32_t)n_embd, f->branch, err);
        if (st == PARE_OK)
            st = output_rows(f, rows != NULL ? f->branch : f->x + (first + done) * n_embd, part, y != NULL ? y : to,
                             err);
        if (st == PARE_OK && y != NULL)
            st = f->b->download(f->b, to, y, part * n_vocab * sizeof *y, err);
    }
    f->b->release(f->b, y);
    return st;
}

pare_status pare_forward_logits(pare_forward *f, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    if (seq < f->n_seq && pos >= f->first && pos <= f->n && n <= f->n - pos)
        return logits_of(f, (size_t)seq * (f->n - f->first) + pos - f->first, NULL, n, out, err);
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s: logits of positions %" PRIu32 " to %" PRIu64 " of sequence %" PRIu32
                     "; the last run had %" PRIu32 " sequences of %" PRIu32 " and kept them from %" PRIu32 " on",
                     f->m->path, pos, (uint64_t)pos + n, seq, f->n_seq, f->n, f->first);
}

/* What makes logits of hidden states x. */
static pare_score_side score_side(const pare_forward *f, const float *x)
{
    pare_weight id = output_weight(f);
    return (pare_score_side){.x = x,
                             .w = f->model.w[id],
                             .bias = f->model.b[id],
                             .scale = logit_scale(f),
                             .softcap = f->m->hp.final_softcap};
}

pare_status pare_forward_score_side(pare_forward *f, pare_score_side *out, uint32_t *n, pare_error *err)
{
    pare_status st = PARE_OK;
    *n = f->n_seq * (f->n - f->first);
    if (!f->x_is_normal && *n > 0)
        st = normalize(f, &f->model, PARE_W_OUTPUT_NORM, f->x, *n, f->m->hp.n_embd, f->x, err);
    f->x_is_normal = st == PARE_OK;
    *out = score_side(f, f->x);
    return st;
}

/* Are these tokens whose hidden states the last run has kept? */
static pare_status check_tokens(const pare_forward *f, const int32_t *tokens, uint32_t n, pare_error *err)
{
    for (uint32_t i = 0; i < n; i++)
        if (tokens[i] < 0 || (uint64_t)tokens[i] >= (uint64_t)f->n_seq * f->n || f->first > 0)
            return pare_fail(err, PARE_ERR_USAGE,
                             "%s: logits of token %" PRId32 "; the last run had %" PRIu32 " sequences of %" PRIu32,
                             f->m->path, tokens[i], f->n_seq, f->n);
    return PARE_OK;
}

pare_status pare_forward_logits_at(pare_forward *f, const int32_t *tokens, uint32_t n, float *out, pare_error *err)
{
    pare_status st = check_tokens(f, tokens, n, err);
    return st == PARE_OK ? logits_of(f, 0, tokens, n, out, err) : st;
}

pare_status pare_forward_score_at(pare_forward *f, const int32_t *tokens, const int32_t *targets, uint32_t n,
                                  pare_position_score *out, pare_error *err)
{
    uint32_t n_embd = f->m->hp.n_embd;
    pare_status st = check_tokens(f, tokens, n, err);
    if (st == PARE_OK)
        st = pare_forward_enter_workspace(f, err);
    const pare_score_side side = score_side(f, f->x_is_normal ? f->branch : f->h);
    for (uint32_t done = 0, part; st == PARE_OK && done < n; done += part) {
        part = n - done < f->slice_tokens ? n - done : f->slice_tokens;
        st = f->b->gather(f->b, f->x, tokens + done, part, n_embd, f->branch, err);
        if (st == PARE_OK && !f->x_is_normal)
            st = normalize(f, &f->model, PARE_W_OUTPUT_NORM, f->branch, part, n_embd, f->h, err);
        if (st == PARE_OK)
            st = f->b->score(f->b, &side, 1, NULL, targets + done, part, out + done, err);
    }
    return st;
}
