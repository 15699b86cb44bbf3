/* A block of 256 threads computes a tile of y, a slice of k at a time. Slices of both factors go through a ring in
 * shared memory, which asynchronous copies fill three slices ahead:
 *
 *             slice of k (32)                 warps of a tile, each with 64 rows
 *           ┌──┬──┬──┬──┐                     ┌────┬────┬────┬────┐
 *   row 0   │ 0│ 1│ 2│ 3│  chunks of          │ 0  │ 1  │ 2  │ 3  │
 *   row 1   │ 0│ 1│ 2│ 3│  8 numbers,         ├────┼────┼────┼────┤
 *   row 2   │ 1│ 0│ 3│ 2│  16 bytes           │ 4  │ 5  │ 6  │ 7  │
 *   row 3   │ 1│ 0│ 3│ 2│                     └────┴────┴────┴────┘
 *   row 4   │ 2│ 3│ 0│ 1│
 *
 * Two rows make the 128 bytes that shared memory moves at once. Chunk c of row r lies at c ^ (r / 2 % 4), so a chunk of
 * eight rows on end, which is what a matrix of tensor cores is loaded from, lies in eight different places of them. */
#include "gpu/gemm.h"

#include "core/half.h"
#include "gpu/blas.h"

#include <inttypes.h>

enum {
    THREADS = 256,
    ROWS = 128, /* of a tile: rows of x */
    DEPTH = 32, /* of k in a slice */
    STAGES = 4, /* slices in the ring */
    CHUNK = 8,  /* numbers copied at once */
    GROUP = 16, /* rows of tiles that are worked on together, so that they share what the L2 cache holds */
    WARP_ROWS = 64,
    WARPS_ACROSS = 4,
    WIDE_COST =
        20, /* of a tile of 256 columns, and of one of 128: it loads three quarters as much for half as much work */
    NARROW_COST = 12
};

/* Which tile a block computes: down a group of rows, then across. */
static __device__ __forceinline__ void tile_of(unsigned i, unsigned n_down, unsigned n_across, unsigned *down,
                                               unsigned *across)
{
    unsigned first = i / (GROUP * n_across) * GROUP, rest = i % (GROUP * n_across);
    unsigned height = min(n_down - first, (unsigned)GROUP);
    *down = first + rest % height;
    *across = rest / height;
}

/* ---- bfloat16, tensor cores ---- */

/* A thread's part in copying slices of a factor: chunk threadIdx.x % 4 of each row threadIdx.x / 4 + 64 i. */
enum { CHUNKS = DEPTH / CHUNK, ROW_STEP = THREADS / CHUNKS };
typedef struct copies {
    const uint16_t *from; /* of the slice that is next */
    unsigned place;       /* in the slice */
    unsigned n_rows;      /* of its rows are in the matrix */
} copies;

/* Where chunk c of row r of a slice lies. */
static __device__ __forceinline__ unsigned place_of(unsigned row, unsigned chunk)
{
    return row * DEPTH + (chunk ^ (row / 2 % 4)) * CHUNK;
}

static __device__ __forceinline__ copies copies_of(const void *factor, unsigned row, unsigned n_rows, unsigned k)
{
    unsigned r = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    copies c;
    c.from = (const uint16_t *)factor + (uint64_t)(row + r) * k + chunk * CHUNK;
    c.place = place_of(r, chunk);
    c.n_rows = row + r < n_rows ? (n_rows - row - r + ROW_STEP - 1) / ROW_STEP : 0;
    return c;
}

/* The slice at k0 of N rows, zeros beyond the edges of the matrix. */
template <int N>
static __device__ __forceinline__ void fetch_rows(uint16_t *to, copies *c, unsigned k0, unsigned k, bool aligned)
{
    unsigned column = k0 + threadIdx.x % CHUNKS * CHUNK;
    unsigned n = column < k ? min(k - column, (unsigned)CHUNK) : 0;
    uint64_t step = (uint64_t)ROW_STEP * k;
    to += c->place;
    if (aligned) {
        PARE_UNROLL
        for (unsigned i = 0; i < N / ROW_STEP; i++)
            pare_copy_async(to + i * ROW_STEP * DEPTH, c->from + i * step, i < c->n_rows ? (int)n * 2 : 0);
    } else {
        PARE_ROLLED
        for (unsigned i = 0; i < N / ROW_STEP; i++) {
            PARE_ROLLED
            for (unsigned e = 0; e < CHUNK; e++)
                to[i * ROW_STEP * DEPTH + e] = i < c->n_rows && e < n ? c->from[i * step + e] : (uint16_t)0;
        }
    }
    c->from += DEPTH;
}

/* What a warp multiplies at a step of 16 of k: four matrices of 16 rows, and ACROSS of 8 columns, in pairs. */
template <int ACROSS> struct fragments {
    uint32_t a[4][4], b[ACROSS / 2][4];
};

template <int ACROSS> struct sums {
    float d[4][ACROSS][4];
};

/* a and b: where the lane finds its row of the first matrices; eight rows further are the same place of the line. */
template <int ACROSS>
static __device__ __forceinline__ void load_fragments(fragments<ACROSS> *f, const uint16_t *a, const uint16_t *b)
{
    PARE_UNROLL
    for (unsigned i = 0; i < 4; i++)
        pare_load_matrices(f->a[i], a + i * 16 * DEPTH);
    PARE_UNROLL
    for (unsigned j = 0; j < ACROSS / 2; j++)
        pare_load_matrices(f->b[j], b + j * 16 * DEPTH);
}

template <int ACROSS> static __device__ __forceinline__ void multiply(sums<ACROSS> *s, const fragments<ACROSS> *f)
{
    PARE_UNROLL
    for (unsigned i = 0; i < 4; i++) {
        PARE_UNROLL
        for (unsigned j = 0; j < ACROSS; j++)
            pare_mma_bf16(s->d[i][j], f->a[i], f->b[j / 2] + j % 2 * 2);
    }
}

static __device__ __forceinline__ bool can_pair(const pare_gpu_product *p)
{
    return p->ldy % 2 == 0 && (uint64_t)(uintptr_t)p->y % sizeof(float2) == 0;
}

/* Two sums side by side in a row; beyond the m-th column nothing is read or written. */
static __device__ __forceinline__ void store_pair(const pare_gpu_product *p, uint64_t row, uint64_t column, float d0,
                                                  float d1, bool pairs)
{
    float *y = p->y + row * p->ldy + column;
    if (pairs && column + 1 < p->m) {
        float2 v = {d0, d1};
        if (p->beta != 0) {
            float2 old = *(const float2 *)y;
            v.x += old.x;
            v.y += old.y;
        }
        *(float2 *)y = v;
        return;
    }
    if (column < p->m)
        y[0] = p->beta != 0 ? y[0] + d0 : d0;
    if (column + 1 < p->m)
        y[1] = p->beta != 0 ? y[1] + d1 : d1;
}

template <int ACROSS>
static __device__ __forceinline__ void store_sums(const pare_gpu_product *p, const sums<ACROSS> *s, unsigned row,
                                                  unsigned column)
{
    unsigned lane = threadIdx.x % PARE_WARP;
    bool pairs = can_pair(p);
    row += lane / 4;
    column += lane % 4 * 2;
    PARE_UNROLL
    for (unsigned i = 0; i < 8; i++) { /* rows 8 apart */
        if (row + i * 8 >= p->n)
            break;
        PARE_UNROLL
        for (unsigned j = 0; j < ACROSS; j++) {
            const float *d = &s->d[i / 2][j][i % 2 * 2];
            store_pair(p, row + i * 8, column + j * 8, d[0], d[1], pairs);
        }
    }
}

/* COLUMNS: of a tile, rows of w */
template <int COLUMNS>
static __global__ void __launch_bounds__(THREADS, 1)
    gemm_bf16_kernel(pare_gpu_product p, unsigned n_down, unsigned n_across, bool aligned)
{
    enum { STAGE = (ROWS + COLUMNS) * DEPTH, WARP_COLUMNS = COLUMNS / WARPS_ACROSS, ACROSS = WARP_COLUMNS / 8 };
    PARE_SHARED(uint16_t, ring); /* [STAGES][ROWS + COLUMNS][DEPTH] */
    unsigned down, across, warp = threadIdx.x / PARE_WARP, m = (unsigned)p.m, k = (unsigned)p.k;
    tile_of(blockIdx.x, n_down, n_across, &down, &across);
    unsigned row = down * ROWS, column = across * COLUMNS, n_slices = (k + DEPTH - 1) / DEPTH;
    unsigned warp_row = warp / WARPS_ACROSS * WARP_ROWS, warp_column = warp % WARPS_ACROSS * WARP_COLUMNS;
    bool busy = row + warp_row < p.n && column + warp_column < m; /* else the warp only copies */
    unsigned lane = threadIdx.x % PARE_WARP;
    unsigned a = place_of(warp_row + lane % 16, lane / 16);
    unsigned b = place_of(ROWS + warp_column + lane % 8 + lane / 16 * 8, lane / 8 % 2);
    copies x = copies_of(p.x, row, p.n, k), w = copies_of(p.w, column, m, k);
    fragments<ACROSS> now, next;
    sums<ACROSS> s = {};

    auto fetch = [&](unsigned slice) {
        uint16_t *to = ring + slice % STAGES * STAGE;
        if (slice < n_slices) {
            fetch_rows<ROWS>(to, &x, slice * DEPTH, k, aligned);
            fetch_rows<COLUMNS>(to + ROWS * DEPTH, &w, slice * DEPTH, k, aligned);
        }
        pare_copy_async_commit();
    };
    for (unsigned slice = 0; slice < STAGES - 1; slice++)
        fetch(slice);
    pare_copy_async_wait<STAGES - 2>();
    __syncthreads();
    if (busy)
        load_fragments(&now, ring + a, ring + b);
    for (unsigned slice = 0; slice < n_slices; slice++) {
        const uint16_t *at = ring + slice % STAGES * STAGE, *then = ring + (slice + 1) % STAGES * STAGE;
        fetch(slice + STAGES - 1); /* over the slice before this one, which nobody reads behind the last barrier */
        if (busy) {
            load_fragments(&next, at + (a ^ 2 * CHUNK), at + (b ^ 2 * CHUNK)); /* two chunks further */
            multiply(&s, &now);
        }
        pare_copy_async_wait<STAGES - 2>();
        __syncthreads();
        if (busy) {
            load_fragments(&now, then + a, then + b); /* behind the last slice: what is there, and is not used */
            multiply(&s, &next);
        }
    }
    if (busy)
        store_sums(&p, &s, row + warp_row, column + warp_column);
}

/* ---- float, fused multiply-adds ---- */

enum {
    F32_COLUMNS = 64, /* of a tile */
    F32_DEPTH = 16,
    F32_PAD = 4, /* between lines of shared memory, so that a row written down a column meets few banks twice */
    SPAN = 4     /* numbers read at once */
};

/* Numbers [column, column + 4) of a row; zeros beyond the edges of the matrix. */
static __device__ __forceinline__ float4 four_of(const float *from, uint64_t row, uint64_t n_rows, unsigned column,
                                                 unsigned k, bool aligned)
{
    float4 v = {0, 0, 0, 0};
    if (row >= n_rows || column >= k)
        return v;
    from += row * k + column;
    if (aligned)
        return *(const float4 *)from;
    v.x = from[0];
    v.y = column + 1 < k ? from[1] : 0;
    v.z = column + 2 < k ? from[2] : 0;
    v.w = column + 3 < k ? from[3] : 0;
    return v;
}

/* A slice of N rows, through registers: memory answers while the slice before it is computed. */
template <int N, int WORKERS> struct slice_of {
    enum { EACH = N * (F32_DEPTH / SPAN) / WORKERS, LINE = N + F32_PAD };
    float4 v[EACH];
};

template <int N, int WORKERS>
static __device__ __forceinline__ void read_slice(slice_of<N, WORKERS> *s, const void *from, unsigned row,
                                                  uint64_t n_rows, unsigned k0, unsigned k, bool aligned)
{
    PARE_UNROLL
    for (unsigned i = 0; i < s->EACH; i++) {
        unsigned c = threadIdx.x + i * WORKERS;
        s->v[i] = four_of((const float *)from, (uint64_t)row + c / (F32_DEPTH / SPAN), n_rows,
                          k0 + c % (F32_DEPTH / SPAN) * SPAN, k, aligned);
    }
}

/* to: [F32_DEPTH][N + F32_PAD], transposed */
template <int N, int WORKERS>
static __device__ __forceinline__ void keep_slice(float *to, const slice_of<N, WORKERS> *s)
{
    PARE_UNROLL
    for (unsigned i = 0; i < s->EACH; i++) {
        unsigned c = threadIdx.x + i * WORKERS;
        float *at = to + c % (F32_DEPTH / SPAN) * SPAN * s->LINE + c / (F32_DEPTH / SPAN);
        at[0] = s->v[i].x;
        at[s->LINE] = s->v[i].y;
        at[2 * s->LINE] = s->v[i].z;
        at[3 * s->LINE] = s->v[i].w;
    }
}

/* A thread's 8 x 4 sums: rows r..r+3 and r+N/2..r+N/2+3, columns c..c+3 of a tile of N rows. */
template <int N>
static __device__ __forceinline__ void add_slice(float d[8][4], const float *x, const float *w, unsigned r, unsigned c)
{
    PARE_UNROLL
    for (unsigned i = 0; i < F32_DEPTH; i++) {
        float4 low = *(const float4 *)(x + i * (N + F32_PAD) + r);
        float4 high = *(const float4 *)(x + i * (N + F32_PAD) + N / 2 + r);
        float4 v = *(const float4 *)(w + i * (F32_COLUMNS + F32_PAD) + c);
        const float a[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        PARE_UNROLL
        for (unsigned e = 0; e < 8; e++) {
            d[e][0] = fmaf(a[e], v.x, d[e][0]);
            d[e][1] = fmaf(a[e], v.y, d[e][1]);
            d[e][2] = fmaf(a[e], v.z, d[e][2]);
            d[e][3] = fmaf(a[e], v.w, d[e][3]);
        }
    }
}

/* N: rows of a tile; 2 N threads */
template <int N>
static __global__ void __launch_bounds__(2 * N)
    gemm_f32_kernel(pare_gpu_product p, unsigned n_down, unsigned n_across, bool aligned)
{
    enum { WORKERS = 2 * N, X = F32_DEPTH * (N + F32_PAD), BOTH = X + F32_DEPTH * (F32_COLUMNS + F32_PAD) };
    PARE_SHARED(float, shared); /* [2][BOTH] */
    unsigned down, across, k = (unsigned)p.k, n_slices = (k + F32_DEPTH - 1) / F32_DEPTH;
    tile_of(blockIdx.x, n_down, n_across, &down, &across);
    unsigned row = down * N, column = across * F32_COLUMNS;
    unsigned r = threadIdx.x / 16 * 4, c = threadIdx.x % 16 * 4;
    slice_of<N, WORKERS> x = {};
    slice_of<F32_COLUMNS, WORKERS> w = {};
    float d[8][4] = {};
    for (unsigned i = 0; i <= n_slices; i++) { /* slice i is read while slice i - 1 is added */
        if (i < n_slices) {
            read_slice(&x, p.x, row, p.n, i * F32_DEPTH, k, aligned);
            read_slice(&w, p.w, column, p.m, i * F32_DEPTH, k, aligned);
        }
        if (i > 0)
            add_slice<N>(d, shared + (i - 1) % 2 * BOTH, shared + (i - 1) % 2 * BOTH + X, r, c);
        if (i < n_slices) {
            keep_slice(shared + i % 2 * BOTH, &x);
            keep_slice(shared + i % 2 * BOTH + X, &w);
        }
        __syncthreads();
    }
    bool pairs = can_pair(&p);
    PARE_UNROLL
    for (unsigned e = 0; e < 8; e++) {
        uint64_t at = (uint64_t)row + r + e % 4 + e / 4 * (N / 2);
        if (at < p.n) {
            store_pair(&p, at, column + c, d[e][0], d[e][1], pairs);
            store_pair(&p, at, column + c + 2, d[e][2], d[e][3], pairs);
        }
    }
}

/* ---- which kernel ---- */

static unsigned tiles(uint64_t n, unsigned size)
{
    return (unsigned)((n + size - 1) / size);
}

/* Whether rows of both factors begin at multiples of 16 bytes. */
static bool rows_aligned(const pare_gpu_product *p, uint64_t element)
{
    return ((uint64_t)(uintptr_t)p->x | (uint64_t)(uintptr_t)p->w | p->k * element) % 16 == 0;
}

/* That counts of rows and columns fit 32 bits, and tiles a grid. */
static pare_status check_shape(const pare_gpu_product *p, pare_error *err)
{
    uint64_t most = INT32_MAX;
    if (p->n > most || p->m > most || p->k > most || p->ldy < p->m || (p->n / 64 + 1) * (p->m / 64 + 1) > most)
        return pare_gpu_calls->fail(err, PARE_ERR_RANGE,
                                    "a product of %" PRIu32 " rows by %" PRIu64 " x %" PRIu64 " weights, into rows of "
                                    "%" PRIu64 ", is beyond what a device computes at once: 2^31 - 1 rows and columns, "
                                    "and tiles of 64 x 64; rows no shorter than the result",
                                    p->n, p->m, p->k, p->ldy);
    return PARE_OK;
}

/* The time of tiles that each take `cost`, one at a time on each multiprocessor. */
static uint64_t time_of(const pare_gpu *g, uint64_t n_tiles, unsigned cost)
{
    uint64_t n = (uint64_t)(g->properties.multiProcessorCount > 0 ? g->properties.multiProcessorCount : 1);
    return (n_tiles + n - 1) / n * cost;
}

template <int COLUMNS> static pare_status launch_bf16(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    unsigned n_down = tiles(p->n, ROWS), n_across = tiles(p->m, COLUMNS);
    enum { SHARED = STAGES * (ROWS + COLUMNS) * DEPTH * (int)sizeof(uint16_t) };
    static_assert(SHARED <= 99 << 10, "more than a block gets on every device");
    cudaError_t code =
        cudaFuncSetAttribute(gemm_bf16_kernel<COLUMNS>, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED);
    if (code != cudaSuccess)
        return pare_gpu_check(g, code, "shared memory of a product", err);
    PARE_LAUNCH(gemm_bf16_kernel<COLUMNS>, n_down * n_across, THREADS, SHARED, g->stream, *p, n_down, n_across,
                rows_aligned(p, sizeof(uint16_t)));
    return pare_gpu_launched(g, "product of bfloat16 matrices", err);
}

pare_status pare_gpu_gemm_bf16_own(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    if (p->n == 0 || p->m == 0)
        return PARE_OK;
    pare_status st = check_shape(p, err);
    if (st != PARE_OK)
        return st;
    uint64_t down = tiles(p->n, ROWS);
    if (time_of(g, down * tiles(p->m, 256), WIDE_COST) <= time_of(g, down * tiles(p->m, 128), NARROW_COST))
        return launch_bf16<256>(g, p, err);
    return launch_bf16<128>(g, p, err);
}

template <int N> static pare_status launch_f32(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    unsigned n_down = tiles(p->n, N), n_across = tiles(p->m, F32_COLUMNS);
    size_t shared = 2 * F32_DEPTH * (N + F32_COLUMNS + 2 * F32_PAD) * sizeof(float);
    PARE_LAUNCH(gemm_f32_kernel<N>, n_down * n_across, 2 * N, shared, g->stream, *p, n_down, n_across,
                rows_aligned(p, sizeof(float)));
    return pare_gpu_launched(g, "product of float matrices", err);
}

pare_status pare_gpu_gemm_f32_own(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    if (p->n == 0 || p->m == 0)
        return PARE_OK;
    pare_status st = check_shape(p, err);
    if (st != PARE_OK)
        return st;
    uint64_t tall = (uint64_t)tiles(p->n, 128) * tiles(p->m, F32_COLUMNS);
    return time_of(g, tall, 1) > 1 ? launch_f32<128>(g, p, err) : launch_f32<64>(g, p, err);
}

pare_status pare_gpu_gemm_bf16(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    return g->blas != NULL ? pare_gpu_blas_gemm(g, p, false, err) : pare_gpu_gemm_bf16_own(g, p, err);
}

pare_status pare_gpu_gemm_f32(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    return g->blas != NULL ? pare_gpu_blas_gemm(g, p, true, err) : pare_gpu_gemm_f32_own(g, p, err);
}
