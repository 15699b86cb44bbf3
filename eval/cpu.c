#include "eval/cpu.h"
#include "eval/cpu_blas.h"
#include "eval/cpu_kernels.h"

#include "core/checked.h"
#include "core/threads.h"

#include <cblas.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE = 16384, /* elements of an elementwise operation that one call of a worker does */
    TOKENS = 2048, /* at once: a weight decoded once for so many costs next to nothing */
    ALIGNMENT = 64
};

static void *cpu_alloc(pare_backend *b, size_t bytes, pare_error *err)
{
    (void)b;
    size_t padded;
    void *p = pare_add_size(bytes, ALIGNMENT - 1, &padded) ? aligned_alloc(ALIGNMENT, padded & ~(size_t)(ALIGNMENT - 1))
                                                           : NULL;
    if (p == NULL)
        pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu bytes of activations", bytes);
    return p;
}

static void cpu_release(pare_backend *b, void *p)
{
    (void)b;
    free(p);
}

static pare_status cpu_copy(pare_backend *b, void *dst, const void *src, size_t bytes, pare_error *err)
{
    (void)b;
    (void)err;
    memcpy(dst, src, bytes);
    return PARE_OK;
}

/* Elements [first, first + n_min) of t and perhaps some before, decoded: *out points to element `first`. */
static pare_status vector_part(const pare_tensor *t, uint64_t first, uint64_t n_min, float **owned, const float **out,
                               pare_error *err)
{
    uint64_t all = t->n_rows * t->row_len; /* the model checked that the product fits */
    size_t bytes;
    *owned = NULL;
    if (n_min == 0 || all < first || all - first < n_min)
        return pare_fail(err, PARE_ERR_RANGE, "tensor '%s' has %" PRIu64 " elements; the forward pass needs %" PRIu64,
                         t->name, all, first + n_min);
    uint64_t row = first / t->row_len, n_rows = (first + n_min - 1) / t->row_len - row + 1;
    if (!pare_mul_size((size_t)(n_rows * t->row_len), sizeof(float), &bytes) || (*owned = malloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " floats", t->name,
                         n_rows * t->row_len);
    pare_status st = pare_cpu_rows(t, row, n_rows, *owned, out, err);
    if (st != PARE_OK || *out != *owned) {
        free(*owned);
        *owned = NULL;
    }
    if (st == PARE_OK)
        *out += first - row * t->row_len;
    return st;
}

pare_status pare_cpu_vector(const pare_tensor *t, uint64_t n_min, float **owned, const float **out, pare_error *err)
{
    return vector_part(t, 0, n_min, owned, out, err);
}

/* An elementwise operation over n units, PIECE elements (or whole rows of about as many) at a time. */
typedef struct elementwise {
    size_t n, step;
    void (*apply)(const struct elementwise *e, size_t first, size_t n);
    float *y;
    const float *x, *w, *bias;
    size_t width;
    float factor;
    const int32_t *ids;
    const void *op;
} elementwise;

static pare_status apply_piece(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    const elementwise *e = ctx;
    size_t first = i * e->step;
    e->apply(e, first, e->n - first < e->step ? e->n - first : e->step);
    return PARE_OK;
}

/* unit: elements that belong together (1, or the width of a row) */
static pare_status run_elementwise(elementwise *e, size_t unit, pare_error *err)
{
    e->step = unit < PIECE ? PIECE / unit : 1;
    return pare_parallel((e->n + e->step - 1) / e->step, apply_piece, e, err);
}

typedef struct gather {
    const pare_tensor *w;
    const int32_t *ids;
    float *y;
} gather;

static pare_status gather_row(size_t i, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    const gather *g = ctx;
    return pare_tensor_read_f32(g->w, (uint64_t)g->ids[i], 1, g->y + i * (size_t)g->w->row_len, err);
}

static pare_status cpu_embed(pare_backend *b, const pare_tensor *w, const int32_t *ids, uint32_t n, float *y,
                             pare_error *err)
{
    (void)b;
    gather g = {.w = w, .ids = ids, .y = y};
    return pare_parallel(n, gather_row, &g, err);
}

static void gather_rows(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        memcpy(e->y + i * e->width, e->x + (size_t)e->ids[i] * e->width, e->width * sizeof *e->y);
}

static pare_status cpu_gather(pare_backend *b, const float *x, const int32_t *ids, uint32_t n, uint32_t width, float *y,
                              pare_error *err)
{
    (void)b;
    elementwise e = {.n = n, .apply = gather_rows, .x = x, .y = y, .width = width, .ids = ids};
    return run_elementwise(&e, width, err);
}

typedef struct column_copy {
    uint32_t x_width, from, y_width, to;
} column_copy;

static void copy_column_rows(const elementwise *e, size_t first, size_t n)
{
    const column_copy *c = e->op;
    for (size_t i = first; i < first + n; i++)
        memcpy(e->y + i * c->y_width + c->to, e->x + i * c->x_width + c->from, e->width * sizeof *e->y);
}

static pare_status cpu_copy_columns(pare_backend *b, const float *x, uint32_t x_width, uint32_t from, uint32_t n,
                                    uint32_t width, float *y, uint32_t y_width, uint32_t to, pare_error *err)
{
    (void)b;
    const column_copy c = {x_width, from, y_width, to};
    elementwise e = {.n = n, .apply = copy_column_rows, .x = x, .y = y, .width = width, .op = &c};
    return width > 0 ? run_elementwise(&e, width, err) : PARE_OK;
}

static void scatter_rows(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++) {
        float *y = e->y + (size_t)e->ids[i] * e->width;
        for (size_t j = 0; j < e->width; j++)
            y[j] += e->w[i] * e->x[i * e->width + j];
    }
}

static pare_status cpu_scatter_add(pare_backend *b, const float *x, const int32_t *ids, const float *weights,
                                   uint32_t n, uint32_t width, float *y, pare_error *err)
{
    (void)b;
    elementwise e = {.n = n, .apply = scatter_rows, .x = x, .y = y, .w = weights, .width = width, .ids = ids};
    return run_elementwise(&e, width, err);
}

static void clear_piece(const elementwise *e, size_t first, size_t n)
{
    memset(e->y + first, 0, n * sizeof *e->y);
}

static pare_status cpu_clear(pare_backend *b, float *y, size_t n, pare_error *err)
{
    (void)b;
    elementwise e = {.n = n, .apply = clear_piece, .y = y};
    return run_elementwise(&e, 1, err);
}

static void norm_rows(const elementwise *e, size_t first, size_t n)
{
    const pare_norm_op *op = e->op;
    for (size_t i = first; i < first + n; i++) {
        const float *x = e->x + i * e->width;
        float *y = e->y + i * e->width;
        const float *w = e->w != NULL ? e->w + i % op->weight->n_rows * e->width : NULL;
        const float *bias = e->bias != NULL ? e->bias + i % op->bias->n_rows * e->width : NULL;
        if (op->kind == PARE_NORM_RMS)
            pare_cpu_rms_norm(x, e->width, w, op->eps, y);
        else
            pare_cpu_layer_norm(x, e->width, w, bias, op->eps, y);
    }
}

static pare_status cpu_norm(pare_backend *b, const pare_norm_op *op, pare_error *err)
{
    (void)b;
    elementwise e = {.n = op->n, .apply = norm_rows, .x = op->x, .y = op->y, .width = op->width, .op = op};
    float *w_owned = NULL, *b_owned = NULL;
    pare_status st = PARE_OK;
    if (op->weight != NULL)
        st = pare_cpu_vector(op->weight, pare_norm_elements(op->weight, op->width), &w_owned, &e.w, err);
    if (st == PARE_OK && op->bias != NULL)
        st = pare_cpu_vector(op->bias, pare_norm_elements(op->bias, op->width), &b_owned, &e.bias, err);
    if (st == PARE_OK)
        st = run_elementwise(&e, op->width, err);
    free(w_owned);
    free(b_owned);
    return st;
}

static void rope_rows(const elementwise *e, size_t first, size_t n)
{
    const pare_rope *r = e->op;
    void (*turn)(float *, size_t, const float *) =
        r->layout == PARE_ROPE_INTERLEAVED ? pare_cpu_rope_pairs : pare_cpu_rope_halves;
    for (size_t i = first; i < first + n; i++)
        for (size_t h = 0; h < r->n_head; h++)
            turn(e->y + (i * r->n_head + h) * r->head_dim, r->n_rot / 2,
                 r->cos_sin + (size_t)r->positions[i] * r->n_rot);
}

static pare_status cpu_rope(pare_backend *b, const pare_rope *r, float *x, pare_error *err)
{
    (void)b;
    elementwise e = {.n = r->n, .apply = rope_rows, .y = x, .op = r};
    return run_elementwise(&e, (size_t)r->n_head * r->head_dim, err);
}

static void silu_piece(const elementwise *e, size_t first, size_t n)
{
    pare_cpu_silu(e->x + first, e->w != NULL ? e->w + first : NULL, n, e->y + first);
}

static void gelu_tanh_piece(const elementwise *e, size_t first, size_t n)
{
    pare_cpu_gelu_tanh(e->x + first, e->w != NULL ? e->w + first : NULL, n, e->y + first);
}

static void gelu_erf_piece(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        e->y[i] = 0.5f * e->x[i] * erfcf(-0.70710678f * e->x[i]) * (e->w != NULL ? e->w[i] : 1.0f);
}

static void relu_piece(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        e->y[i] = (e->x[i] < 0 ? 0.0f : e->x[i]) * (e->w != NULL ? e->w[i] : 1.0f);
}

static void relu2_piece(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        e->y[i] = (e->x[i] < 0 ? 0.0f : e->x[i] * e->x[i]) * (e->w != NULL ? e->w[i] : 1.0f);
}

static void sigmoid_piece(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        e->y[i] = (e->w != NULL ? e->w[i] : 1.0f) / (1.0f + expf(-e->x[i]));
}

static pare_status cpu_activate(pare_backend *b, pare_activation act, const float *gate, const float *up, size_t n,
                                float *y, pare_error *err)
{
    (void)b;
    static void (*const apply[])(const elementwise *, size_t, size_t) = {
        [PARE_ACT_SILU] = silu_piece, [PARE_ACT_GELU_ERF] = gelu_erf_piece, [PARE_ACT_GELU_TANH] = gelu_tanh_piece,
        [PARE_ACT_RELU] = relu_piece, [PARE_ACT_RELU2] = relu2_piece,       [PARE_ACT_SIGMOID] = sigmoid_piece,
    };
    if ((size_t)act >= sizeof apply / sizeof apply[0] || apply[act] == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "the CPU backend has no activation number %d", (int)act);
    elementwise e = {.n = n, .apply = apply[act], .x = gate != NULL ? gate : up, .w = gate != NULL ? up : NULL, .y = y};
    return run_elementwise(&e, 1, err);
}

static void clamped_glu_piece(const elementwise *e, size_t first, size_t n)
{
    const pare_clamped_glu *op = e->op;
    const pare_clamped_glu part = {op->gate + first, op->up + first, n, op->alpha, op->limit, op->y + first};
    pare_cpu_clamped_glu(&part);
}

static pare_status cpu_clamped_glu(pare_backend *b, const pare_clamped_glu *op, pare_error *err)
{
    (void)b;
    elementwise e = {.n = op->n, .apply = clamped_glu_piece, .op = op};
    return run_elementwise(&e, 1, err);
}

static void add_piece(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        e->y[i] += e->factor * e->x[i];
}

static pare_status cpu_add(pare_backend *b, float *x, const float *y, float y_scale, size_t n, pare_error *err)
{
    (void)b;
    elementwise e = {.n = n, .apply = add_piece, .x = y, .y = x, .factor = y_scale};
    return run_elementwise(&e, 1, err);
}

static void add_rows(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        for (size_t j = 0; j < e->width; j++)
            e->y[i * e->width + j] += e->bias[j];
}

static pare_status cpu_add_row(pare_backend *b, float *x, const pare_tensor *bias, uint64_t first, uint32_t n,
                               uint32_t width, pare_error *err)
{
    (void)b;
    elementwise e = {.n = n, .apply = add_rows, .y = x, .width = width};
    float *owned;
    pare_status st = vector_part(bias, first, width, &owned, &e.bias, err); /* of one expert, where it has many rows */
    if (st != PARE_OK)
        return st;
    st = run_elementwise(&e, width, err);
    free(owned);
    return st;
}

static void scale_piece(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        e->y[i] *= e->factor;
}

static pare_status cpu_scale(pare_backend *b, float *x, float factor, size_t n, pare_error *err)
{
    (void)b;
    elementwise e = {.n = n, .apply = scale_piece, .y = x, .factor = factor};
    return run_elementwise(&e, 1, err);
}

static void clamp_piece(const elementwise *e, size_t first, size_t n)
{
    float limit = e->factor;
    for (size_t i = first; i < first + n; i++)
        e->y[i] = e->y[i] > limit ? limit : e->y[i] < -limit ? -limit : e->y[i]; /* a NaN stays */
}

static pare_status cpu_clamp(pare_backend *b, float *x, float limit, size_t n, pare_error *err)
{
    (void)b;
    elementwise e = {.n = n, .apply = clamp_piece, .y = x, .factor = limit};
    return run_elementwise(&e, 1, err);
}

static void softcap_piece(const elementwise *e, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        e->y[i] = e->factor * tanhf(e->y[i] / e->factor);
}

static pare_status cpu_softcap(pare_backend *b, float *x, float cap, size_t n, pare_error *err)
{
    (void)b;
    elementwise e = {.n = n, .apply = softcap_piece, .y = x, .factor = cap};
    return run_elementwise(&e, 1, err);
}

static void cpu_close(pare_backend *b)
{
    free(b->workspace);
    free(b);
}

pare_status pare_backend_cpu(pare_backend **out, pare_error *err)
{
    pare_backend *b = calloc(1, sizeof *b);
    if (b == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the CPU backend");
    /* The pieces of a product are spread over threads here; BLAS must not cut one further, or sums would depend on
     * how many threads there are. */
    openblas_set_num_threads(1);
    pare_status st = pare_blas_reserve(pare_threads() + 1, err); /* one on a thread of core/background.h */
    if (st != PARE_OK) {
        free(b);
        return st;
    }
    *b = (pare_backend){
        .name = "cpu",
        .compute = "f32",
        .host_memory = true,
        .slice_tokens = TOKENS,
        .batch_tokens = TOKENS,
        .alloc = cpu_alloc,
        .release = cpu_release,
        .upload = cpu_copy,
        .download = cpu_copy,
        .copy = cpu_copy,
        .matmul = pare_cpu_matmul,
        .matmul_f32 = pare_cpu_matmul,
        .embed = cpu_embed,
        .gather = cpu_gather,
        .copy_columns = cpu_copy_columns,
        .scatter_add = cpu_scatter_add,
        .clear = cpu_clear,
        .norm = cpu_norm,
        .rope = cpu_rope,
        .attention = pare_cpu_attention,
        .kv_encode = pare_cpu_kv_encode,
        .kv_decode = pare_cpu_kv_decode,
        .turn = pare_cpu_turn,
        .conv = pare_cpu_conv,
        .delta = pare_cpu_delta,
        .activate = cpu_activate,
        .clamped_glu = cpu_clamped_glu,
        .add = cpu_add,
        .add_row = cpu_add_row,
        .scale = cpu_scale,
        .clamp = cpu_clamp,
        .add_weighted = pare_cpu_add_weighted,
        .scale_columns = pare_cpu_scale_columns,
        .match_rms = pare_cpu_match_rms,
        .sparsify = pare_cpu_sparsify,
        .softcap = cpu_softcap,
        .add_columns = pare_cpu_add_columns,
        .add_gram = pare_cpu_add_gram,
        .close = cpu_close,
    };
    *out = b;
    return PARE_OK;
}
