#include "gpu/attention.h"

#include "gpu/weights.h"

#include <math.h>
#include <stdlib.h>

/* The query heads that share a key/value head are the rows of one matrix, `group` rows a query, so that keys are read
 * once for all of them and a query alone still fills rows. A block takes a tile of these rows through the keys that any
 * of them sees:
 *
 *              keys  lo ....... | ....... | ....... hi
 *   row 0 = query 0, head 0     #         #  ..\
 *   row 1 = query 0, head 1     #  seen   #  ..\      tiles of keys; those outside of the triangle, or of the window,
 *   row 2 = query 1, head 0     #  by all #  ...\     are skipped, and only those on its edges are masked
 *   ...                         #         #  ....\
 */
typedef struct query_tile {
    int64_t key;    /* row of k and v of key 0 of the sequence; below 0 where only later keys are held */
    uint32_t row;   /* of q and out: the span's first query */
    uint32_t first; /* row of the matrix */
    uint32_t n, n_past;
} query_tile;

/* What kernels know of a pare_attention. */
typedef struct attention_job {
    const query_tile *tiles;
    const float *q, *k, *v, *sinks;
    float *out;
    uint32_t n_head, n_head_kv, group, dim_k, dim_v, window;
    bool causal;
    float scale, softcap;
} attention_job;

/* The first key that the query at a position sees. */
static __device__ uint32_t first_key(const attention_job *job, uint32_t at)
{
    return job->window != 0 && at >= job->window ? at - job->window + 1 : 0;
}

/* Keys [lo, hi) that rows [first, end) of the matrix see together. */
static __device__ void keys_of_rows(const attention_job *job, const query_tile *t, uint32_t first, uint32_t end,
                                    uint32_t *lo, uint32_t *hi)
{
    uint32_t early = t->n_past + first / job->group, late = t->n_past + (end - 1) / job->group;
    *lo = first_key(job, early);
    *hi = job->causal ? late + 1 : t->n_past + t->n;
}

static __device__ float capped(float s, float softcap)
{
    return softcap != 0 ? softcap * tanhf(s / softcap) : s;
}

/* ---- in floats: any shape ---- */

/* A block's tile is ROWS rows, KEYS keys at a time. Scores: thread (ty, tx) of 16 x 16 has rows 2 ty + i, keys
 * tx + 16 j. Values: warp w has rows 4 w + i, lane l columns l + 32 j of each PART of them. */
enum { THREADS = 256, ROWS = 32, KEYS = 64, DIMS = 32, PART = 64, STRIDE_S = KEYS + 1, STRIDE_D = DIMS + 1 };

typedef struct float_tile {
    float s[ROWS * STRIDE_S];
    union {
        struct {
            float q[ROWS * STRIDE_D], k[KEYS * STRIDE_D];
        } factors;
        float v[KEYS * PART];
    } u;
} float_tile;

/* Columns [d0, d0 + DIMS) of n rows, row r at src + r * step, to shared memory; zero beyond n and dim. */
static __device__ void stage_columns(float *dst, int n_all, const float *src, size_t step, uint32_t n, uint32_t d0,
                                     uint32_t dim)
{
    for (int i = (int)threadIdx.x; i < n_all * DIMS; i += THREADS) {
        uint32_t r = (uint32_t)i / DIMS, d = d0 + (uint32_t)i % DIMS;
        dst[r * STRIDE_D + i % DIMS] = r < n && d < dim ? src[r * step + d] : 0;
    }
}

/* s = scale q k^T for the rows at `first` and keys [j0, j0 + n_keys) */
static __device__ void float_scores(const attention_job *job, const query_tile *t, float_tile *m, uint32_t n_rows,
                                    uint32_t j0, uint32_t n_keys)
{
    uint32_t tx = threadIdx.x % 16, ty = threadIdx.x / 16, head = blockIdx.y;
    const float *k = job->k + ((size_t)(t->key + j0) * job->n_head_kv + head) * job->dim_k;
    float sum[2][4] = {};
    for (uint32_t d0 = 0; d0 < job->dim_k; d0 += DIMS) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < ROWS * DIMS; i += THREADS) {
            uint32_t r = i / DIMS, d = d0 + i % DIMS, at = t->first + r;
            size_t row = (size_t)(t->row + at / job->group) * job->n_head + head * job->group + at % job->group;
            m->u.factors.q[r * STRIDE_D + i % DIMS] = r < n_rows && d < job->dim_k ? job->q[row * job->dim_k + d] : 0;
        }
        stage_columns(m->u.factors.k, KEYS, k, (size_t)job->n_head_kv * job->dim_k, n_keys, d0, job->dim_k);
        __syncthreads();
        for (int d = 0; d < DIMS; d++)
            PARE_UNROLL
        for (int i = 0; i < 2; i++)
            PARE_UNROLL
        for (int j = 0; j < 4; j++)
            sum[i][j] = fmaf(m->u.factors.q[(2 * ty + i) * STRIDE_D + d], m->u.factors.k[(tx + 16 * j) * STRIDE_D + d],
                             sum[i][j]);
    }
    PARE_UNROLL
    for (int i = 0; i < 2; i++)
        PARE_UNROLL
    for (int j = 0; j < 4; j++)
        m->s[(2 * ty + i) * STRIDE_S + tx + 16 * j] = job->scale * sum[i][j];
}

/* Turn a row of scores into weights e^(s - max); the calling warp's. Returns what sums before have to be multiplied
 * with. */
static __device__ float float_weights(const attention_job *job, float *s, uint32_t at, uint32_t j0, uint32_t n_keys,
                                      float *max, float *sum)
{
    uint32_t lane = threadIdx.x % PARE_WARP, first = first_key(job, at);
    float x[2], most = *max;
    PARE_UNROLL
    for (int i = 0; i < 2; i++) {
        uint32_t c = lane + PARE_WARP * i, j = j0 + c;
        bool seen = c < n_keys && j >= first && (!job->causal || j <= at);
        x[i] = seen ? capped(s[c], job->softcap) : -INFINITY;
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
    const float *v = job->v + ((size_t)(t->key + j0) * job->n_head_kv + blockIdx.y) * job->dim_v;
    PARE_UNROLL
    for (int part = 0; part < PARTS; part++) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < KEYS * PART; i += THREADS) {
            uint32_t r = i / PART, d = v0 + part * PART + i % PART;
            m->u.v[i] = r < n_keys && d < job->dim_v ? v[(size_t)r * job->n_head_kv * job->dim_v + d] : 0;
        }
        __syncthreads();
        for (uint32_t j = 0; j < n_keys; j++)
            PARE_UNROLL
        for (int i = 0; i < 4; i++)
            PARE_UNROLL
        for (int c = 0; c < 2; c++)
            acc[part][i][c] =
                fmaf(m->s[(4 * warp + i) * STRIDE_S + j], m->u.v[j * PART + lane + PARE_WARP * c], acc[part][i][c]);
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
            float shrink = float_weights(&job, m->s + r * STRIDE_S, at, j0, n_keys, &max[i], &sum[i]);
            PARE_UNROLL
            for (int part = 0; part < PARTS; part++)
                for (int c = 0; c < 2; c++)
                    acc[part][i][c] *= shrink;
        }
        float_values<PARTS>(&job, &t, m, j0, n_keys, v0, acc);
    }
    PARE_UNROLL
    for (int i = 0; i < 4; i++) {
        uint32_t r = 4 * warp + i, at = t.first + r;
        size_t row = (size_t)(t.row + at / job.group) * job.n_head + blockIdx.y * job.group + at % job.group;
        PARE_UNROLL
        for (int part = 0; part < PARTS; part++)
            PARE_UNROLL
        for (int c = 0; c < 2; c++) {
            uint32_t d = v0 + part * PART + lane + PARE_WARP * c;
            if (r < n_rows && d < job.dim_v)
                job.out[row * job.dim_v + d] = sum[i] == 0 ? 0 : acc[part][i][c] / sum[i];
        }
    }
}

template <int PARTS>
static pare_status launch_float(pare_gpu *g, const attention_job job, uint32_t n_tiles, pare_error *err)
{
    dim3 grid(n_tiles, job.n_head_kv, (job.dim_v - 1) / (PARTS * PART) + 1);
    PARE_LAUNCH(attention_float_kernel<PARTS>, grid, THREADS, sizeof(float_tile), g->stream, job);
    return pare_gpu_launched(g, "attention", err);
}

/* ---- what the kernels are given ---- */

/* Tiles of `rows` rows over all spans, on the device. Long ones come first within a span: they end last. */
static pare_status push_tiles(pare_gpu *g, const pare_attention *a, uint32_t rows, const query_tile **out, uint32_t *n,
                              pare_error *err)
{
    uint64_t group = a->n_head / a->n_head_kv, count = 0;
    for (uint32_t i = 0; i < a->n_spans; i++)
        count += (a->spans[i].n * group - 1) / rows + 1;
    query_tile *tiles = (query_tile *)malloc(count * sizeof *tiles), *p = tiles;
    if (tiles == NULL || count > INT32_MAX) {
        free(tiles);
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for the attention of %u sequences", a->n_spans);
    }
    for (const pare_attention_span *s = a->spans; s < a->spans + a->n_spans; s++)
        for (uint64_t i = (s->n * group - 1) / rows + 1; i-- > 0;)
            *p++ = query_tile{(int64_t)s->kv_row, s->row, (uint32_t)(i * rows), s->n, s->n_past};
    *out = (const query_tile *)pare_gpu_push(g, tiles, count * sizeof *tiles, err);
    *n = (uint32_t)count;
    free(tiles);
    return *out != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

pare_status pare_gpu_attention(pare_gpu *g, const pare_attention *a, pare_error *err)
{
    if (a->n_spans == 0)
        return PARE_OK;
    attention_job job = {};
    job.q = a->q;
    job.k = (const float *)a->k;
    job.v = (const float *)a->v;
    job.out = a->out;
    job.n_head = a->n_head;
    job.n_head_kv = a->n_head_kv;
    job.group = a->n_head / a->n_head_kv;
    job.dim_k = a->head_dim_k;
    job.dim_v = a->head_dim_v;
    job.window = a->window;
    job.causal = a->causal;
    job.scale = a->scale;
    job.softcap = a->softcap;
    uint32_t n_tiles = 0;
    pare_status st = a->sinks != NULL ? pare_gpu_vector(g, a->sinks, &job.sinks, err) : PARE_OK;
    if (st == PARE_OK)
        st = push_tiles(g, a, ROWS, &job.tiles, &n_tiles, err);
    if (st != PARE_OK)
        return st;
    return a->head_dim_v <= PART       ? launch_float<1>(g, job, n_tiles, err)
           : a->head_dim_v <= 2 * PART ? launch_float<2>(g, job, n_tiles, err)
           : a->head_dim_v <= 4 * PART ? launch_float<4>(g, job, n_tiles, err)
                                       : launch_float<8>(g, job, n_tiles, err);
}
