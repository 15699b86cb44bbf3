#include "eval/forward_parts.h"

#include <inttypes.h>

enum { MAX_WIDTH = 1 << 28 }; /* of all heads together: the sum of q, k and v must fit 32 bits */

pare_status pare_forward_want_matrix(const pare_forward *f, const pare_forward_weights *l, pare_weight id,
                                     uint32_t layer, uint64_t n_rows, uint64_t row_len, pare_error *err)
{
    const pare_tensor *t = l->w[id];
    char name[128];
    if (t == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor '%s' is missing; the forward pass needs it", f->m->path,
                         pare_weight_name(name, sizeof name, id, layer, "weight"));
    if (t->n_rows != n_rows || t->row_len != row_len)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' at offset %" PRIu64 " has %" PRIu64 " rows of %" PRIu64
                         " elements; the hyperparameters say %" PRIu64 " of %" PRIu64,
                         f->m->path, t->name, t->offset, t->n_rows, t->row_len, n_rows, row_len);
    return PARE_OK;
}

pare_status pare_forward_want_vector(const pare_forward *f, const pare_tensor *t, uint64_t n, pare_error *err)
{
    if (t == NULL || (t->n_rows == 1 && t->row_len == n))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE,
                     "%s: tensor '%s' at offset %" PRIu64 " has %" PRIu64 " rows of %" PRIu64
                     " elements; the hyperparameters say one of %" PRIu64,
                     f->m->path, t->name, t->offset, t->n_rows, t->row_len, n);
}

/* A norm of heads that make up n elements: one for all of them, or one each. */
static pare_status want_head_norm(const pare_forward *f, const pare_tensor *t, uint32_t n_head, uint32_t n,
                                  pare_error *err)
{
    if (t != NULL && t->n_rows == n_head && t->row_len == n / n_head)
        return PARE_OK;
    return pare_forward_want_vector(f, t, n / n_head, err);
}

static pare_status check_attention(const pare_forward *f, const pare_forward_weights *l, uint32_t i, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_forward_widths of = pare_forward_widths_of(f, i);
    uint32_t n_head_kv = pare_layer_shape_of(hp, i).n_head_kv;
    bool whole = f->m->arch->wiring.qk_norm_whole;
    pare_status st;
    const struct {
        pare_weight id;
        uint32_t n_rows;
    } parts[] = {{PARE_W_ATTN_Q, f->m->arch->wiring.attn_gated ? 2 * of.n_q : of.n_q},
                 {PARE_W_ATTN_K, of.n_k},
                 {PARE_W_ATTN_V, of.n_v},
                 {PARE_W_ATTN_QKV, of.n_q + of.n_k + of.n_v}};
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        if ((parts[p].id == PARE_W_ATTN_QKV) != (l->w[PARE_W_ATTN_QKV] != NULL))
            continue; /* either the three, or the fused one */
        if (parts[p].id != PARE_W_ATTN_Q && l->w[parts[p].id] == NULL && pare_layer_of_keys(hp, i) != i)
            continue;
        if (parts[p].id == PARE_W_ATTN_V && pare_forward_keys_as_values(f, l, i))
            continue;
        if ((st = pare_forward_want_matrix(f, l, parts[p].id, i, parts[p].n_rows, hp->n_embd, err)) != PARE_OK ||
            (st = pare_forward_want_vector(f, l->b[parts[p].id], parts[p].n_rows, err)) != PARE_OK)
            return st;
    }
    if ((st = pare_forward_want_matrix(f, l, PARE_W_ATTN_OUT, i, hp->n_embd, of.n_o, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->b[PARE_W_ATTN_OUT], hp->n_embd, err)) != PARE_OK ||
        (st = want_head_norm(f, l->w[PARE_W_ATTN_Q_NORM], whole ? 1 : hp->n_head, of.n_q, err)) != PARE_OK ||
        (st = want_head_norm(f, l->w[PARE_W_ATTN_K_NORM], whole ? 1 : n_head_kv, of.n_k, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->w[PARE_W_ATTN_SUB_NORM], of.n_o, err)) != PARE_OK)
        return st;
    return pare_forward_want_vector(f, l->w[PARE_W_ATTN_SINKS], hp->n_head, err);
}

bool pare_forward_gate_is_fused(const pare_forward *f, const pare_forward_weights *l)
{
    return f->m->arch->wiring.gated_ffn && l->w[PARE_W_FFN_GATE] == NULL;
}

static pare_status check_ffn(const pare_forward *f, const pare_forward_weights *l, uint32_t i, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    uint64_t n_ff = pare_layer_shape_of(hp, i).n_ff, n_up = pare_forward_gate_is_fused(f, l) ? n_ff * 2 : n_ff;
    bool experts = pare_forward_has_experts(f, l);
    pare_status st = experts ? pare_forward_check_experts(f, l, i, err) : PARE_OK;
    if (st != PARE_OK || (experts && l->w[PARE_W_FFN_UP] == NULL))
        return st;
    if ((st = pare_forward_want_matrix(f, l, PARE_W_FFN_UP, i, n_up, hp->n_embd, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->b[PARE_W_FFN_UP], n_up, err)) != PARE_OK ||
        (st = pare_forward_want_matrix(f, l, PARE_W_FFN_DOWN, i, hp->n_embd, n_ff, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->b[PARE_W_FFN_DOWN], hp->n_embd, err)) != PARE_OK ||
        (st = pare_forward_want_vector(f, l->w[PARE_W_FFN_SUB_NORM], n_ff, err)) != PARE_OK)
        return st;
    if (l->w[PARE_W_FFN_GATE] == NULL)
        return PARE_OK;
    if ((st = pare_forward_want_matrix(f, l, PARE_W_FFN_GATE, i, n_ff, hp->n_embd, err)) != PARE_OK)
        return st;
    return pare_forward_want_vector(f, l->b[PARE_W_FFN_GATE], n_ff, err);
}

static pare_status check_layer(const pare_forward *f, const pare_forward_weights *l, uint32_t i, pare_error *err)
{
    static const pare_weight norms[] = {PARE_W_ATTN_NORM,      PARE_W_ATTN_NORM_2,     PARE_W_ATTN_POST_NORM,
                                        PARE_W_FFN_NORM,       PARE_W_FFN_POST_NORM,   PARE_W_ATTN_OUT_NORM,
                                        PARE_W_LAYER_OUT_NORM, PARE_W_FFN_POST_NORM_1, PARE_W_FFN_PRE_NORM_2,
                                        PARE_W_FFN_POST_NORM_2};
    pare_status st;
    for (size_t n = 0; n < sizeof norms / sizeof norms[0]; n++)
        if ((st = pare_forward_want_vector(f, l->w[norms[n]], f->m->hp.n_embd, err)) != PARE_OK ||
            (st = pare_forward_want_vector(f, l->b[norms[n]], f->m->hp.n_embd, err)) != PARE_OK)
            return st;
    if ((st = pare_forward_want_vector(f, l->w[PARE_W_LAYER_SCALE], 1, err)) != PARE_OK)
        return st;
    if (pare_forward_is_recurrent(l))
        st = pare_forward_check_recurrent(f, l, i, err);
    else if (pare_forward_is_latent(f))
        st = pare_forward_check_latent(f, l, i, err);
    else
        st = check_attention(f, l, i, err);
    if (st != PARE_OK)
        return st;
    return check_ffn(f, l, i, err);
}

pare_status pare_forward_check_supported(const pare_model *m, uint32_t n_ctx, pare_error *err)
{
    if (m->arch == NULL)
        return pare_arch_refuse_unknown(m, err);
    if (m->hp.attn_steeper > 0 && m->hp.rope_ctx_orig > 0 && n_ctx > m->hp.rope_ctx_orig)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: windows of %" PRIu32 " tokens; this model's are evaluated up to %" PRIu32
                         ", behind which it scales queries",
                         m->path, n_ctx, m->hp.rope_ctx_orig);
    const pare_tensor *output = pare_model_weight(m, PARE_W_OUTPUT, 0, "weight");
    if (output != NULL && output->factor != NULL && pare_model_weight(m, PARE_W_OUTPUT, 0, "bias") != NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: an output with a factor and a bias cannot be evaluated",
                         m->path);
    const pare_window_heads *w = &m->hp.window_heads;
    if ((w->n_kv > 0 && m->hp.n_head % w->n_kv != 0) || (uint64_t)m->hp.n_head * w->dim > MAX_WIDTH ||
        w->n_rot % 2 != 0 || w->n_rot > (w->dim > 0 ? w->dim : m->hp.head_dim_k))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %" PRIu32 " heads of %" PRIu32 " elements over %" PRIu32
                         " key/value heads in layers with a window, RoPE over %" PRIu32,
                         m->path, m->hp.n_head, w->dim, w->n_kv, w->n_rot);
    if (m->hp.n_head == 0 || m->hp.n_head_kv == 0 || m->hp.n_head % m->hp.n_head_kv != 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu32 " heads over %" PRIu32 " key/value heads", m->path,
                         m->hp.n_head, m->hp.n_head_kv);
    if ((uint64_t)m->hp.n_head * m->hp.head_dim_k > MAX_WIDTH || (uint64_t)m->hp.n_head * m->hp.head_dim_v > MAX_WIDTH)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: %" PRIu32 " heads of %" PRIu32 " and %" PRIu32 " elements; up to %d in all are possible",
                         m->path, m->hp.n_head, m->hp.head_dim_k, m->hp.head_dim_v, MAX_WIDTH);
    if (m->arch->latent && ((uint64_t)m->hp.n_head * ((uint64_t)m->hp.n_lora_kv + m->hp.n_rot) > MAX_WIDTH ||
                            m->hp.n_lora_kv == 0 || m->hp.n_rot >= m->hp.head_dim_k || m->hp.n_rot == 0))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: latent attention of %" PRIu32 " heads over %" PRIu32 " + %" PRIu32
                         " elements, with keys of %" PRIu32,
                         m->path, m->hp.n_head, m->hp.n_lora_kv, m->hp.n_rot, m->hp.head_dim_k);
    if (m->hp.n_rot > m->hp.head_dim_k || m->hp.n_rot % 2 != 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: RoPE over %" PRIu32 " of %" PRIu32 " elements of a head", m->path,
                         m->hp.n_rot, m->hp.head_dim_k);
    return PARE_OK;
}

pare_status pare_forward_check_weights(const pare_forward *f, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const pare_tensor *positions = f->model.w[PARE_W_POS_EMBD];
    pare_status st = pare_forward_want_matrix(f, &f->model, PARE_W_TOKEN_EMBD, 0, hp->n_vocab, hp->n_embd, err);
    if (st == PARE_OK && f->model.w[PARE_W_OUTPUT] != NULL)
        st = pare_forward_want_matrix(f, &f->model, PARE_W_OUTPUT, 0, hp->n_vocab, hp->n_embd, err);
    if (st == PARE_OK)
        st = pare_forward_want_vector(f, f->model.b[PARE_W_OUTPUT], hp->n_vocab, err);
    if (st == PARE_OK)
        st = pare_forward_want_vector(f, f->model.w[PARE_W_ROPE_FREQS], hp->n_rot / 2, err);
    if (st == PARE_OK)
        st = pare_forward_want_vector(f, f->model.w[PARE_W_ROPE_FACTORS_LONG], hp->n_rot / 2, err);
    if (st == PARE_OK)
        st = pare_forward_want_vector(f, f->model.w[PARE_W_ROPE_FACTORS_SHORT], hp->n_rot / 2, err);
    if (st == PARE_OK &&
        (f->model.w[PARE_W_ROPE_FACTORS_LONG] == NULL) != (f->model.w[PARE_W_ROPE_FACTORS_SHORT] == NULL))
        st = pare_fail(err, PARE_ERR_FORMAT,
                       "%s: of 'rope_factors_long.weight' and 'rope_factors_short.weight' only one is there",
                       f->m->path);
    static const pare_weight norms[] = {PARE_W_TOKEN_EMBD_NORM, PARE_W_OUTPUT_NORM};
    for (int i = 0; st == PARE_OK && i < 2; i++)
        if ((st = pare_forward_want_vector(f, f->model.w[norms[i]], hp->n_embd, err)) == PARE_OK)
            st = pare_forward_want_vector(f, f->model.b[norms[i]], hp->n_embd, err);
    if (st == PARE_OK && positions != NULL) {
        if (positions->row_len != hp->n_embd)
            st = pare_forward_want_matrix(f, &f->model, PARE_W_POS_EMBD, 0, positions->n_rows, hp->n_embd, err);
        else if (positions->n_rows < f->n_ctx)
            st = pare_fail(err, PARE_ERR_UNSUPPORTED,
                           "%s: tensor '%s' has %" PRIu64 " positions; the window is %" PRIu32, f->m->path,
                           positions->name, positions->n_rows, f->n_ctx);
    }
    if (st == PARE_OK && f->model.w[PARE_W_TOKEN_TYPES] != NULL)
        st = pare_forward_want_matrix(f, &f->model, PARE_W_TOKEN_TYPES, 0, hp->n_token_types, hp->n_embd, err);
    if (st == PARE_OK)
        st = pare_forward_check_streams(f, err);
    for (uint32_t i = 0; st == PARE_OK && i < hp->n_layer; i++)
        st = check_layer(f, &f->layers[i], i, err);
    return st;
}
