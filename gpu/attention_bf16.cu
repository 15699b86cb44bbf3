/* Attention on tensor cores: T. Dao, FlashAttention-2, arXiv 2307.08691, with every factor in two parts.
 *
 * A bfloat16 has 8 bits, which is too little for scores. So a factor x is hi + lo with hi = bf16(x), lo = bf16(x - hi),
 * and a product is lo hi' + hi lo' + hi hi', in floats: what is left out is below 2^-17 of |x x'|. Keys and values are
 * taken apart once (pack_kernel), since many tiles of queries read them; queries and weights in registers.
 *
 * A block is 8 warps. A warp has 16 rows; where a head is wide, SPLIT warps share them, each with its part of the
 * keys' dims and of the values' columns, and add up their parts of the scores. Tiles of KEYS keys and values come into
 * shared memory while the tile before is worked on:
 *
 *   tile      0      1      2
 *   copies  [0....][1....][2....]
 *   work           [0....][1....][2....]      one barrier a tile
 *
 * Rows of shared memory are an odd number of 16 bytes apart, so that the 8 rows of a matrix meet all 32 banks. */
#include "gpu/attention_parts.h"

enum : uint32_t { WARPS = 8, THREADS = WARPS * PARE_WARP, PAD = 8, ALL = 0xffffffffu };
#define LOG2_E 1.44269504088896341f

template <int DK_, int DV_, int SPLIT_> struct form {
    enum : int {
        DK = DK_,
        DV = DV_,
        SPLIT = SPLIT_,
        KEYS = DK + DV <= 256 ? 32 : 16,
        N_S = KEYS / 8,        /* 16 x 8 parts of a warp's scores */
        N_Q = DK / SPLIT / 16, /* 16 x 16 parts of its queries */
        N_O = DV / SPLIT / 8,  /* 16 x 8 parts of its output */
        ROWS = 16 * WARPS / SPLIT,
        BLOCKS = DK <= 64 ? 2 : 1, /* on a multiprocessor, which bounds registers */
        K_ROW = DK + PAD,
        V_ROW = DV + PAD,
        K_TILE = 2 * KEYS * K_ROW, /* [part][key][K_ROW] */
        V_TILE = 2 * KEYS * V_ROW,
        EXCHANGE = SPLIT > 1 ? (int)WARPS *N_S * 4 * PARE_WARP : 0, /* floats */
        SHARED = 2 * (K_TILE + V_TILE) * (int)sizeof(uint16_t) + EXCHANGE * (int)sizeof(float)
    };
    static_assert(SHARED <= 99 << 10, "no more shared memory than every device has");
    static_assert(N_O % 4 == 0 && DK % (16 * SPLIT) == 0, "whole parts");
};

/* (x, y) as pairs of upper and of lower parts */
static __device__ __forceinline__ void split_pair(float x, float y, uint32_t *hi, uint32_t *lo)
{
    *hi = pare_round_bf16_pair(x, y);
    *lo = pare_round_bf16_pair(x - __uint_as_float(*hi << 16), y - __uint_as_float(*hi & 0xffff0000u));
}

static __global__ void pack_kernel(attention_pack p)
{
    const held_rows s = p.spans[blockIdx.y];
    uint32_t head = blockIdx.z, pairs = p.padded / 2;
    for (uint64_t r = (uint64_t)blockIdx.x * blockDim.y + threadIdx.y; r < s.n; r += (uint64_t)gridDim.x * blockDim.y) {
        const float *x = p.src + (((p.compact ? s.to : s.from) + r) * p.n_head + head) * p.dim;
        uint32_t *to = (uint32_t *)p.dst + (head * p.total + s.to + r) * 2 * pairs;
        for (uint32_t i = threadIdx.x; i < pairs; i += PARE_WARP)
            split_pair(2 * i < p.dim ? x[2 * i] : 0, 2 * i + 1 < p.dim ? x[2 * i + 1] : 0, to + i, to + pairs + i);
    }
}

pare_status pare_gpu_attention_pack(pare_gpu *g, const attention_pack *p, pare_error *err)
{
    dim3 grid(pare_gpu_blocks(p->longest, WARPS), p->n_spans, p->n_head), block(PARE_WARP, WARPS);
    PARE_LAUNCH(pack_kernel, grid, block, 0, g->stream, *p);
    return pare_gpu_launched(g, "attention: parts of keys and values", err);
}

/* Start to copy n rows of packed keys or values, D wide, to shared memory [part][KEYS][D + PAD]; zero beyond n. */
template <int D, int KEYS> static __device__ __forceinline__ void stage(uint16_t *dst, const uint16_t *src, uint32_t n)
{
    constexpr uint32_t PER_PART = D / 8, PER_ROW = 2 * PER_PART;
    for (uint32_t i = threadIdx.x; i < KEYS * PER_ROW; i += THREADS) {
        uint32_t key = i / PER_ROW, part = i % PER_ROW / PER_PART, column = i % PER_PART * 8;
        pare_copy_async(dst + (part * KEYS + key) * (D + PAD) + column, key < n ? src + i * 8 : src, key < n ? 16 : 0);
    }
}

/* Where a warp is. */
typedef struct warp_place {
    uint32_t part;           /* of SPLIT */
    uint32_t first, n;       /* rows of the tile; n 0: it has none and only copies */
    uint32_t lo, hi;         /* keys that any row sees; hi 0: none */
    uint32_t all_lo, all_hi; /* keys that all of them see */
} warp_place;

static __device__ __forceinline__ warp_place place_warp(const attention_job *job, const query_tile *t, uint32_t split,
                                                        uint32_t n_rows, uint32_t keys_end)
{
    warp_place w = {};
    uint32_t warp = threadIdx.x / PARE_WARP;
    w.part = warp % split;
    w.first = warp / split * 16;
    w.n = w.first < n_rows ? min(16u, n_rows - w.first) : 0;
    if (w.n > 0) {
        uint32_t first = t->first + w.first, last = first + w.n - 1;
        keys_of_rows(job, t, first, last + 1, &w.lo, &w.hi);
        w.all_lo = first_key(job, t->n_past + last / job->group);
        w.all_hi = job->causal ? t->n_past + first / job->group + 1 : keys_end;
    }
    return w;
}

/* The warp's queries as left factors, in two parts. */
template <typename F>
static __device__ __forceinline__ void load_queries(const attention_job *job, const query_tile *t, const warp_place *w,
                                                    uint32_t hi[F::N_Q][4], uint32_t lo[F::N_Q][4])
{
    uint32_t lane = threadIdx.x % PARE_WARP;
    PARE_UNROLL
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t r = lane / 4 + 8 * i;
        const float *q = job->q + row_of(job, t, blockIdx.y, t->first + w->first + r) * job->dim_k;
        PARE_UNROLL
        for (uint32_t c = 0; c < 2 * F::N_Q; c++) {
            uint32_t d = w->part * (F::DK / F::SPLIT) + c * 8 + lane % 4 * 2, k = c / 2, j = c % 2;
            float x = r < w->n && d < job->dim_k ? q[d] : 0, y = r < w->n && d + 1 < job->dim_k ? q[d + 1] : 0;
            split_pair(x, y, &hi[k][2 * j + i], &lo[k][2 * j + i]);
        }
    }
}

/* s += q k^T for the warp's part of the dims; k: a tile in shared memory */
template <typename F>
static __device__ __forceinline__ void add_scores(const uint32_t q_hi[F::N_Q][4], const uint32_t q_lo[F::N_Q][4],
                                                  const uint16_t *k, uint32_t part, float s[F::N_S][4])
{
    uint32_t lane = threadIdx.x % PARE_WARP;
    const uint16_t *at = k + (lane / 16 * 8 + lane % 8) * F::K_ROW + part * (F::DK / F::SPLIT) + lane / 8 % 2 * 8;
    PARE_UNROLL
    for (int i = 0; i < F::N_Q; i++) {
        uint32_t hi[F::N_S / 2][4], lo[F::N_S / 2][4];
        PARE_UNROLL
        for (int n = 0; n < F::N_S / 2; n++) {
            pare_load_matrices(hi[n], at + n * 16 * F::K_ROW + i * 16);
            pare_load_matrices(lo[n], at + (F::KEYS + n * 16) * F::K_ROW + i * 16);
        }
        PARE_UNROLL
        for (int n = 0; n < F::N_S; n++)
            pare_mma_bf16(s[n], q_lo[i], hi[n / 2] + n % 2 * 2);
        PARE_UNROLL
        for (int n = 0; n < F::N_S; n++)
            pare_mma_bf16(s[n], q_hi[i], lo[n / 2] + n % 2 * 2);
        PARE_UNROLL
        for (int n = 0; n < F::N_S; n++)
            pare_mma_bf16(s[n], q_hi[i], hi[n / 2] + n % 2 * 2);
    }
}

/* s = the sum of the scores of the warps that share rows. Every thread of the block takes part. */
template <typename F> static __device__ __forceinline__ void join_scores(float *exchange, float s[F::N_S][4])
{
    constexpr uint32_t N = F::N_S * 4 * PARE_WARP;
    uint32_t warp = threadIdx.x / PARE_WARP, lane = threadIdx.x % PARE_WARP, first = warp - warp % F::SPLIT;
    PARE_UNROLL
    for (int i = 0; i < F::N_S * 4; i++)
        exchange[warp * N + i * PARE_WARP + lane] = s[i / 4][i % 4];
    __syncthreads();
    PARE_UNROLL
    for (int i = 0; i < F::N_S * 4; i++) {
        float sum = 0;
        for (uint32_t part = 0; part < F::SPLIT; part++) /* in the same order in all of them */
            sum += exchange[(first + part) * N + i * PARE_WARP + lane];
        s[i / 4][i % 4] = sum;
    }
}

/* Scores, as logarithms to the base of 2. */
template <typename F> static __device__ __forceinline__ void scale_scores(const attention_job *job, float s[F::N_S][4])
{
    float before = job->softcap != 0 ? job->scale : job->scale * LOG2_E;
    PARE_UNROLL
    for (int i = 0; i < F::N_S * 4; i++)
        s[i / 4][i % 4] *= before;
    if (job->softcap == 0)
        return;
    PARE_UNROLL
    for (int i = 0; i < F::N_S * 4; i++)
        s[i / 4][i % 4] = capped(s[i / 4][i % 4], job->softcap) * LOG2_E;
}

/* -inf for the keys from j0 on that this lane's rows do not see. */
template <typename F>
static __device__ __forceinline__ void mask_scores(const attention_job *job, const warp_place *w, uint32_t j0,
                                                   uint32_t keys_end, float s[F::N_S][4])
{
    const query_tile *t = &job->tiles[blockIdx.x]; /* read again: needed on the edges only */
    PARE_UNROLL
    for (int r = 0; r < 2; r++) {
        uint32_t at = t->n_past + (t->first + w->first + threadIdx.x % PARE_WARP / 4 + 8 * r) / job->group;
        uint32_t begin = first_key(job, at), end = job->causal ? min(at + 1, keys_end) : keys_end;
        PARE_UNROLL
        for (int i = 0; i < F::N_S * 2; i++) {
            uint32_t j = j0 + i / 2 * 8 + threadIdx.x % 4 * 2 + i % 2;
            if (j < begin || j >= end)
                s[i / 2][2 * r + i % 2] = -INFINITY;
        }
    }
}

/* Scores become weights 2^(s - max); sums, this lane's part of them, and the output so far are scaled down where the
 * largest score grows. */
template <typename F>
static __device__ __forceinline__ void weigh(float s[F::N_S][4], float max[2], float sum[2], float o[F::N_O][4])
{
    PARE_UNROLL
    for (int r = 0; r < 2; r++) {
        float most = max[r], total = 0;
        PARE_UNROLL
        for (int n = 0; n < F::N_S; n++)
            most = fmaxf(most, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        most = fmaxf(most, __shfl_xor_sync(ALL, most, 1));
        most = fmaxf(most, __shfl_xor_sync(ALL, most, 2));
        float from = most == -INFINITY ? 0 : most, shrink = exp2f(max[r] - from);
        PARE_UNROLL
        for (int i = 0; i < 2 * F::N_S; i++) {
            float *x = &s[i / 2][2 * r + i % 2];
            *x = exp2f(*x - from);
            total += *x;
        }
        sum[r] = sum[r] * shrink + total;
        max[r] = most;
        PARE_UNROLL
        for (int n = 0; n < F::N_O; n++) {
            o[n][2 * r] *= shrink;
            o[n][2 * r + 1] *= shrink;
        }
    }
}

/* o += s v for the warp's part of the columns; v: a tile in shared memory. A 16 x 16 part of the scores as they came
 * out of products is a left factor as it stands. Lower parts of values come last: fewer registers are alive. */
template <typename F>
static __device__ __forceinline__ void add_values(const float s[F::N_S][4], const uint16_t *v, uint32_t part,
                                                  float o[F::N_O][4])
{
    uint32_t lane = threadIdx.x % PARE_WARP;
    const uint16_t *at = v + lane % 16 * F::V_ROW + part * (F::DV / F::SPLIT) + lane / 16 * 8;
    PARE_UNROLL
    for (int k = 0; k < F::KEYS / 16; k++) {
        uint32_t p_hi[4], p_lo[4];
        PARE_UNROLL
        for (int i = 0; i < 4; i++)
            split_pair(s[2 * k + i / 2][i % 2 * 2], s[2 * k + i / 2][i % 2 * 2 + 1], &p_hi[i], &p_lo[i]);
        PARE_UNROLL
        for (int n = 0; n < F::N_O; n += 4) {
            uint32_t hi[2][4], lo[2][4];
            PARE_UNROLL
            for (int i = 0; i < 2; i++)
                pare_load_matrices_transposed(hi[i], at + k * 16 * F::V_ROW + n * 8 + i * 16);
            PARE_UNROLL
            for (int i = 0; i < 4; i++)
                pare_mma_bf16(o[n + i], p_lo, hi[i / 2] + i % 2 * 2);
            PARE_UNROLL
            for (int i = 0; i < 2; i++)
                pare_load_matrices_transposed(lo[i], at + (F::KEYS + k * 16) * F::V_ROW + n * 8 + i * 16);
            PARE_UNROLL
            for (int i = 0; i < 4; i++)
                pare_mma_bf16(o[n + i], p_hi, hi[i / 2] + i % 2 * 2);
            PARE_UNROLL
            for (int i = 0; i < 4; i++)
                pare_mma_bf16(o[n + i], p_hi, lo[i / 2] + i % 2 * 2);
        }
    }
}

template <typename F>
static __device__ __forceinline__ void write_rows(const attention_job *job, const query_tile *t, const warp_place *w,
                                                  const float sum[2], const float o[F::N_O][4])
{
    uint32_t lane = threadIdx.x % PARE_WARP;
    PARE_UNROLL
    for (uint32_t r = 0; r < 2; r++) {
        float all = sum[r] + __shfl_xor_sync(ALL, sum[r], 1);
        all += __shfl_xor_sync(ALL, all, 2);
        float factor = all == 0 ? 0 : 1 / all;
        uint32_t row = w->first + lane / 4 + 8 * r;
        float *out = job->out + row_of(job, t, blockIdx.y, t->first + row) * job->dim_v;
        PARE_UNROLL
        for (uint32_t i = 0; i < 2 * F::N_O; i++) {
            uint32_t d = w->part * (F::DV / F::SPLIT) + i / 2 * 8 + lane % 4 * 2 + i % 2;
            if (lane / 4 + 8 * r < w->n && d < job->dim_v)
                out[d] = o[i / 2][2 * r + i % 2] * factor;
        }
    }
}

template <typename F>
static __global__ void __launch_bounds__(THREADS, F::BLOCKS) attention_bf16_kernel(const attention_job job)
{
    PARE_SHARED(uint16_t, m); /* [2] tiles of keys, [2] of values, scores to exchange */
    uint16_t *values = m + 2 * F::K_TILE;
    const query_tile t = job.tiles[blockIdx.x];
    uint32_t n_rows = min((uint32_t)F::ROWS, t.n * job.group - t.first), lo, hi, head = blockIdx.y;
    keys_of_rows(&job, &t, t.first, t.first + n_rows, &lo, &hi);
    const warp_place w = place_warp(&job, &t, F::SPLIT, n_rows, hi);
    const uint64_t row = head * job.kv_rows + (uint64_t)(t.key + lo);
    const uint16_t *k = (const uint16_t *)job.k + row * (2 * F::DK), *v = (const uint16_t *)job.v + row * (2 * F::DV);
    stage<F::DK, F::KEYS>(m, k, hi - lo);
    stage<F::DV, F::KEYS>(values, v, hi - lo);
    pare_copy_async_commit();
    uint32_t q_hi[F::N_Q][4], q_lo[F::N_Q][4];
    load_queries<F>(&job, &t, &w, q_hi, q_lo);
    float o[F::N_O][4] = {}, max[2], sum[2];
    PARE_UNROLL
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t h = head * job.group + (t.first + w.first + threadIdx.x % PARE_WARP / 4 + 8 * r) % job.group;
        max[r] = job.sinks != NULL ? job.sinks[h] * LOG2_E : -INFINITY;
        sum[r] = job.sinks != NULL && threadIdx.x % 4 == 0 ? 1 : 0;
    }
    for (uint32_t j0 = lo, now = 0; j0 < hi; j0 += F::KEYS, now ^= 1) {
        pare_copy_async_wait<0>();
        __syncthreads(); /* the tile is there, and nobody works on the one before any more */
        if (hi - j0 > F::KEYS) {
            k += F::KEYS * 2 * F::DK;
            v += F::KEYS * 2 * F::DV;
            stage<F::DK, F::KEYS>(m + (now ^ 1) * F::K_TILE, k, hi - j0 - F::KEYS);
            stage<F::DV, F::KEYS>(values + (now ^ 1) * F::V_TILE, v, hi - j0 - F::KEYS);
        }
        pare_copy_async_commit();
        bool seen = w.lo < j0 + F::KEYS && j0 < w.hi;
        float s[F::N_S][4] = {};
        if (seen)
            add_scores<F>(q_hi, q_lo, m + now * F::K_TILE, w.part, s);
        if (F::SPLIT > 1)
            join_scores<F>((float *)(values + 2 * F::V_TILE), s);
        if (seen) {
            scale_scores<F>(&job, s);
            if (j0 < w.all_lo || j0 + F::KEYS > w.all_hi)
                mask_scores<F>(&job, &w, j0, hi, s);
            weigh<F>(s, max, sum, o);
            add_values<F>(s, values + now * F::V_TILE, w.part, o);
        }
    }
    write_rows<F>(&job, &t, &w, sum, o);
}

template <typename F>
static pare_status launch(pare_gpu *g, const attention_job *job, uint32_t n_tiles, pare_error *err)
{
    cudaError_t code =
        cudaFuncSetAttribute(attention_bf16_kernel<F>, cudaFuncAttributeMaxDynamicSharedMemorySize, F::SHARED);
    if (code != cudaSuccess)
        return pare_gpu_check(g, code, "attention: shared memory", err);
    PARE_LAUNCH(attention_bf16_kernel<F>, dim3(n_tiles, job->n_head_kv), THREADS, F::SHARED, g->stream, *job);
    return pare_gpu_launched(g, "attention", err);
}

/* The first one that is large enough is taken. */
#define FORM(dk, dv, split)                                                                                            \
    {                                                                                                                  \
        dk, dv, form<dk, dv, split>::ROWS, launch<form<dk, dv, split>>                                                 \
    }
static const attention_form forms[] = {FORM(64, 64, 1), FORM(96, 96, 1), FORM(128, 128, 1), FORM(192, 128, 1),
                                       FORM(256, 256, 2)};

const attention_form *pare_gpu_attention_form(uint32_t dim_k, uint32_t dim_v)
{
    for (const attention_form &f : forms)
        if (dim_k <= f.dim_k && dim_v <= f.dim_v)
            return &f;
    return NULL;
}
