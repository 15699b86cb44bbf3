#include "eval/kv_calibrate.h"

#include "core/threads.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EVERY = 16, DRAWN = 8, MAX_SETS = 64 };

/* One side of a layer: moments of each head. */
typedef struct side {
    pare_kv_moments *head; /* [n_head] */
    double *numbers;       /* theirs */
    uint32_t n_head, dim;
} side;

/* The layers' codecs for one row of the table. */
typedef struct set {
    const pare_kv_codec *of;
    pare_kv_codec *layers; /* [n_layer] */
} set;

struct pare_kv_calibration {
    const pare_model *m;
    pare_backend *b;
    side *k, *v;     /* [n_layer]; empty where a layer has none of its own */
    double *squares; /* [n_layer, n_head] sums of p^2 of the queries looked at */
    set sets[MAX_SETS];
    size_t n_sets;
    float *q_rows, *k_rows, *v_rows, *turns; /* of a span, in host memory */
    size_t q_room, k_room, v_room, turns_room;
};

bool pare_kv_wants_calibration(const pare_kv_form *form)
{
    return (form->k != NULL && form->k->family == PARE_KV_TRANSFORM) ||
           (form->v != NULL && form->v->family == PARE_KV_TRANSFORM);
}

static pare_status open_side(side *s, const pare_model *m, uint32_t n_head, uint32_t dim, pare_error *err)
{
    const size_t each = (size_t)dim + 2 * (size_t)dim * dim;
    s->n_head = n_head;
    s->dim = dim;
    s->head = calloc((size_t)n_head + 1, sizeof *s->head);
    s->numbers = calloc(n_head * each + 1, sizeof *s->numbers);
    if (s->head == NULL || s->numbers == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " heads of %" PRIu32 " elements", m->path,
                         n_head, dim);
    for (uint32_t h = 0; h < n_head; h++) {
        double *at = s->numbers + h * each;
        s->head[h] =
            (pare_kv_moments){.sum = at, .square = at + dim, .metric = at + dim + (size_t)dim * dim, .dim = dim};
    }
    return PARE_OK;
}

/* Rows in host memory: *to has room for *room floats. */
static pare_status fetch(pare_kv_calibration *c, float **to, size_t *room, const float *from, size_t n, pare_error *err)
{
    if (n > *room) {
        free(*to);
        *room = (*to = malloc(n * sizeof **to)) != NULL ? n : 0;
    }
    if (n > *room)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu elements of keys and values", n);
    return c->b->download(c->b, *to, from, n * sizeof **to, err);
}

/* One span of a layer, in host memory. */
typedef struct piece {
    pare_kv_calibration *c;
    const pare_attention *a;
    const pare_rope *rope;
    const float *turns;                /* [tokens, n_rot] cosines and sines */
    uint32_t layer, of_keys, first, n; /* queries at [first, first + n), keys at [0, first + n) */
    float *p;                          /* [threads, first + n] */
} piece;

/* x of position t before RoPE, times `scale` to the power of two: R^T x */
static void turn_back(const piece *g, uint32_t t, const float *x, double *out)
{
    const pare_rope *r = g->rope;
    const float *turn = g->turns + (size_t)t * r->n_rot;
    const uint32_t half = r->n_rot / 2;
    for (uint32_t e = r->n_rot; e < r->head_dim; e++)
        out[e] = (double)x[e];
    for (uint32_t i = 0; i < half; i++) {
        const uint32_t a = r->layout == PARE_ROPE_INTERLEAVED ? 2 * i : i,
                       b = r->layout == PARE_ROPE_INTERLEAVED ? a + 1 : i + half;
        const double cosine = (double)turn[2 * i], sine = (double)turn[2 * i + 1];
        out[a] = cosine * (double)x[a] + sine * (double)x[b];
        out[b] = cosine * (double)x[b] - sine * (double)x[a];
    }
}

/* What RoPE multiplies lengths by, squared: YaRN scales it. */
static double turn_square(const piece *g)
{
    return g->rope->n_rot == 0 ? 1
                               : (double)g->turns[0] * (double)g->turns[0] + (double)g->turns[1] * (double)g->turns[1];
}

static void add_outer(double *m, const double *x, double weight, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const double v = weight * x[i];
        for (uint32_t j = 0; j <= i; j++)
            m[(size_t)i * n + j] += v * x[j];
    }
}

static void add_vector(pare_kv_moments *m, const double *x)
{
    for (uint32_t i = 0; i < m->dim; i++)
        m->sum[i] += x[i];
    add_outer(m->square, x, 1, m->dim);
    m->n++;
}

/* Softmax of the scores of query head j at position t: p [from, t], which is returned from. */
static uint32_t softmax(const piece *g, uint32_t j, uint32_t t, float *p)
{
    const pare_attention *a = g->a;
    const uint32_t dim = a->head_dim_k, h = j / (a->n_head / a->n_head_kv);
    const uint32_t from = a->window > 0 && t >= a->window ? t - a->window + 1 : 0;
    const float *q = g->c->q_rows + ((size_t)(t - g->first) * a->n_head + j) * dim;
    const float slope = a->alibi != 0 ? pare_alibi_slope(a->alibi, a->n_head, j) : 0;
    float most = -INFINITY, sum = 0;
    for (uint32_t s = from; s <= t; s++) {
        const float *k = g->c->k_rows + ((size_t)s * a->n_head_kv + h) * dim;
        float dot = 0;
        for (uint32_t e = 0; e < dim; e++)
            dot += q[e] * k[e];
        dot *= a->scale;
        if (a->softcap != 0)
            dot = a->softcap * tanhf(dot / a->softcap);
        p[s] = dot - slope * (float)(t - s);
        most = p[s] > most ? p[s] : most;
    }
    for (uint32_t s = from; s <= t; s++)
        sum += p[s] = expf(p[s] - most);
    for (uint32_t s = from; s <= t; s++)
        p[s] /= sum;
    return from;
}

/* The cost of errors that query head j at position t tells of: into the metric of its key head. */
static void add_query(const piece *g, uint32_t j, uint32_t t, float *p, pare_kv_moments *to, double *squares)
{
    const pare_attention *a = g->a;
    const float *q = g->c->q_rows + ((size_t)(t - g->first) * a->n_head + j) * a->head_dim_k;
    const uint32_t from = softmax(g, j, t, p);
    double all = 0, seen = 0, y[PARE_KV_MAX_DIM];
    for (uint32_t s = from; s <= t; s++) {
        *squares += (double)p[s] * (double)p[s];
        all += (double)p[s] * (1 - (double)p[s]);
    }
    int n = 0;
    for (uint32_t s = from; s <= t && n < DRAWN && all > 0; s++) { /* by equal steps through the sum of weights */
        int drawn = 0;
        seen += (double)p[s] * (1 - (double)p[s]);
        for (; n < DRAWN && seen >= all * (n + 0.5) / DRAWN; n++)
            drawn++;
        if (drawn == 0)
            continue;
        turn_back(g, s, q, y);
        add_outer(to->metric, y, drawn * all / DRAWN, a->head_dim_k);
    }
}

/* Key head h of a span: all that is summed up for it. */
static pare_status add_head(size_t h, int thread, void *ctx, pare_error *err)
{
    (void)err;
    const piece *g = ctx;
    const pare_attention *a = g->a;
    const uint32_t group = a->n_head / a->n_head_kv, end = g->first + g->n;
    side *k = &g->c->k[g->of_keys], *v = &g->c->v[g->of_keys];
    double x[PARE_KV_MAX_DIM];
    for (uint32_t t = g->first; t < end && g->layer == g->of_keys; t++) {
        if (t < PARE_KV_CALIBRATION_SKIP)
            continue;
        turn_back(g, t, g->c->k_rows + ((size_t)t * a->n_head_kv + h) * k->dim, x);
        for (uint32_t e = 0; e < g->rope->n_rot; e++)
            x[e] /= turn_square(g);
        add_vector(&k->head[h], x);
        const float *value = g->c->v_rows + ((size_t)(t - g->first) * a->n_head_kv + h) * v->dim;
        for (uint32_t e = 0; e < v->dim; e++)
            x[e] = (double)value[e];
        add_vector(&v->head[h], x);
    }
    for (uint32_t t = g->first; t < end; t++)
        for (uint32_t j = (uint32_t)h * group; t % EVERY == EVERY - 1 && j < (h + 1) * group; j++)
            add_query(g, j, t, g->p + (size_t)thread * end, &k->head[h],
                      &g->c->squares[(size_t)g->layer * a->n_head + j]);
    return PARE_OK;
}

static pare_status add_span(piece *g, const pare_attention_span *span, pare_error *err)
{
    pare_kv_calibration *c = g->c;
    const pare_attention *a = g->a;
    const size_t n_q = (size_t)a->n_head * a->head_dim_k, n_k = (size_t)a->n_head_kv * a->head_dim_k,
                 n_v = (size_t)a->n_head_kv * a->head_dim_v;
    g->first = span->n_past;
    g->n = span->n;
    const uint32_t end = g->first + g->n;
    pare_status st = fetch(c, &c->q_rows, &c->q_room, a->q + span->row * n_q, g->n * n_q, err);
    if (st == PARE_OK)
        st = fetch(c, &c->k_rows, &c->k_room, (const float *)a->k + span->kv_row * n_k, end * n_k, err);
    if (st == PARE_OK)
        st = fetch(c, &c->v_rows, &c->v_room, (const float *)a->v + (span->kv_row + g->first) * n_v, g->n * n_v, err);
    if (st == PARE_OK && g->rope->n_rot > 0)
        st = fetch(c, &c->turns, &c->turns_room, g->rope->cos_sin, (size_t)end * g->rope->n_rot, err);
    g->turns = c->turns;
    if (st == PARE_OK && (g->p = malloc((size_t)pare_threads() * end * sizeof *g->p)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the scores of %" PRIu32 " tokens", end);
    if (st == PARE_OK)
        st = pare_parallel(a->n_head_kv, add_head, g, err);
    free(g->p);
    g->p = NULL;
    return st;
}

static pare_status take(uint32_t layer, const pare_attention *a, const pare_rope *rope, void *user, pare_error *err)
{
    pare_kv_calibration *c = user;
    const uint32_t of_keys = pare_layer_of_keys(&c->m->hp, layer);
    piece g = {.c = c, .a = a, .rope = rope, .layer = layer, .of_keys = of_keys};
    pare_status st = PARE_OK;
    if (c->k[of_keys].head == NULL)
        st = open_side(&c->k[of_keys], c->m, a->n_head_kv, a->head_dim_k, err);
    if (st == PARE_OK && c->v[of_keys].head == NULL)
        st = open_side(&c->v[of_keys], c->m, a->n_head_kv, a->head_dim_v, err);
    for (uint32_t i = 0; i < a->n_spans && st == PARE_OK; i++)
        st = add_span(&g, &a->spans[i], err);
    return st;
}

/* Adds weight[h] O_h^T O_h to the metric of the values that head h of the layer reads. */
static pare_status add_output(pare_kv_calibration *c, uint32_t layer, pare_error *err)
{
    const pare_tensor *o = pare_model_weight(c->m, PARE_W_ATTN_OUT, layer, "weight");
    side *v = &c->v[pare_layer_of_keys(&c->m->hp, layer)];
    const uint32_t n_head = c->m->hp.n_head;
    pare_status st = PARE_OK;
    if (o == NULL || v->head == NULL || o->row_len != (uint64_t)n_head * v->dim)
        return PARE_OK; /* errors cost alike */
    float *row = malloc(o->row_len * sizeof *row);
    if (row == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a row of %" PRIu64, o->row_len);
    for (uint64_t r = 0; r < o->n_rows && st == PARE_OK; r++) {
        st = pare_tensor_read_f32(o, r, 1, row, err);
        for (uint32_t h = 0; h < n_head && st == PARE_OK; h++) {
            double x[PARE_KV_MAX_DIM];
            for (uint32_t e = 0; e < v->dim; e++)
                x[e] = (double)row[(size_t)h * v->dim + e];
            add_outer(v->head[h / (n_head / v->n_head)].metric, x, c->squares[(size_t)layer * n_head + h], v->dim);
        }
    }
    free(row);
    return st;
}

/* What was summed below the diagonal, above it. */
static void mirror(double *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++)
            m[(size_t)j * n + i] = m[(size_t)i * n + j];
}

static pare_status output_of_layer(size_t layer, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    return add_output(ctx, (uint32_t)layer, err);
}

static pare_status finish(pare_kv_calibration *c, pare_error *err)
{
    const uint32_t n = c->m->hp.n_layer;
    pare_status st = PARE_OK;
    if (c->m->hp.n_layer_shared_kv == 0)
        st = pare_parallel(n, output_of_layer, c, err);
    for (uint32_t i = 0; i < n && c->m->hp.n_layer_shared_kv > 0 && st == PARE_OK; i++)
        st = add_output(c, i, err);
    for (uint32_t i = 0; i < 2 * n && st == PARE_OK; i++) {
        const side *s = i < n ? &c->k[i] : &c->v[i - n];
        for (uint32_t h = 0; h < s->n_head; h++) {
            mirror(s->head[h].square, s->dim);
            mirror(s->head[h].metric, s->dim);
        }
    }
    return st;
}

static pare_status watch(pare_forward *f, void *user, pare_error *err)
{
    (void)err;
    pare_forward_observe_heads(f, take, user);
    return PARE_OK;
}

pare_status pare_kv_calibrate(pare_kv_calibration **out, const pare_kv_text *t, pare_error *err)
{
    const uint32_t n = t->m->hp.n_layer;
    uint64_t n_tokens = 0;
    if (t->m->arch->latent || t->m->hp.both_ways)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: no codec is calibrated where attention %s", t->m->path,
                         t->m->arch->latent ? "is latent" : "looks both ways");
    pare_kv_calibration *c = *out = calloc(1, sizeof *c);
    if (c != NULL) {
        *c = (pare_kv_calibration){.m = t->m, .b = t->b};
        c->k = calloc((size_t)n + 1, sizeof *c->k);
        c->v = calloc((size_t)n + 1, sizeof *c->v);
        c->squares = calloc((size_t)n * t->m->hp.n_head + 1, sizeof *c->squares);
    }
    pare_status st = c != NULL && c->k != NULL && c->v != NULL && c->squares != NULL
                         ? pare_kv_pass(t, watch, c, &n_tokens, err)
                         : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " layers", t->m->path, n);
    if (st == PARE_OK)
        st = finish(c, err);
    if (st != PARE_OK) {
        pare_kv_calibration_close(c);
        *out = NULL;
    }
    return st;
}

void pare_kv_calibration_close(pare_kv_calibration *c)
{
    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->m->hp.n_layer; i++)
        for (int k = 0; k < 2; k++) {
            side *s = k == 0 ? c->k : c->v;
            if (s == NULL)
                continue;
            free(s[i].head);
            free(s[i].numbers);
        }
    for (size_t i = 0; i < c->n_sets; i++) {
        for (uint32_t k = 0; k < c->m->hp.n_layer; k++)
            free((void *)c->sets[i].layers[k].basis);
        free(c->sets[i].layers);
    }
    free(c->k);
    free(c->v);
    free(c->squares);
    free(c->q_rows);
    free(c->k_rows);
    free(c->v_rows);
    free(c->turns);
    free(c);
}

const pare_kv_moments *pare_kv_calibration_moments(const pare_kv_calibration *c, pare_kv_side which, uint32_t layer,
                                                   uint32_t head)
{
    const side *s = which == PARE_KV_KEYS ? &c->k[layer] : &c->v[layer];
    return s->head != NULL && head < s->n_head ? &s->head[head] : NULL;
}

/* ---- bases ---- */

typedef struct bases {
    const side *sides; /* [n_layer] */
    const set *to;
    const pare_model *m;
    const char *name;
} bases;

static pare_status make_layer(size_t layer, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    const bases *b = ctx;
    const side *s = &b->sides[layer];
    pare_kv_codec *c = &b->to->layers[layer];
    pare_status st = PARE_OK;
    *c = *b->to->of;
    if (s->head == NULL)
        return PARE_OK;
    if (pare_kv_unit_bytes(c, s->dim) == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s: layer %zu has %s of %" PRIu32 " elements a head; %s takes %s",
                         b->m->path, layer, b->name, s->dim, c->name, pare_kv_wants(c));
    const size_t floats = pare_kv_basis_floats(s->dim);
    float *basis = malloc(s->n_head * floats * sizeof *basis);
    if ((c->basis = basis) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for bases of %" PRIu32 " heads", b->m->path, s->n_head);
    for (uint32_t h = 0; h < s->n_head && st == PARE_OK; h++)
        st = pare_kv_basis_make(&s->head[h], c, basis + h * floats, err);
    if (st == PARE_ERR_NUMBER) {
        char where[PARE_ERROR_TEXT / 2];
        snprintf(where, sizeof where, "%s: %s of layer %zu", b->m->path, b->name, layer);
        return pare_fail_in(err, st, where);
    }
    return st;
}

static pare_status apply(pare_kv_calibration *c, const pare_kv_codec *of, pare_kv_side which,
                         const pare_kv_codec **layers, pare_error *err)
{
    const uint32_t n = c->m->hp.n_layer;
    if (of == NULL || of->family != PARE_KV_TRANSFORM)
        return PARE_OK;
    for (size_t i = 0; i < c->n_sets; i++)
        if (c->sets[i].of == of) {
            *layers = c->sets[i].layers;
            return PARE_OK;
        }
    assert(c->n_sets < MAX_SETS); /* of no more codecs */
    set *s = &c->sets[c->n_sets];
    *s = (set){of, calloc((size_t)n + 1, sizeof *s->layers)};
    if (s->layers == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " layers", c->m->path, n);
    c->n_sets++;
    const bases b = {which == PARE_KV_KEYS ? c->k : c->v, s, c->m, which == PARE_KV_KEYS ? "keys" : "values"};
    *layers = s->layers;
    return pare_parallel(n, make_layer, (void *)&b, err);
}

pare_status pare_kv_calibration_apply(pare_kv_calibration *c, pare_kv_form *form, pare_error *err)
{
    form->calibrates = false;
    pare_status st = apply(c, form->k, PARE_KV_KEYS, &form->layers_k, err);
    return st == PARE_OK ? apply(c, form->v, PARE_KV_VALUES, &form->layers_v, err) : st;
}
