/* Latent attention of the forward pass (DeepSeek-AI, arXiv 2405.04434, section 2.1). Of a token with input x:
 *
 *   c = norm(kv_a x)[0 .. r)         what keys and values of all heads are made of
 *   p = rope((kv_a x)[r .. r + d))   the part of a key that all heads share
 *   q_h = [u_h, rope(w_h)]           of q x, or of q_b norm(q_a x)
 *
 * A head's key is [K_h c, p] and its value V_h c. With K and V in tensors of their own (attn_k_b, which holds the
 * transposed K_h, and attn_v_b) nothing of that is made for each token of the context:
 *
 *   u_h . K_h c = (K_h^T u_h) . c    sum over s of p_s V_h c_s = V_h (sum over s of p_s c_s)
 *
 * so all heads attend to one head of keys [c, p] and values c, which is what the cache holds. With both in one tensor
 * (attn_kv_b, older files) keys and values are made head by head. */
#include "eval/forward_parts.h"

#include <inttypes.h>

bool pare_forward_is_latent(const pare_forward *f)
{
    return f->m->arch->latent;
}

bool pare_forward_values_in_keys(const pare_forward *f)
{
    return f->m->arch->latent && !f->m->hp.latent_whole;
}

pare_status pare_forward_take_values(pare_forward *f, const float *k, const pare_forward_slice *s, pare_attention *a,
                                     pare_error *err)
{
    float *v = f->cache->view[1];
    pare_status st = PARE_OK;
    for (const pare_attention_span *p = s->spans; p < s->spans + s->n_spans && st == PARE_OK; p++)
        st = f->b->copy_columns(f->b, k + p->kv_row * f->n_k, f->n_k, 0, p->n_past + p->n, f->n_v,
                                v + p->kv_row * f->n_v, f->n_v, 0, err);
    a->v = v;
    return st;
}

static uint32_t head_plain(const pare_hparams *hp)
{
    return hp->head_dim_k - hp->n_rot;
}

void pare_forward_latent_widths(pare_forward *f)
{
    const pare_hparams *hp = &f->m->hp;
    if (hp->latent_whole)
        return;
    f->n_q = hp->n_head * (hp->n_lora_kv + hp->n_rot);
    f->n_k = hp->n_lora_kv + hp->n_rot;
    f->n_v = hp->n_lora_kv;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

pare_status pare_forward_reserve_latent(pare_forward *f, uint64_t slice, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    if (!pare_forward_is_latent(f))
        return PARE_OK;
    uint32_t head = larger(larger(head_plain(hp), hp->n_lora_kv), hp->head_dim_v);
    uint32_t heads = hp->latent_whole ? hp->n_head * (head_plain(hp) + hp->head_dim_v) : hp->n_head * hp->n_lora_kv;
    const struct {
        float **buffer;
        uint64_t width;
    } parts[] = {{&f->latent.a, larger(hp->n_lora_q, hp->n_lora_kv + hp->n_rot)},
                 {&f->latent.q, (uint64_t)hp->n_head * hp->head_dim_k},
                 {&f->latent.rot, (uint64_t)hp->n_head * hp->n_rot},
                 {&f->latent.heads, heads},
                 {&f->latent.in, head},
                 {&f->latent.out, head}};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && st == PARE_OK; i++)
        st = pare_forward_share(f, parts[i].buffer, slice, parts[i].width, err);
    return st;
}

/* [n_head, n_rows, row_len] */
static pare_status want_heads(const pare_forward *f, const pare_forward_weights *l, pare_weight id, uint32_t layer,
                              uint32_t n_rows, uint32_t row_len, pare_error *err)
{
    uint32_t n_head = f->m->hp.n_head;
    const pare_tensor *t = l->w[id];
    pare_status st = pare_forward_want_matrix(f, l, id, layer, (uint64_t)n_head * n_rows, row_len, err);
    if (st == PARE_OK && pare_tensor_matrices(t) != n_head)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: tensor '%s' at offset %" PRIu64 " has %" PRIu64 " matrices; there are %" PRIu32 " heads",
                       f->m->path, t->name, t->offset, pare_tensor_matrices(t), n_head);
    return st;
}

static pare_status check_queries(const pare_forward *f, const pare_forward_weights *l, uint32_t layer, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    uint64_t n_q = (uint64_t)hp->n_head * hp->head_dim_k;
    if (hp->n_lora_q == 0)
        return pare_forward_want_matrix(f, l, PARE_W_ATTN_Q, layer, n_q, hp->n_embd, err);
    pare_status st = pare_forward_want_matrix(f, l, PARE_W_ATTN_Q_A, layer, hp->n_lora_q, hp->n_embd, err);
    if (st == PARE_OK)
        st = pare_forward_want_vector(f, l->w[PARE_W_ATTN_Q_A_NORM], hp->n_lora_q, err);
    return st == PARE_OK ? pare_forward_want_matrix(f, l, PARE_W_ATTN_Q_B, layer, n_q, hp->n_lora_q, err) : st;
}

pare_status pare_forward_check_latent(const pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                      pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_status st = check_queries(f, l, layer, err);
    if (st == PARE_OK)
        st = pare_forward_want_matrix(f, l, PARE_W_ATTN_KV_A, layer, hp->n_lora_kv + hp->n_rot, hp->n_embd, err);
    if (st == PARE_OK)
        st = pare_forward_want_vector(f, l->w[PARE_W_ATTN_KV_A_NORM], hp->n_lora_kv, err);
    if (st == PARE_OK && hp->latent_whole)
        st = pare_forward_want_matrix(f, l, PARE_W_ATTN_KV_B, layer,
                                      (uint64_t)hp->n_head * (head_plain(hp) + hp->head_dim_v), hp->n_lora_kv, err);
    if (st == PARE_OK && !hp->latent_whole)
        st = want_heads(f, l, PARE_W_ATTN_K_B, layer, hp->n_lora_kv, head_plain(hp), err);
    if (st == PARE_OK && !hp->latent_whole)
        st = want_heads(f, l, PARE_W_ATTN_V_B, layer, hp->head_dim_v, hp->n_lora_kv, err);
    return st == PARE_OK ? pare_forward_want_matrix(f, l, PARE_W_ATTN_OUT, layer, hp->n_embd, f->n_o, err) : st;
}

static pare_status normalize(pare_forward *f, const pare_tensor *weight, float *x, uint32_t n, uint32_t width,
                             pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_norm_op op = {.kind = f->m->arch->wiring.norm,
                       .x = x,
                       .n = n,
                       .width = width,
                       .weight = weight,
                       .eps = hp->latent_norm_eps != 0 ? hp->latent_norm_eps : hp->norm_eps,
                       .y = x};
    return f->b->norm(f->b, &op, err);
}

/* x: [n, n_head, n_rot] */
static pare_status turn(pare_forward *f, const pare_forward_slice *s, uint32_t n_head, float *x, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_rope rope = {.positions = s->positions,
                      .n = s->n,
                      .n_head = n_head,
                      .head_dim = hp->n_rot,
                      .n_rot = hp->n_rot,
                      .layout = f->m->arch->wiring.rope,
                      .cos_sin = f->cos_sin};
    return f->b->rope(f->b, &rope, x, err);
}

/* The leading elements of each head of y: [n, n_head, y_head] = matrix h of w times those of x: [n, n_head, x_head] */
static pare_status multiply_heads(pare_forward *f, const pare_tensor *w, const float *x, uint32_t x_head, uint32_t n,
                                  float *y, uint32_t y_head, pare_error *err)
{
    pare_backend *b = f->b;
    uint32_t n_head = f->m->hp.n_head, row_len = (uint32_t)w->row_len, n_rows = (uint32_t)(w->n_rows / n_head);
    pare_status st = PARE_OK;
    for (uint32_t h = 0; h < n_head && st == PARE_OK; h++) {
        st = b->copy_columns(b, x, n_head * x_head, h * x_head, n, row_len, f->latent.in, row_len, 0, err);
        if (st == PARE_OK)
            st = b->matmul(b, w, (uint64_t)h * n_rows, n_rows, f->latent.in, n, f->latent.out, err);
        if (st == PARE_OK && f->observe != NULL)
            st = f->observe(w, h, f->latent.in, n, f->observe_user, err);
        if (st == PARE_OK)
            st = b->copy_columns(b, f->latent.out, n_rows, 0, n, n_rows, y, n_head * y_head, h * y_head, err);
    }
    return st;
}

/* k = [c, p], v = c */
static pare_status split_keys(pare_forward *f, const pare_forward_slice *s, float *k, float *v, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_backend *b = f->b;
    pare_status st = b->copy(b, v, f->latent.in, (size_t)s->n * hp->n_lora_kv * sizeof *v, err);
    if (st == PARE_OK)
        st = b->copy_columns(b, v, hp->n_lora_kv, 0, s->n, hp->n_lora_kv, k, f->n_k, 0, err);
    if (st != PARE_OK)
        return st;
    return b->copy_columns(b, f->latent.rot, hp->n_rot, 0, s->n, hp->n_rot, k, f->n_k, hp->n_lora_kv, err);
}

/* k_h = [K_h c, p], v_h = V_h c; the rows of a head lie together in attn_kv_b */
static pare_status whole_keys(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s, float *k,
                              float *v, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_backend *b = f->b;
    uint32_t plain = head_plain(hp), both = plain + hp->head_dim_v, n_heads = s->n * hp->n_head;
    pare_status st =
        pare_forward_linear(f, l, PARE_W_ATTN_KV_B, 0, hp->n_head * both, f->latent.in, s->n, f->latent.heads, err);
    if (st == PARE_OK)
        st = b->copy_columns(b, f->latent.heads, both, 0, n_heads, plain, k, hp->head_dim_k, 0, err);
    if (st == PARE_OK)
        st = b->copy_columns(b, f->latent.heads, both, plain, n_heads, hp->head_dim_v, v, hp->head_dim_v, 0, err);
    for (uint32_t h = 0; h < hp->n_head && st == PARE_OK; h++)
        st = b->copy_columns(b, f->latent.rot, hp->n_rot, 0, s->n, hp->n_rot, k, f->n_k, h * hp->head_dim_k + plain,
                             err);
    return st;
}

pare_status pare_forward_latent_keys(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                     const float *x, float *k, float *v, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_backend *b = f->b;
    uint32_t r = hp->n_lora_kv, width = r + hp->n_rot;
    pare_status st;
    if ((st = pare_forward_linear(f, l, PARE_W_ATTN_KV_A, 0, width, x, s->n, f->latent.a, err)) != PARE_OK ||
        (st = b->copy_columns(b, f->latent.a, width, 0, s->n, r, f->latent.in, r, 0, err)) != PARE_OK ||
        (st = normalize(f, l->w[PARE_W_ATTN_KV_A_NORM], f->latent.in, s->n, r, err)) != PARE_OK ||
        (st = b->copy_columns(b, f->latent.a, width, r, s->n, hp->n_rot, f->latent.rot, hp->n_rot, 0, err)) !=
            PARE_OK ||
        (st = turn(f, s, 1, f->latent.rot, err)) != PARE_OK)
        return st;
    return hp->latent_whole ? whole_keys(f, l, s, k, v, err) : split_keys(f, s, k, v, err);
}

/* f->latent.q: [n, n_head, head_dim_k], and its turned parts in f->latent.rot: [n, n_head, n_rot] */
static pare_status make_queries(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                const float *x, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    uint32_t n_q = hp->n_head * hp->head_dim_k;
    pare_status st;
    if (hp->n_lora_q == 0)
        st = pare_forward_linear(f, l, PARE_W_ATTN_Q, 0, n_q, x, s->n, f->latent.q, err);
    else if ((st = pare_forward_linear(f, l, PARE_W_ATTN_Q_A, 0, hp->n_lora_q, x, s->n, f->latent.a, err)) == PARE_OK &&
             (st = normalize(f, l->w[PARE_W_ATTN_Q_A_NORM], f->latent.a, s->n, hp->n_lora_q, err)) == PARE_OK)
        st = pare_forward_linear(f, l, PARE_W_ATTN_Q_B, 0, n_q, f->latent.a, s->n, f->latent.q, err);
    if (st == PARE_OK)
        st = f->b->copy_columns(f->b, f->latent.q, hp->head_dim_k, head_plain(hp), s->n * hp->n_head, hp->n_rot,
                                f->latent.rot, hp->n_rot, 0, err);
    return st == PARE_OK ? turn(f, s, hp->n_head, f->latent.rot, err) : st;
}

pare_status pare_forward_latent_queries(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                        const float *x, pare_attention *a, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_backend *b = f->b;
    uint32_t r = hp->n_lora_kv, n_heads = s->n * hp->n_head;
    pare_status st = make_queries(f, l, s, x, err);
    if (st != PARE_OK)
        return st;
    if (hp->latent_whole) {
        a->q = f->latent.q;
        return b->copy_columns(b, f->latent.rot, hp->n_rot, 0, n_heads, hp->n_rot, f->latent.q, hp->head_dim_k,
                               head_plain(hp), err);
    }
    a->n_head_kv = 1;
    a->head_dim_k = r + hp->n_rot;
    a->head_dim_v = r;
    a->out = f->latent.heads;
    if ((st = multiply_heads(f, l->w[PARE_W_ATTN_K_B], f->latent.q, hp->head_dim_k, s->n, f->q, r + hp->n_rot, err)) !=
        PARE_OK)
        return st;
    return b->copy_columns(b, f->latent.rot, hp->n_rot, 0, n_heads, hp->n_rot, f->q, r + hp->n_rot, r, err);
}

pare_status pare_forward_latent_values(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                       pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    if (hp->latent_whole)
        return PARE_OK;
    return multiply_heads(f, l->w[PARE_W_ATTN_V_B], f->latent.heads, hp->n_lora_kv, s->n, f->o, hp->head_dim_v, err);
}
