#include "gpu/matmul.h"

#include "core/half.h"
#include "gpu/decode.h"
#include "gpu/gemm.h"
#include "gpu/weights.h"

enum : uint64_t {
    TILE_ROWS = 256,              /* rows of a decoded tile are a multiple of this, but for the last one */
    PANEL = 1024,                 /* rows of x^T x at once */
    TRANSPOSED_BYTES = 256 << 20, /* of x for it, at most */
    LONGEST = 1 << 16             /* tokens */
};
enum { SQUARE = 32, SQUARE_ROWS = 8 };

/* ---- weights as they are stored ---- */

static bool as_stored(const pare_tensor *w, bool f32)
{
    return w->type == (f32 ? PARE_TYPE_F32 : PARE_TYPE_BF16);
}

/* The factor that n_rows stored rows at `stored` are: themselves, or decoded. */
static pare_status factor(pare_gpu *g, const pare_tensor *w, const void *stored, uint64_t n_rows, bool f32,
                          const void **out, pare_error *err)
{
    uint64_t element = f32 ? sizeof(float) : sizeof(uint16_t), address = (uint64_t)(uintptr_t)stored;
    *out = stored;
    if (as_stored(w, f32) && address % element == 0 && (address % 16 == 0 || w->row_len * element % 16 != 0))
        return PARE_OK;
    void *tile = pare_gpu_scratch_of(g, PARE_GPU_WEIGHT_TILE, n_rows * w->row_len * element, err);
    *out = tile;
    return tile != NULL ? pare_gpu_decode(g, w->type, stored, n_rows * w->row_len, tile, !f32, err) : PARE_ERR_MEMORY;
}

/* Rows of w that are decoded at once: pieces of about the same size. */
static uint64_t tile_rows(const pare_gpu *g, uint64_t n_rows, uint64_t row_bytes)
{
    uint64_t most = g->tile_bytes / row_bytes / TILE_ROWS * TILE_ROWS;
    most = most > 0 ? most : TILE_ROWS;
    uint64_t n_tiles = (n_rows + most - 1) / most, rows = (n_rows + n_tiles - 1) / n_tiles;
    return (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
}

uint16_t *pare_gpu_rounded_place(pare_gpu *g, uint64_t n)
{
    return g->f32 ? NULL : (uint16_t *)pare_gpu_scratch_of(g, PARE_GPU_INPUT_BF16, n * sizeof(uint16_t), NULL);
}

void pare_gpu_rounded_note(pare_gpu *g, const float *y, uint64_t n)
{
    g->rounded.x = y;
    g->rounded.n = n;
    g->rounded.n_calls = __atomic_load_n(&g->n_calls, __ATOMIC_RELAXED);
}

bool pare_gpu_rounded_held(const pare_gpu *g)
{
    return g->rounded.x != NULL && g->rounded.n_calls == __atomic_load_n(&g->n_calls, __ATOMIC_RELAXED);
}

void pare_gpu_rounded_keep(pare_gpu *g, bool held, const float *written, uint64_t n)
{
    const float *x = g->rounded.x;
    if (held && (written + n <= x || x + g->rounded.n <= written))
        pare_gpu_rounded_note(g, x, g->rounded.n);
}

/* x[n] as bfloat16: the copy that is there for the weights of queries, keys and values, for gate and up, and behind
 * norms and activations. */
static pare_status rounded_input(pare_gpu *g, const float *x, uint64_t n, const void **out, pare_error *err)
{
    bool kept = g->rounded.x == x && g->rounded.n == n && pare_gpu_rounded_held(g);
    void *copy = pare_gpu_scratch_of(g, PARE_GPU_INPUT_BF16, n * sizeof(uint16_t), err);
    *out = copy;
    if (copy == NULL)
        return PARE_ERR_MEMORY;
    return kept ? PARE_OK : pare_gpu_round_bf16(g, x, n, (uint16_t *)copy, err);
}

static pare_status multiply(pare_gpu *g, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                            uint32_t n, float *y, uint64_t ldy, bool f32, float beta, pare_error *err)
{
    if (n == 0 || n_rows == 0)
        return PARE_OK;
    pare_gpu_product p = {x, NULL, y, n, 0, w->row_len, ldy, beta};
    pare_status st = f32 ? PARE_OK : rounded_input(g, x, n * w->row_len, &p.x, err);
    uint64_t row_bytes = w->row_len * (f32 ? sizeof(float) : sizeof(uint16_t)), step = tile_rows(g, n_rows, row_bytes);
    uint64_t largest =
        (step < n_rows ? step : n_rows) * row_bytes; /* reserved while no weight is in use: more can go */
    if (st == PARE_OK && !as_stored(w, f32) && pare_gpu_scratch_of(g, PARE_GPU_WEIGHT_TILE, largest, err) == NULL)
        st = PARE_ERR_MEMORY;
    for (uint64_t done = 0; done < n_rows && st == PARE_OK; done += p.m) {
        const void *stored;
        p.m = pare_gpu_weight_piece(g, w, row + done, n_rows - done < step ? n_rows - done : step);
        p.y = y + done;
        st = pare_gpu_weight(g, w, row + done, p.m, &stored, err);
        if (st == PARE_OK)
            st = factor(g, w, stored, p.m, f32, &p.w, err);
        if (st == PARE_OK)
            st = f32 ? pare_gpu_gemm_f32(g, &p, err) : pare_gpu_gemm_bf16(g, &p, err);
    }
    pare_gpu_weight_done(g);
    pare_gpu_rounded_note(g, st == PARE_OK && !f32 ? x : NULL, n * w->row_len);
    return st;
}

pare_status pare_gpu_matmul(pare_gpu *g, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                            uint32_t n, float *y, uint64_t ldy, bool exact, pare_error *err)
{
    return multiply(g, w, row, n_rows, x, n, y, ldy != 0 ? ldy : n_rows, exact || g->f32, 0, err);
}

pare_status pare_gpu_matmul_add(pare_gpu *g, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                                uint32_t n, float *y, pare_error *err)
{
    return multiply(g, w, row, n_rows, x, n, y, n_rows, g->f32, 1, err);
}

/* ---- x^T x ---- */

/* t[width, n_padded] = x[n, width] transposed, as floats or rounded to bfloat16, with zeros behind the n-th column. */
template <typename T>
static __global__ void transpose_kernel(const float *x, uint32_t n, uint32_t width, uint32_t n_padded, T *t)
{
    PARE_SHARED(float, tile); /* [SQUARE][SQUARE + 1] */
    uint64_t row0 = (uint64_t)blockIdx.y * SQUARE, column0 = (uint64_t)blockIdx.x * SQUARE;
    uint64_t column = column0 + threadIdx.x, token = row0 + threadIdx.x;
    for (unsigned i = threadIdx.y; i < SQUARE; i += SQUARE_ROWS)
        tile[i * (SQUARE + 1) + threadIdx.x] = row0 + i < n && column < width ? x[(row0 + i) * width + column] : 0.0f;
    __syncthreads();
    for (unsigned i = threadIdx.y; i < SQUARE; i += SQUARE_ROWS)
        if (column0 + i < width && token < n_padded) {
            float v = tile[threadIdx.x * (SQUARE + 1) + i];
            t[(column0 + i) * n_padded + token] = sizeof(T) == sizeof(float) ? (T)v : (T)pare_f32_to_bf16(v);
        }
}

/* What is above the diagonal becomes what is below it. */
static __global__ void mirror_kernel(float *h, uint32_t width)
{
    PARE_SHARED(float, tile); /* [SQUARE][SQUARE + 1] */
    if (blockIdx.x > blockIdx.y)
        return;
    uint64_t row0 = (uint64_t)blockIdx.y * SQUARE, column0 = (uint64_t)blockIdx.x * SQUARE;
    uint64_t column = column0 + threadIdx.x, mirrored = row0 + threadIdx.x;
    for (unsigned i = threadIdx.y; i < SQUARE; i += SQUARE_ROWS)
        if (row0 + i < width && column < width)
            tile[i * (SQUARE + 1) + threadIdx.x] = h[(row0 + i) * width + column];
    __syncthreads();
    for (unsigned i = threadIdx.y; i < SQUARE; i += SQUARE_ROWS)
        if (column0 + i < mirrored && mirrored < width)
            h[(column0 + i) * width + mirrored] = tile[threadIdx.x * (SQUARE + 1) + i];
}

/* The lower half of h += t t^T for t [width, k], a panel of rows at a time, and some above the diagonal. */
static pare_status lower_half(pare_gpu *g, const void *t, uint32_t k, uint32_t width, float *h, pare_error *err)
{
    uint64_t row_bytes = k * (g->f32 ? sizeof(float) : sizeof(uint16_t));
    pare_status st = PARE_OK;
    for (uint64_t row = 0; row < width && st == PARE_OK; row += PANEL) {
        uint64_t end = width - row < PANEL ? width : row + PANEL;
        pare_gpu_product p = {
            (const uint8_t *)t + row * row_bytes, t, h + row * width, (uint32_t)(end - row), end, k, width, 1};
        st = g->f32 ? pare_gpu_gemm_f32(g, &p, err) : pare_gpu_gemm_bf16(g, &p, err);
    }
    return st;
}

/* Of so few rows that their transpose is not too large. */
static pare_status gram_piece(pare_gpu *g, const float *x, uint32_t n, uint32_t width, float *h, pare_error *err)
{
    uint32_t n_padded = (n + 7) / 8 * 8; /* rows of the transpose are then aligned to 16 bytes */
    dim3 threads(SQUARE, SQUARE_ROWS), blocks((width + SQUARE - 1) / SQUARE, (n_padded + SQUARE - 1) / SQUARE);
    size_t shared = SQUARE * (SQUARE + 1) * sizeof(float);
    uint64_t bytes = (uint64_t)width * n_padded * (g->f32 ? sizeof(float) : sizeof(uint16_t));
    void *t = pare_gpu_scratch_of(g, PARE_GPU_INPUT_BF16, bytes, err);
    if (t == NULL)
        return PARE_ERR_MEMORY;
    if (g->f32)
        PARE_LAUNCH(transpose_kernel<float>, blocks, threads, shared, g->stream, x, n, width, n_padded, (float *)t);
    else
        PARE_LAUNCH(transpose_kernel<uint16_t>, blocks, threads, shared, g->stream, x, n, width, n_padded,
                    (uint16_t *)t);
    pare_status st = pare_gpu_launched(g, "transpose", err);
    return st == PARE_OK ? lower_half(g, t, n_padded, width, h, err) : st;
}

pare_status pare_gpu_gram(pare_gpu *g, const float *x, uint32_t n, uint32_t width, float *h, pare_error *err)
{
    if (n == 0 || width == 0)
        return PARE_OK;
    uint64_t most = TRANSPOSED_BYTES / (width * (g->f32 ? sizeof(float) : sizeof(uint16_t))) / 8 * 8;
    most = most < 8 ? 8 : most > LONGEST ? LONGEST : most;
    pare_status st = PARE_OK;
    for (uint64_t done = 0; done < n && st == PARE_OK; done += most)
        st = gram_piece(g, x + done * width, (uint32_t)(n - done < most ? n - done : most), width, h, err);
    unsigned blocks = (width + SQUARE - 1) / SQUARE;
    if (st != PARE_OK)
        return st;
    PARE_LAUNCH(mirror_kernel, dim3(blocks, blocks), dim3(SQUARE, SQUARE_ROWS), SQUARE * (SQUARE + 1) * sizeof(float),
                g->stream, h, width);
    return pare_gpu_launched(g, "mirror", err);
}
