/* Gemma 3n: AltUp keeps several streams of the residual, LAuReL adds a branch of low rank, and each layer gets vectors
 * of each token. Source: llama.cpp src/models/gemma3n.cpp and gemma4.cpp (the vectors). */
#include "memory/compute_build.h"

cg_tensor *cb_slice(cb_build *b, cg_tensor *a)
{
    const uint64_t ne[CG_DIMS] = {a->ne[0], a->ne[1], 1, 1};
    const uint64_t nb[CG_DIMS] = {a->nb[0], a->nb[1], a->nb[1] * a->ne[1], a->nb[1] * a->ne[1]};
    return cg_window(&b->g, a, ne, nb);
}

/* A row of the table for each layer, and a projection of the embedding. The tokens come in a second time. */
cg_tensor *cb_layer_inputs(cb_build *b, cg_tensor *x)
{
    cg_graph *g = &b->g;
    uint64_t n = b->hp->n_embd_layer, n_layer = b->hp->n_layer;
    cg_tensor *tokens = cg_input(g, PARE_TYPE_I32, 1, &b->n_tokens);
    cg_tensor *rows = cg_get_rows(g, cb_weight(b, PARE_W_LAYER_EMBD, 0), tokens);
    rows = cg_unary(g, cg_shape(g, rows, n, n_layer, b->n_tokens, 1));
    cg_expand(g, rows);
    cg_tensor *made = cg_unary(g, cb_mul(b, PARE_W_LAYER_MODEL_PROJ, 0, x));
    made = cb_norm(b, cg_shape(g, made, n, n_layer, b->n_tokens, 1));
    return cg_contiguous(g, cg_permute(g, cg_binary(g, made, rows), 0, 2, 1, 3));
}

cg_tensor *cb_layer_input(cb_build *b, uint32_t layer)
{
    (void)layer;
    return cb_slice(b, b->layer_inputs);
}

static cg_tensor *magnitude(cb_build *b, cg_tensor *x)
{
    return cg_unary(&b->g, cg_sum_rows(&b->g, cg_unary(&b->g, x)));
}

static cg_tensor *rest(cb_build *b, cg_tensor *x)
{
    return cg_window(&b->g, x, (const uint64_t[]){x->ne[0], x->ne[1], x->ne[2] - 1, 1}, x->nb);
}

static cg_tensor *modalities(cb_build *b, uint32_t layer, cg_tensor *x)
{
    return cg_unary(&b->g, cb_mul(b, PARE_W_ALTUP_ROUTER, layer, cb_norm(b, x)));
}

static cg_tensor *predict(cb_build *b, uint32_t layer, cg_tensor *x)
{
    cg_graph *g = &b->g;
    uint64_t n = b->hp->n_stream;
    cg_tensor *w = cb_mul(b, PARE_W_ALTUP_PREDICT, layer, modalities(b, layer, cb_slice(b, x)));
    w = cg_shape(g, w, n, n, b->n_tokens, 1);
    cg_tensor *y = cg_mul_mat(g, cg_contiguous(g, cg_permute(g, x, 1, 2, 0, 3)), w);
    y = cg_contiguous(g, cg_permute(g, y, 0, 2, 1, 3));
    return cg_binary(g, y, x);
}

static cg_tensor *correct(cb_build *b, uint32_t layer, cg_tensor *predicted, cg_tensor *active)
{
    cg_graph *g = &b->g;
    uint64_t n = b->hp->n_stream;
    cg_tensor *m = modalities(b, layer, active);
    cg_tensor *news = cg_binary(g, active, cb_slice(b, predicted));
    cg_tensor *w = cg_unary(g, cb_mul(b, PARE_W_ALTUP_CORRECT, layer, m));
    w = cg_contiguous_as(g, cg_transpose(g, w), 1, b->n_tokens, n, 1);
    news = cg_repeat(g, news, b->hp->n_embd, b->n_tokens, n, 1);
    return cg_binary(g, cg_binary(g, news, w), predicted);
}

/* What is below some deviations above the mean is cut off. */
static cg_tensor *cut(cb_build *b, cg_tensor *x)
{
    cg_graph *g = &b->g;
    cg_tensor *mean = cg_sum_rows(g, x);
    cg_tensor *deviation = cg_unary(g, cg_sum_rows(g, cg_unary(g, cg_binary(g, x, mean))));
    return cg_unary(g, cg_binary(g, x, cg_binary(g, mean, deviation)));
}

static cg_tensor *sparse_ffn(cb_build *b, uint32_t layer, cg_tensor *x)
{
    cg_graph *g = &b->g;
    cg_tensor *up = cb_mul(b, PARE_W_FFN_UP, layer, x), *gate = cb_mul(b, PARE_W_FFN_GATE, layer, x);
    if (pare_layers_have(&b->hp->sparse, layer))
        gate = cut(b, gate);
    return cb_mul(b, PARE_W_FFN_DOWN, layer, cg_binary(g, up, cg_unary(g, gate)));
}

static cg_tensor *one_layer(cb_build *b, uint32_t layer, cg_tensor *x)
{
    cg_graph *g = &b->g;
    cg_tensor *predicted = predict(b, layer, x), *active = cb_slice(b, predicted);
    cg_tensor *normed = cb_norm(b, active);
    cg_tensor *laurel = cb_norm(b, cb_mul(b, PARE_W_LAUREL_R, layer, cb_mul(b, PARE_W_LAUREL_L, layer, normed)));
    laurel = cg_binary(g, laurel, normed);
    cg_tensor *y = cg_binary(g, cb_norm(b, cb_attention(b, layer, normed)), active);
    cg_tensor *middle = cg_binary(g, y, laurel);
    y = cg_binary(g, cb_norm(b, sparse_ffn(b, layer, cb_norm(b, middle))), middle);
    cg_tensor *corrected = correct(b, layer, predicted, y);
    cg_tensor *first = cg_binary(g, cb_slice(b, corrected), corrected);
    first = cg_unary(g, cb_mul(b, PARE_W_LAYER_GATE, layer, first));
    first = cg_binary(g, first, cb_layer_input(b, layer));
    first = cb_norm(b, cb_mul(b, PARE_W_LAYER_PROJ, layer, first));
    return cg_concat(g, cb_slice(b, corrected), cg_binary(g, rest(b, corrected), first), 2);
}

cg_tensor *cb_layers_streams(cb_build *b, cg_tensor *x)
{
    cg_graph *g = &b->g;
    uint64_t n = b->hp->n_stream;
    b->layer_inputs = cb_layer_inputs(b, x);
    cg_tensor *size = magnitude(b, x);
    cg_tensor *more = cb_mul(b, PARE_W_ALTUP_PROJ, 0, cg_repeat(g, x, b->hp->n_embd, b->n_tokens, n - 1, 1));
    cg_tensor *new_size = magnitude(b, more);
    more = cg_binary(g, cg_binary(g, more, size), new_size);
    x = cg_concat(g, x, more, 2);
    for (uint32_t i = 0; i < b->hp->n_layer; i++) {
        g->place = memory_layer_place(b->l, i);
        x = one_layer(b, i, x);
    }
    size = magnitude(b, cb_slice(b, x));
    more = cb_mul(b, PARE_W_ALTUP_UNEMBD, 0, rest(b, x));
    new_size = magnitude(b, more);
    more = cg_binary(g, cg_binary(g, more, size), new_size);
    x = cb_slice(b, x);
    for (uint64_t i = 0; i + 1 < n; i++)
        x = cg_binary(g, x, cb_slice(b, more));
    return x;
}
