#include "recipe/fold.h"

#include "core/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PARTS = 5, LINE_BYTES = 256 }; /* and one an expert */

/* What a layer may hold: nothing else reads what its norms make, or changes it on the way. Of attention of another kind
 * it is known that the FFN does not meet it. */
enum { OF_ATTENTION = 1, OF_FFN = 2, OF_EXPERTS = 4, OF_OTHER_ATTENTION = 8 };
static const uint8_t known[PARE_W_COUNT] = {
    [PARE_W_ATTN_NORM] = OF_ATTENTION,
    [PARE_W_ATTN_NORM_2] = OF_ATTENTION,
    [PARE_W_ATTN_Q] = OF_ATTENTION,
    [PARE_W_ATTN_K] = OF_ATTENTION,
    [PARE_W_ATTN_V] = OF_ATTENTION,
    [PARE_W_ATTN_QKV] = OF_ATTENTION,
    [PARE_W_ATTN_OUT] = OF_ATTENTION,
    [PARE_W_ATTN_Q_NORM] = OF_ATTENTION,
    [PARE_W_ATTN_K_NORM] = OF_ATTENTION,
    [PARE_W_ATTN_SINKS] = OF_ATTENTION,
    [PARE_W_ATTN_POST_NORM] = OF_ATTENTION,
    [PARE_W_FFN_NORM] = OF_FFN,
    [PARE_W_FFN_GATE] = OF_FFN,
    [PARE_W_FFN_UP] = OF_FFN,
    [PARE_W_FFN_DOWN] = OF_FFN,
    [PARE_W_FFN_POST_NORM] = OF_FFN,
    [PARE_W_FFN_GATE_INP] = OF_EXPERTS,
    [PARE_W_EXPERT_BIAS] = OF_EXPERTS,
    [PARE_W_FFN_GATE_EXPS] = OF_EXPERTS,
    [PARE_W_FFN_UP_EXPS] = OF_EXPERTS,
    [PARE_W_FFN_DOWN_EXPS] = OF_EXPERTS,
    [PARE_W_FFN_GATE_INP_SHEXP] = OF_EXPERTS,
    [PARE_W_FFN_GATE_SHEXP] = OF_EXPERTS,
    [PARE_W_FFN_UP_SHEXP] = OF_EXPERTS,
    [PARE_W_FFN_DOWN_SHEXP] = OF_EXPERTS,
    [PARE_W_ATTN_Q_A] = OF_OTHER_ATTENTION,
    [PARE_W_ATTN_Q_A_NORM] = OF_OTHER_ATTENTION,
    [PARE_W_ATTN_Q_B] = OF_OTHER_ATTENTION,
    [PARE_W_ATTN_KV_A] = OF_OTHER_ATTENTION,
    [PARE_W_ATTN_KV_A_NORM] = OF_OTHER_ATTENTION,
    [PARE_W_ATTN_KV_B] = OF_OTHER_ATTENTION,
    [PARE_W_ATTN_K_B] = OF_OTHER_ATTENTION,
    [PARE_W_ATTN_V_B] = OF_OTHER_ATTENTION,
    [PARE_W_ATTN_GATE] = OF_OTHER_ATTENTION,
    [PARE_W_SSM_CONV1D] = OF_OTHER_ATTENTION,
    [PARE_W_SSM_DT] = OF_OTHER_ATTENTION,
    [PARE_W_SSM_A] = OF_OTHER_ATTENTION,
    [PARE_W_SSM_BETA] = OF_OTHER_ATTENTION,
    [PARE_W_SSM_ALPHA] = OF_OTHER_ATTENTION,
    [PARE_W_SSM_BETA_ALPHA] = OF_OTHER_ATTENTION,
    [PARE_W_SSM_NORM] = OF_OTHER_ATTENTION,
    [PARE_W_SSM_OUT] = OF_OTHER_ATTENTION,
};

typedef struct finding {
    pare_fold *f;
    const pare_model *m;
    uint32_t layer, n_left;
    char left[LINE_BYTES]; /* of the first that is left out */
} finding;

static const pare_tensor *weight(const finding *x, pare_weight id)
{
    return pare_model_weight(x->m, id, x->layer, "weight");
}

static void leave(finding *x, const char *what, const char *why)
{
    if (x->n_left++ == 0)
        snprintf(x->left, sizeof x->left, "layer %" PRIu32 ": %s: %s", x->layer, what, why);
}

/* ---- pairs ---- */

static void add_reader(const finding *x, pare_fold_pair *p, pare_weight id)
{
    const pare_tensor *t = weight(x, id);
    if (t != NULL)
        p->reader[p->n_readers++] = t;
}

static void add_giver(const finding *x, pare_fold_pair *p, pare_weight id, uint64_t first)
{
    const char *const suffix[] = {"weight", "bias"};
    for (size_t i = 0; i < PARE_FOLD_GIVERS; i++) {
        const pare_tensor *t = pare_model_weight(x->m, id, x->layer, suffix[i]);
        if (t == NULL)
            continue;
        p->giver[p->n_givers].t = t;
        p->giver[p->n_givers++].first = first;
    }
}

/* A matrix, or one for each expert. */
static bool is_float_matrix(const pare_fold_pair *p, const pare_tensor *t)
{
    bool shape = p->n_experts > 1 ? t->n_dims == 3 && t->dim[0] == p->n_experts : t->n_dims == 2;
    return shape && t->factor == NULL && !t->packed && !(pare_type_get(t->type)->traits & PARE_TRAIT_INTEGER);
}

/* Elements of a vector, or rows of a matrix and those of the experts before it. */
static uint64_t made(const pare_fold_pair *p, const pare_tensor *t)
{
    return t->n_dims == 1 ? t->row_len : t->n_rows / p->n_experts * (p->expert + 1);
}

static bool is_sound(const pare_fold_pair *p)
{
    bool sound = p->n_readers > 0 && p->n_givers > 0 && p->n > 0;
    for (size_t i = 0; i < p->n_readers; i++)
        sound = sound && is_float_matrix(p, p->reader[i]) && p->reader[i]->row_len == p->n;
    for (size_t i = 0; i < p->n_givers && sound; i++) {
        const pare_tensor *t = p->giver[i].t;
        uint64_t n = p->n / p->share;
        sound = (t->n_dims == 1 ? t->factor == NULL && !t->packed : is_float_matrix(p, t)) && made(p, t) >= n &&
                p->giver[i].first == made(p, t) - n; /* they are its last ones */
    }
    return sound;
}

static pare_status add(finding *x, pare_fold_pair *p, const char *what, pare_error *err)
{
    pare_fold *f = x->f;
    size_t bytes, n;
    p->n = p->n_readers > 0 ? p->reader[0]->row_len : 0;
    if (p->share == 0)
        p->share = p->width = 1;
    if (p->n_experts == 0)
        p->n_experts = 1;
    if (!is_sound(p)) {
        leave(x, what, "weights of another form or shape");
        return PARE_OK;
    }
    if (!pare_mul_size((size_t)p->n, (size_t)p->n_experts, &n) || !pare_mul_size(n, sizeof *p->scale, &bytes))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: %" PRIu64 " columns are too many", x->m->path, p->n);
    if ((p->scale = pare_arena_alloc(&f->arena, bytes, err)) == NULL)
        return PARE_ERR_MEMORY;
    for (size_t c = 0; c < n; c++)
        p->scale[c] = 1;
    for (; p->expert < p->n_experts; p->expert++, p->scale += p->n) {
        f->pairs[f->n++] = *p;
        for (size_t i = 0; i < p->n_givers; i++)
            p->giver[i].first += p->giver[i].t->n_rows / p->n_experts;
    }
    return PARE_OK;
}

/* ---- where they are ---- */

/* The first weight of the layer that is of this kind, or of none (0). */
static const char *first_of(const finding *x, uint8_t kind, char *name, size_t size)
{
    for (int id = 0; id < PARE_W_COUNT; id++)
        if (known[id] == kind && pare_weight_per_layer((pare_weight)id) && weight(x, (pare_weight)id) != NULL)
            return pare_weight_name(name, size, (pare_weight)id, x->layer, "weight");
    return NULL;
}

/* Parallel layers with one norm feed both parts from it; with attn_norm_2 that one feeds attention. */
static bool is_parallel(const finding *x)
{
    return x->m->arch->wiring.parallel_residual && !x->m->hp.residual_in_turn;
}

static pare_weight attention_norm(const finding *x)
{
    return is_parallel(x) && weight(x, PARE_W_ATTN_NORM_2) != NULL ? PARE_W_ATTN_NORM_2 : PARE_W_ATTN_NORM;
}

static pare_weight ffn_norm(const finding *x)
{
    if (is_parallel(x) && weight(x, PARE_W_FFN_NORM) == NULL)
        return PARE_W_ATTN_NORM;
    return x->m->arch->wiring.post_norm_feeds_ffn ? PARE_W_ATTN_POST_NORM : PARE_W_FFN_NORM;
}

static pare_status find_attention_norm(finding *x, pare_error *err)
{
    static const pare_weight readers[] = {PARE_W_ATTN_Q, PARE_W_ATTN_K, PARE_W_ATTN_V};
    pare_fold_pair p = {.norm = true};
    bool fused = weight(x, PARE_W_ATTN_QKV) != NULL;
    if (weight(x, attention_norm(x)) == NULL) {
        leave(x, "inputs of q, k and v", "there is no norm with a gain before them");
        return PARE_OK;
    }
    add_giver(x, &p, attention_norm(x), 0);
    for (size_t i = 0; i < sizeof readers / sizeof *readers && !fused; i++)
        add_reader(x, &p, readers[i]);
    if (fused)
        add_reader(x, &p, PARE_W_ATTN_QKV);
    return add(x, &p, "inputs of q, k and v", err);
}

static pare_status find_ffn_norm(finding *x, pare_error *err)
{
    pare_fold_pair p = {.norm = true};
    pare_weight norm = ffn_norm(x);
    if (weight(x, norm) == NULL) {
        leave(x, "inputs of gate and up", "there is no norm with a gain before them");
        return PARE_OK;
    }
    add_giver(x, &p, norm, 0);
    add_reader(x, &p, PARE_W_FFN_GATE);
    add_reader(x, &p, PARE_W_FFN_UP);
    return add(x, &p, "inputs of gate and up", err);
}

/* Rows of v are the last ones where q, k and v are fused. */
static pare_status find_values(finding *x, pare_error *err)
{
    const pare_wiring *wiring = &x->m->arch->wiring;
    const pare_hparams *hp = &x->m->hp;
    const pare_layer_shape of = pare_layer_shape_of(hp, x->layer);
    const char *what = "inputs of the attention output";
    pare_weight id = weight(x, PARE_W_ATTN_QKV) != NULL ? PARE_W_ATTN_QKV : PARE_W_ATTN_V;
    const pare_tensor *v = weight(x, id), *o = weight(x, PARE_W_ATTN_OUT);
    uint64_t n = (uint64_t)of.n_head_kv * of.head_dim_v;
    pare_fold_pair p = {0};
    if (v == NULL || o == NULL || wiring->v_norm || hp->qkv_clamp != 0 || hp->n_layer_shared_kv > 0 || n == 0 ||
        hp->n_head % of.n_head_kv != 0 || o->row_len != (uint64_t)hp->n_head * of.head_dim_v || v->n_rows < n) {
        leave(x, what, "values are not the product of a matrix of this layer alone");
        return PARE_OK;
    }
    p.share = hp->n_head / of.n_head_kv;
    p.width = of.head_dim_v;
    add_reader(x, &p, PARE_W_ATTN_OUT);
    add_giver(x, &p, id, v->n_rows - n);
    return add(x, &p, what, err);
}

/* Rows of up are the last half where gate and up are fused. */
static pare_status find_up(finding *x, pare_weight up_id, pare_weight down_id, bool gated, pare_error *err)
{
    const pare_tensor *up = weight(x, up_id), *down = weight(x, down_id);
    pare_fold_pair p = {.n_experts = up != NULL && up->n_dims == 3 ? up->dim[0] : 1};
    if (up == NULL || down == NULL || p.n_experts == 0 || up->n_rows / p.n_experts < down->row_len || !gated ||
        pare_arch_act(x->m->arch, &x->m->hp) == PARE_ACT_CLAMPED_GLU) {
        leave(x, "inputs of down", "they are no product with a gate");
        return PARE_OK;
    }
    add_reader(x, &p, down_id);
    add_giver(x, &p, up_id, up->n_rows / p.n_experts - down->row_len);
    return add(x, &p, "inputs of down", err);
}

static pare_status find_ffn(finding *x, bool shared, pare_error *err)
{
    char name[LINE_BYTES / 4];
    bool experts = first_of(x, OF_EXPERTS, name, sizeof name) != NULL;
    pare_status st = PARE_OK;
    if (experts)
        leave(x, "inputs of gate and up", "a router reads them, too");
    else if (!shared)
        st = find_ffn_norm(x, err);
    if (st == PARE_OK && (!experts || weight(x, PARE_W_FFN_UP) != NULL))
        st = find_up(x, PARE_W_FFN_UP, PARE_W_FFN_DOWN, x->m->arch->wiring.gated_ffn, err);
    if (st == PARE_OK && weight(x, PARE_W_FFN_UP_SHEXP) != NULL)
        st = find_up(x, PARE_W_FFN_UP_SHEXP, PARE_W_FFN_DOWN_SHEXP, weight(x, PARE_W_FFN_GATE_SHEXP) != NULL, err);
    if (st == PARE_OK && weight(x, PARE_W_FFN_UP_EXPS) != NULL)
        st = find_up(x, PARE_W_FFN_UP_EXPS, PARE_W_FFN_DOWN_EXPS, weight(x, PARE_W_FFN_GATE_EXPS) != NULL, err);
    return st;
}

static pare_status find_layer(finding *x, pare_error *err)
{
    const bool shared = is_parallel(x) && attention_norm(x) == ffn_norm(x);
    char name[LINE_BYTES / 4], why[LINE_BYTES / 2];
    const char *unknown = first_of(x, 0, name, sizeof name);
    const char *other = unknown == NULL ? first_of(x, OF_OTHER_ATTENTION, name, sizeof name) : unknown;
    pare_status st = PARE_OK;
    if (other != NULL) {
        snprintf(why, sizeof why, "what '%s' does is not known here", other);
        leave(x, unknown != NULL ? "all of it" : "all of attention", why);
    }
    if (unknown != NULL)
        return PARE_OK;
    if (shared)
        leave(x, "inputs of q, k, v, gate and up", "attention and FFN read the same norm");
    else if (other == NULL)
        st = find_attention_norm(x, err);
    if (st == PARE_OK && other == NULL)
        st = find_values(x, err);
    return st == PARE_OK ? find_ffn(x, shared, err) : st;
}

/* Of any tensor of m: what is found does not go by the hyperparameters. */
static uint64_t most_experts(const pare_model *m)
{
    uint64_t most = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        most = m->tensors[i].n_dims == 3 && m->tensors[i].dim[0] > most ? m->tensors[i].dim[0] : most;
    return most;
}

pare_status pare_fold_find(pare_fold *f, const pare_model *m, pare_error *err)
{
    finding x = {.f = f, .m = m};
    pare_status st = PARE_OK;
    *f = (pare_fold){0};
    if (m->arch == NULL)
        return PARE_OK;
    size_t n = 0, bytes = 0;
    if (!pare_mul_size((size_t)m->hp.n_layer + 1, PARTS + (size_t)most_experts(m), &n) ||
        !pare_mul_size(n, sizeof *f->pairs, &bytes))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: too many layers or experts", m->path);
    f->pairs = pare_arena_alloc(&f->arena, bytes, err);
    st = f->pairs != NULL ? PARE_OK : PARE_ERR_MEMORY;
    for (; x.layer < m->hp.n_layer && st == PARE_OK; x.layer++)
        st = find_layer(&x, err);
    if (st == PARE_OK && x.n_left > 0 && (f->left = pare_arena_alloc(&f->arena, 2 * LINE_BYTES, err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st == PARE_OK && x.n_left > 0)
        snprintf(f->left, 2 * LINE_BYTES, "not scaled at %" PRIu32 " places, the first is %s", x.n_left, x.left);
    if (st != PARE_OK)
        pare_fold_close(f);
    return st;
}

void pare_fold_close(pare_fold *f)
{
    pare_arena_close(&f->arena);
    *f = (pare_fold){0};
}

uint64_t pare_fold_made_by(const pare_fold_pair *p, uint64_t c)
{
    return c / (p->width * p->share) * p->width + c % p->width;
}

const float *pare_fold_scale(const pare_fold *f, const char *matrix)
{
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; k < f->pairs[i].n_readers; k++)
            if (strcmp(f->pairs[i].reader[k]->name, matrix) == 0)
                return f->pairs[i].scale;
    return NULL;
}

/* ---- scaled tensors ---- */

typedef struct scaled {
    pare_tensor src;
    float *column; /* [row_len] factors, or of experts [experts, row_len]; NULL: 1 */
    float *row;    /* [n_rows] divisors, of a vector [row_len]; NULL: 1 */
} scaled;

static pare_status read_scaled(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    const scaled *s = t->ctx;
    float *x = dst;
    bool vector = t->n_dims == 1;
    const uint64_t in_matrix = t->n_rows / pare_tensor_matrices(t);
    pare_status st = pare_tensor_read_f32(&s->src, row, n_rows, x, err);
    for (uint64_t i = 0; i < n_rows && st == PARE_OK; i++, x += t->row_len) {
        const float *column = s->column != NULL ? s->column + (row + i) / in_matrix * t->row_len : NULL;
        for (uint64_t c = 0; c < t->row_len; c++) {
            float v = column != NULL ? x[c] * column[c] : x[c];
            x[c] = s->row != NULL ? v / s->row[vector ? c : row + i] : v;
        }
    }
    return st;
}

static float *ones(pare_arena *arena, uint64_t n, pare_error *err)
{
    float *x = n <= SIZE_MAX / sizeof *x ? pare_arena_alloc(arena, (size_t)n * sizeof *x, err) : NULL;
    for (uint64_t i = 0; i < n && x != NULL; i++)
        x[i] = 1;
    return x;
}

/* Show t through what is in its ctx then. */
static scaled *scaled_of(pare_model *m, const pare_tensor *of, pare_error *err)
{
    pare_tensor *t = &m->tensors[of - m->tensors];
    if (t->read == read_scaled)
        return (scaled *)(uintptr_t)t->ctx;
    scaled *s = pare_arena_alloc(&m->arena, sizeof *s, err);
    if (s == NULL)
        return NULL;
    s->src = *t;
    t->type = PARE_TYPE_F32;
    t->data = NULL;
    t->offset = 0;
    t->read = read_scaled;
    t->release = NULL;
    t->ctx = s;
    t->base = &s->src;
    t->scratch_bytes += (size_t)t->row_bytes;
    return pare_tensor_set_shape(t, m->path, err) == PARE_OK ? s : NULL;
}

static pare_status scale_pair(pare_model *m, const pare_fold_pair *p, pare_error *err)
{
    for (size_t i = 0; i < p->n_readers; i++) {
        scaled *s = scaled_of(m, p->reader[i], err);
        if (s == NULL || (s->column == NULL && (s->column = ones(&m->arena, p->n * p->n_experts, err)) == NULL))
            return PARE_ERR_MEMORY;
        memcpy(s->column + p->expert * p->n, p->scale, (size_t)p->n * sizeof *s->column);
    }
    for (size_t i = 0; i < p->n_givers; i++) {
        scaled *s = scaled_of(m, p->giver[i].t, err);
        const pare_tensor *t = p->giver[i].t;
        if (s == NULL ||
            (s->row == NULL && (s->row = ones(&m->arena, t->n_dims == 1 ? t->row_len : t->n_rows, err)) == NULL))
            return PARE_ERR_MEMORY;
        for (uint64_t c = 0; c < p->n; c++)
            s->row[p->giver[i].first + pare_fold_made_by(p, c)] = p->scale[c];
    }
    return PARE_OK;
}

pare_status pare_fold_apply(pare_model *m, const pare_fold *f, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < f->n && st == PARE_OK; i++) {
        bool plain = true;
        for (uint64_t c = 0; c < f->pairs[i].n; c++)
            plain = plain && f->pairs[i].scale[c] == 1;
        if (!plain)
            st = scale_pair(m, &f->pairs[i], err);
    }
    return st;
}
