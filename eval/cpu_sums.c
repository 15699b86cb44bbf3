#include "eval/cpu.h"

#include "core/scratch.h"
#include "core/threads.h"

#include <cblas.h>
#include <inttypes.h>

enum { COLUMNS_A_PIECE = 64, TILE = 256 }; /* TILE: columns and rows of a piece of x^T x */

typedef struct columns {
    const float *x; /* [n, width] */
    uint32_t n, width;
    double *sum, *sum2; /* [width] */
} columns;

/* A piece of the columns, token after token. */
static pare_status add_piece(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    columns *j = ctx;
    size_t first = piece * COLUMNS_A_PIECE,
           end = j->width - first < COLUMNS_A_PIECE ? j->width : first + COLUMNS_A_PIECE;
    for (uint32_t t = 0; t < j->n; t++) {
        const float *x = j->x + (size_t)t * j->width;
        for (size_t c = first; c < end; c++) {
            double v = (double)x[c];
            j->sum[c] += v;
            j->sum2[c] += v * v;
        }
    }
    return PARE_OK;
}

pare_status pare_cpu_add_columns(pare_backend *b, const float *x, uint32_t n, uint32_t width, double *sum, double *sum2,
                                 pare_error *err)
{
    (void)b;
    columns j = {.x = x, .n = n, .width = width, .sum = sum, .sum2 = sum2};
    return pare_parallel(((size_t)width + COLUMNS_A_PIECE - 1) / COLUMNS_A_PIECE, add_piece, &j, err);
}

typedef struct gram {
    const float *x; /* [n, width] */
    uint32_t n, width;
    float *h; /* [width, width] */
} gram;

/* Tile (r, c), c >= r, counted row by row, and its mirror image. */
static pare_status gram_piece(size_t piece, int thread, void *ctx, pare_error *err)
{
    (void)thread;
    (void)err;
    const gram *j = ctx;
    size_t width = j->width, n_tiles = (width + TILE - 1) / TILE, r = 0;
    while (piece >= n_tiles - r)
        piece -= n_tiles - r++;
    size_t row = r * TILE, column = (r + piece) * TILE;
    size_t n_rows = width - row < TILE ? width - row : TILE, n_columns = width - column < TILE ? width - column : TILE;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)n_rows, (blasint)n_columns, (blasint)j->n, 1.0f,
                j->x + row, (blasint)width, j->x + column, (blasint)width, 1.0f, j->h + row * width + column,
                (blasint)width);
    for (size_t i = row; i < row + n_rows; i++)
        for (size_t k = column > i ? column : i + 1; k < column + n_columns; k++)
            j->h[k * width + i] = j->h[i * width + k];
    return PARE_OK;
}

pare_status pare_cpu_add_gram(pare_backend *b, const float *x, uint32_t n, uint32_t width, float *h, pare_error *err)
{
    (void)b;
    gram j = {.x = x, .n = n, .width = width, .h = h};
    size_t n_tiles = ((size_t)width + TILE - 1) / TILE;
    if (n > INT32_MAX || width > INT32_MAX)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%" PRIu32 " rows of %" PRIu32 " columns; the CPU backend takes up to %d of each", n, width,
                         INT32_MAX);
    return pare_parallel(n_tiles * (n_tiles + 1) / 2, gram_piece, &j, err);
}

/* Tile (r, c), counted row by row. */
static pare_status cross_piece(size_t piece, int thread, void *ctx, pare_error *err)
{
    const pare_cpu_cross *j = ctx;
    const size_t n_tiles = (j->width_b + TILE - 1) / TILE, bytes = TILE * TILE * sizeof(float);
    const size_t row = piece / n_tiles * TILE, column = piece % n_tiles * TILE;
    const size_t n_rows = j->width_a - row < TILE ? j->width_a - row : TILE;
    const size_t n_columns = j->width_b - column < TILE ? j->width_b - column : TILE;
    (void)thread;
    if (j->lower && column > row)
        return PARE_OK;
    float *tile = pare_scratch_alloc(bytes);
    if (tile == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for products of %d columns", TILE);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)n_rows, (blasint)n_columns, (blasint)j->n, 1.0f,
                j->a + row, (blasint)j->width_a, j->b + column, (blasint)j->width_b, 0.0f, tile, TILE);
    for (size_t i = 0; i < n_rows; i++)
        for (size_t k = 0; k < n_columns; k++)
            j->sum[(row + i) * j->width_b + column + k] += (double)tile[i * TILE + k];
    pare_scratch_free(tile, bytes);
    return PARE_OK;
}

pare_status pare_cpu_add_cross(const pare_cpu_cross *c, pare_error *err)
{
    const size_t down = (c->width_a + TILE - 1) / TILE, across = (c->width_b + TILE - 1) / TILE;
    if (c->n > INT32_MAX || c->width_a > INT32_MAX || c->width_b > INT32_MAX)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%zu rows of %zu and %zu columns; the CPU backend takes up to %d of each", c->n, c->width_a,
                         c->width_b, INT32_MAX);
    return pare_parallel(down * across, cross_piece, (void *)(uintptr_t)c, err);
}
