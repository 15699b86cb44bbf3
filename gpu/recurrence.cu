/* Linear attention on the device: a convolution over time, a thread a channel, and the gated delta rule, a block of
 * threads a head, which walks through its tokens in order. Sums have an order that the shapes alone decide. */
#include "gpu/recurrence.h"

#include "gpu/ops.h"

#include <math.h>

enum {
    THREADS = 128,
    MOST_SHARED = 96 << 10 /* bytes of a block on every architecture: a larger state stays in device memory */
};

/* Spans and slots on the device. */
static pare_status push_spans(pare_gpu *g, const pare_attention_span **spans, const int32_t **slots, uint32_t n,
                              pare_error *err)
{
    const void *device_spans = NULL, *device_slots = NULL;
    pare_status st = pare_gpu_pushed(g, *spans, n * sizeof **spans, &device_spans, err);
    if (st == PARE_OK)
        st = pare_gpu_pushed(g, *slots, n * sizeof **slots, &device_slots, err);
    *spans = (const pare_attention_span *)device_spans;
    *slots = (const int32_t *)device_slots;
    return st;
}

/* ---- convolution ---- */

typedef struct conv_job {
    const pare_attention_span *spans;
    const int32_t *slots;
    uint32_t width, kernel;
    const float *x, *w;
    float *past, *y;
} conv_job;

/* Input `back` tokens before row r of the span, 0 before its sequence began. past: of the span's slot. */
static __device__ __forceinline__ float before(const conv_job &j, const pare_attention_span &s, const float *past,
                                               uint32_t r, uint32_t back, uint32_t channel)
{
    if (back <= r)
        return j.x[((uint64_t)s.row + r - back) * j.width + channel];
    if (s.n_past < back - r)
        return 0;
    return past[(uint64_t)(j.kernel - 1 - (back - r)) * j.width + channel];
}

static __global__ void conv_kernel(conv_job j)
{
    const pare_attention_span s = j.spans[blockIdx.y];
    int32_t slot = j.slots[blockIdx.y];
    float *past = slot >= 0 ? j.past + (uint64_t)slot * (j.kernel - 1) * j.width : NULL;
    uint32_t channel = blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= j.width)
        return;
    for (uint32_t r = 0; r < s.n; r++) {
        float sum = 0;
        for (uint32_t k = 0; k < j.kernel; k++)
            sum += j.w[(uint64_t)channel * j.kernel + k] * before(j, s, past, r, j.kernel - 1 - k, channel);
        j.y[((uint64_t)s.row + r) * j.width + channel] = sum / (1.0f + expf(-sum));
    }
    for (uint32_t i = 0; past != NULL && i + 1 < j.kernel; i++) /* what is read lies behind what is written */
        past[(uint64_t)i * j.width + channel] = before(j, s, past, s.n - 1, j.kernel - 2 - i, channel);
}

enum { MOST_SPANS = 65535 }; /* the largest grid in y */

pare_status pare_gpu_conv(pare_gpu *g, const pare_conv *c, pare_error *err)
{
    conv_job j = {c->spans, c->slots, c->width, c->kernel, c->x, NULL, c->past, c->y};
    if (c->n_spans == 0 || c->width == 0)
        return PARE_OK;
    pare_status st = pare_gpu_vector_of(g, c->w, (uint64_t)c->width * c->kernel, &j.w, err);
    for (uint32_t done = 0, n; st == PARE_OK && done < c->n_spans; done += n) {
        n = c->n_spans - done < MOST_SPANS ? c->n_spans - done : (uint32_t)MOST_SPANS;
        j.spans = c->spans + done;
        j.slots = c->slots + done;
        if ((st = push_spans(g, &j.spans, &j.slots, n, err)) != PARE_OK)
            break;
        PARE_LAUNCH(conv_kernel, dim3((c->width - 1) / THREADS + 1, n), THREADS, 0, g->stream, j);
        st = pare_gpu_launched(g, "conv", err);
    }
    return st;
}

/* ---- delta rule ---- */

typedef struct delta_job {
    pare_delta d; /* spans and slots on the device */
    const float *a, *dt;
    float *scratch; /* [spans, n_head_v, dim_k, dim_v] for spans without a slot, where a state does not fit in shared
                       memory */
} delta_job;

/* The sum of what all threads of the block have, in the same order on each of them. room: a float a thread. */
static __device__ float block_sum(float x, float *room)
{
    room[threadIdx.x] = x;
    __syncthreads();
    float sum = 0;
    for (uint32_t i = 0; i < blockDim.x; i++)
        sum += room[i];
    __syncthreads();
    return sum;
}

/* to = x / sqrt(sum of x^2 + eps) * scale; ends with a barrier. */
static __device__ void normalise(const float *x, uint32_t n, float scale, float *to, float *room)
{
    float square = 0;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
        square += x[i] * x[i];
    float factor = scale / sqrtf(block_sum(square, room) + PARE_DELTA_EPS);
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
        to[i] = x[i] * factor;
    __syncthreads();
}

/* A block a head and span. Shared: q, k [dim_k each], a float a thread, and the state if it fits. A thread owns columns
 * of the state, so nobody else reads what it writes. */
static __global__ void delta_kernel(delta_job j, bool state_is_shared)
{
    PARE_SHARED(float, shared);
    const pare_delta &d = j.d;
    const pare_attention_span s = d.spans[blockIdx.y];
    int32_t slot = d.slots[blockIdx.y];
    uint32_t h = blockIdx.x, h_k = pare_delta_key_head(&d, h), n = d.dim_v;
    uint64_t n_state = (uint64_t)d.dim_k * n, width = pare_delta_width(&d), keys = (uint64_t)d.n_head_k * d.dim_k;
    float *q = shared, *k = q + d.dim_k, *room = k + d.dim_k;
    float *kept = slot >= 0 ? d.state + ((uint64_t)slot * d.n_head_v + h) * n_state : NULL;
    float *own = j.scratch + ((uint64_t)blockIdx.y * d.n_head_v + h) * n_state;
    float *state = state_is_shared ? room + blockDim.x : kept != NULL ? kept : own;
    for (uint32_t c = threadIdx.x; c < n; c += blockDim.x)
        for (uint32_t i = 0; i < d.dim_k; i++)
            state[(uint64_t)i * n + c] = s.n_past > 0 ? kept[(uint64_t)i * n + c] : 0;
    for (uint64_t r = s.row; r < (uint64_t)s.row + s.n; r++) {
        const float *x = d.qkv + r * width;
        normalise(x + (uint64_t)h_k * d.dim_k, d.dim_k, 1.0f / sqrtf((float)d.dim_k), q, room);
        normalise(x + keys + (uint64_t)h_k * d.dim_k, d.dim_k, 1.0f, k, room);
        float pace = d.alpha[r * d.n_head_v + h] + j.dt[h];
        float decay = expf(j.a[h] * (pace > 20 ? pace : log1pf(expf(pace))));
        float beta = 1.0f / (1.0f + expf(-d.beta[r * d.n_head_v + h]));
        for (uint32_t c = threadIdx.x; c < n; c += blockDim.x) {
            float known = 0, out = 0;
            for (uint32_t i = 0; i < d.dim_k; i++)
                known += state[(uint64_t)i * n + c] * decay * k[i];
            float change = (x[2 * keys + (uint64_t)h * n + c] - known) * beta;
            for (uint32_t i = 0; i < d.dim_k; i++) {
                float value = state[(uint64_t)i * n + c] * decay + k[i] * change;
                state[(uint64_t)i * n + c] = value;
                out += value * q[i];
            }
            d.out[(r * d.n_head_v + h) * n + c] = out;
        }
        __syncthreads(); /* before q and k are written again */
    }
    for (uint32_t c = threadIdx.x; kept != NULL && kept != state && c < n; c += blockDim.x)
        for (uint32_t i = 0; i < d.dim_k; i++)
            kept[(uint64_t)i * n + c] = state[(uint64_t)i * n + c];
}

static pare_status launch(pare_gpu *g, const delta_job *j, uint32_t n_spans, pare_error *err)
{
    uint64_t small = (2 * (uint64_t)j->d.dim_k + THREADS) * sizeof(float);
    uint64_t shared = small + (uint64_t)j->d.dim_k * j->d.dim_v * sizeof(float);
    bool fits = shared <= MOST_SHARED;
    if (small > MOST_SHARED)
        return pare_gpu_calls->fail(err, PARE_ERR_UNSUPPORTED,
                                    "the CUDA backend has no delta rule of keys of %u elements", (unsigned)j->d.dim_k);
    pare_status st = pare_gpu_check(
        g, cudaFuncSetAttribute(delta_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, MOST_SHARED), "delta", err);
    if (st != PARE_OK)
        return st;
    PARE_LAUNCH(delta_kernel, dim3(j->d.n_head_v, n_spans), THREADS, fits ? shared : small, g->stream, *j, fits);
    return pare_gpu_launched(g, "delta", err);
}

pare_status pare_gpu_delta(pare_gpu *g, const pare_delta *d, pare_error *err)
{
    delta_job j = {*d, NULL, NULL, NULL};
    uint64_t state = (uint64_t)d->n_head_v * d->dim_k * d->dim_v * sizeof(float);
    bool fits = (2 * (uint64_t)d->dim_k + THREADS + (uint64_t)d->dim_k * d->dim_v) * sizeof(float) <= MOST_SHARED;
    uint32_t at_once = fits ? (uint32_t)MOST_SPANS : 16;
    if (d->n_spans == 0 || d->n_head_v == 0)
        return PARE_OK;
    pare_status st = pare_gpu_vector_of(g, d->a, d->n_head_v, &j.a, err);
    if (st == PARE_OK)
        st = pare_gpu_vector_of(g, d->dt, d->n_head_v, &j.dt, err);
    if (st == PARE_OK && !fits &&
        (j.scratch = (float *)pare_gpu_scratch_of(g, PARE_GPU_DECODED, at_once * state, err)) == NULL)
        st = PARE_ERR_MEMORY;
    for (uint32_t done = 0, n; st == PARE_OK && done < d->n_spans; done += n) {
        n = d->n_spans - done < at_once ? d->n_spans - done : at_once;
        j.d.spans = d->spans + done;
        j.d.slots = d->slots + done;
        if ((st = push_spans(g, &j.d.spans, &j.d.slots, n, err)) == PARE_OK)
            st = launch(g, &j, n, err);
    }
    return st;
}
