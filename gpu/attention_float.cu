/* Attention in floats: any shape, and what the host's arithmetic is compared with. */
#include "gpu/attention_parts.h"

/* A block's tile is ROWS rows, KEYS keys at a time. Scores: thread (ty, tx) of 16 x 16 has rows 2 ty + i, keys
 * tx + 16 j. Values: warp w has rows 4 w + i, lane l columns l + 32 j of each PART of them. */
enum {
    THREADS = 256,
    ROWS = PARE_ATTENTION_FLOAT_ROWS,
    KEYS = 64,
    DIMS = 32,
    PART = 64,
    STRIDE_S = KEYS + 1,
    STRIDE_D = DIMS + 1
};

typedef struct float_tile {
    float s[ROWS * STRIDE_S];
    union {
        struct {
            float q[ROWS * STRIDE_D], k[KEYS * STRIDE_D];
        } factors;
        float v[KEYS * PART];
    } u;
} float_tile;

/* Dims [d0, d0 + DIMS) of the tile's queries and of n_keys keys, at k, to shared memory; zero beyond what is there. */
static __device__ void stage_factors(const attention_job *job, const query_tile *t, float_tile *m, const float *k,
                                     uint32_t n_rows, uint32_t n_keys, uint32_t d0)
{
    for (uint32_t i = threadIdx.x; i < ROWS * DIMS; i += THREADS) {
        uint32_t r = i / DIMS, d = d0 + i % DIMS;
        size_t row = row_of(job, t, blockIdx.y, t->first + r);
        m->u.factors.q[r * STRIDE_D + i % DIMS] = r < n_rows && d < job->dim_k ? job->q[row * job->dim_k + d] : 0;
    }
    for (uint32_t i = threadIdx.x; i < KEYS * DIMS; i += THREADS) {
        uint32_t r = i / DIMS, d = d0 + i % DIMS;
        size_t row = (size_t)r * job->n_head_kv;
        m->u.factors.k[r * STRIDE_D + i % DIMS] = r < n_keys && d < job->dim_k ? k[row * job->dim_k + d] : 0;
    }
}

/* s = scale q k^T for the rows at `first` and keys [j0, j0 + n_keys) */
static __device__ void float_scores(const attention_job *job, const query_tile *t, float_tile *m, uint32_t n_rows,
                                    uint32_t j0, uint32_t n_keys)
{
    uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const float *k = (const float *)job->k + ((size_t)(t->key + j0) * job->n_head_kv + blockIdx.y) * job->dim_k;
    const float *left = m->u.factors.q + 2 * ty * STRIDE_D, *right = m->u.factors.k + tx * STRIDE_D;
    float sum[2][4] = {};
    for (uint32_t d0 = 0; d0 < job->dim_k; d0 += DIMS) {
        __syncthreads();
        stage_factors(job, t, m, k, n_rows, n_keys, d0);
        __syncthreads();
        for (int d = 0; d < DIMS; d++) {
            PARE_UNROLL
            for (int i = 0; i < 8; i++)
                sum[i / 4][i % 4] =
                    fmaf(left[i / 4 * STRIDE_D + d], right[i % 4 * 16 * STRIDE_D + d], sum[i / 4][i % 4]);
        }
    }
    PARE_UNROLL
    for (int i = 0; i < 8; i++)
        m->s[(2 * ty + i / 4) * STRIDE_S + tx + 16 * (i % 4)] = job->scale * sum[i / 4][i % 4];
}

/* Turn a row of scores into weights e^(s - max); the calling warp's. Returns what sums before have to be multiplied
 * with. */
static __device__ float float_weights(const attention_job *job, float *s, uint32_t at, float slope, uint32_t j0,
                                      uint32_t n_keys, float *max, float *sum)
{
    uint32_t lane = threadIdx.x % PARE_WARP, first = first_key(job, at);
    float x[2], most = *max;
    PARE_UNROLL
    for (int i = 0; i < 2; i++) {
        uint32_t c = lane + PARE_WARP * i, j = j0 + c;
        bool seen = c < n_keys && j >= first && (!job->causal || j <= at);
        x[i] = seen ? capped(s[c], job->softcap) + slope * ((float)j - (float)at) : -INFINITY;
        most = fmaxf(most, x[i]);
    }
    for (int d = PARE_WARP / 2; d > 0; d /= 2)
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, d));
    float from = most == -INFINITY ? 0 : most, total = 0;
    PARE_UNROLL
    for (int i = 0; i < 2; i++) {
        x[i] = expf(x[i] - from);
        s[lane + PARE_WARP * i] = x[i];
        total += x[i];
    }
    for (int d = PARE_WARP / 2; d > 0; d /= 2)
        total += __shfl_xor_sync(0xffffffffu, total, d);
    float shrink = expf(*max - from);
    *sum = *sum * shrink + total;
    *max = most;
    return shrink;
}

/* acc += weights v for PARTS parts of the values' columns, from v0 on */
template <int PARTS>
static __device__ void float_values(const attention_job *job, const query_tile *t, float_tile *m, uint32_t j0,
                                    uint32_t n_keys, uint32_t v0, float acc[PARTS][4][2])
{
    uint32_t lane = threadIdx.x % PARE_WARP, warp = threadIdx.x / PARE_WARP;
    const float *v = (const float *)job->v + ((size_t)(t->key + j0) * job->n_head_kv + blockIdx.y) * job->dim_v;
    PARE_UNROLL
    for (int part = 0; part < PARTS; part++) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < KEYS * PART; i += THREADS) {
            uint32_t r = i / PART, d = v0 + part * PART + i % PART;
            m->u.v[i] = r < n_keys && d < job->dim_v ? v[(size_t)r * job->n_head_kv * job->dim_v + d] : 0;
        }
        __syncthreads();
        for (uint32_t j = 0; j < n_keys; j++) {
            PARE_UNROLL
            for (int i = 0; i < 8; i++)
                acc[part][i / 2][i % 2] = fmaf(m->s[(4 * warp + i / 2) * STRIDE_S + j],
                                               m->u.v[j * PART + lane + PARE_WARP * (i % 2)], acc[part][i / 2][i % 2]);
        }
    }
}

template <int PARTS> static __global__ void __launch_bounds__(THREADS) attention_float_kernel(const attention_job job)
{
    PARE_SHARED(float_tile, m);
    const query_tile t = job.tiles[blockIdx.x];
    uint32_t n_all = t.n * job.group, n_rows = min((uint32_t)ROWS, n_all - t.first), lo, hi;
    uint32_t lane = threadIdx.x % PARE_WARP, warp = threadIdx.x / PARE_WARP, v0 = blockIdx.z * PARTS * PART;
    float max[4], sum[4], acc[PARTS][4][2] = {};
    keys_of_rows(&job, &t, t.first, t.first + n_rows, &lo, &hi);
    PARE_UNROLL
    for (int i = 0; i < 4; i++) {
        uint32_t head = blockIdx.y * job.group + (t.first + 4 * warp + i) % job.group;
        max[i] = job.sinks != NULL ? job.sinks[head] : -INFINITY;
        sum[i] = job.sinks != NULL;
    }
    for (uint32_t j0 = lo; j0 < hi; j0 += KEYS) {
        uint32_t n_keys = min((uint32_t)KEYS, hi - j0);
        float_scores(&job, &t, m, n_rows, j0, n_keys);
        __syncthreads();
        PARE_UNROLL
        for (int i = 0; i < 4; i++) {
            uint32_t r = 4 * warp + i, at = t.n_past + (t.first + r) / job.group;
            uint32_t head = blockIdx.y * job.group + (t.first + r) % job.group;
            float slope = job.alibi != 0 ? pare_alibi_slope(job.alibi, job.n_head, head) : 0;
            float shrink = float_weights(&job, m->s + r * STRIDE_S, at, slope, j0, n_keys, &max[i], &sum[i]);
            PARE_UNROLL
            for (int c = 0; c < 2 * PARTS; c++)
                acc[c / 2][i][c % 2] *= shrink;
        }
        float_values<PARTS>(&job, &t, m, j0, n_keys, v0, acc);
    }
    PARE_UNROLL
    for (int i = 0; i < 4; i++) {
        uint32_t r = 4 * warp + i;
        size_t row = row_of(&job, &t, blockIdx.y, t.first + r);
        PARE_UNROLL
        for (int c = 0; c < 2 * PARTS; c++) {
            uint32_t d = v0 + c / 2 * PART + lane + PARE_WARP * (c % 2);
            if (r < n_rows && d < job.dim_v)
                job.out[row * job.dim_v + d] = sum[i] == 0 ? 0 : acc[c / 2][i][c % 2] / sum[i];
        }
    }
}

template <int PARTS> static pare_status launch(pare_gpu *g, const attention_job *job, uint32_t n_tiles, pare_error *err)
{
    dim3 grid(n_tiles, job->n_head_kv, (job->dim_v - 1) / (PARTS * PART) + 1);
    PARE_LAUNCH(attention_float_kernel<PARTS>, grid, THREADS, sizeof(float_tile), g->stream, *job);
    return pare_gpu_launched(g, "attention", err);
}

pare_status pare_gpu_attention_float(pare_gpu *g, const attention_job *job, uint32_t n_tiles, pare_error *err)
{
    return job->dim_v <= PART       ? launch<1>(g, job, n_tiles, err)
           : job->dim_v <= 2 * PART ? launch<2>(g, job, n_tiles, err)
           : job->dim_v <= 4 * PART ? launch<4>(g, job, n_tiles, err)
                                    : launch<8>(g, job, n_tiles, err);
}
