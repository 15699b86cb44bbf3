/* What Gemma 3n adds to a pass: input vectors of each layer, and streams beside the residual stream.
 *
 * Layer inputs (wherever per_layer_token_embd is): every token has a vector of n_embd_layer elements a layer,
 *
 *   p = (e sqrt(n_embd_layer) + norm(P x / sqrt(n_embd))) / sqrt(2)    e: of the token, x: its embedding
 *
 * which a layer, behind everything else, adds to the stream as norm(proj(act(gate x) * p)).
 *
 * AltUp (Baykal et al., NeurIPS 2023): beside the residual stream x_0 there are n_stream - 1 more. A layer predicts all
 * of them from all, runs on x_0 alone, and corrects the others by what that changed:
 *
 *   p_i = x_i + sum_j a_ij x_j       a: a product of m(x_0)       m(x) = tanh(router norm(x) / n_embd)
 *   y   = the layer of p_0
 *   x_i = p_i + (1 + c_i) (y - p_0)  c: a product of m(y)
 *
 * LAuReL adds norm(R L h) + h of attention's input h to the stream behind attention, and divides it by sqrt(2). */
#include "eval/forward_parts.h"

#include <math.h>

static const float least_square = 1e-5f; /* of a stream that is scaled to another one's size */

static size_t width_of_inputs(const pare_forward *f)
{
    return (size_t)f->m->hp.n_layer * f->m->hp.n_embd_layer;
}

static float *stream(const pare_forward *f, const pare_forward_slice *s, uint32_t i)
{
    size_t n_embd = f->m->hp.n_embd, first = s->first * n_embd;
    return i == 0 ? f->x + first : f->streams.more + (i - 1) * f->max_tokens * n_embd + first;
}

pare_status pare_forward_reserve_streams(pare_forward *f, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    uint64_t n = hp->n_stream, slice = f->slice_tokens, tokens = f->max_tokens;
    const struct {
        float **buffer;
        uint64_t n_rows, width;
    } shared[] = {{&f->streams.inputs, hp->n_embd_layer > 0 ? tokens : 0, width_of_inputs(f)},
                  {&f->streams.inputs_made, hp->n_embd_layer > 0 ? slice : 0, width_of_inputs(f)},
                  {&f->streams.input, hp->n_embd_layer > 0 ? slice : 0, hp->n_embd_layer},
                  {&f->streams.gate, hp->n_embd_layer > 0 ? slice : 0, hp->n_embd_layer},
                  {&f->streams.more, n > 1 ? tokens * (n - 1) : 0, hp->n_embd},
                  {&f->streams.predicted, n > 1 ? slice * n : 0, hp->n_embd},
                  {&f->streams.scores, n > 1 ? slice : 0, n},
                  {&f->streams.coefficients, n > 1 ? slice : 0, n * n},
                  {&f->streams.low, hp->laurel_rank > 0 ? slice : 0, hp->laurel_rank}};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof shared / sizeof *shared && st == PARE_OK; i++)
        if (shared[i].n_rows > 0)
            st = pare_forward_share(f, shared[i].buffer, shared[i].n_rows, shared[i].width, err);
    return st;
}

/* The vectors of all layers for the tokens of the slice. */
static pare_status make_inputs(pare_forward *f, const int32_t *ids, const pare_forward_slice *s, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    pare_backend *b = f->b;
    const size_t width = width_of_inputs(f), n_all = s->n * width;
    float *made = f->streams.inputs + s->first * width, *projected = f->streams.inputs_made;
    const float *x = stream(f, s, 0);
    const double embd = hp->n_embd, layer = hp->n_embd_layer;
    pare_status st;
    if ((st = b->embed(b, f->model.w[PARE_W_LAYER_EMBD], ids + s->first, s->n, made, err)) != PARE_OK ||
        (st = b->scale(b, made, (float)sqrt(layer), n_all, err)) != PARE_OK ||
        (st = pare_forward_linear(f, &f->model, PARE_W_LAYER_MODEL_PROJ, 0, (uint32_t)width, x, s->n, projected,
                                  err)) != PARE_OK ||
        (st = b->scale(b, projected, (float)(1 / sqrt(embd)), n_all, err)) != PARE_OK ||
        (st = pare_forward_normalize(f, &f->model, PARE_W_LAYER_PROJ_NORM, projected, (uint64_t)s->n * hp->n_layer,
                                     hp->n_embd_layer, projected, err)) != PARE_OK ||
        (st = b->add(b, made, projected, 1, n_all, err)) != PARE_OK)
        return st;
    return b->scale(b, made, (float)(1 / sqrt(2.0)), n_all, err);
}

pare_status pare_forward_spread(pare_forward *f, const int32_t *ids, const pare_forward_slice *s, pare_error *err)
{
    uint32_t n_embd = f->m->hp.n_embd;
    const float *x = stream(f, s, 0);
    pare_status st = f->m->hp.n_embd_layer > 0 ? make_inputs(f, ids, s, err) : PARE_OK;
    for (uint32_t i = 1; i < f->m->hp.n_stream && st == PARE_OK; i++) {
        st = pare_forward_linear(f, &f->model, PARE_W_ALTUP_PROJ, (i - 1) * n_embd, n_embd, x, s->n, stream(f, s, i),
                                 err);
        if (st == PARE_OK)
            st = f->b->match_rms(f->b, stream(f, s, i), x, least_square, s->n, n_embd, err);
    }
    return st;
}

/* f->streams.coefficients = w m(x) */
static pare_status route(pare_forward *f, const pare_forward_weights *l, const float *x, uint32_t n, pare_weight w,
                         uint32_t n_rows, pare_error *err)
{
    uint32_t n_embd = f->m->hp.n_embd, n_stream = f->m->hp.n_stream;
    pare_status st;
    if ((st = pare_forward_normalize(f, l, PARE_W_ALTUP_ROUTER_NORM, x, n, n_embd, f->branch, err)) != PARE_OK ||
        (st = f->b->scale(f->b, f->branch, 1.0f / (float)n_embd, (size_t)n * n_embd, err)) != PARE_OK ||
        (st = pare_forward_linear(f, l, PARE_W_ALTUP_ROUTER, 0, n_stream, f->branch, n, f->streams.scores, err)) !=
            PARE_OK ||
        (st = f->b->softcap(f->b, f->streams.scores, 1, (size_t)n * n_stream, err)) != PARE_OK)
        return st;
    return pare_forward_linear(f, l, w, 0, n_rows, f->streams.scores, n, f->streams.coefficients, err);
}

pare_status pare_forward_predict(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s,
                                 pare_error *err)
{
    const uint32_t n = f->m->hp.n_stream, n_embd = f->m->hp.n_embd;
    const size_t bytes = (size_t)s->n * n_embd * sizeof(float), step = (size_t)f->slice_tokens * n_embd;
    if (n <= 1)
        return PARE_OK;
    pare_status st = route(f, l, stream(f, s, 0), s->n, PARE_W_ALTUP_PREDICT, n * n, err);
    for (uint32_t i = 0; i < n && st == PARE_OK; i++) {
        float *p = f->streams.predicted + i * step;
        st = f->b->copy(f->b, p, stream(f, s, i), bytes, err);
        for (uint32_t j = 0; j < n && st == PARE_OK; j++)
            st = f->b->add_weighted(f->b, p, stream(f, s, j), f->streams.coefficients + i * n + j, n * n, 0, s->n,
                                    n_embd, err);
    }
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        st = f->b->copy(f->b, stream(f, s, i), f->streams.predicted + i * step, bytes, err);
    return st;
}

pare_status pare_forward_laurel(pare_forward *f, const pare_forward_weights *l, const float *in,
                                const pare_forward_slice *s, pare_error *err)
{
    const uint32_t n_embd = f->m->hp.n_embd;
    const size_t n_all = (size_t)s->n * n_embd;
    float *x = stream(f, s, 0);
    pare_status st;
    if (l->w[PARE_W_LAUREL_L] == NULL)
        return PARE_OK;
    if ((st = pare_forward_linear(f, l, PARE_W_LAUREL_L, 0, f->m->hp.laurel_rank, in, s->n, f->streams.low, err)) !=
            PARE_OK ||
        (st = pare_forward_linear(f, l, PARE_W_LAUREL_R, 0, n_embd, f->streams.low, s->n, f->branch, err)) != PARE_OK ||
        (st = pare_forward_normalize(f, l, PARE_W_LAUREL_NORM, f->branch, s->n, n_embd, f->branch, err)) != PARE_OK ||
        (st = f->b->add(f->b, x, f->branch, 1, n_all, err)) != PARE_OK ||
        (st = f->b->add(f->b, x, in, 1, n_all, err)) != PARE_OK)
        return st;
    return f->b->scale(f->b, x, (float)(1 / sqrt(2.0)), n_all, err);
}

static pare_status correct(pare_forward *f, const pare_forward_weights *l, const pare_forward_slice *s, pare_error *err)
{
    const uint32_t n = f->m->hp.n_stream, n_embd = f->m->hp.n_embd;
    const size_t n_all = (size_t)s->n * n_embd;
    float *x = stream(f, s, 0);
    pare_status st;
    if ((st = route(f, l, x, s->n, PARE_W_ALTUP_CORRECT, n, err)) != PARE_OK ||
        (st = f->b->copy(f->b, f->branch, x, n_all * sizeof *x, err)) != PARE_OK ||
        (st = f->b->add(f->b, f->branch, f->streams.predicted, -1, n_all, err)) != PARE_OK ||
        (st = f->b->copy(f->b, x, f->streams.predicted, n_all * sizeof *x, err)) != PARE_OK)
        return st;
    for (uint32_t i = 0; i < n && st == PARE_OK; i++)
        st = f->b->add_weighted(f->b, stream(f, s, i), f->branch, f->streams.coefficients + i, n, 1, s->n, n_embd, err);
    return st;
}

/* Add what the layer makes of the tokens' vectors for it: to the stream, or to those beside it. */
static pare_status add_input(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                             const pare_forward_slice *s, pare_error *err)
{
    const uint32_t n = f->m->hp.n_stream, n_embd = f->m->hp.n_embd, width = f->m->hp.n_embd_layer;
    const uint32_t all = (uint32_t)width_of_inputs(f);
    const size_t n_all = (size_t)s->n * n_embd;
    const float *inputs = f->streams.inputs + s->first * all;
    pare_status st = f->b->copy(f->b, f->h, stream(f, s, 0), n_all * sizeof(float), err);
    if (st == PARE_OK && l->w[PARE_W_ALTUP_SCALE] != NULL)
        st = f->b->scale_columns(f->b, f->h, l->w[PARE_W_ALTUP_SCALE], s->n, n_embd, err);
    if (st != PARE_OK ||
        (st = pare_forward_linear(f, l, PARE_W_LAYER_GATE, 0, width, f->h, s->n, f->streams.gate, err)) != PARE_OK ||
        (st = f->b->copy_columns(f->b, inputs, all, layer * width, s->n, width, f->streams.input, width, 0, err)) !=
            PARE_OK ||
        (st = f->b->activate(f->b, pare_arch_act(f->m->arch, &f->m->hp), f->streams.gate, f->streams.input,
                             (size_t)s->n * width, f->streams.input, err)) != PARE_OK ||
        (st = pare_forward_linear(f, l, PARE_W_LAYER_PROJ, 0, n_embd, f->streams.input, s->n, f->branch, err)) !=
            PARE_OK ||
        (st = pare_forward_normalize(f, l, PARE_W_LAYER_INPUT_NORM, f->branch, s->n, n_embd, f->branch, err)) !=
            PARE_OK)
        return st;
    for (uint32_t i = n > 1 ? 1 : 0; i < (n > 1 ? n : 1) && st == PARE_OK; i++)
        st = f->b->add(f->b, stream(f, s, i), f->branch, 1, n_all, err);
    return st;
}

/* x = the mean of all streams, those beside it made as large as it is */
static pare_status merge(pare_forward *f, const pare_forward_slice *s, pare_error *err)
{
    const uint32_t n = f->m->hp.n_stream, n_embd = f->m->hp.n_embd;
    const size_t n_all = (size_t)s->n * n_embd;
    float *x = stream(f, s, 0);
    pare_status st = f->b->copy(f->b, f->h, x, n_all * sizeof *x, err);
    for (uint32_t i = 1; i < n && st == PARE_OK; i++) {
        st = pare_forward_linear(f, &f->model, PARE_W_ALTUP_UNEMBD, (i - 1) * n_embd, n_embd, stream(f, s, i), s->n,
                                 f->branch, err);
        if (st == PARE_OK)
            st = f->b->match_rms(f->b, f->branch, f->h, least_square, s->n, n_embd, err);
        if (st == PARE_OK)
            st = f->b->add(f->b, x, f->branch, 1, n_all, err);
    }
    return st == PARE_OK ? f->b->scale(f->b, x, 1.0f / (float)n, n_all, err) : st;
}

pare_status pare_forward_close_layer(pare_forward *f, const pare_forward_weights *l, uint32_t layer,
                                     const pare_forward_slice *s, pare_error *err)
{
    bool many = f->m->hp.n_stream > 1;
    pare_status st = many ? correct(f, l, s, err) : PARE_OK;
    if (st == PARE_OK && f->m->hp.n_embd_layer > 0)
        st = add_input(f, l, layer, s, err);
    return st == PARE_OK && many && layer + 1 == f->m->hp.n_layer ? merge(f, s, err) : st;
}

bool pare_forward_closes_layers(const pare_forward *f)
{
    return f->m->hp.n_stream > 1 || f->m->hp.n_embd_layer > 0;
}

pare_status pare_forward_check_streams(const pare_forward *f, pare_error *err)
{
    const pare_hparams *hp = &f->m->hp;
    const uint32_t n = hp->n_stream, embd = hp->n_embd, width = hp->n_embd_layer, rank = hp->laurel_rank;
    const struct {
        pare_weight id;
        uint64_t n_rows, row_len; /* n_rows 0: a vector */
        bool there, of_layer;
    } wanted[] = {{PARE_W_LAYER_EMBD, hp->n_vocab, width_of_inputs(f), width > 0, false},
                  {PARE_W_LAYER_MODEL_PROJ, width_of_inputs(f), embd, width > 0, false},
                  {PARE_W_LAYER_PROJ_NORM, 0, width, width > 0, false},
                  {PARE_W_ALTUP_PROJ, (uint64_t)(n - 1) * embd, embd, n > 1, false},
                  {PARE_W_ALTUP_UNEMBD, (uint64_t)(n - 1) * embd, embd, n > 1, false},
                  {PARE_W_LAYER_GATE, width, embd, width > 0, true},
                  {PARE_W_LAYER_PROJ, embd, width, width > 0, true},
                  {PARE_W_LAYER_INPUT_NORM, 0, embd, width > 0, true},
                  {PARE_W_ALTUP_ROUTER, n, embd, n > 1, true},
                  {PARE_W_ALTUP_ROUTER_NORM, 0, embd, n > 1, true},
                  {PARE_W_ALTUP_PREDICT, (uint64_t)n * n, n, n > 1, true},
                  {PARE_W_ALTUP_CORRECT, n, n, n > 1, true},
                  {PARE_W_ALTUP_SCALE, 0, embd, n > 1, true},
                  {PARE_W_LAUREL_L, rank, embd, rank > 0, true},
                  {PARE_W_LAUREL_R, embd, rank, rank > 0, true},
                  {PARE_W_LAUREL_NORM, 0, embd, rank > 0, true}};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        for (uint32_t k = 0; wanted[i].there && k < (wanted[i].of_layer ? hp->n_layer : 1) && st == PARE_OK; k++) {
            const pare_forward_weights *l = wanted[i].of_layer ? &f->layers[k] : &f->model;
            st = wanted[i].n_rows == 0
                     ? pare_forward_want_vector(f, l->w[wanted[i].id], wanted[i].row_len, err)
                     : pare_forward_want_matrix(f, l, wanted[i].id, k, wanted[i].n_rows, wanted[i].row_len, err);
        }
    return st;
}
