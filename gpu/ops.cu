/* The operations between products. All are bound by memory: four numbers a thread and load where addresses allow, each
 * number read once. Sums of a group are floats in an order that its width alone decides. */
#include "gpu/ops.h"

#include "gpu/decode.h"
#include "gpu/matmul.h"
#include "gpu/weights.h"

#include <inttypes.h>
#include <math.h>

enum {
    THREADS = 256,
    SHORT_GROUP = 512,  /* up to here a warp normalises a group, beyond it a block of threads */
    MAX_GRID = 1 << 20, /* rows, then the kernel strides */
    COLUMNS = 32,       /* of a block of threads that adds columns up */
    STRIPES = 16,       /* of rows, there */
    AHEAD = 8           /* rows that a thread loads at once, there */
};

static bool aligned(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

pare_status pare_gpu_pushed(pare_gpu *g, const void *src, size_t bytes, const void **out, pare_error *err)
{
    pare_error why = {};
    *out = pare_gpu_push(g, src, bytes, &why);
    return *out != NULL ? PARE_OK : pare_gpu_calls->fail(err, why.status, "%s", why.text);
}

/* ---- number by number ---- */

typedef float (*map_fn)(float x, float y, float2 k);

static __device__ __forceinline__ float times(float x, float, float2 k)
{
    return x * k.x;
}

static __device__ __forceinline__ float plus(float x, float y, float2 k)
{
    return x + k.x * y;
}

static __device__ __forceinline__ float clamped(float x, float, float2 k)
{
    return x > k.x ? k.x : x < -k.x ? -k.x : x;
}

static __device__ __forceinline__ float capped(float x, float, float2 k)
{
    return k.x * tanhf(x / k.x);
}

static __device__ __forceinline__ float silu(float x, float up, float2)
{
    return x / (1.0f + expf(-x)) * up;
}

static __device__ __forceinline__ float sigmoid(float x, float up, float2)
{
    return up / (1.0f + expf(-x));
}

static __device__ __forceinline__ float gelu_erf(float x, float up, float2)
{
    return 0.5f * x * erfcf(-0.70710678f * x) * up;
}

/* (1 + tanh t) / 2 = 1 / (1 + e^(-2t)), which loses no digits where tanh is near -1 */
static __device__ __forceinline__ float gelu_tanh(float x, float up, float2)
{
    float t2 = 1.5957691216057308f * (x + 0.044715f * x * x * x); /* 2 sqrt(2 / pi) */
    return x / (1.0f + expf(-t2)) * up;
}

static __device__ __forceinline__ float relu(float x, float up, float2)
{
    return (x < 0 ? 0.0f : x) * up;
}

static __device__ __forceinline__ float relu2(float x, float up, float2)
{
    return (x < 0 ? 0.0f : x * x) * up;
}

/* k: alpha, limit */
static __device__ __forceinline__ float clamped_glu(float x, float up, float2 k)
{
    float g = x > k.y ? k.y : x, u = up > k.y ? k.y : up < -k.y ? -k.y : up;
    return g / (1.0f + expf(-k.x * g)) * (u + 1.0f);
}

static __device__ __forceinline__ uint16_t round_bf16(float v)
{
    return (uint16_t)pare_round_bf16_pair(v, 0);
}

/* out[i] = f(x[i], y[i], k), y[i] = 1 without y; out may be x or y. The first 4 n_wide by whole words. rounded:
 * out as bfloat16, or NULL. */
template <map_fn f>
static __global__ void map_kernel(const float *x, const float *y, float2 factors, size_t n, size_t n_wide, float *out,
                                  uint16_t *rounded)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x, step = (size_t)gridDim.x * blockDim.x;
    for (size_t k = i; k < n_wide; k += step) {
        float4 a = ((const float4 *)x)[k], b = y != NULL ? ((const float4 *)y)[k] : make_float4(1, 1, 1, 1);
        float4 v = make_float4(f(a.x, b.x, factors), f(a.y, b.y, factors), f(a.z, b.z, factors), f(a.w, b.w, factors));
        ((float4 *)out)[k] = v;
        if (rounded != NULL)
            ((uint2 *)rounded)[k] = uint2{pare_round_bf16_pair(v.x, v.y), pare_round_bf16_pair(v.z, v.w)};
    }
    for (size_t k = 4 * n_wide + i; k < n; k += step) {
        float v = f(x[k], y != NULL ? y[k] : 1.0f, factors);
        out[k] = v;
        if (rounded != NULL)
            rounded[k] = round_bf16(v);
    }
}

template <map_fn f>
static pare_status map(pare_gpu *g, const float *x, const float *y, float2 k, size_t n, float *out, uint16_t *rounded,
                       const char *what, pare_error *err)
{
    bool wide = aligned(x) && aligned(y) && aligned(out);
    auto kernel = map_kernel<f>;
    if (n == 0)
        return PARE_OK;
    PARE_LAUNCH(kernel, pare_gpu_blocks(n, wide ? 4 * THREADS : THREADS), THREADS, 0, g->stream, x, y, k, n,
                wide ? n / 4 : 0, out, rounded);
    return pare_gpu_launched(g, what, err);
}

pare_status pare_gpu_scale(pare_gpu *g, float *x, float factor, size_t n, pare_error *err)
{
    return map<times>(g, x, NULL, float2{factor, 0}, n, x, NULL, "scale", err);
}

pare_status pare_gpu_clamp(pare_gpu *g, float *x, float limit, size_t n, pare_error *err)
{
    return map<clamped>(g, x, NULL, float2{limit, 0}, n, x, NULL, "clamp", err);
}

pare_status pare_gpu_softcap(pare_gpu *g, float *x, float cap, size_t n, pare_error *err)
{
    return map<capped>(g, x, NULL, float2{cap, 0}, n, x, NULL, "soft cap", err);
}

pare_status pare_gpu_add(pare_gpu *g, float *x, const float *y, float y_scale, size_t n, pare_error *err)
{
    return map<plus>(g, x, y, float2{y_scale, 0}, n, x, NULL, "add", err);
}

static pare_status activate(pare_gpu *g, pare_activation act, const float *x, const float *up, size_t n, float *y,
                            uint16_t *rounded, pare_error *err)
{
    const float2 none = float2{0, 0};
    switch (act) {
    case PARE_ACT_SILU:
        return map<silu>(g, x, up, none, n, y, rounded, "SiLU", err);
    case PARE_ACT_GELU_ERF:
        return map<gelu_erf>(g, x, up, none, n, y, rounded, "GELU", err);
    case PARE_ACT_GELU_TANH:
        return map<gelu_tanh>(g, x, up, none, n, y, rounded, "GELU", err);
    case PARE_ACT_RELU:
        return map<relu>(g, x, up, none, n, y, rounded, "ReLU", err);
    case PARE_ACT_RELU2:
        return map<relu2>(g, x, up, none, n, y, rounded, "ReLU squared", err);
    case PARE_ACT_SIGMOID:
        return map<sigmoid>(g, x, up, none, n, y, rounded, "sigmoid", err);
    case PARE_ACT_CLAMPED_GLU:
        break; /* an operation of its own */
    }
    return pare_gpu_calls->fail(err, PARE_ERR_UNSUPPORTED, "the CUDA backend has no activation number %d", (int)act);
}

/* What follows is a product. */
pare_status pare_gpu_activate(pare_gpu *g, pare_activation act, const float *gate, const float *up, size_t n, float *y,
                              pare_error *err)
{
    uint16_t *rounded = n > 0 ? pare_gpu_rounded_place(g, n) : NULL;
    pare_status st = activate(g, act, gate != NULL ? gate : up, gate != NULL ? up : NULL, n, y, rounded, err);
    if (st == PARE_OK && rounded != NULL)
        pare_gpu_rounded_note(g, y, n);
    return st;
}

pare_status pare_gpu_clamped_glu(pare_gpu *g, const pare_clamped_glu *op, pare_error *err)
{
    uint16_t *rounded = op->n > 0 ? pare_gpu_rounded_place(g, op->n) : NULL;
    pare_status st = map<clamped_glu>(g, op->gate, op->up, float2{op->alpha, op->limit}, op->n, op->y, rounded,
                                      "clamped GLU", err);
    if (st == PARE_OK && rounded != NULL)
        pare_gpu_rounded_note(g, op->y, op->n);
    return st;
}

pare_status pare_gpu_clear(pare_gpu *g, float *y, size_t n, pare_error *err)
{
    return n == 0 ? PARE_OK : pare_gpu_check(g, cudaMemsetAsync(y, 0, n * sizeof *y, g->stream), "clear", err);
}

/* ---- rows ---- */

/* Work on n rows of `width` numbers: a block of threads a row, striding by the grid. */
typedef struct rows {
    const float *x;
    const int32_t *ids;
    const float *weights, *bias;
    uint64_t n;
    uint32_t width;
    float *y;
} rows;

static unsigned row_grid(uint64_t n)
{
    return n < MAX_GRID ? (unsigned)n : (unsigned)MAX_GRID;
}

/* No more threads than a row has use for. */
static unsigned row_threads(uint64_t width)
{
    return width >= THREADS ? (unsigned)THREADS : (unsigned)((width + PARE_WARP - 1) / PARE_WARP * PARE_WARP);
}

static __global__ void gather_kernel(rows r, bool wide)
{
    for (uint64_t i = blockIdx.x; i < r.n; i += gridDim.x) {
        const float *x = r.x + (uint64_t)r.ids[i] * r.width;
        float *y = r.y + i * r.width;
        uint32_t n_wide = wide ? r.width / 4 : 0;
        for (uint32_t c = threadIdx.x; c < n_wide; c += blockDim.x)
            ((float4 *)y)[c] = ((const float4 *)x)[c];
        for (uint32_t c = 4 * n_wide + threadIdx.x; c < r.width; c += blockDim.x)
            y[c] = x[c];
    }
}

pare_status pare_gpu_gather(pare_gpu *g, const float *x, const int32_t *ids, uint32_t n, uint32_t width, float *y,
                            pare_error *err)
{
    const void *device_ids;
    if (n == 0 || width == 0)
        return PARE_OK;
    pare_status st = pare_gpu_pushed(g, ids, n * sizeof *ids, &device_ids, err);
    if (st != PARE_OK)
        return st;
    const rows r = {x, (const int32_t *)device_ids, NULL, NULL, n, width, y};
    bool wide = aligned(x) && aligned(y) && width % 4 == 0;
    PARE_LAUNCH(gather_kernel, row_grid(n), row_threads(wide ? width / 4 : width), 0, g->stream, r, wide);
    return pare_gpu_launched(g, "gather", err);
}

static __global__ void copy_columns_kernel(const float *x, uint32_t x_width, uint32_t n, uint32_t width, float *y,
                                           uint32_t y_width)
{
    for (uint64_t i = blockIdx.x; i < n; i += gridDim.x)
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x)
            y[i * y_width + c] = x[i * x_width + c];
}

pare_status pare_gpu_copy_columns(pare_gpu *g, const float *x, uint32_t x_width, uint32_t from, uint32_t n,
                                  uint32_t width, float *y, uint32_t y_width, uint32_t to, pare_error *err)
{
    if (n == 0 || width == 0)
        return PARE_OK;
    PARE_LAUNCH(copy_columns_kernel, row_grid(n), row_threads(width), 0, g->stream, x + from, x_width, n, width, y + to,
                y_width);
    return pare_gpu_launched(g, "copy_columns", err);
}

static __global__ void scatter_kernel(rows r)
{
    for (uint64_t i = blockIdx.x; i < r.n; i += gridDim.x) {
        const float *x = r.x + i * r.width;
        float *y = r.y + (uint64_t)r.ids[i] * r.width;
        for (uint32_t c = threadIdx.x; c < r.width; c += blockDim.x)
            y[c] += r.weights[i] * x[c];
    }
}

pare_status pare_gpu_scatter_add(pare_gpu *g, const float *x, const int32_t *ids, const float *weights, uint32_t n,
                                 uint32_t width, float *y, pare_error *err)
{
    const void *device_ids, *factors;
    if (n == 0 || width == 0)
        return PARE_OK;
    pare_status st = pare_gpu_pushed(g, ids, n * sizeof *ids, &device_ids, err);
    if (st == PARE_OK)
        st = pare_gpu_pushed(g, weights, n * sizeof *weights, &factors, err);
    if (st != PARE_OK)
        return st;
    const rows r = {x, (const int32_t *)device_ids, (const float *)factors, NULL, n, width, y};
    PARE_LAUNCH(scatter_kernel, row_grid(n), row_threads(width), 0, g->stream, r);
    return pare_gpu_launched(g, "scatter", err);
}

/* Rows of a table that is not on the device, read where it is. */
static pare_status embed_from_host(pare_gpu *g, const pare_tensor *w, const int32_t *ids, uint32_t n, float *y,
                                   pare_error *err)
{
    enum : uint64_t { AT_ONCE = 1 << 20 };
    uint64_t most = w->row_bytes < AT_ONCE ? AT_ONCE / w->row_bytes : 1;
    pare_status st = PARE_OK;
    for (uint64_t done = 0; done < n && st == PARE_OK; done += most) {
        uint32_t part = (uint32_t)(n - done < most ? n - done : most);
        const void *rows;
        st = pare_gpu_weight_gather(g, w, ids + done, part, &rows, err);
        if (st == PARE_OK)
            st = pare_gpu_decode(g, w->type, rows, part * w->row_len, y + done * w->row_len, false, err);
    }
    return st;
}

pare_status pare_gpu_embed(pare_gpu *g, const pare_tensor *w, const int32_t *ids, uint32_t n, float *y, pare_error *err)
{
    const void *table, *device_ids;
    if (n == 0)
        return PARE_OK;
    if (!pare_gpu_weight_stays(g, w))
        return embed_from_host(g, w, ids, n, y, err);
    pare_status st = pare_gpu_pushed(g, ids, n * sizeof *ids, &device_ids, err);
    if (st == PARE_OK)
        st = pare_gpu_weight(g, w, 0, w->n_rows, &table, err);
    if (st == PARE_OK)
        st = pare_gpu_decode_rows(g, w->type, table, w->row_len, w->row_bytes, (const int32_t *)device_ids, n, y, err);
    pare_gpu_weight_done(g);
    return st;
}

pare_status pare_gpu_vector_of(pare_gpu *g, const pare_tensor *t, uint64_t n_min, const float **out, pare_error *err)
{
    uint64_t n = t->n_rows * t->row_len; /* the model checked that the product fits */
    if (n < n_min)
        return pare_gpu_calls->fail(err, PARE_ERR_RANGE,
                                    "tensor '%s' has %" PRIu64 " elements; the forward pass needs %" PRIu64, t->name, n,
                                    n_min);
    return pare_gpu_vector(g, t, out, err);
}

static __global__ void add_row_kernel(rows r)
{
    for (uint64_t i = blockIdx.x; i < r.n; i += gridDim.x)
        for (uint32_t c = threadIdx.x; c < r.width; c += blockDim.x)
            r.y[i * r.width + c] += r.bias[c];
}

pare_status pare_gpu_add_row(pare_gpu *g, float *x, const pare_tensor *bias, uint64_t first, uint32_t n, uint32_t width,
                             pare_error *err)
{
    rows r = {NULL, NULL, NULL, NULL, n, width, x};
    bool held = pare_gpu_rounded_held(g);
    pare_status st = pare_gpu_vector_of(g, bias, first + width, &r.bias, err);
    if (st != PARE_OK || n == 0 || width == 0)
        return st;
    r.bias += first;
    PARE_LAUNCH(add_row_kernel, row_grid(n), row_threads(width), 0, g->stream, r);
    st = pare_gpu_launched(g, "bias", err);
    pare_gpu_rounded_keep(g, held, x, (uint64_t)n * width);
    return st;
}

/* ---- norms ---- */

typedef struct norm_job {
    const float *x, *weight, *bias;
    uint64_t n;
    uint32_t width, weight_rows, bias_rows;
    float eps;
    bool layer;
    float *y;
    uint16_t *rounded; /* y as bfloat16, or NULL */
} norm_job;

/* The sums of a and of b over `team` neighbouring threads, a warp or the whole block, for each of them. */
template <int team> static __device__ __forceinline__ float2 team_sum(float2 v, float2 *partial)
{
    for (int mask = PARE_WARP / 2; mask > 0; mask /= 2) {
        v.x += __shfl_xor_sync(0xffffffffu, v.x, mask);
        v.y += __shfl_xor_sync(0xffffffffu, v.y, mask);
    }
    if (team > PARE_WARP) {
        __syncthreads(); /* partial was read by everybody */
        if (threadIdx.x % PARE_WARP == 0)
            partial[threadIdx.x / PARE_WARP] = v;
        __syncthreads();
        v = partial[0];
        for (int i = 1; i < team / PARE_WARP; i++) {
            v.x += partial[i].x;
            v.y += partial[i].y;
        }
    }
    return v;
}

/* With any m near the mean, d = x - m: mean = m + mean(d), variance = mean(d^2) - mean(d)^2, which loses no digits as m
 * is the mean but for its rounding. RMS is the same with m = 0 and without the means. */
template <int team> static __global__ void norm_kernel(norm_job j)
{
    PARE_SHARED(float2, partial); /* [team / 32] */
    const uint32_t teams = blockDim.x / team, me = threadIdx.x % team;
    const float width = (float)j.width;
    for (uint64_t i = (uint64_t)blockIdx.x * teams + threadIdx.x / team; i < j.n; i += (uint64_t)gridDim.x * teams) {
        const float *x = j.x + i * j.width;
        float *y = j.y + i * j.width;
        const float *weight = j.weight != NULL ? j.weight + i % j.weight_rows * j.width : NULL;
        const float *bias = j.bias != NULL ? j.bias + i % j.bias_rows * j.width : NULL;
        float2 sum = {0, 0};
        float middle = 0;
        if (j.layer) {
            for (uint32_t c = me; c < j.width; c += team)
                sum.x += x[c];
            middle = team_sum<team>(sum, partial).x / width;
            sum.x = 0;
        }
        for (uint32_t c = me; c < j.width; c += team) {
            float d = x[c] - middle;
            sum.x += d;
            sum.y = fmaf(d, d, sum.y);
        }
        sum = team_sum<team>(sum, partial);
        float rest = j.layer ? sum.x / width : 0;
        float variance = fmaf(-rest, rest, sum.y / width);
        float factor = 1.0f / sqrtf((variance < 0 ? 0 : variance) + j.eps);
        if (isinf(sum.y)) /* squares beyond float32: a NaN is found and told, and zeros would not be */
            factor = sum.y - sum.y;
        for (uint32_t c = me; c < j.width; c += team) {
            float v = (x[c] - middle - rest) * factor * (weight != NULL ? weight[c] : 1.0f);
            v = bias != NULL ? v + bias[c] : v;
            y[c] = v;
            if (j.rounded != NULL)
                j.rounded[i * j.width + c] = round_bf16(v);
        }
    }
}

/* A norm into other memory is the input of products; one in place is of keys, of queries or of what a product gave, and
 * lies in the way of no input that others wait for. */
pare_status pare_gpu_norm(pare_gpu *g, const pare_norm_op *op, pare_error *err)
{
    norm_job j = {op->x, NULL, NULL, op->n, op->width, 1, 1, op->eps, op->kind == PARE_NORM_LAYER, op->y, NULL};
    uint64_t n = op->n * op->width;
    bool held = pare_gpu_rounded_held(g);
    pare_status st = PARE_OK;
    if (op->weight != NULL) {
        j.weight_rows = (uint32_t)op->weight->n_rows;
        st = pare_gpu_vector_of(g, op->weight, pare_norm_elements(op->weight, op->width), &j.weight, err);
    }
    if (st == PARE_OK && op->bias != NULL) {
        j.bias_rows = (uint32_t)op->bias->n_rows;
        st = pare_gpu_vector_of(g, op->bias, pare_norm_elements(op->bias, op->width), &j.bias, err);
    }
    if (st != PARE_OK || op->n == 0 || op->width == 0)
        return st;
    if (op->y != op->x)
        j.rounded = pare_gpu_rounded_place(g, n);
    if (op->width <= SHORT_GROUP)
        PARE_LAUNCH(norm_kernel<PARE_WARP>, pare_gpu_blocks(op->n, THREADS / PARE_WARP), THREADS, 0, g->stream, j);
    else
        PARE_LAUNCH(norm_kernel<THREADS>, row_grid(op->n), THREADS, THREADS / PARE_WARP * sizeof(float2), g->stream, j);
    st = pare_gpu_launched(g, "norm", err);
    if (st == PARE_OK && j.rounded != NULL)
        pare_gpu_rounded_note(g, op->y, n);
    else
        pare_gpu_rounded_keep(g, held && op->y == op->x, op->y, n);
    return st;
}

/* ---- rotary embedding ---- */

/* A block of threads a row; pair p of a head is elements p * step and p * step + apart. */
static __global__ void rope_kernel(pare_rope r, uint32_t step, uint32_t apart, float *x)
{
    const uint32_t half = r.n_rot / 2;
    for (uint64_t i = blockIdx.x; i < r.n; i += gridDim.x) {
        const float2 *turn = (const float2 *)r.cos_sin + (uint64_t)r.positions[i] * half;
        float *row = x + i * r.n_head * r.head_dim;
        for (uint32_t k = threadIdx.x; k < r.n_head * half; k += blockDim.x) {
            uint32_t p = k % half;
            float *at = row + (uint64_t)(k / half) * r.head_dim + p * step;
            float a = at[0], b = at[apart];
            float2 t = turn[p];
            at[0] = a * t.x - b * t.y;
            at[apart] = a * t.y + b * t.x;
        }
    }
}

pare_status pare_gpu_rope(pare_gpu *g, const pare_rope *r, float *x, pare_error *err)
{
    pare_rope on_device = *r;
    bool pairs = r->layout == PARE_ROPE_INTERLEAVED;
    uint64_t n_pairs = (uint64_t)r->n_head * (r->n_rot / 2);
    if (r->n == 0 || n_pairs == 0)
        return PARE_OK;
    const void *positions;
    bool held = pare_gpu_rounded_held(g);
    pare_status st = pare_gpu_pushed(g, r->positions, r->n * sizeof *r->positions, &positions, err);
    if (st != PARE_OK)
        return st;
    on_device.positions = (const int32_t *)positions;
    PARE_LAUNCH(rope_kernel, row_grid(r->n), row_threads(n_pairs), 0, g->stream, on_device, pairs ? 2 : 1,
                pairs ? 1 : r->n_rot / 2, x);
    st = pare_gpu_launched(g, "rotary embedding", err);
    pare_gpu_rounded_keep(g, held, x, (uint64_t)r->n * r->n_head * r->head_dim);
    return st;
}

/* ---- sums of columns ---- */

/* A warp walks down 32 columns; row t belongs to warp t % STRIPES, whose sums are added up in the order of the warps.
 * The square of a float is exact in double. */
static __global__ void __launch_bounds__(COLUMNS *STRIPES)
    columns_kernel(const float *x, uint32_t n, uint32_t width, double *sum, double *sum2)
{
    PARE_SHARED(double, partial); /* [2][STRIPES][COLUMNS] */
    uint32_t stripe = threadIdx.x / COLUMNS, c = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
    double s = 0, s2 = 0;
    if (c < width) {
        for (uint64_t t = stripe; t < n; t += AHEAD * STRIPES) {
            float v[AHEAD];
            PARE_UNROLL
            for (int k = 0; k < AHEAD; k++)
                v[k] = t + k * STRIPES < n ? x[(t + k * STRIPES) * width + c] : 0.0f;
            PARE_UNROLL
            for (int k = 0; k < AHEAD; k++) {
                s += (double)v[k];
                s2 = fma((double)v[k], (double)v[k], s2);
            }
        }
    }
    partial[threadIdx.x] = s;
    partial[STRIPES * COLUMNS + threadIdx.x] = s2;
    __syncthreads();
    /* the first warp adds up the sums, the second one the squares */
    if (stripe < 2 && c < width) {
        double *total = stripe == 0 ? sum : sum2;
        const double *from = partial + stripe * STRIPES * COLUMNS + threadIdx.x % COLUMNS;
        double all = from[0];
        for (int i = 1; i < STRIPES; i++)
            all += from[i * COLUMNS];
        total[c] += all;
    }
}

pare_status pare_gpu_add_columns(pare_gpu *g, const float *x, uint32_t n, uint32_t width, double *sum, double *sum2,
                                 pare_error *err)
{
    if (n == 0 || width == 0)
        return PARE_OK;
    PARE_LAUNCH(columns_kernel, width / COLUMNS + (width % COLUMNS != 0), COLUMNS * STRIPES,
                2 * COLUMNS * STRIPES * sizeof(double), g->stream, x, n, width, sum, sum2);
    return pare_gpu_launched(g, "sums of columns", err);
}
