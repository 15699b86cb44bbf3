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
    pare_status st = PARE_OK;
    if (f->observe != NULL && row == 0)
        st = f->observe(l->w[id], 0, x, n, f->observe_user, err);
    if (st == PARE_OK)
        st = product(f->b, l->w[id], row, n_rows, x, n, y, err);
    if (st == PARE_OK && l->w[id]->factor != NULL)
        st = f->b->scale(f->b, y, *l->w[id]->factor, (size_t)n * n_rows, err);
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
    f->kv.n_seqs = 0;
    f->x_is_normal = false;
    f->cache = cache;
}

/* A run passes through a layer in slices: whole sequences, as many as there is room for, or a part of one. A token sees
 * only tokens before it, so slices in turn give what all tokens at once would; where attention looks both ways there is
 * room for a whole sequence. The rows of a slice's spans count from its start; row 0 begins the next slice. */
void pare_forward_add(pare_forward *f, uint32_t n, uint32_t n_past, size_t kv_row)
{
    const pare_attention_span *last = f->n_spans > 0 ? &f->spans[f->n_spans - 1] : NULL;
    uint32_t row = last != NULL ? last->row + last->n : 0;
    pare_forward_add_sequence(f, n_past + n, kv_row);
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

/* Go on to the next slice of the run, from a zeroed one to the first. */
static bool next_slice(const pare_forward *f, pare_forward_slice *s)
{
    const pare_attention_span *end = f->spans + f->n_spans;
    *s = (pare_forward_slice){.first = s->first + s->n, .spans = s->spans != NULL ? s->spans + s->n_spans : f->spans};
    if (s->spans == end)
        return false;
    s->positions = f->positions + s->first;
    do
        s->n += s->spans[s->n_spans++].n;
    while (s->spans + s->n_spans < end && s->spans[s->n_spans].row != 0);
    return true;
}

static float *slice_x(const pare_forward *f, const pare_forward_slice *s)
{
    return f->x + s->first * f->m->hp.n_embd;
}

pare_status pare_forward_normalize(pare_forward *f, const pare_forward_weights *l, pare_weight id, const float *x,
                                   uint64_t n, uint32_t width, float *y, pare_error *err)
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

pare_status pare_forward_activate(pare_forward *f, size_t n, pare_error *err)
{
    const pare_wiring *wiring = &f->m->arch->wiring;
    const pare_clamped_glu glu = {f->gate, f->up, n, f->m->hp.glu_alpha, f->m->hp.glu_limit, f->up};
    pare_activation act = pare_arch_act(f->m->arch, &f->m->hp);
    if (act == PARE_ACT_CLAMPED_GLU)
        return f->b->clamped_glu(f->b, &glu, err);
    return f->b->activate(f->b, act, wiring->gated_ffn ? f->gate : NULL, f->up, n, f->up, err);
}

/* up = act(gate(x)) * up(x) or act(up(x)) for n tokens */
static pare_status dense_ffn(pare_forward *f, const pare_forward_weights *l, const float *x, uint32_t n,
                             pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_wiring *wiring = &f->m->arch->wiring;
    const uint32_t layer = (uint32_t)(l - f->layers), n_ff = pare_layer_shape_of(hp, layer).n_ff;
    bool fused = pare_forward_gate_is_fused(f, l);
    pare_status st = PARE_OK;
    if (wiring->gated_ffn)
        st = pare_forward_linear(f, l, fused ? PARE_W_FFN_UP : PARE_W_FFN_GATE, 0, n_ff, x, n, f->gate, err);
    if (st == PARE_OK && pare_layers_have(&hp->sparse, layer))
        st = f->b->sparsify(f->b, f->gate, hp->ffn_sparsity, n, n_ff, err);
    if (st != PARE_OK ||
        (st = pare_forward_linear(f, l, PARE_W_FFN_UP, fused ? n_ff : 0, n_ff, x, n, f->up, err)) != PARE_OK)
        return st;
    st = pare_forward_activate(f, (size_t)n * n_ff, err);
    if (st == PARE_OK && l->w[PARE_W_FFN_SUB_NORM] != NULL)
        st = pare_forward_normalize(f, l, PARE_W_FFN_SUB_NORM, f->up, n, n_ff, f->up, err);
    return st;
}

static float residual_scale(const pare_forward *f)
{
    return f->m->hp.residual_scale != 0 ? f->m->hp.residual_scale : 1;
}

/* Add the branch to the residual stream, after its own norm where the layer has one. */
static pare_status add_branch(pare_forward *f, const pare_forward_weights *l, pare_weight post_norm,
                              const pare_forward_slice *s, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_status st = PARE_OK;
    if (l->w[post_norm] != NULL)
        st = pare_forward_normalize(f, l, post_norm, f->branch, s->n, hp->n_embd, f->branch, err);
    if (st != PARE_OK)
        return st;
    return f->b->add(f->b, slice_x(f, s), f->branch, residual_scale(f), (size_t)s->n * hp->n_embd, err);
}

/* The product that ends a part of a layer, added to the residual stream: at once where nothing is done to it before. */
static pare_status add_product(pare_forward *f, const pare_forward_weights *l, pare_weight id, const float *in,
                               pare_weight post_norm, const pare_forward_slice *s, pare_error *err)
{
    uint32_t n_embd = f->m->hp.n_embd;
    if (f->b->matmul_add != NULL && l->w[post_norm] == NULL && l->w[id]->factor == NULL && residual_scale(f) == 1)
        return linear(f, l, id, f->b->matmul_add, 0, n_embd, in, s->n, slice_x(f, s), err);
    pare_status st = pare_forward_linear(f, l, id, 0, n_embd, in, s->n, f->branch, err);
    return st == PARE_OK ? add_branch(f, l, post_norm, s, err) : st;
}

/* The input of a part of a layer: the residual stream, normalised where the layer has that norm. */
static pare_status part_input(pare_forward *f, const pare_forward_weights *l, pare_weight norm,
                              const pare_forward_slice *s, const float **in, pare_error *err)
{
    bool normal = l->w[norm] != NULL || f->m->arch->wiring.bare_norms;
    *in = normal ? f->h : slice_x(f, s);
    if (!normal)
        return PARE_OK;
    return pare_forward_normalize(f, l, norm, slice_x(f, s), s->n, f->m->hp.n_embd, f->h, err);
}

/* In the last layer, what follows keys and values is needed for the tokens only whose logits are read: move their rows
 * of x together at the front of x, behind those of the slices before, and make a slice of them. */
static pare_status drop_tokens(pare_forward *f, pare_forward_slice *s, pare_error *err)
{
    pare_forward_slice t = {.first = f->n_kept, .positions = f->kept_positions, .spans = f->kept_spans};
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

/* The norm that some families put on the stream itself, behind a part of a layer. */
static pare_status normalize_stream(pare_forward *f, const pare_forward_weights *l, pare_weight norm,
                                    const pare_forward_slice *s, pare_error *err)
{
    if (l->w[norm] == NULL)
        return PARE_OK;
    return pare_forward_normalize(f, l, norm, slice_x(f, s), s->n, f->m->hp.n_embd, slice_x(f, s), err);
}

/* y = norm(y), where the layer has that norm */
static pare_status normalize_part(pare_forward *f, const pare_forward_weights *l, pare_weight norm, uint32_t n,
                                  float *y, pare_error *err)
{
    return l->w[norm] != NULL ? pare_forward_normalize(f, l, norm, y, n, f->m->hp.n_embd, y, err) : PARE_OK;
}

/* f->branch += what the FFN beside the experts makes of the stream */
static pare_status add_dense(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                             pare_error *err)
{
    uint32_t n_embd = f->m->hp.n_embd;
    const float *in;
    pare_status st;
    if ((st = part_input(f, l, PARE_W_FFN_NORM, s, &in, err)) != PARE_OK ||
        (st = dense_ffn(f, l, in, s->n, err)) != PARE_OK ||
        (st = pare_forward_linear(f, l, PARE_W_FFN_DOWN, 0, n_embd, f->up, s->n, f->h, err)) != PARE_OK ||
        (st = normalize_part(f, l, PARE_W_FFN_POST_NORM_1, s->n, f->h, err)) != PARE_OK)
        return st;
    return f->b->add(f->b, f->branch, f->h, 1, (size_t)s->n * n_embd, err);
}

static pare_status run_ffn(pare_forward *f, const pare_forward_weights *l, const float *in, const pare_forward_slice *s,
                           pare_error *err)
{
    pare_status st = PARE_OK;
    if (pare_forward_has_experts(f, l)) {
        if (l->w[PARE_W_FFN_PRE_NORM_2] != NULL)
            st = part_input(f, l, PARE_W_FFN_PRE_NORM_2, s, &in, err);
        if (st == PARE_OK)
            st = pare_forward_experts(f, l, in, slice_x(f, s), s->n, f->branch, err);
        if (st == PARE_OK)
            st = normalize_part(f, l, PARE_W_FFN_POST_NORM_2, s->n, f->branch, err);
        if (st == PARE_OK && l->w[PARE_W_FFN_UP] != NULL)
            st = add_dense(f, l, s, err);
        return st == PARE_OK ? add_branch(f, l, PARE_W_FFN_POST_NORM, s, err) : st;
    }
    st = dense_ffn(f, l, in, s->n, err);
    return st == PARE_OK ? add_product(f, l, PARE_W_FFN_DOWN, f->up, PARE_W_FFN_POST_NORM, s, err) : st;
}

/* A layer whose tokens see those before through a state: none can be left out before it has been updated. */
static pare_status run_recurrent_layer(pare_forward *f, uint32_t layer, pare_forward_slice *s, pare_error *err)
{
    const pare_forward_weights *l = &f->layers[layer];
    const float *in;
    pare_status st;
    if ((st = part_input(f, l, PARE_W_ATTN_NORM, s, &in, err)) != PARE_OK ||
        (st = pare_forward_recur(f, l, layer, s, in, err)) != PARE_OK ||
        (st = add_product(f, l, PARE_W_SSM_OUT, f->o, PARE_W_ATTN_POST_NORM, s, err)) != PARE_OK)
        return st;
    if (layer + 1 == f->m->hp.n_layer && f->first > 0)
        if ((st = drop_tokens(f, s, err)) != PARE_OK || s->n == 0)
            return st;
    st = part_input(f, l, PARE_W_FFN_NORM, s, &in, err);
    return st == PARE_OK ? run_ffn(f, l, in, s, err) : st;
}

/* The number that some families multiply the stream by, behind a layer. */
static pare_status scale_stream(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                pare_error *err)
{
    float factor;
    if (l->w[PARE_W_LAYER_SCALE] == NULL)
        return PARE_OK;
    pare_status st = pare_tensor_read_f32(l->w[PARE_W_LAYER_SCALE], 0, 1, &factor, err);
    return st == PARE_OK ? f->b->scale(f->b, slice_x(f, s), factor, (size_t)s->n * f->m->hp.n_embd, err) : st;
}

static pare_status run_layer(pare_forward *f, uint32_t layer, pare_forward_slice *s, pare_error *err)
{
    const pare_forward_weights *l = &f->layers[layer];
    bool parallel = f->m->arch->wiring.parallel_residual && !f->m->hp.residual_in_turn;
    /* Parallel layers with one norm feed both parts from it; with attn_norm_2 that one feeds attention. */
    pare_weight attn_norm = parallel && l->w[PARE_W_ATTN_NORM_2] != NULL ? PARE_W_ATTN_NORM_2 : PARE_W_ATTN_NORM;
    pare_weight ffn_norm = parallel && l->w[PARE_W_FFN_NORM] == NULL ? PARE_W_ATTN_NORM : PARE_W_FFN_NORM;
    const float *in;
    pare_status st;
    if (pare_forward_is_recurrent(l))
        return run_recurrent_layer(f, layer, s, err);
    if ((st = pare_forward_predict(f, l, s, err)) != PARE_OK ||
        (st = part_input(f, l, attn_norm, s, &in, err)) != PARE_OK ||
        (st = pare_forward_make_keys(f, l, layer, s, in, err)) != PARE_OK)
        return st;
    bool last = layer + 1 == f->m->hp.n_layer && f->first > 0, closes = pare_forward_closes_layers(f);
    if (last && !closes) {
        if ((st = drop_tokens(f, s, err)) != PARE_OK || s->n == 0)
            return st;
        if ((st = part_input(f, l, attn_norm, s, &in, err)) != PARE_OK)
            return st;
    }
    if ((st = pare_forward_attend(f, l, layer, s, in, err)) != PARE_OK)
        return st;
    if (parallel && (st = part_input(f, l, ffn_norm, s, &in, err)) != PARE_OK)
        return st;
    if ((st = add_product(f, l, PARE_W_ATTN_OUT, f->o, PARE_W_ATTN_POST_NORM, s, err)) != PARE_OK ||
        (st = normalize_stream(f, l, PARE_W_ATTN_OUT_NORM, s, err)) != PARE_OK ||
        (st = pare_forward_laurel(f, l, in, s, err)) != PARE_OK)
        return st;
    if (!parallel && (st = part_input(f, l, ffn_norm, s, &in, err)) != PARE_OK)
        return st;
    if ((st = run_ffn(f, l, in, s, err)) != PARE_OK ||
        (st = normalize_stream(f, l, PARE_W_LAYER_OUT_NORM, s, err)) != PARE_OK ||
        (st = closes ? pare_forward_close_layer(f, l, layer, s, err) : PARE_OK) != PARE_OK ||
        (st = scale_stream(f, l, s, err)) != PARE_OK)
        return st;
    return last && closes ? drop_tokens(f, s, err) : PARE_OK;
}

/* x += the learned embeddings of the slice's positions */
static pare_status add_positions(pare_forward *f, const pare_forward_slice *s, pare_error *err)
{
    pare_status st = f->b->embed(f->b, f->model.w[PARE_W_POS_EMBD], f->positions + s->first, s->n, f->h, err);
    return st == PARE_OK ? f->b->add(f->b, slice_x(f, s), f->h, 1, (size_t)s->n * f->m->hp.n_embd, err) : st;
}

/* x = embeddings of the tokens, with learned positions and the norm that some families put behind them */
static pare_status embed_tokens(pare_forward *f, const int32_t *ids, const pare_forward_slice *s, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    uint32_t n = s->n;
    float *x = slice_x(f, s);
    pare_status st = f->b->embed(f->b, f->model.w[PARE_W_TOKEN_EMBD], ids + s->first, n, x, err);
    if (st == PARE_OK && hp->embd_scale != 0 && hp->embd_scale != 1)
        st = f->b->scale(f->b, x, hp->embd_scale, (size_t)n * hp->n_embd, err);
    if (st == PARE_OK && f->model.w[PARE_W_POS_EMBD] != NULL)
        st = add_positions(f, s, err);
    if (st == PARE_OK && f->model.w[PARE_W_TOKEN_TYPES] != NULL) /* a text is of the first type */
        st = f->b->add_row(f->b, x, f->model.w[PARE_W_TOKEN_TYPES], 0, n, hp->n_embd, err);
    if (st == PARE_OK && f->model.w[PARE_W_TOKEN_EMBD_NORM] != NULL)
        st = pare_forward_normalize(f, &f->model, PARE_W_TOKEN_EMBD_NORM, x, n, hp->n_embd, x, err);
    return st == PARE_OK ? pare_forward_spread(f, ids, s, err) : st;
}

/* x = embeddings of all tokens of the plan */
static pare_status embed_all(pare_forward *f, const int32_t *ids, pare_error *err)
{
    const uint32_t n_vocab = f->m->hp.n_vocab;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < f->n_rows && st == PARE_OK; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= n_vocab)
            st = pare_fail(err, PARE_ERR_RANGE,
                           "%s: token %" PRIu32 " of the input has id %" PRId32 "; the model has %" PRIu32
                           " rows of embeddings",
                           f->m->path, i, ids[i], n_vocab);
    if (st == PARE_OK)
        st = pare_forward_enter_workspace(f, err);
    if (st == PARE_OK)
        st = pare_forward_expect(f, 0, err);
    for (pare_forward_slice s = {0}; st == PARE_OK && next_slice(f, &s);)
        st = embed_tokens(f, ids, &s, err);
    return st;
}

/* All tokens of the plan through a layer. */
static pare_status run_slices(pare_forward *f, uint32_t layer, pare_error *err)
{
    pare_status st = PARE_OK;
    for (pare_forward_slice s = {0}; st == PARE_OK && next_slice(f, &s);)
        if ((st = pare_check_interrupt(err)) == PARE_OK) {
            f->at = (uint32_t)s.first;
            f->slice_ends = false;
            st = run_layer(f, layer, &(pare_forward_slice){s.first, s.n, s.positions, s.spans, s.n_spans}, err);
            st = f->slice_ends ? PARE_OK : st;
        }
    return st;
}

pare_status pare_forward_pass(pare_forward *f, const int32_t *ids, pare_error *err)
{
    pare_status st = embed_all(f, ids, err);
    for (uint32_t i = 0; st == PARE_OK && i < f->m->hp.n_layer; i++) {
        st = pare_forward_expect(f, i + 1, err);
        if (st == PARE_OK)
            st = run_slices(f, i, err);
    }
    f->n_seq = st == PARE_OK ? 1 : 0;
    f->n = st == PARE_OK ? f->n_rows : 0;
    return st;
}

pare_status pare_forward_run(pare_forward *f, const int32_t *ids, uint32_t n_seq, uint32_t n, pare_error *err)
{
    return pare_forward_run_from(f, ids, n_seq, n, 0, err);
}

/* The plan of n_seq sequences of n tokens. */
static pare_status plan_run(pare_forward *f, uint32_t n_seq, uint32_t n, uint32_t first, pare_error *err)
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
    return PARE_OK;
}

pare_status pare_forward_run_from(pare_forward *f, const int32_t *ids, uint32_t n_seq, uint32_t n, uint32_t first,
                                  pare_error *err)
{
    pare_status st = plan_run(f, n_seq, n, first, err);
    if (st == PARE_OK)
        st = pare_forward_pass(f, ids, err);
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

/* Bytes of the states of the plan's tokens. */
static size_t state_bytes(const pare_forward *f)
{
    return (size_t)f->n_rows * f->m->hp.n_embd * sizeof *f->x;
}

bool pare_forward_is_layered(const pare_forward *f)
{
    const pare_hparams *hp = &f->m->hp;
    return hp->n_stream == 0 && hp->n_embd_layer == 0 && hp->n_layer_shared_kv == 0;
}

pare_status pare_forward_embed(pare_forward *f, const int32_t *ids, uint32_t n_seq, uint32_t n, float *x,
                               pare_error *err)
{
    pare_status st = plan_run(f, n_seq, n, 0, err);
    if (st == PARE_OK)
        st = embed_all(f, ids, err);
    return st == PARE_OK ? f->b->download(f->b, x, f->x, state_bytes(f), err) : st;
}

pare_status pare_forward_layer(pare_forward *f, uint32_t layer, uint32_t n_seq, uint32_t n, float *x, pare_error *err)
{
    const uint32_t n_layer = f->m->hp.n_layer;
    pare_status st = plan_run(f, n_seq, n, 0, err);
    if (st == PARE_OK)
        st = pare_forward_enter_workspace(f, err);
    if (st == PARE_OK)
        st = f->b->upload(f->b, f->x, x, state_bytes(f), err);
    if (st == PARE_OK)
        st = pare_forward_expect(f, layer, err);
    if (st == PARE_OK && layer < n_layer)
        st = run_slices(f, layer, err);
    if (st == PARE_OK && layer < n_layer)
        st = f->b->download(f->b, x, f->x, state_bytes(f), err);
    if (st == PARE_OK) {
        f->n_seq = n_seq;
        f->n = n;
    }
    return st;
}

const float *pare_forward_stream(const pare_forward *f)
{
    return f->x + (size_t)f->at * f->m->hp.n_embd;
}

pare_status pare_forward_end_slice(pare_forward *f)
{
    f->slice_ends = true;
    return PARE_ERR_INTERRUPTED;
}
