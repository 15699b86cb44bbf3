/* Blocks to weights. A kernel per type grows from PARE_TYPES, around the decoder of quant/<stem>.h.
 *
 *   blocks in device memory ──coalesced──> shared memory ──a thread a block──> shared memory ──coalesced──> weights
 *
 * Blocks are read from shared memory because a decoder takes single bytes, and neighbouring threads' bytes lie a block
 * apart: from device memory that would be 32 cache lines a load. Rows of shared memory are an odd number of words
 * apart, so that the lanes of a warp meet different banks. */
#include "gpu/decode.h"

#include "quant/blocks.h"

typedef void (*decode_fn)(const void *src, float *dst, size_t n_blocks);

/* Blocks to decode, and where they are: one behind the other from src on, or, with ids, in rows. */
typedef struct job {
    const uint8_t *src;
    const int32_t *ids; /* the rows, or NULL */
    uint64_t n_blocks, row_blocks, row_bytes;
    void *dst;
} job;

enum {
    THREADS = 256,
    TILE = 8192,    /* weights that a block of threads decodes at once, at most: 33 KiB with the padding */
    CARRIERS = 128, /* threads of it at least: to move bytes takes as long as to decode them */
    LONG = 128,     /* weights of a block from which on few threads decode */
    AT_ONCE = 8     /* weights of a thread where a block is one weight */
};

static __device__ __forceinline__ void put(float *dst, float v)
{
    *dst = v;
}

static __device__ __forceinline__ void put(uint16_t *dst, float v)
{
    *dst = pare_f32_to_bf16(v);
}

/* AT_ONCE weights to dst, which is aligned to 16. */
static __device__ __forceinline__ void put_all(float *dst, const float *v)
{
    for (int i = 0; i < AT_ONCE / 4; i++)
        ((float4 *)dst)[i] = make_float4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
}

static __device__ __forceinline__ void put_all(uint16_t *dst, const float *v)
{
    *(uint4 *)dst = make_uint4(pare_round_bf16_pair(v[0], v[1]), pare_round_bf16_pair(v[2], v[3]),
                               pare_round_bf16_pair(v[4], v[5]), pare_round_bf16_pair(v[6], v[7]));
}

/* Where block i is. */
static __device__ __forceinline__ const uint8_t *block_at(const job &j, uint64_t i, int bytes)
{
    if (j.ids == NULL)
        return j.src + i * (uint64_t)bytes;
    return j.src + (uint64_t)j.ids[i / j.row_blocks] * j.row_bytes + i % j.row_blocks * (uint64_t)bytes;
}

/* Types of one weight a block. wide: src and dst are aligned for AT_ONCE of them. */
template <int bytes, decode_fn decode, typename out> static __global__ void weights_kernel(job j, bool wide)
{
    uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x, step = (uint64_t)gridDim.x * blockDim.x;
    uint64_t n_wide = wide ? j.n_blocks / AT_ONCE : 0;
    out *dst = (out *)j.dst;
    float w[AT_ONCE];
    for (uint64_t k = i; k < n_wide; k += step) {
        uint2 raw[bytes];
        for (int r = 0; r < bytes; r++)
            raw[r] = ((const uint2 *)j.src)[k * bytes + r];
        decode(raw, w, AT_ONCE);
        put_all(dst + k * AT_ONCE, w);
    }
    for (uint64_t k = n_wide * AT_ONCE + i; k < j.n_blocks; k += step) {
        decode(block_at(j, k, bytes), w, 1);
        put(dst + k, w[0]);
    }
}

/* Bytes from one block to the next in shared memory, and where byte i of the blocks is there. Blocks of 8 n bytes are
 * moved apart; words of 4 bytes stay whole. */
PARE_HD constexpr int stride_of(int bytes)
{
    return bytes % 8 == 0 ? bytes + 4 : bytes;
}

template <int bytes> static __device__ __forceinline__ int place(int i)
{
    return stride_of(bytes) == bytes ? i : i / bytes * stride_of(bytes) + i % bytes;
}

/* n blocks from number `first` on into shared memory. */
template <int bytes> static __device__ __forceinline__ void stage(const job &j, uint64_t first, int n, uint8_t *raw)
{
    const int me = (int)threadIdx.x, step = (int)blockDim.x;
    if (j.ids != NULL) {
        const uint8_t *src = me < n ? block_at(j, first + (unsigned)me, bytes) : NULL;
        for (int i = 0; me < n && i < bytes; i++)
            raw[me * stride_of(bytes) + i] = src[i];
        return;
    }
    const uint8_t *src = j.src + first * bytes;
    int n_bytes = n * bytes, n_words = (uintptr_t)src % 4 == 0 ? n_bytes / 4 : 0;
    for (int i = me; i < n_words; i += step)
        *(uint32_t *)(raw + place<bytes>(4 * i)) = ((const uint32_t *)src)[i];
    for (int i = 4 * n_words + me; i < n_bytes; i += step)
        raw[place<bytes>(i)] = src[i];
}

/* Blocks that a block of threads decodes at once, one a thread, and its threads. */
PARE_HD constexpr int at_once(int len)
{
    return TILE / len < THREADS ? TILE / len : (int)THREADS;
}

PARE_HD constexpr int threads_of(int len)
{
    return at_once(len) < CARRIERS ? (int)CARRIERS : at_once(len);
}

/* n weights from w, rows of len at distance len + 1, to dst. */
template <int len> static __device__ __forceinline__ void write_out(const float *w, int n, float *dst)
{
    for (int i = (int)threadIdx.x; i < n; i += threads_of(len))
        dst[i] = w[i / len * (len + 1) + i % len];
}

/* Pairs of them: all threads together write whole rows, so each keeps its column. */
template <int len> static __device__ __forceinline__ void write_out(const float *w, int n, uint16_t *dst)
{
    constexpr int step = 2 * threads_of(len), rows = step / len;
    static_assert(step % len == 0 && len % 2 == 0, "whole rows of pairs");
    const int first = 2 * (int)threadIdx.x;
    const float *from = w + first / len * (len + 1) + first % len;
    if ((uintptr_t)dst % sizeof(uint32_t) == 0) {
        for (int i = first; i < n; i += step, from += rows * (len + 1))
            *(uint32_t *)(dst + i) = pare_round_bf16_pair(from[0], from[1]);
        return;
    }
    for (int i = first; i < n; i += step, from += rows * (len + 1)) {
        put(dst + i, from[0]);
        put(dst + i + 1, from[1]);
    }
}

/* One block, from raw in shared memory to w there. For all the compiler knows, what is written to w may be a byte of
 * the block, so a load waits for the stores before it. Where too few warps are at it to hide that, the thread reads a
 * copy of its own, which stores to shared memory cannot reach. */
template <int len, int bytes, decode_fn decode>
static __device__ __forceinline__ void decode_block(const uint8_t *raw, float *w)
{
    if constexpr (len < LONG) {
        decode(raw, w, 1);
    } else {
        static_assert(bytes % sizeof(uint16_t) == 0, "raw is aligned to what a block's bytes are a multiple of");
        uint16_t mine[bytes / sizeof(uint16_t)];
        PARE_UNROLL
        for (unsigned i = 0; i < bytes / sizeof(uint16_t); i++)
            mine[i] = ((const uint16_t *)raw)[i];
        decode(mine, w, 1);
    }
}

template <int len, int bytes, decode_fn decode, typename out> static __global__ void blocks_kernel(job j)
{
    PARE_SHARED(float, w); /* [step][len + 1], and behind it the blocks */
    const int step = at_once(len), me = (int)threadIdx.x;
    uint8_t *raw = (uint8_t *)(w + step * (len + 1));
    for (uint64_t first = (uint64_t)blockIdx.x * step; first < j.n_blocks; first += (uint64_t)gridDim.x * step) {
        int n = j.n_blocks - first < (uint64_t)step ? (int)(j.n_blocks - first) : step;
        stage<bytes>(j, first, n, raw);
        __syncthreads();
        if (me < n)
            decode_block<len, bytes, decode>(raw + me * stride_of(bytes), w + me * (len + 1));
        __syncthreads();
        write_out<len>(w, n * len, (out *)j.dst + first * len);
    }
}

typedef void (*launch_fn)(cudaStream_t stream, const job &j, bool bf16);

/* What is known of a type. launch NULL: it has no decoder. */
typedef struct format {
    const char *name;
    unsigned len, bytes;
    launch_fn launch;
} format;

template <int len, int bytes, decode_fn decode, typename out> static void launch_as(cudaStream_t stream, const job &j)
{
    if constexpr (len == 1) {
        bool wide = j.ids == NULL && (uintptr_t)j.src % 8 == 0 && (uintptr_t)j.dst % 16 == 0;
        auto kernel = weights_kernel<bytes, decode, out>;
        PARE_LAUNCH(kernel, pare_gpu_blocks(j.n_blocks, THREADS * (wide ? AT_ONCE : 1)), THREADS, 0, stream, j, wide);
    } else {
        constexpr unsigned step = at_once(len);
        constexpr size_t shared = step * ((len + 1) * sizeof(float) + stride_of(bytes));
        static_assert(shared <= 48 << 10, "no more than every launch may have");
        auto kernel = blocks_kernel<len, bytes, decode, out>;
        PARE_LAUNCH(kernel, pare_gpu_blocks(j.n_blocks, step), threads_of(len), shared, stream, j);
    }
}

template <int len, int bytes, decode_fn decode> static void launch(cudaStream_t stream, const job &j, bool bf16)
{
    if (bf16)
        launch_as<len, bytes, decode, uint16_t>(stream, j);
    else
        launch_as<len, bytes, decode, float>(stream, j);
}

template <int len, int bytes, decode_fn decode> static constexpr launch_fn launcher(void)
{
    if constexpr (decode == nullptr)
        return nullptr;
    else
        return launch<len, bytes, decode>;
}

#define pare_c64_decode nullptr /* a complex number is no float */

#define ROW(id, gguf, len, stem, name, ...)                                                                            \
    {name, len, sizeof(pare_##stem), launcher<len, sizeof(pare_##stem), pare_##stem##_decode>()},
static const format formats[PARE_TYPE_COUNT] = {PARE_TYPES(ROW)};

uint64_t pare_gpu_stored_bytes(pare_type type, uint64_t n)
{
    return n % formats[type].len == 0 ? n / formats[type].len * formats[type].bytes : 0;
}

static pare_status run(pare_gpu *g, pare_type type, const job &j, bool bf16, pare_error *err)
{
    if (formats[type].launch == nullptr)
        return pare_gpu_calls->fail(err, PARE_ERR_UNSUPPORTED, "type %s has no decoder", formats[type].name);
    if (j.n_blocks == 0)
        return PARE_OK;
    formats[type].launch(g->stream, j, bf16);
    return pare_gpu_launched(g, "decode", err);
}

pare_status pare_gpu_decode(pare_gpu *g, pare_type type, const void *src, uint64_t n, void *dst, bool bf16,
                            pare_error *err)
{
    const job j = {(const uint8_t *)src, NULL, n / formats[type].len, 0, 0, dst};
    return run(g, type, j, bf16, err);
}

pare_status pare_gpu_decode_rows(pare_gpu *g, pare_type type, const void *src, uint64_t row_len, uint64_t row_bytes,
                                 const int32_t *ids, uint32_t n, float *y, pare_error *err)
{
    const uint64_t row_blocks = row_len / formats[type].len;
    const job j = {(const uint8_t *)src, ids, n * row_blocks, row_blocks, row_bytes, y};
    return run(g, type, j, false, err);
}

/* n_wide times four numbers by whole words, the rest one by one. */
static __global__ void round_kernel(const float *x, uint64_t n, uint64_t n_wide, uint16_t *dst)
{
    uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x, step = (uint64_t)gridDim.x * blockDim.x;
    for (uint64_t k = i; k < n_wide; k += step) {
        float4 v = ((const float4 *)x)[k];
        uint2 both = {pare_round_bf16_pair(v.x, v.y), pare_round_bf16_pair(v.z, v.w)};
        ((uint2 *)dst)[k] = both;
    }
    for (uint64_t k = 4 * n_wide + i; k < n; k += step)
        dst[k] = pare_f32_to_bf16(x[k]);
}

pare_status pare_gpu_round_bf16(pare_gpu *g, const float *x, uint64_t n, uint16_t *dst, pare_error *err)
{
    bool wide = (uintptr_t)x % 16 == 0 && (uintptr_t)dst % 8 == 0;
    if (n == 0)
        return PARE_OK;
    PARE_LAUNCH(round_kernel, pare_gpu_blocks(n, wide ? 4 * THREADS : THREADS), THREADS, 0, g->stream, x, n,
                wide ? n / 4 : 0, dst);
    return pare_gpu_launched(g, "round", err);
}
