#include "eval/cpu.h"

#include "core/checked.h"
#include "core/threads.h"

#include <cblas.h>
#include <inttypes.h>
#include <stdlib.h>

/* A piece of the product: PANEL rows of the weight times SLICE rows of the activations; of rows longer than WIDE, whose
 * decoded panel would be large, WIDE_PANEL; for no more than FEW tokens FEW_PANEL, which all threads share. Measured
 * with OpenBLAS 0.3.21 on an AVX-512 core (Zen 4, 2026-11-21), for products of 512 and 1536 columns, in GFLOP/s of 110
 * that the core can: 256 x 1024 90 to 92, 512 x 1024 93 to 96, 768 x 512 95 to 97. Shorter slices decode a quantized
 * weight more often, and larger panels leave less to share between threads. */
enum { PANEL = 512, WIDE_PANEL = 256, WIDE = 4096, FEW_PANEL = 64, FEW = 32, SLICE = 1024 };

typedef struct product {
    const pare_tensor *w;
    uint64_t row, n_rows; /* of w */
    const float *x;
    uint32_t n;
    float *y;
    size_t n_panels;
    uint64_t panel;  /* rows */
    float **scratch; /* one a thread, allocated by the thread that first needs it */
} product;

pare_status pare_cpu_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, float *scratch, const float **out,
                          pare_error *err)
{
    if (t->type == PARE_TYPE_F32 && t->data != NULL && (uintptr_t)t->data % sizeof(float) == 0) {
        *out = (const float *)(const void *)(t->data + row * t->row_bytes);
        return PARE_OK;
    }
    *out = scratch;
    return pare_tensor_read_unscaled(t, row, n_rows, scratch, err);
}

static pare_status multiply_piece(size_t i, int thread, void *ctx, pare_error *err)
{
    product *p = ctx;
    uint64_t first = i % p->n_panels * p->panel, n_rows = p->n_rows - first < p->panel ? p->n_rows - first : p->panel;
    uint32_t from = (uint32_t)(i / p->n_panels) * SLICE, n = p->n - from < SLICE ? p->n - from : SLICE;
    size_t width = p->w->row_len, bytes;
    if (p->scratch[thread] == NULL) {
        if (!pare_mul_size(width, p->panel * sizeof(float), &bytes) || (p->scratch[thread] = malloc(bytes)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %" PRIu64 " rows of %zu floats",
                             p->w->name, p->panel, width);
    }
    const float *w;
    pare_status st = pare_cpu_rows(p->w, p->row + first, n_rows, p->scratch[thread], &w, err);
    if (st != PARE_OK)
        return st;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)n, (blasint)n_rows, (blasint)width, 1.0f,
                p->x + (size_t)from * width, (blasint)width, w, (blasint)width, 0.0f,
                p->y + (size_t)from * p->n_rows + first, (blasint)p->n_rows);
    return PARE_OK;
}

pare_status pare_cpu_matmul(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                            uint32_t n, float *y, pare_error *err)
{
    (void)b;
    if (n_rows > INT32_MAX || w->row_len > INT32_MAX || n > INT32_MAX)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "tensor '%s': %" PRIu64 " rows of %" PRIu64 " elements times %" PRIu32
                         "; the CPU backend takes up to %d of each",
                         w->name, n_rows, w->row_len, n, INT32_MAX);
    int threads = pare_threads();
    product p = {.w = w, .row = row, .n_rows = n_rows, .x = x, .n = n, .y = y};
    p.panel = n <= FEW ? FEW_PANEL : w->row_len <= WIDE ? PANEL : WIDE_PANEL;
    p.n_panels = (size_t)((n_rows + p.panel - 1) / p.panel);
    p.scratch = calloc((size_t)threads, sizeof *p.scratch);
    if (p.scratch == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %d pointers", threads);
    pare_status st = pare_parallel(p.n_panels * ((n + SLICE - 1) / SLICE), multiply_piece, &p, err);
    for (int i = 0; i < threads; i++)
        free(p.scratch[i]);
    free(p.scratch);
    return st;
}
