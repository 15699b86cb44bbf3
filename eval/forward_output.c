/* What leaves the forward pass: logits, and the scores of positions. */
#include "eval/forward_parts.h"

#include <inttypes.h>

static pare_weight output_weight(const pare_forward *f)
{
    return f->model.w[PARE_W_OUTPUT] != NULL ? PARE_W_OUTPUT : PARE_W_TOKEN_EMBD;
}

static pare_status want_output(const pare_forward *f, pare_error *err)
{
    if (!f->m->arch->wiring.encoder)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "%s: architecture '%s' is an encoder: its result are states of tokens, not logits of a next one; "
                     "'pare compare --embedding' measures them",
                     f->m->path, f->m->arch->name);
}

static float logit_scale(const pare_forward *f)
{
    const pare_hparams *hp = &f->m->hp;
    return (hp->logit_scale != 0 ? hp->logit_scale : 1) / (hp->logit_divisor != 0 ? hp->logit_divisor : 1);
}

/* Logits of n hidden states x into y, device memory; at most a slice. */
static pare_status output_rows(pare_forward *f, const float *x, uint32_t n, float *y, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    size_t n_all = (size_t)n * hp->n_vocab;
    pare_status st = PARE_OK;
    if (!f->x_is_normal)
        st = pare_forward_normalize(f, &f->model, PARE_W_OUTPUT_NORM, x, n, hp->n_embd, f->h, err);
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

/* The row of x that holds a position which the last run has kept, with n - 1 more behind it. */
static pare_status find_row(const pare_forward *f, uint32_t seq, uint32_t pos, uint32_t n, size_t *row, pare_error *err)
{
    *row = (size_t)seq * (f->n - f->first) + pos - f->first;
    if (seq < f->n_seq && pos >= f->first && pos <= f->n && n <= f->n - pos)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s: results of positions %" PRIu32 " to %" PRIu64 " of sequence %" PRIu32
                     "; the last run had %" PRIu32 " sequences of %" PRIu32 " and kept them from %" PRIu32 " on",
                     f->m->path, pos, (uint64_t)pos + n, seq, f->n_seq, f->n, f->first);
}

pare_status pare_forward_logits(pare_forward *f, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    size_t row = 0;
    pare_status st = want_output(f, err);
    if (st == PARE_OK)
        st = find_row(f, seq, pos, n, &row, err);
    return st == PARE_OK ? logits_of(f, row, NULL, n, out, err) : st;
}

pare_status pare_forward_states(pare_forward *f, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    uint32_t n_embd = f->m->hp.n_embd;
    bool norm = f->model.w[PARE_W_OUTPUT_NORM] != NULL && !f->x_is_normal;
    size_t row = 0;
    pare_status st = find_row(f, seq, pos, n, &row, err);
    if (st == PARE_OK)
        st = pare_forward_enter_workspace(f, err);
    for (uint32_t done = 0, part; st == PARE_OK && done < n; done += part) {
        const float *x = f->x + (row + done) * n_embd;
        part = n - done < f->slice_tokens ? n - done : f->slice_tokens;
        if (norm)
            st = pare_forward_normalize(f, &f->model, PARE_W_OUTPUT_NORM, x, part, n_embd, f->h, err);
        if (st == PARE_OK)
            st = f->b->download(f->b, out + (size_t)done * n_embd, norm ? f->h : x, part * sizeof *out * n_embd, err);
    }
    return st;
}

/* What makes logits of hidden states x. */
static pare_score_side score_side(const pare_forward *f, const float *x)
{
    pare_weight id = output_weight(f);
    return (pare_score_side){.x = x,
                             .w = f->model.w[id],
                             .bias = f->model.b[id],
                             .scale = logit_scale(f) * (f->model.w[id]->factor != NULL ? *f->model.w[id]->factor : 1),
                             .softcap = f->m->hp.final_softcap};
}

pare_status pare_forward_score_side(pare_forward *f, pare_score_side *out, uint32_t *n, pare_error *err)
{
    pare_status st = want_output(f, err);
    *n = f->n_seq * (f->n - f->first);
    if (st == PARE_OK && !f->x_is_normal && *n > 0)
        st = pare_forward_normalize(f, &f->model, PARE_W_OUTPUT_NORM, f->x, *n, f->m->hp.n_embd, f->x, err);
    f->x_is_normal = st == PARE_OK;
    *out = score_side(f, f->x);
    return st;
}

/* Are these tokens whose hidden states the last run has kept? */
static pare_status check_tokens(const pare_forward *f, const int32_t *tokens, uint32_t n, pare_error *err)
{
    pare_status st = want_output(f, err);
    if (st != PARE_OK)
        return st;
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
            st = pare_forward_normalize(f, &f->model, PARE_W_OUTPUT_NORM, f->branch, part, n_embd, f->h, err);
        if (st == PARE_OK)
            st = f->b->score(f->b, &side, 1, NULL, targets + done, part, out + done, err);
    }
    return st;
}
