#include "recipe/kv_ready.h"

#include "core/checked.h"
#include "core/scratch.h"
#include "quant/hadamard.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LINE_BYTES = 256, BATCH = 16 /* rotated rows that are made together */ };

/* ---- rotation ---- */

static const uint64_t SEED = 0x6b76726479; /* any: "kvrdy"; not that of eval/kv.c, whose rotation may follow */

static bool is_power(uint32_t n)
{
    return (n & (n - 1)) == 0;
}

static void reverse(float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n / 2; i++) {
        float t = x[i];
        x[i] = x[n - 1 - i];
        x[n - 1 - i] = t;
    }
}

/* Signs and H, number `pass` of the layer. Of two the second meets the elements in reverse, so that its blocks do not
 * end where those of the first do. */
static pare_rotation pass_of(const pare_kv_ready_layer *l, uint32_t layer, uint32_t pass)
{
    return (pare_rotation){l->dim_v, PARE_ROTATION_MAX_DIM, SEED + 3 * (uint64_t)layer + pass};
}

static void change_signs(const pare_kv_ready_layer *l, uint32_t layer, float *x)
{
    const pare_rotation last = pass_of(l, layer, 2);
    for (uint32_t i = 0; i < l->dim_v; i++)
        x[i] *= pare_rotation_sign(&last, i);
}

void pare_kv_ready_turn(const pare_kv_ready_layer *l, uint32_t layer, float *x, size_t n)
{
    const uint32_t n_passes = is_power(l->dim_v) ? 1 : 2;
    for (; n > 0; n--, x += l->dim_v) {
        for (uint32_t pass = 0; pass < n_passes; pass++) {
            const pare_rotation r = pass_of(l, layer, pass);
            pare_rotate(&r, x, 1);
            if (n_passes > 1)
                reverse(x, l->dim_v);
        }
        change_signs(l, layer, x);
    }
}

void pare_kv_ready_turn_back(const pare_kv_ready_layer *l, uint32_t layer, float *x, size_t n)
{
    const uint32_t n_passes = is_power(l->dim_v) ? 1 : 2;
    for (; n > 0; n--, x += l->dim_v) {
        change_signs(l, layer, x);
        for (uint32_t pass = n_passes; pass-- > 0;) {
            const pare_rotation r = pass_of(l, layer, pass);
            if (n_passes > 1)
                reverse(x, l->dim_v);
            pare_rotate_back(&r, x, 1);
        }
    }
}

uint32_t pare_kv_ready_partner(const pare_kv_ready_layer *l, uint32_t i)
{
    if (i >= l->n_rot)
        return i;
    if (l->interleaved)
        return i ^ 1;
    return i < l->n_rot / 2 ? i + l->n_rot / 2 : i - l->n_rot / 2;
}

/* ---- what can be changed ---- */

typedef struct finding {
    pare_kv_ready *r;
    const pare_model *m;
    uint32_t n_left;
    char left[LINE_BYTES]; /* of the first that is left out */
} finding;

static const pare_tensor *weight(const pare_model *m, pare_weight id, uint32_t layer)
{
    return pare_model_weight(m, id, layer, "weight");
}

/* Attention, and not linear attention, which keeps no keys. */
static bool has_keys(const pare_model *m, uint32_t layer)
{
    if (weight(m, PARE_W_SSM_CONV1D, layer) != NULL)
        return false;
    return weight(m, PARE_W_ATTN_QKV, layer) != NULL || weight(m, PARE_W_ATTN_K, layer) != NULL;
}

/* Whether queries of layer i read keys and values of this layer. */
static bool reads(const pare_model *m, uint32_t i, uint32_t layer)
{
    return pare_layer_of_keys(&m->hp, i) == layer && weight(m, PARE_W_SSM_CONV1D, i) == NULL &&
           (weight(m, PARE_W_ATTN_QKV, i) != NULL || weight(m, PARE_W_ATTN_Q, i) != NULL);
}

/* Rows of a head's queries, its gate included. */
static uint64_t query_rows(const pare_model *m, uint32_t layer)
{
    return (m->arch->wiring.attn_gated ? 2 : 1) * (uint64_t)pare_layer_shape_of(&m->hp, layer).head_dim_k;
}

/* Which matrix makes queries, keys or values, and its first row for them. */
typedef struct made_by {
    pare_weight id;
    uint64_t first, n_rows;
} made_by;

static made_by maker(const pare_model *m, pare_weight id, uint32_t layer)
{
    const pare_layer_shape of = pare_layer_shape_of(&m->hp, layer);
    const uint64_t n_q = m->hp.n_head * query_rows(m, layer), n_k = (uint64_t)of.n_head_kv * of.head_dim_k,
                   n_v = (uint64_t)of.n_head_kv * of.head_dim_v;
    made_by made = {id, 0, id == PARE_W_ATTN_Q ? n_q : id == PARE_W_ATTN_K ? n_k : n_v};
    if (weight(m, PARE_W_ATTN_QKV, layer) == NULL)
        return made;
    made.id = PARE_W_ATTN_QKV;
    made.first = id == PARE_W_ATTN_Q ? 0 : id == PARE_W_ATTN_K ? n_q : n_q + n_k;
    return made;
}

static const char *check_float(const pare_tensor *t)
{
    const bool plain = (pare_type_get(t->type)->traits & PARE_TRAIT_FLOAT) != 0;
    return plain && !t->packed && t->factor == NULL ? NULL : "its weights are quantized";
}

/* Why rows cannot be changed; NULL: they can. */
static const char *check_rows(const pare_model *m, pare_weight id, uint32_t layer)
{
    const made_by made = maker(m, id, layer);
    const pare_tensor *t = weight(m, made.id, layer), *b = pare_model_weight(m, made.id, layer, "bias");
    if (t == NULL)
        return "they are not the product of a matrix of their own";
    if (t->n_dims != 2 || t->n_rows < made.first + made.n_rows ||
        (b != NULL && (b->n_dims != 1 || b->row_len != t->n_rows)))
        return "weights of another shape";
    const char *why = check_float(t);
    return why == NULL && b != NULL ? check_float(b) : why;
}

/* A norm of queries or keys has a gain an element, for each head or for all. */
static const char *check_norm(const pare_model *m, pare_weight norm, uint32_t layer, uint32_t n_head, uint32_t dim)
{
    static const char *const suffixes[] = {"weight", "bias"};
    for (size_t i = 0; i < 2; i++) {
        const pare_tensor *t = pare_model_weight(m, norm, layer, suffixes[i]);
        const uint64_t n = t != NULL ? t->n_rows * t->row_len : dim;
        if (n != dim && n != (uint64_t)n_head * dim)
            return "a norm of another shape";
        if (t != NULL && check_float(t) != NULL)
            return check_float(t);
    }
    return NULL;
}

/* Queries (of n_head heads) or keys of a layer can be scaled. Sets *alike where one gain is for all heads. */
static const char *check_scaling(const pare_model *m, pare_weight id, uint32_t layer, bool *alike)
{
    const pare_layer_shape of = pare_layer_shape_of(&m->hp, layer);
    const pare_weight norm = id == PARE_W_ATTN_Q ? PARE_W_ATTN_Q_NORM : PARE_W_ATTN_K_NORM;
    const uint32_t n_head = id == PARE_W_ATTN_Q ? m->hp.n_head : of.n_head_kv;
    const pare_tensor *gain = weight(m, norm, layer);
    if (gain != NULL) {
        *alike = *alike || gain->n_rows * gain->row_len == of.head_dim_k;
        return check_norm(m, norm, layer, n_head, of.head_dim_k);
    }
    if (m->hp.qkv_clamp != 0)
        return "what is made of them is clamped";
    if (id == PARE_W_ATTN_K && weight(m, PARE_W_ATTN_QKV, layer) == NULL && weight(m, PARE_W_ATTN_V, layer) == NULL)
        return "they are values, too";
    return check_rows(m, id, layer);
}

static const char *why_no_keys(const pare_model *m, uint32_t layer, pare_kv_ready_layer *l)
{
    const char *why = check_scaling(m, PARE_W_ATTN_K, layer, &l->alike);
    bool behind = m->arch->wiring.qk_norm_last && weight(m, PARE_W_ATTN_K_NORM, layer) != NULL;
    for (uint32_t i = 0; i < m->hp.n_layer && why == NULL; i++)
        if (reads(m, i, layer)) {
            why = check_scaling(m, PARE_W_ATTN_Q, i, &l->alike);
            behind = behind && weight(m, PARE_W_ATTN_Q_NORM, i) != NULL;
        }
    if (behind)
        l->n_rot = 0; /* RoPE is over where gains are */
    return why;
}

static const char *why_no_values(const pare_model *m, uint32_t layer, const pare_kv_ready_layer *l)
{
    const pare_wiring *wiring = &m->arch->wiring;
    if (wiring->attn_gated)
        return "elements of what is attended to have gates of their own";
    if (m->hp.qkv_clamp != 0)
        return "they are clamped";
    if (wiring->v_norm && wiring->norm != PARE_NORM_RMS)
        return "a norm takes their mean away";
    if (l->dim_v > PARE_ROTATION_MAX_DIM)
        return "heads are too large";
    for (uint32_t i = 0; i < m->hp.n_layer; i++) {
        const pare_tensor *o = weight(m, PARE_W_ATTN_OUT, i);
        if (pare_layer_of_keys(&m->hp, i) != layer)
            continue;
        if (weight(m, PARE_W_ATTN_SUB_NORM, i) != NULL)
            return "a norm with gains stands between them and the attention output";
        if (o == NULL || o->n_dims != 2 || o->row_len != (uint64_t)m->hp.n_head * l->dim_v)
            return "the attention output has another shape";
        if (check_float(o) != NULL)
            return check_float(o);
    }
    return check_rows(m, PARE_W_ATTN_V, layer);
}

static bool leave(finding *x, uint32_t layer, const char *what, const char *why)
{
    if (why != NULL && x->n_left++ == 0)
        snprintf(x->left, sizeof x->left, "layer %" PRIu32 ", %s: %s", layer, what, why);
    return why == NULL;
}

static pare_status find_layer(finding *x, uint32_t layer, pare_error *err)
{
    const pare_model *m = x->m;
    const pare_layer_shape of = pare_layer_shape_of(&m->hp, layer);
    pare_kv_ready_layer *l = &x->r->layers[layer];
    const bool turns = m->arch->wiring.rope != PARE_ROPE_NONE && !pare_layers_have(&m->hp.no_rope, layer);
    *l = (pare_kv_ready_layer){.n_head_kv = of.n_head_kv,
                               .dim_k = of.head_dim_k,
                               .dim_v = of.head_dim_v,
                               .n_rot = turns ? of.n_rot : 0,
                               .interleaved = m->arch->wiring.rope == PARE_ROPE_INTERLEAVED};
    const size_t n = (size_t)of.n_head_kv * of.head_dim_k;
    if (of.n_head_kv == 0 || m->hp.n_head % of.n_head_kv != 0 || l->n_rot > l->dim_k) {
        leave(x, layer, "all of it", "heads of another shape");
        return PARE_OK;
    }
    if ((l->scale = pare_arena_alloc(&x->r->arena, n * sizeof *l->scale, err)) == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < n; i++)
        l->scale[i] = 1;
    l->keys = leave(x, layer, "keys", why_no_keys(m, layer, l));
    l->values = leave(x, layer, "values", why_no_values(m, layer, l));
    x->r->n_keys += l->keys;
    x->r->n_values += l->values;
    return PARE_OK;
}

/* What makes it senseless for all of the model. */
static const char *check_model(const pare_model *m)
{
    if (m->arch->latent)
        return "a cache of latent attention holds what all heads share, which no rotation of heads reaches";
    if (m->arch->wiring.encoder || m->hp.both_ways)
        return "attention looks both ways: there is no cache";
    return NULL;
}

static pare_status find_all(finding *x, pare_error *err)
{
    const pare_model *m = x->m;
    size_t bytes = 0;
    pare_status st = PARE_OK;
    if (!pare_mul_size((size_t)m->hp.n_layer + 1, sizeof *x->r->layers, &bytes) ||
        (x->r->layers = pare_arena_alloc(&x->r->arena, bytes, err)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " layers", m->path, m->hp.n_layer);
    x->r->n_layer = m->hp.n_layer;
    for (uint32_t i = 0; i < m->hp.n_layer && st == PARE_OK; i++)
        if (pare_layer_of_keys(&m->hp, i) == i && has_keys(m, i))
            st = find_layer(x, i, err);
    if (st == PARE_OK && x->r->n_keys + x->r->n_values == 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %s: nothing can be made ready for a quantized cache; %s",
                         m->path, m->arch->name, x->n_left > 0 ? x->left : "no layer has keys and values");
    if (st == PARE_OK && x->n_left > 0) {
        if ((x->r->left = pare_arena_alloc(&x->r->arena, 2 * LINE_BYTES, err)) == NULL)
            return PARE_ERR_MEMORY;
        snprintf(x->r->left, 2 * LINE_BYTES,
                 "%s: not made ready for a quantized cache at %" PRIu32 " places, the first is %s", m->arch->name,
                 x->n_left, x->left);
    }
    return st;
}

pare_status pare_kv_ready_find(pare_kv_ready *r, const pare_model *m, pare_error *err)
{
    finding x = {.r = r, .m = m};
    *r = (pare_kv_ready){.mean_ratio = NAN};
    if (m->arch == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: an architecture that pare does not know: nothing can be made ready for a quantized cache",
                         m->path);
    const char *why = check_model(m);
    if (why != NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %s: nothing can be made ready for a quantized cache; %s",
                         m->path, m->arch->name, why);
    if (pare_meta_find(&m->meta, PARE_KV_READY_KEY) != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: '%s' is set: it was made ready for a quantized cache before",
                         m->path, PARE_KV_READY_KEY);
    pare_status st = find_all(&x, err);
    if (st != PARE_OK)
        pare_kv_ready_close(r);
    return st;
}

void pare_kv_ready_close(pare_kv_ready *r)
{
    pare_arena_close(&r->arena);
    *r = (pare_kv_ready){0};
}

/* ---- changed tensors ---- */

typedef struct changed {
    pare_tensor src;
    double *scale;              /* [n_rows] of a matrix, [elements] of a vector or norm; NULL: 1 */
    bool by_row;                /* the former */
    bool turns_rows;            /* rows, else elements of each row, are rotated */
    pare_kv_ready_layer turned; /* dim_v 0: nothing is */
    uint32_t layer;             /* whose rotation it is */
    uint64_t first, n_heads;    /* of what is rotated */
} changed;

/* n <= BATCH rotated rows of one head, from number `row` of it on. */
static pare_status read_turned(const pare_tensor *t, uint64_t head, uint64_t row, uint64_t n, float *x, pare_error *err)
{
    const changed *c = t->ctx;
    const size_t dim = c->turned.dim_v, len = (size_t)t->row_len;
    const size_t bytes = BATCH * dim * sizeof(float) + BATCH * len * sizeof(double) + len * sizeof(float);
    double *sum = pare_scratch_alloc(bytes);
    if (sum == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory to rotate rows of %zu", t->name, len);
    float *source = (float *)(void *)(sum + BATCH * len), *r = source + len; /* r [n, dim]: rows of R */
    pare_status st = PARE_OK;
    memset(sum, 0, BATCH * len * sizeof *sum);
    memset(r, 0, BATCH * dim * sizeof *r);
    for (size_t i = 0; i < n; i++)
        r[i * dim + row + i] = 1;
    pare_kv_ready_turn_back(&c->turned, c->layer, r, (size_t)n);
    for (size_t k = 0; k < dim && st == PARE_OK; k++) {
        st = pare_tensor_read_f32(&c->src, c->first + head * dim + k, 1, source, err);
        for (size_t i = 0; i < n && st == PARE_OK; i++)
            for (size_t e = 0; e < len && r[i * dim + k] != 0; e++)
                sum[i * len + e] += (double)r[i * dim + k] * (double)source[e];
    }
    for (size_t i = 0; i < n * len && st == PARE_OK; i++)
        x[i] = (float)sum[i];
    pare_scratch_free(sum, bytes);
    return st;
}

static pare_status read_scaled(const pare_tensor *t, uint64_t row, float *x, pare_error *err)
{
    const changed *c = t->ctx;
    pare_status st = pare_tensor_read_f32(&c->src, row, 1, x, err);
    for (uint64_t e = 0; e < t->row_len && c->scale != NULL && st == PARE_OK; e++)
        x[e] = (float)((double)x[e] * c->scale[c->by_row ? row : row * t->row_len + e]);
    if (st == PARE_OK && !c->turns_rows && c->turned.dim_v > 0)
        pare_kv_ready_turn(&c->turned, c->layer, x + c->first, (size_t)c->n_heads);
    return st;
}

static pare_status read_changed(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const changed *c = t->ctx;
    const uint64_t dim = c->turned.dim_v, end = row + n_rows;
    float *x = dst;
    pare_status st = PARE_OK;
    while (row < end && st == PARE_OK) {
        uint64_t n = 1;
        if (c->turns_rows && row >= c->first && row < c->first + c->n_heads * dim) {
            const uint64_t in_head = (row - c->first) % dim;
            n = dim - in_head < BATCH ? dim - in_head : BATCH;
            n = n < end - row ? n : end - row;
            st = read_turned(t, (row - c->first) / dim, in_head, n, x, err);
        } else
            st = read_scaled(t, row, x, err);
        row += n;
        x += n * t->row_len;
    }
    return st;
}

/* Show t through what is in its ctx then. */
static changed *changed_of(pare_model *m, const pare_tensor *of, pare_error *err)
{
    pare_tensor *t = &m->tensors[of - m->tensors];
    if (t->read == read_changed)
        return (changed *)(uintptr_t)t->ctx;
    changed *c = pare_arena_alloc(&m->arena, sizeof *c, err);
    if (c == NULL)
        return NULL;
    c->src = *t;
    t->type = PARE_TYPE_F32;
    t->data = NULL;
    t->offset = 0;
    t->read = read_changed;
    t->release = NULL;
    t->ctx = c;
    t->base = &c->src;
    if (pare_tensor_set_shape(t, m->path, err) != PARE_OK)
        return NULL;
    t->scratch_bytes += (size_t)t->row_bytes * (2 * BATCH + 2);
    return c;
}

static pare_status need_scale(pare_model *m, changed *c, bool by_row, pare_error *err)
{
    const uint64_t n = by_row ? c->src.n_rows : c->src.n_rows * c->src.row_len;
    size_t bytes;
    if (c->scale != NULL)
        return PARE_OK;
    c->by_row = by_row;
    if (!pare_mul_size((size_t)n, sizeof *c->scale, &bytes))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s' is too large", m->path, c->src.name);
    if ((c->scale = pare_arena_alloc(&m->arena, bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    for (uint64_t i = 0; i < n; i++)
        c->scale[i] = 1;
    return PARE_OK;
}

/* Heads of queries or keys of a layer times, or divided by, factors: in a norm or in rows. */
typedef struct scaling {
    const pare_kv_ready_layer *l; /* of the keys */
    pare_weight id;               /* ATTN_Q, ATTN_K */
    uint32_t layer, n_head;
    bool divides;
} scaling;

static pare_status scale_tensor(pare_model *m, const scaling *s, const pare_tensor *t, bool by_row, uint64_t first,
                                uint64_t stride, uint32_t n_head, pare_error *err)
{
    changed *c = t != NULL ? changed_of(m, t, err) : NULL;
    if (t == NULL)
        return PARE_OK;
    if (c == NULL || need_scale(m, c, by_row, err) != PARE_OK)
        return PARE_ERR_MEMORY;
    for (uint32_t h = 0; h < n_head; h++)
        for (uint32_t i = 0; i < s->l->dim_k; i++) {
            const uint32_t kv = n_head > 1 ? h / (s->n_head / s->l->n_head_kv) : 0; /* one head: factors are alike */
            const double v = (double)s->l->scale[(size_t)kv * s->l->dim_k + i];
            c->scale[first + h * stride + i] *= s->divides ? 1 / v : v;
        }
    return PARE_OK;
}

static pare_status scale_heads(pare_model *m, const scaling *s, pare_error *err)
{
    const pare_weight norm = s->id == PARE_W_ATTN_Q ? PARE_W_ATTN_Q_NORM : PARE_W_ATTN_K_NORM;
    const pare_tensor *gain = weight(m, norm, s->layer);
    const uint32_t dim = s->l->dim_k;
    const made_by made = maker(m, s->id, s->layer);
    const uint64_t stride = s->id == PARE_W_ATTN_Q ? query_rows(m, s->layer) : dim;
    if (gain == NULL) {
        pare_status st = scale_tensor(m, s, weight(m, made.id, s->layer), true, made.first, stride, s->n_head, err);
        return st == PARE_OK ? scale_tensor(m, s, pare_model_weight(m, made.id, s->layer, "bias"), false, made.first,
                                            stride, s->n_head, err)
                             : st;
    }
    const uint32_t n_head = gain->n_rows * gain->row_len == dim ? 1 : s->n_head;
    pare_status st = scale_tensor(m, s, gain, false, 0, dim, n_head, err);
    return st == PARE_OK ? scale_tensor(m, s, pare_model_weight(m, norm, s->layer, "bias"), false, 0, dim, n_head, err)
                         : st;
}

static pare_status turn_tensor(pare_model *m, const pare_kv_ready_layer *l, uint32_t layer, const pare_tensor *t,
                               bool rows, uint64_t first, uint64_t n_heads, pare_error *err)
{
    changed *c = t != NULL ? changed_of(m, t, err) : NULL;
    if (t == NULL)
        return PARE_OK;
    if (c == NULL)
        return PARE_ERR_MEMORY;
    c->turned = *l;
    c->layer = layer;
    c->turns_rows = rows;
    c->first = first;
    c->n_heads = n_heads;
    return PARE_OK;
}

static pare_status apply_keys(pare_model *m, const pare_kv_ready_layer *l, uint32_t layer, pare_error *err)
{
    pare_status st = scale_heads(m, &(scaling){l, PARE_W_ATTN_K, layer, l->n_head_kv, true}, err);
    for (uint32_t i = 0; i < m->hp.n_layer && st == PARE_OK; i++)
        if (reads(m, i, layer))
            st = scale_heads(m, &(scaling){l, PARE_W_ATTN_Q, i, m->hp.n_head, false}, err);
    return st;
}

static pare_status apply_values(pare_model *m, const pare_kv_ready_layer *l, uint32_t layer, pare_error *err)
{
    const made_by made = maker(m, PARE_W_ATTN_V, layer);
    pare_status st = turn_tensor(m, l, layer, weight(m, made.id, layer), true, made.first, l->n_head_kv, err);
    if (st == PARE_OK)
        st = turn_tensor(m, l, layer, pare_model_weight(m, made.id, layer, "bias"), false, made.first, l->n_head_kv,
                         err);
    for (uint32_t i = 0; i < m->hp.n_layer && st == PARE_OK; i++)
        if (reads(m, i, layer))
            st = turn_tensor(m, l, layer, weight(m, PARE_W_ATTN_OUT, i), false, 0, m->hp.n_head, err);
    return st;
}

pare_status pare_kv_ready_apply(pare_model *m, const pare_kv_ready *r, pare_error *err)
{
    char said[96];
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < r->n_layer && st == PARE_OK; i++) {
        if (r->layers[i].keys)
            st = apply_keys(m, &r->layers[i], i, err);
        if (st == PARE_OK && r->layers[i].values)
            st = apply_values(m, &r->layers[i], i, err);
    }
    snprintf(said, sizeof said, "keys of %" PRIu32 " layers scaled, values of %" PRIu32 " rotated", r->n_keys,
             r->n_values);
    return st == PARE_OK ? pare_meta_set_str(&m->meta, PARE_KV_READY_KEY, (pare_str){said, strlen(said)}, err) : st;
}
