/* Whole graphs: layers one after another, parallel ones, encoders. */
#include "memory/compute_build.h"

#include <stdlib.h>
#include <string.h>

/* ---- rows of the tokens whose logits are wanted ---- */

static bool rows_early(const cb_build *b)
{
    return b->arch->stock_rows == PARE_STOCK_ROWS_LAST_LAYER;
}

static cg_tensor *rows_if_last(cb_build *b, uint32_t layer, cg_tensor *x)
{
    return layer + 1 == b->hp->n_layer && rows_early(b) ? cg_get_rows(&b->g, x, cb_out_rows(b)) : x;
}

/* ---- layers ---- */

static cg_tensor *attention(cb_build *b, uint32_t layer, cg_tensor *x)
{
    if (memory_layer_recurrent(b->hp, layer))
        return cb_attention_linear(b, layer, x);
    return b->hp->n_lora_kv > 0 ? cb_attention_latent(b, layer, x) : cb_attention(b, layer, x);
}

/* Gemma 4's layers that have both an FFN and experts. */
static cg_tensor *ffn_and_experts(cb_build *b, uint32_t layer, cg_tensor *x)
{
    cg_tensor *dense = cb_norm(b, cb_ffn(b, layer, cb_norm(b, x)));
    cg_tensor *logits = cb_mul(b, PARE_W_FFN_GATE_INP, layer, cb_norm_rms(b, x));
    cg_tensor *sparse = cb_norm(b, cb_experts(b, layer, cb_norm(b, x), logits));
    return cg_binary(&b->g, dense, sparse);
}

static cg_tensor *ffn(cb_build *b, uint32_t layer, cg_tensor *x)
{
    const pare_wiring *w = &b->arch->wiring;
    pare_weight norm = w->post_norm_feeds_ffn ? PARE_W_ATTN_POST_NORM : PARE_W_FFN_NORM;
    bool experts = cb_has(b, PARE_W_FFN_GATE_INP, layer);
    if (experts && cb_has(b, PARE_W_FFN_POST_NORM_1, layer))
        return ffn_and_experts(b, layer, x);
    if (w->bare_norms || cb_has(b, norm, layer))
        x = cb_norm(b, x);
    return experts ? cb_experts(b, layer, x, NULL) : cb_ffn(b, layer, x);
}

/* Gemma 4's vectors that each layer gets of each token. */
static cg_tensor *with_layer_input(cb_build *b, uint32_t layer, cg_tensor *x)
{
    if (b->hp->n_embd_layer == 0)
        return x;
    cg_tensor *y = cg_unary(&b->g, cb_mul(b, PARE_W_LAYER_GATE, layer, x));
    y = cg_binary(&b->g, y, cb_layer_input(b, layer));
    return cg_binary(&b->g, x, cb_norm(b, cb_mul(b, PARE_W_LAYER_PROJ, layer, y)));
}

static cg_tensor *layer_in_turn(cb_build *b, uint32_t layer, cg_tensor *input)
{
    cg_graph *g = &b->g;
    const pare_wiring *w = &b->arch->wiring;
    bool norm = w->bare_norms || cb_has(b, PARE_W_ATTN_NORM, layer);
    cg_tensor *x = norm ? cb_norm(b, input) : input;
    if (b->hp->linear.n_head_k > 0)
        cg_expand(g, x);
    x = rows_if_last(b, layer, attention(b, layer, x));
    input = rows_if_last(b, layer, input);
    if (!w->post_norm_feeds_ffn)
        x = cb_norm_if(b, PARE_W_ATTN_POST_NORM, layer, x);
    cg_tensor *middle = cg_binary(g, x, input);
    x = cb_norm_if(b, PARE_W_FFN_POST_NORM, layer, ffn(b, layer, middle));
    return with_layer_input(b, layer, cg_binary(g, x, middle));
}

/* Attention and FFN read the same; what is added first decides what lives longer. */
static cg_tensor *layer_parallel(cb_build *b, uint32_t layer, cg_tensor *input)
{
    cg_graph *g = &b->g;
    pare_stock_sum sum = b->arch->stock_sum;
    bool second = cb_has(b, PARE_W_FFN_NORM, layer), pair = cb_has(b, PARE_W_ATTN_NORM_2, layer);
    cg_tensor *x = cb_norm(b, input);
    cg_tensor *a = rows_if_last(b, layer, attention(b, layer, pair ? cb_norm(b, input) : x));
    input = rows_if_last(b, layer, input);
    cg_tensor *first = sum == PARE_STOCK_SUM_ATTN_INPUT ? cg_binary(g, a, input) : NULL;
    if (!second)
        x = rows_if_last(b, layer, x);
    else
        x = cb_norm(b, input);
    x = cb_has(b, PARE_W_FFN_GATE_INP, layer) ? cb_experts(b, layer, x, NULL) : cb_ffn(b, layer, x);
    if (sum == PARE_STOCK_SUM_ATTN_INPUT)
        return cg_binary(g, x, first);
    if (sum == PARE_STOCK_SUM_FFN_INPUT)
        return cg_binary(g, cg_binary(g, x, input), a);
    x = sum == PARE_STOCK_SUM_ATTN_FFN ? cg_binary(g, a, x) : cg_binary(g, x, a);
    return cg_binary(g, x, input);
}

static bool parallel(cb_build *b, uint32_t layer)
{
    const pare_wiring *w = &b->arch->wiring;
    if (!w->parallel_residual || b->hp->residual_in_turn)
        return false;
    return !w->in_turn_with_ffn_norm || !cb_has(b, PARE_W_FFN_NORM, layer);
}

static cg_tensor *layer_of_encoder(cb_build *b, uint32_t layer, cg_tensor *input)
{
    cg_graph *g = &b->g;
    cg_tensor *x = rows_if_last(b, layer, cb_attention(b, layer, input));
    x = cb_norm(b, cg_binary(g, x, rows_if_last(b, layer, input)));
    cg_tensor *y = cb_has(b, PARE_W_FFN_GATE_INP, layer) ? cb_experts(b, layer, x, NULL) : cb_ffn(b, layer, x);
    return cb_norm(b, cg_binary(g, y, x));
}

/* ---- ends ---- */

static cg_tensor *begin(cb_build *b)
{
    cg_graph *g = &b->g;
    bool encoder = b->arch->wiring.encoder;
    cg_tensor *x = cb_embed(b);
    g->place = memory_layer_place(b->l, 0);
    if (cb_has(b, PARE_W_POS_EMBD, 0)) {
        cg_tensor *p = cg_get_rows(g, cb_weight(b, PARE_W_POS_EMBD, 0), cb_positions(b));
        x = encoder ? cg_binary(g, p, x) : cg_binary(g, x, p);
    }
    return cb_norm_if(b, PARE_W_TOKEN_EMBD_NORM, 0, x);
}

static void output_of(cb_build *b, cg_tensor *x)
{
    cg_graph *g = &b->g;
    pare_stock_rows rows = b->arch->stock_rows;
    cg_tensor *w = cb_weight(b, cb_has(b, PARE_W_OUTPUT, 0) ? PARE_W_OUTPUT : PARE_W_TOKEN_EMBD, 0);
    g->place = memory_layer_place(b->l, b->hp->n_layer);
    if (!b->arch->stock_output_is_embd)
        w->place = g->place;
    x->output = x->output || rows == PARE_STOCK_ROWS_STATES;
    if (rows == PARE_STOCK_ROWS_STATES || rows == PARE_STOCK_ROWS_BEFORE_NORM)
        x = cg_get_rows(g, x, cb_out_rows(b));
    x = cb_norm(b, x);
    if (rows == PARE_STOCK_ROWS_NORMED) {
        x->output = true;
        x = cg_get_rows(g, x, cb_out_rows(b));
    }
    x->output = true;
    x = cg_mul_mat(g, w, x);
    x->output = true;
    cg_expand(g, x);
}

/* Rankers have a head behind what is pooled; it is small and left out. */
static void end_of_encoder(cb_build *b, cg_tensor *x)
{
    x->output = true;
    cg_expand(&b->g, x);
}

static void build(cb_build *b)
{
    cg_tensor *x = begin(b);
    if (b->hp->n_stream > 0) {
        x = cb_layers_streams(b, x);
    } else {
        if (b->hp->n_embd_layer > 0)
            b->layer_inputs = cb_layer_inputs(b, x);
        for (uint32_t i = 0; i < b->hp->n_layer; i++) {
            b->g.place = memory_layer_place(b->l, i);
            x = b->arch->wiring.encoder ? layer_of_encoder(b, i, x)
                : parallel(b, i)        ? layer_parallel(b, i, x)
                                        : layer_in_turn(b, i, x);
        }
    }
    if (b->arch->wiring.encoder)
        end_of_encoder(b, x);
    else
        output_of(b, x);
}

/* llama_context: pipelines want several devices, all layers on them, the cache too, and no tensor moved by hand. */
static void place_graph(cb_build *b)
{
    const memory_layout *l = b->l;
    bool moved = false;
    for (size_t i = 0; i < l->m->n_tensors; i++)
        moved = moved || l->m->tensors[i].place != PARE_MEMORY_BY_RUNTIME;
    b->g.n_devices = l->run->n_devices;
    b->force_norms = l->run->n_devices > 0 && memory_layer_place(l, 0) != PARE_MEMORY_HOST;
    b->g.pipeline = b->force_norms && l->run->n_devices > 1 && !l->run->cache_on_host && !moved;
}

static int compare_names(const void *a, const void *b)
{
    const pare_memory_tensor *x = *(const pare_memory_tensor *const *)a, *y = *(const pare_memory_tensor *const *)b;
    return strcmp(x->name, y->name);
}

pare_status cb_peak(const memory_layout *l, uint64_t out[CG_MAX_PLACES], pare_error *err)
{
    cb_build b = {.l = l, .hp = l->hp, .arch = l->m->arch, .n_seqs = l->n_seq};
    b.by_name = malloc((l->m->n_tensors + 1) * sizeof *b.by_name);
    if (b.by_name == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the names of %zu tensors", l->m->n_tensors);
    for (size_t i = 0; i < l->m->n_tensors; i++)
        b.by_name[i] = &l->m->tensors[i];
    qsort(b.by_name, l->m->n_tensors, sizeof *b.by_name, compare_names);
    b.n_tokens = l->n_ctx < l->n_ubatch ? l->n_ctx : l->n_ubatch;
    b.n_outputs = b.n_tokens < l->n_outputs ? b.n_tokens : l->n_outputs;
    b.n_tokens = (b.n_tokens + b.n_seqs - 1) / b.n_seqs * b.n_seqs;
    place_graph(&b);
    build(&b);
    cg_split(&b.g);
    pare_status status = cg_reserve(&b.g, out, err);
    cg_close(&b.g);
    free(b.by_name);
    return status;
}
