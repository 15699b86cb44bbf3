/* Units of the family TRANSFORM: a block a unit. Sums are those of quant/kv_unit.h: a product over 16 lanes, element e
 * in lane e % 16, then over the lanes by halves; half a warp adds one up. */
#include "gpu/kv.h"

#include "quant/kv_unit.h"

enum { THREADS = 128, LANES = 16 };

/* Shared memory: the vector, its coordinates, and the unit's bytes. */
static size_t shared_of(const pare_gpu_kv_units *units)
{
    return (2 * units->unit.dim + 2) * sizeof(float) + (units->bytes + 3) / 4 * 4;
}

static __device__ __forceinline__ const float *basis_of(const pare_gpu_kv_units &units, uint64_t unit)
{
    const uint64_t dim = units.unit.dim;
    return units.unit.basis + unit % units.n_head * dim * (2 * dim + 2);
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

static __global__ void __launch_bounds__(THREADS)
    encode_kernel(pare_gpu_kv_units units, const float *x, uint8_t *dst, unsigned *bad)
{
    PARE_SHARED(float, shared);
    const uint32_t dim = units.unit.dim, group = threadIdx.x / LANES;
    float *v = shared, *y = v + dim, *square = y + dim;
    uint8_t *out = (uint8_t *)(square + 2);
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
        const float sum = dot(y, y, dim);
        if (threadIdx.x == 0) {
            uint32_t n_coded = 0;
            for (uint32_t i = 0; i < dim; i++)
                n_coded += pare_kv_basis_bits(basis, dim, i) > 0 ? 1 : 0;
            if (!pare_kv_put_half(pare_kv_root_mean(sum, n_coded), out))
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
    uint8_t *in = (uint8_t *)(y + 2 * dim + 2);
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
