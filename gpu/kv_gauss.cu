/* Units of the families GAUSS and PRODUCT: a warp a unit. Sums are those of quant/kv_unit.h: over 16 lanes, element i
 * in lane i % 16, then over the lanes by halves; lanes 16 to 31 of a warp add the same up. */
#include "gpu/kv.h"

#include "quant/kv_unit.h"

enum { WARPS = 4, THREADS = WARPS * PARE_WARP, LEVELS = 16, WORDS = PARE_KV_MAX_DIM / 64 };

/* Codes of the first half of the elements, and of the second: where `dim` are all, the second has none. */
typedef struct job {
    uint64_t n_units;
    uint32_t dim, first; /* elements of the first half */
    uint32_t bytes;      /* of a unit */
    uint32_t head;       /* of them before the codes */
    int bits[2];
    bool product;
    const uint64_t *signs; /* of PRODUCT: [dim][WORDS], pare_kv_signs */
} job;

/* Shared memory of a block; the parts of a warp behind the tables. */
typedef struct tables {
    float level[2][LEVELS], border[2][LEVELS / 2];
} tables;

PARE_HD uint32_t warp_bytes(const job &j)
{
    return j.dim * (uint32_t)sizeof(float) + (j.bytes + 3) / 4 * 4;
}

static __device__ __forceinline__ void fill_tables(const job &j, tables *t)
{
    const uint32_t k = threadIdx.x % LEVELS, part = threadIdx.x / LEVELS;
    if (part < 2 && k < 1u << j.bits[part])
        t->level[part][k] = pare_kv_gauss_level(j.bits[part], k);
    if (part < 2 && k > 0 && k < (1u << j.bits[part]) / 2)
        t->border[part][k] = (pare_kv_gauss_upper(j.bits[part], k - 1) + pare_kv_gauss_upper(j.bits[part], k)) * 0.5f;
    __syncthreads();
}

/* sum v^2 for each lane: pare_kv_dot and pare_kv_add_lanes */
static __device__ __forceinline__ float square_sum(const float *v, uint32_t dim, uint32_t lane)
{
    float sum = 0;
    for (uint32_t i = lane % 16; i < dim; i += 16)
        sum += v[i] * v[i];
    for (int mask = 8; mask > 0; mask /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, mask);
    return sum;
}

/* Where the codes of group g of 8 elements begin, and how many bits they have. */
static __device__ __forceinline__ uint32_t place_of(const job &j, uint32_t g, int *bits)
{
    const uint32_t groups = j.first / 8;
    *bits = j.bits[g >= groups];
    return j.head +
           (g < groups ? g * (uint32_t)j.bits[0] : groups * (uint32_t)j.bits[0] + (g - groups) * (uint32_t)j.bits[1]);
}

static __device__ __forceinline__ uint32_t code_of(float x, float inverse, const float *border, int half)
{
    const float size = pare_magnitude(x * inverse);
    int above = 0;
    for (int k = 1; k < half; k++)
        above += size > border[k] ? 1 : 0;
    return (uint32_t)(x > 0 ? half + above : half - 1 - above);
}

/* The codes of v to out; v becomes what is left of it behind the levels times scale. Lane l takes 4 elements, and every
 * second lane writes its own and its neighbour's. */
static __device__ __forceinline__ void put_codes(const job &j, const tables *t, float *v, float inverse, float scale,
                                                 uint32_t lane, uint8_t *out)
{
    for (uint32_t start = 0; start < j.dim / 4; start += PARE_WARP) {
        const uint32_t quad = start + lane;
        uint32_t word = 0, place = 0;
        int bits = 0;
        if (quad < j.dim / 4) {
            place = place_of(j, quad / 2, &bits);
            const uint32_t part = 4 * quad >= j.first;
            for (uint32_t e = 0; e < 4; e++) {
                float *x = &v[4 * quad + e];
                const uint32_t code = code_of(*x, inverse, t->border[part], (1 << bits) / 2);
                word |= code << (bits * (int)e);
                *x -= t->level[part][code] * scale;
            }
        }
        word |= __shfl_down_sync(0xffffffffu, word, 1) << (4 * bits);
        for (int b = 0; b < bits && quad % 2 == 0; b++)
            out[place + (uint32_t)b] = (uint8_t)(word >> (8 * b));
    }
}

/* pare_kv_mix by a warp */
static __device__ __forceinline__ void mix(float *v, uint32_t dim, bool back, uint32_t lane)
{
    const pare_rotation r = {dim, PARE_ROTATION_MAX_DIM, PARE_KV_MIX_SEED};
    for (uint32_t i = lane; i < dim && !back; i += PARE_WARP)
        v[i] *= pare_rotation_sign(&r, i);
    for (uint32_t at = 0, len; at < dim; at += len) {
        len = pare_rotation_block(&r, at);
        for (uint32_t h = 1; h < len; h *= 2) {
            __syncwarp();
            for (uint32_t k = lane; k < len / 2; k += PARE_WARP) {
                const uint32_t low = at + 2 * k - k % h;
                const float a = v[low], b = v[low + h];
                v[low] = a + b;
                v[low + h] = a - b;
            }
        }
        __syncwarp();
        for (uint32_t i = at + lane; i < at + len; i += PARE_WARP)
            v[i] = v[i] * pare_rotation_scale(len) * (back ? pare_rotation_sign(&r, i) : 1);
    }
    __syncwarp();
}

/* The signs of pare_kv_project(v), to out: a lane adds up two rows of 64 at once. */
static __device__ __forceinline__ void put_signs(const job &j, const float *v, uint32_t lane, uint8_t *out)
{
    for (uint32_t w = 0; w < (j.dim + 63) / 64; w++) {
        float low = 0, high = 0;
        for (uint32_t i = 0; i < j.dim; i++) {
            const uint64_t signs = j.signs[i * WORDS + w];
            const uint32_t bits = pare_f32_to_bits(v[i]);
            low += pare_bits_to_f32(bits ^ (uint32_t)(signs >> lane & 1) << 31);
            high += pare_bits_to_f32(bits ^ (uint32_t)(signs >> (32 + lane) & 1) << 31);
        }
        const uint32_t minus[2] = {__ballot_sync(0xffffffffu, low < 0), __ballot_sync(0xffffffffu, high < 0)};
        if (lane < 8 && 64 * w + 8 * lane < j.dim)
            out[8 * w + lane] = (uint8_t)((lane < 4 ? minus[0] : minus[1]) >> (lane % 4 * 8));
    }
}

static __global__ void __launch_bounds__(THREADS) encode_kernel(job j, const float *x, uint8_t *dst, unsigned *bad)
{
    PARE_SHARED(uint8_t, shared); /* tables, then [WARPS][warp_bytes] */
    tables *t = (tables *)shared;
    fill_tables(j, t);
    const uint32_t lane = threadIdx.x % PARE_WARP, warp = threadIdx.x / PARE_WARP;
    float *v = (float *)(shared + sizeof(tables) + warp * warp_bytes(j));
    uint8_t *out = (uint8_t *)(v + j.dim);
    const float root = sqrtf((float)j.dim);
    for (uint64_t unit = (uint64_t)blockIdx.x * WARPS + warp; unit < j.n_units; unit += (uint64_t)gridDim.x * WARPS) {
        for (uint32_t i = lane; i < j.dim; i += PARE_WARP)
            v[i] = x[unit * j.dim + i];
        __syncwarp();
        uint8_t length[2], rest[2] = {};
        const float norm = sqrtf(square_sum(v, j.dim, lane)), inverse = pare_reciprocal(norm) * root;
        bool fits = pare_kv_put_half(norm, length); /* not where a value is not finite */
        __syncwarp();                               /* all have read v */
        put_codes(j, t, v, inverse, pare_kv_half(length) / root, lane, out);
        __syncwarp();
        if (j.product) {
            fits = pare_kv_put_half(sqrtf(square_sum(v, j.dim, lane)), rest) && fits;
            __syncwarp();
            mix(v, j.dim, false, lane);
            put_signs(j, v, lane, out + j.bytes - j.dim / 8);
        }
        if (lane < j.head)
            out[lane] = lane < 2 ? length[lane] : rest[lane - 2];
        if (!fits && lane == 0)
            atomicMin(bad, (unsigned)unit);
        __syncwarp();
        for (uint32_t i = lane; i < j.bytes; i += PARE_WARP)
            dst[unit * j.bytes + i] = out[i];
        __syncwarp();
    }
}

/* What the signs at `in` add to the levels, to v: pare_kv_product_decode */
static __device__ __forceinline__ void get_signs(const job &j, const uint8_t *in, float factor, uint32_t lane, float *v)
{
    const uint8_t *signs = in + j.bytes - j.dim / 8;
    const uint32_t words = (j.dim + 63) / 64;
    const uint64_t mine = lane < words ? pare_kv_load_signs(signs + 8 * lane, (j.dim - 64 * lane) / 8) : 0;
    for (uint32_t start = 0; start < j.dim; start += PARE_WARP) {
        const uint32_t i = start + lane;
        int32_t minus = 0;
        for (uint32_t w = 0; w < words; w++) {
            const uint64_t word = __shfl_sync(0xffffffffu, mine, (int)w);
            const uint64_t rows = j.dim - 64 * w < 64 ? ((uint64_t)1 << (j.dim - 64 * w)) - 1 : ~(uint64_t)0;
            if (i < j.dim)
                minus += (int32_t)pare_kv_count((word ^ j.signs[i * WORDS + w]) & rows);
        }
        if (i < j.dim)
            v[i] = factor * (float)((int32_t)j.dim - 2 * minus);
    }
    __syncwarp();
    mix(v, j.dim, true, lane);
}

static __global__ void __launch_bounds__(THREADS) decode_kernel(job j, const uint8_t *src, float *x)
{
    PARE_SHARED(uint8_t, shared); /* as above */
    tables *t = (tables *)shared;
    fill_tables(j, t);
    const uint32_t lane = threadIdx.x % PARE_WARP, warp = threadIdx.x / PARE_WARP;
    float *v = (float *)(shared + sizeof(tables) + warp * warp_bytes(j));
    uint8_t *in = (uint8_t *)(v + j.dim);
    for (uint64_t unit = (uint64_t)blockIdx.x * WARPS + warp; unit < j.n_units; unit += (uint64_t)gridDim.x * WARPS) {
        for (uint32_t i = lane; i < j.bytes; i += PARE_WARP)
            in[i] = src[unit * j.bytes + i];
        __syncwarp();
        const float scale = pare_kv_half(in) / sqrtf((float)j.dim);
        if (j.product)
            get_signs(j, in, PARE_KV_ROOT_HALF_PI * pare_kv_half(in + 2) / (float)j.dim, lane, v);
        for (uint32_t i = lane; i < j.dim; i += PARE_WARP) {
            int bits;
            const uint32_t place = place_of(j, i / 8, &bits);
            uint32_t word = 0;
            for (int b = 0; b < bits; b++)
                word |= (uint32_t)in[place + (uint32_t)b] << (8 * b);
            const float value = t->level[i >= j.first][word >> (bits * (int)(i % 8)) & ((1u << bits) - 1)] * scale;
            x[unit * j.dim + i] = j.product ? value + v[i] : value;
        }
        __syncwarp();
    }
}

static __global__ void signs_kernel(uint64_t *signs, uint32_t dim)
{
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < dim * WORDS)
        signs[i] = pare_kv_signs(i / WORDS, i % WORDS);
}

/* The job; of PRODUCT with a table of its projection's signs, which takes less time than to look whether it is there.
 */
static pare_status prepare(pare_gpu *g, const pare_gpu_kv_units *units, job *j, pare_error *err)
{
    const pare_kv_unit *u = &units->unit;
    const bool product = u->family == PARE_KV_PRODUCT;
    const int half_bits = product ? u->half_bits - 2 : u->half_bits;
    *j = {units->n_units,
          u->dim,
          pare_kv_first(u->dim, half_bits),
          units->bytes,
          product ? 4u : 2u,
          {(half_bits + 1) / 2, half_bits / 2},
          product,
          NULL};
    if (!product)
        return PARE_OK;
    uint64_t *signs = (uint64_t *)pare_gpu_scratch_of(g, PARE_GPU_SIGNS, sizeof *signs * u->dim * WORDS, err);
    if ((j->signs = signs) == NULL)
        return PARE_ERR_MEMORY;
    PARE_LAUNCH(signs_kernel, pare_gpu_blocks(u->dim * WORDS, THREADS), THREADS, 0, g->stream, signs, u->dim);
    return pare_gpu_launched(g, "signs", err);
}

static size_t shared_of(const job &j)
{
    return sizeof(tables) + WARPS * warp_bytes(j);
}

pare_status pare_gpu_gauss_encode(pare_gpu *g, const pare_gpu_kv_units *units, const float *x, uint8_t *dst,
                                  unsigned *bad, pare_error *err)
{
    job j;
    pare_status st = prepare(g, units, &j, err);
    if (st != PARE_OK)
        return st;
    PARE_LAUNCH(encode_kernel, pare_gpu_blocks(j.n_units, WARPS), THREADS, shared_of(j), g->stream, j, x, dst, bad);
    return pare_gpu_launched(g, "kv_encode", err);
}

pare_status pare_gpu_gauss_decode(pare_gpu *g, const pare_gpu_kv_units *units, const uint8_t *src, float *x,
                                  pare_error *err)
{
    job j;
    pare_status st = prepare(g, units, &j, err);
    if (st != PARE_OK)
        return st;
    PARE_LAUNCH(decode_kernel, pare_gpu_blocks(j.n_units, WARPS), THREADS, shared_of(j), g->stream, j, src, x);
    return pare_gpu_launched(g, "kv_decode", err);
}
