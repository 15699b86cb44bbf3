/* Units of the family TRANSFORM: a block a unit. Sums are those of quant/kv_unit.h: a product over 16 lanes, element e
 * in lane e % 16, then over the lanes by halves; half a warp adds one up. */
#include "gpu/kv.h"

#include "quant/kv_unit.h"

enum { THREADS = 128, LANES = 16 };

/* Shared memory: the vector, its coordinates, what each length loses, and the unit's bytes. */
static size_t shared_of(const pare_gpu_kv_units *units)
{
    return (2 * units->unit.dim + PARE_KV_LENGTHS) * sizeof(float) + (units->bytes + 3) / 4 * 4;
}

static __device__ __forceinline__ const float *basis_of(const pare_gpu_kv_units &units, uint64_t unit)
{
    const uint64_t dim = units.unit.dim;
    return units.unit.basis + unit % units.n_head * dim * (2 * dim + 3);
}

/* pare_kv_dot by half a warp; every lane of the warp must call it. dim: a multiple of 16 */
static __device__ __forceinline__ float dot(const float *x, const float *y, uint32_t dim)
{
    float sum = 0;
    for (uint32_t e = threadIdx.x % LANES; e < dim; e += LANES)
        sum += x[e] * y[e];
    for (int mask = LANES / 2; mask > 0; mask /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, mask);
    return sum;
}

/* pare_kv_coordinate_length: each half of a warp takes every eighth length. loss [PARE_KV_LENGTHS]: shared memory. All
 * threads of the block. */
static __device__ __forceinline__ float length_of(const float *basis, const float *y, uint32_t dim, float *loss)
{
    float r = dot(y, y, dim), between = 0, coded = 0;
    for (uint32_t i = threadIdx.x % LANES; i < dim; i += LANES) {
        const int bits = pare_kv_basis_bits(basis, dim, i);
        between += pare_kv_basis_cost(basis, dim, i) * pare_kv_gauss_loss(bits);
        coded += bits > 0 ? 1.0f : 0.0f;
    }
    for (int mask = LANES / 2; mask > 0; mask /= 2) {
        between += __shfl_xor_sync(0xffffffffu, between, mask);
        coded += __shfl_xor_sync(0xffffffffu, coded, mask);
    }
    r = pare_kv_root_mean(r, (uint32_t)coded);
    for (uint32_t start = 0; start < PARE_KV_LENGTHS; start += THREADS / LANES) {
        const uint32_t k = start + threadIdx.x / LANES;
        const float s = r * pare_kv_length_factor(k < PARE_KV_LENGTHS ? k : 0);
        float sum = 0;
        for (uint32_t i = threadIdx.x % LANES; i < dim; i += LANES) {
            const float v = pare_kv_beyond(y[i], s * pare_kv_top_level(pare_kv_basis_bits(basis, dim, i)));
            sum += pare_kv_basis_cost(basis, dim, i) * v * v;
        }
        for (int mask = LANES / 2; mask > 0; mask /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, mask);
        if (k < PARE_KV_LENGTHS && threadIdx.x % LANES == 0)
            loss[k] = sum + s * s * between;
    }
    __syncthreads();
    uint32_t best = 0;
    for (uint32_t k = 1; k < PARE_KV_LENGTHS; k++)
        best = loss[k] < loss[best] ? k : best;
    return r * pare_kv_length_factor(best);
}

static __global__ void __launch_bounds__(THREADS)
    encode_kernel(pare_gpu_kv_units units, const float *x, uint8_t *dst, unsigned *bad)
{
    PARE_SHARED(float, shared);
    const uint32_t dim = units.unit.dim, group = threadIdx.x / LANES;
    float *v = shared, *y = v + dim, *loss = y + dim;
    uint8_t *out = (uint8_t *)(loss + PARE_KV_LENGTHS);
    for (uint64_t unit = blockIdx.x; unit < units.n_units; unit += gridDim.x) {
        const float *basis = basis_of(units, unit);
        for (uint32_t e = threadIdx.x; e < dim; e += THREADS)
            v[e] = x[unit * dim + e] - basis[e];
        __syncthreads();
        for (uint32_t i = group; i < dim; i += THREADS / LANES) { /* as often in every group: dim is a multiple of 16 */
            const float sum = dot(pare_kv_basis_row(basis, dim, i), v, dim);
            if (threadIdx.x % LANES == 0)
                y[i] = pare_kv_basis_bits(basis, dim, i) > 0 ? sum : 0;
        }
        __syncthreads();
        const float length = length_of(basis, y, dim, loss);
        if (threadIdx.x == 0) {
            if (!pare_kv_put_half(length, out))
                atomicMin(bad, (unsigned)unit);
            pare_kv_put_coordinates(basis, dim, y, pare_reciprocal(pare_kv_half(out)), units.bytes - 2, out + 2);
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < units.bytes; i += THREADS)
            dst[unit * units.bytes + i] = out[i];
        __syncthreads();
    }
}

static __global__ void __launch_bounds__(THREADS) decode_kernel(pare_gpu_kv_units units, const uint8_t *src, float *x)
{
    PARE_SHARED(float, shared);
    const uint32_t dim = units.unit.dim;
    float *y = shared;
    uint8_t *in = (uint8_t *)(y + 2 * dim);
    for (uint64_t unit = blockIdx.x; unit < units.n_units; unit += gridDim.x) {
        const float *basis = basis_of(units, unit);
        for (uint32_t i = threadIdx.x; i < units.bytes; i += THREADS)
            in[i] = src[unit * units.bytes + i];
        __syncthreads();
        if (threadIdx.x == 0)
            pare_kv_get_coordinates(basis, dim, in + 2, pare_kv_half(in), y);
        __syncthreads();
        for (uint32_t e = threadIdx.x; e < dim; e += THREADS) {
            float value = basis[e];
            for (uint32_t i = 0; i < dim; i++)
                if (pare_kv_basis_bits(basis, dim, i) > 0)
                    value += y[i] * pare_kv_basis_column(basis, dim, i)[e];
            x[unit * dim + e] = value;
        }
        __syncthreads();
    }
}

pare_status pare_gpu_transform_encode(pare_gpu *g, const pare_gpu_kv_units *units, const float *x, uint8_t *dst,
                                      unsigned *bad, pare_error *err)
{
    PARE_LAUNCH(encode_kernel, pare_gpu_blocks(units->n_units, 1), THREADS, shared_of(units), g->stream, *units, x, dst,
                bad);
    return pare_gpu_launched(g, "kv_encode", err);
}

pare_status pare_gpu_transform_decode(pare_gpu *g, const pare_gpu_kv_units *units, const uint8_t *src, float *x,
                                      pare_error *err)
{
    PARE_LAUNCH(decode_kernel, pare_gpu_blocks(units->n_units, 1), THREADS, shared_of(units), g->stream, *units, src,
                x);
    return pare_gpu_launched(g, "kv_decode", err);
}
