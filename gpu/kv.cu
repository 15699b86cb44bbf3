/* Keys and values to units and back: what every value, or every 32 or 64 of them, is coded by itself. A thread codes
 * one such item; numbers and bytes pass shared memory, so that memory sees whole rows of them. */
#include "gpu/kv.h"

#include "gpu/decode.h"
#include "quant/kv_unit.h"

#include <stdlib.h>

enum { ITEMS = 128, THREADS = 256, NONE = -1 };

/* Items, one behind the other as they are stored. Where they are columns, of PARE_KV_RANGE tokens each, item i is
 * column i % width of group i / width; else the values, too, stand one behind the other. */
typedef struct job {
    pare_gpu_kv_units units;
    uint64_t n_items, a_unit; /* items of a unit */
    uint32_t bytes;           /* of an item */
    uint32_t width;           /* of a row of columns; 0: no columns */
} job;

typedef bool (*put_fn)(const pare_kv_unit *u, const float *x, uint8_t *dst);
typedef void (*get_fn)(const pare_kv_unit *u, const uint8_t *src, float *x);

/* Element t of a column's item is at the address of element 0, plus t rows. */
static __device__ __forceinline__ uint64_t column_of(const job &j, uint64_t item)
{
    return item / j.width * PARE_KV_RANGE * j.width + item % j.width;
}

/* n bytes, whole words where that is possible; from: shared memory, aligned. All threads of a block. */
static __device__ __forceinline__ void write_bytes(const uint8_t *from, uint32_t n, uint8_t *dst)
{
    const uint32_t words = (uintptr_t)dst % 4 == 0 ? n / 4 : 0;
    for (uint32_t i = threadIdx.x; i < words; i += blockDim.x)
        ((uint32_t *)dst)[i] = ((const uint32_t *)from)[i];
    for (uint32_t i = 4 * words + threadIdx.x; i < n; i += blockDim.x)
        dst[i] = from[i];
}

static __device__ __forceinline__ void read_bytes(const uint8_t *src, uint32_t n, uint8_t *to)
{
    const uint32_t words = (uintptr_t)src % 4 == 0 ? n / 4 : 0;
    for (uint32_t i = threadIdx.x; i < words; i += blockDim.x)
        ((uint32_t *)to)[i] = ((const uint32_t *)src)[i];
    for (uint32_t i = 4 * words + threadIdx.x; i < n; i += blockDim.x)
        to[i] = src[i];
}

/* Shared memory: rows of ITEMS items, len + 1 floats apart, and behind them their bytes. */
template <int len, put_fn put>
static __global__ void __launch_bounds__(ITEMS) encode_kernel(job j, const float *x, uint8_t *dst, unsigned *bad)
{
    PARE_SHARED(float, rows);
    uint8_t *out = (uint8_t *)(rows + ITEMS * (len + 1));
    const uint32_t me = threadIdx.x;
    float *mine = rows + me * (len + 1);
    for (uint64_t first = (uint64_t)blockIdx.x * ITEMS; first < j.n_items; first += (uint64_t)gridDim.x * ITEMS) {
        const uint32_t n = j.n_items - first < ITEMS ? (uint32_t)(j.n_items - first) : (uint32_t)ITEMS;
        if (j.width == 0) {
            for (uint32_t i = me; i < n * len; i += ITEMS)
                rows[i / len * (len + 1) + i % len] = x[first * len + i];
        } else if (me < n) {
            const float *column = x + column_of(j, first + me);
            for (int t = 0; t < len; t++)
                mine[t] = column[(uint64_t)t * j.width];
        }
        __syncthreads();
        if (me < n && !(pare_kv_finite(mine, len) && put(&j.units.unit, mine, out + me * j.bytes)))
            atomicMin(bad, (unsigned)((first + me) / j.a_unit));
        __syncthreads();
        write_bytes(out, n * j.bytes, dst + first * j.bytes);
    }
}

template <int len, get_fn get>
static __global__ void __launch_bounds__(ITEMS) decode_kernel(job j, const uint8_t *src, float *x)
{
    PARE_SHARED(float, rows);
    uint8_t *in = (uint8_t *)(rows + ITEMS * (len + 1));
    const uint32_t me = threadIdx.x;
    float *mine = rows + me * (len + 1);
    for (uint64_t first = (uint64_t)blockIdx.x * ITEMS; first < j.n_items; first += (uint64_t)gridDim.x * ITEMS) {
        const uint32_t n = j.n_items - first < ITEMS ? (uint32_t)(j.n_items - first) : (uint32_t)ITEMS;
        read_bytes(src + first * j.bytes, n * j.bytes, in);
        __syncthreads();
        if (me < n)
            get(&j.units.unit, in + me * j.bytes, mine);
        if (j.width != 0 && me < n) {
            float *column = x + column_of(j, first + me);
            for (int t = 0; t < len; t++)
                column[(uint64_t)t * j.width] = mine[t];
        }
        __syncthreads();
        for (uint32_t i = me; i < n * len && j.width == 0; i += ITEMS)
            x[first * len + i] = rows[i / len * (len + 1) + i % len];
    }
}

/* ---- items ---- */

template <typename block, bool (*round)(const float *x, bool refit, block *out)>
static __device__ __forceinline__ bool put_block(const pare_kv_unit *u, const float *x, uint8_t *dst)
{
    return round(x, u->refit != 0, (block *)dst);
}

static __device__ __forceinline__ bool put_midrise(const pare_kv_unit *u, const float *x, uint8_t *dst)
{
    return pare_kv_midrise_put(x, u->half_bits / 2, dst);
}

static __device__ __forceinline__ bool put_range(const pare_kv_unit *u, const float *x, uint8_t *dst)
{
    return pare_kv_range_put(x, u->half_bits / 2, dst);
}

static __device__ __forceinline__ void get_midrise(const pare_kv_unit *u, const uint8_t *src, float *x)
{
    pare_kv_midrise_get(src, u->half_bits / 2, x);
}

static __device__ __forceinline__ void get_range(const pare_kv_unit *u, const uint8_t *src, float *x)
{
    pare_kv_range_get(src, u->half_bits / 2, x);
}

typedef void (*encode_fn)(job j, const float *x, uint8_t *dst, unsigned *bad);
typedef void (*decode_fn)(job j, const uint8_t *src, float *x);

/* How a family, or a type of BLOCKS, is coded. */
typedef struct coder {
    pare_kv_family family;
    pare_type type;
    uint32_t len;
    encode_fn encode;
    decode_fn decode; /* NULL: gpu/decode.h */
} coder;

#define ROW(id, stem, n)                                                                                               \
    {PARE_KV_BLOCKS, PARE_TYPE_##id, n, encode_kernel<n, put_block<pare_##stem, pare_kv_##stem>>, NULL},
static const coder coders[] = {
    PARE_KV_BLOCK_TYPES(ROW) /* and what has no type: */
    {PARE_KV_MIDRISE, PARE_TYPE_NONE, PARE_KV_RANGE, encode_kernel<PARE_KV_RANGE, put_midrise>,
     decode_kernel<PARE_KV_RANGE, get_midrise>},
    {PARE_KV_RANGES, PARE_TYPE_NONE, PARE_KV_RANGE, encode_kernel<PARE_KV_RANGE, put_range>,
     decode_kernel<PARE_KV_RANGE, get_range>},
    {PARE_KV_CHANNELS, PARE_TYPE_NONE, PARE_KV_RANGE, encode_kernel<PARE_KV_RANGE, put_range>,
     decode_kernel<PARE_KV_RANGE, get_range>},
};
#undef ROW

static const coder *coder_of(const pare_kv_unit *u)
{
    for (const coder &k : coders)
        if (k.family == u->family && k.type == u->type)
            return &k;
    return NULL;
}

static job job_of(const coder *k, const pare_gpu_kv_units *units)
{
    const bool columns = k->family == PARE_KV_CHANNELS;
    job j = {*units, 0, columns ? units->unit.dim : units->unit.dim / k->len, 0, 0};
    j.n_items = units->n_units * j.a_unit;
    j.bytes = units->bytes / (uint32_t)j.a_unit;
    j.width = columns ? units->n_head * units->unit.dim : 0;
    return j;
}

static size_t shared_of(const coder *k, const job *j)
{
    return ITEMS * ((k->len + 1) * sizeof(float) + j->bytes);
}

/* ---- PLAIN ---- */

/* Element i to `bytes` bytes; those of a number that its type cannot hold are an infinity's or a NaN's. */
static __global__ void plain_kernel(pare_gpu_kv_units units, const float *x, uint8_t *dst, unsigned *bad)
{
    const uint64_t n = units.n_units * units.unit.dim, step = (uint64_t)gridDim.x * blockDim.x;
    const bool f32 = units.unit.type == PARE_TYPE_F32, f16 = units.unit.type == PARE_TYPE_F16;
    const uint32_t infinity = f32 ? 0x7f800000u : f16 ? 0x7c00u : 0x7f80u;
    const bool aligned = (uintptr_t)dst % (f32 ? 4 : 2) == 0;
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        const uint32_t word = f32 ? pare_f32_to_bits(x[i]) : f16 ? pare_f32_to_f16(x[i]) : pare_f32_to_bf16(x[i]);
        if ((word & infinity) == infinity)
            atomicMin(bad, (unsigned)(i / units.unit.dim));
        if (aligned && f32)
            ((uint32_t *)dst)[i] = word;
        else if (aligned)
            ((uint16_t *)dst)[i] = (uint16_t)word;
        else if (f32)
            pare_store_u32le(dst + 4 * i, word);
        else
            pare_store_u16le(dst + 2 * i, (uint16_t)word);
    }
}

/* ---- operations ---- */

static pare_gpu_kv_units units_of(const pare_kv_codec *c, uint64_t n, uint32_t n_head, uint32_t dim)
{
    pare_gpu_kv_units units = {};
    units.unit.family = (uint8_t)c->family;
    units.unit.type = (uint8_t)c->type;
    units.unit.half_bits = c->half_bits;
    units.unit.refit = c->refit;
    units.unit.dim = dim;
    units.unit.basis = c->basis;
    units.bytes =
        c->type != PARE_TYPE_NONE ? (uint32_t)pare_gpu_stored_bytes(c->type, dim) : pare_kv_coded_bytes(&units.unit);
    units.n_head = n_head;
    units.group = c->group;
    units.n_units = n * n_head;
    return units;
}

static bool is_gauss(const pare_gpu_kv_units *units)
{
    return units->unit.family == PARE_KV_GAUSS || units->unit.family == PARE_KV_PRODUCT;
}

/* The error of unit `bad` of x. */
static pare_status refuse(pare_gpu *g, const pare_kv_codec *c, const pare_gpu_kv_units *units, const float *x,
                          uint64_t bad, pare_error *err)
{
    const uint32_t dim = units->unit.dim;
    const size_t token = bad / units->n_head * units->group, head = bad % units->n_head;
    float *values = (float *)malloc(sizeof *values * units->group * dim);
    pare_status st = values != NULL ? PARE_OK : pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a unit");
    for (uint32_t t = 0; t < units->group && st == PARE_OK; t++)
        st = pare_gpu_download(g, values + t * dim, x + ((token + t) * units->n_head + head) * dim, dim * sizeof *x,
                               err);
    if (st == PARE_OK)
        st = pare_gpu_calls->kv_refuse(c, values, dim, token, head, dim, err);
    free(values);
    return st;
}

static pare_status launch_encode(pare_gpu *g, const pare_gpu_kv_units *units, const float *x, uint8_t *dst,
                                 unsigned *bad, pare_error *err)
{
    if (is_gauss(units))
        return pare_gpu_gauss_encode(g, units, x, dst, bad, err);
    if (units->unit.family == PARE_KV_TRANSFORM)
        return pare_gpu_transform_encode(g, units, x, dst, bad, err);
    if (units->unit.family == PARE_KV_PLAIN) {
        PARE_LAUNCH(plain_kernel, pare_gpu_blocks(units->n_units * units->unit.dim, THREADS), THREADS, 0, g->stream,
                    *units, x, dst, bad);
        return pare_gpu_launched(g, "kv_encode", err);
    }
    const coder *k = coder_of(&units->unit);
    const job j = job_of(k, units);
    PARE_LAUNCH(k->encode, pare_gpu_blocks(j.n_items, ITEMS), ITEMS, shared_of(k, &j), g->stream, j, x, dst, bad);
    return pare_gpu_launched(g, "kv_encode", err);
}

pare_status pare_gpu_kv_encode(pare_gpu *g, const pare_kv_codec *c, const float *x, uint64_t n, uint32_t n_head,
                               uint32_t dim, void *dst, pare_error *err)
{
    const pare_gpu_kv_units units = units_of(c, n, n_head, dim);
    unsigned first = (unsigned)NONE, *bad;
    if (units.n_units == 0)
        return PARE_OK;
    if (units.n_units >= (unsigned)NONE)
        return pare_gpu_calls->fail(err, PARE_ERR_RANGE, "%llu units of %s at once; a device takes up to 2^32 - 2",
                                    (unsigned long long)units.n_units, c->name);
    if ((bad = (unsigned *)pare_gpu_scratch_of(g, PARE_GPU_BAD_UNIT, sizeof *bad, err)) == NULL)
        return PARE_ERR_MEMORY;
    pare_status st = pare_gpu_check(g, cudaMemsetAsync(bad, 0xff, sizeof *bad, g->stream), "kv_encode", err);
    if (st == PARE_OK)
        st = launch_encode(g, &units, x, (uint8_t *)dst, bad, err);
    if (st == PARE_OK)
        st = pare_gpu_download(g, &first, bad, sizeof first, err);
    return st == PARE_OK && first != (unsigned)NONE ? refuse(g, c, &units, x, first, err) : st;
}

pare_status pare_gpu_kv_decode(pare_gpu *g, const pare_kv_codec *c, const void *src, uint64_t n, uint32_t n_head,
                               uint32_t dim, float *x, pare_error *err)
{
    const pare_gpu_kv_units units = units_of(c, n, n_head, dim);
    if (units.n_units == 0)
        return PARE_OK;
    if (c->type != PARE_TYPE_NONE)
        return pare_gpu_decode(g, c->type, src, units.n_units * dim, x, false, err);
    if (is_gauss(&units))
        return pare_gpu_gauss_decode(g, &units, (const uint8_t *)src, x, err);
    if (units.unit.family == PARE_KV_TRANSFORM)
        return pare_gpu_transform_decode(g, &units, (const uint8_t *)src, x, err);
    const coder *k = coder_of(&units.unit);
    const job j = job_of(k, &units);
    PARE_LAUNCH(k->decode, pare_gpu_blocks(j.n_items, ITEMS), ITEMS, shared_of(k, &j), g->stream, j,
                (const uint8_t *)src, x);
    return pare_gpu_launched(g, "kv_decode", err);
}
