#include "gpu/rows.h"

#include "gpu/ops.h"

enum { THREADS = 256, MAX_GRID = 1 << 16 };

static unsigned grid(uint32_t n)
{
    return n < MAX_GRID ? n : (unsigned)MAX_GRID;
}

/* The sum of v over the threads of a block, for each of them. */
static __device__ __forceinline__ float block_sum(float v, float *partial)
{
    for (int mask = PARE_WARP / 2; mask > 0; mask /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, mask);
    __syncthreads(); /* partial was read by everybody */
    if (threadIdx.x % PARE_WARP == 0)
        partial[threadIdx.x / PARE_WARP] = v;
    __syncthreads();
    v = partial[0];
    for (int i = 1; i < THREADS / PARE_WARP; i++)
        v += partial[i];
    return v;
}

static __global__ void add_weighted_kernel(float *x, const float *y, const float *weights, uint32_t stride,
                                           float offset, uint32_t n, uint32_t width)
{
    for (uint64_t i = blockIdx.x; i < n; i += gridDim.x) {
        float weight = weights[i * stride] + offset;
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x)
            x[i * width + c] += weight * y[i * width + c];
    }
}

pare_status pare_gpu_add_weighted(pare_gpu *g, float *x, const float *y, const float *weights, uint32_t stride,
                                  float offset, uint32_t n, uint32_t width, pare_error *err)
{
    if (n == 0 || width == 0)
        return PARE_OK;
    PARE_LAUNCH(add_weighted_kernel, grid(n), THREADS, 0, g->stream, x, y, weights, stride, offset, n, width);
    return pare_gpu_launched(g, "add_weighted", err);
}

static __global__ void scale_columns_kernel(float *x, const float *w, uint32_t n, uint32_t width)
{
    for (uint64_t i = blockIdx.x; i < n; i += gridDim.x)
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x)
            x[i * width + c] *= w[c];
}

pare_status pare_gpu_scale_columns(pare_gpu *g, float *x, const pare_tensor *w, uint32_t n, uint32_t width,
                                   pare_error *err)
{
    const float *factors = NULL;
    pare_status st = pare_gpu_vector_of(g, w, width, &factors, err);
    if (st != PARE_OK || n == 0 || width == 0)
        return st;
    PARE_LAUNCH(scale_columns_kernel, grid(n), THREADS, 0, g->stream, x, factors, n, width);
    return pare_gpu_launched(g, "scale_columns", err);
}

static __global__ void match_kernel(float *x, const float *like, float least, uint32_t n, uint32_t width)
{
    PARE_SHARED(float, partial); /* [THREADS / 32] */
    for (uint64_t i = blockIdx.x; i < n; i += gridDim.x) {
        float own = 0, other = 0;
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x) {
            own = fmaf(x[i * width + c], x[i * width + c], own);
            other = fmaf(like[i * width + c], like[i * width + c], other);
        }
        own = block_sum(own, partial) / (float)width;
        other = block_sum(other, partial) / (float)width;
        float factor = sqrtf(other / (own < least ? least : own));
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x)
            x[i * width + c] *= factor;
    }
}

pare_status pare_gpu_match_rms(pare_gpu *g, float *x, const float *like, float least, uint32_t n, uint32_t width,
                               pare_error *err)
{
    if (n == 0 || width == 0)
        return PARE_OK;
    PARE_LAUNCH(match_kernel, grid(n), THREADS, THREADS / PARE_WARP * sizeof(float), g->stream, x, like, least, n,
                width);
    return pare_gpu_launched(g, "match_rms", err);
}

static __global__ void sparsify_kernel(float *x, float deviations, uint32_t n, uint32_t width)
{
    PARE_SHARED(float, partial); /* [THREADS / 32] */
    for (uint64_t i = blockIdx.x; i < n; i += gridDim.x) {
        float *row = x + i * width, sum = 0, square = 0;
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x)
            sum += row[c];
        float mean = block_sum(sum, partial) / (float)width;
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x)
            square = fmaf(row[c] - mean, row[c] - mean, square);
        float cut = mean + deviations * sqrtf(block_sum(square, partial) / (float)width);
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x)
            row[c] = row[c] <= cut ? 0.0f : row[c] - cut;
    }
}

pare_status pare_gpu_sparsify(pare_gpu *g, float *x, float deviations, uint32_t n, uint32_t width, pare_error *err)
{
    if (n == 0 || width == 0)
        return PARE_OK;
    PARE_LAUNCH(sparsify_kernel, grid(n), THREADS, THREADS / PARE_WARP * sizeof(float), g->stream, x, deviations, n,
                width);
    return pare_gpu_launched(g, "sparsify", err);
}
