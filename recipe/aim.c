#include "recipe/aim.h"

#include "core/checked.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "quant/form.h"

#include <math.h>
#include <string.h>

/* In parts: how much of what the sums say is believed, and what is added to their diagonal. docs/methods/SEQUENTIAL.md
 */
static const double SHARE = 0.5, DAMPING = 0.01, MOST_DAMPING = 1;

enum { LANES = 16, TILE = 256 };

/* Rows b of another matrix become b (C C^T)^-1. */
typedef struct solving {
    const double *c;
    size_t n, n_rows;
    double *b;
    double scale;
    float *out;
} solving;

/* LANES rows, side by side in z. */
static void solve_lanes(const double *c, size_t n, double *z)
{
    for (size_t i = 0; i < n; i++) {
        double *zi = z + i * LANES;
        for (size_t j = 0; j < i; j++)
            for (size_t l = 0; l < LANES; l++)
                zi[l] -= c[i * n + j] * z[j * LANES + l];
        for (size_t l = 0; l < LANES; l++)
            zi[l] /= c[i * n + i];
    }
    for (size_t i = n; i-- > 0;) {
        double *zi = z + i * LANES;
        for (size_t l = 0; l < LANES; l++)
            zi[l] /= c[i * n + i];
        for (size_t j = 0; j < i; j++)
            for (size_t l = 0; l < LANES; l++)
                z[j * LANES + l] -= c[i * n + j] * zi[l];
    }
}

static pare_status solve_part(size_t part, int thread, void *ctx, pare_error *err)
{
    const solving *s = ctx;
    size_t n = s->n, first = part * LANES, n_rows = s->n_rows - first < LANES ? s->n_rows - first : LANES;
    size_t bytes = n * LANES * sizeof(double);
    double *z = pare_scratch_alloc(bytes);
    (void)thread;
    if (z == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory to solve for rows of %zu columns", n);
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < LANES; l++)
            z[i * LANES + l] = l < n_rows ? s->scale * s->b[(first + l) * n + i] : 0;
    solve_lanes(s->c, n, z);
    for (size_t l = 0; l < n_rows; l++)
        for (size_t i = 0; i < n; i++)
            s->out[(first + l) * n + i] = (float)z[i * LANES + l];
    pare_scratch_free(z, bytes);
    return pare_check_interrupt(err);
}

static bool all_finite(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * 0;
    return sum == 0;
}

/* The factor of the mean products, with something on their diagonal, into c. */
static pare_status factor(double *c, const pare_prefix_sums *sums, size_t n, const char *matrix, pare_error *err)
{
    double mean = 0;
    bool done = false;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n; i++)
        mean += sums->own[i * n + i] / sums->count / (double)n;
    for (double damping = DAMPING; st == PARE_OK && !done && damping <= MOST_DAMPING; damping *= 10) {
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j <= i; j++)
                c[i * n + j] = sums->own[i * n + j] / sums->count;
            c[i * n + i] += damping * mean;
        }
        st = pare_form_factor(c, n, &done, err);
    }
    if (st == PARE_OK && !done)
        st = pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': the products of its inputs have no Cholesky factor", matrix);
    return st;
}

static pare_status solve(float **out, const double *c, double *b, size_t n_rows, size_t n, double count,
                         pare_error *err)
{
    size_t bytes = n * n_rows * sizeof **out; /* b has twice that */
    if ((*out = pare_scratch_alloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu rows of %zu columns", n_rows, n);
    solving s = {.c = c, .n = n, .n_rows = n_rows, .b = b, .scale = SHARE / count, .out = *out};
    return pare_parallel((n_rows + LANES - 1) / LANES, solve_part, &s, err);
}

pare_status pare_aim_open(pare_aim *a, pare_prefix_sums *sums, size_t n, size_t n_rows, const char *matrix,
                          pare_error *err)
{
    size_t square = n * n * sizeof(double); /* the sums have as much */
    double *c = pare_scratch_alloc(square);
    pare_status st = PARE_OK;
    *a = (pare_aim){.n = n, .n_rows = n_rows};
    if (c == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory to factor a matrix of %zu columns", n);
    else if (!all_finite(sums->cross, n * n) || (sums->stream != NULL && !all_finite(sums->stream, n * n_rows)))
        st = pare_fail(err, PARE_ERR_NUMBER, "tensor '%s': a product of its inputs is not finite", matrix);
    if (st == PARE_OK)
        st = factor(c, sums, n, matrix, err);
    if (st == PARE_OK)
        st = solve(&a->turn, c, sums->cross, n, n, sums->count, err);
    if (st == PARE_OK && sums->stream != NULL)
        st = solve(&a->shift, c, sums->stream, n_rows, n, sums->count, err);
    pare_scratch_free(c, square);
    if (st != PARE_OK)
        pare_aim_close(a);
    return st;
}

void pare_aim_close(pare_aim *a)
{
    pare_scratch_free(a->turn, a->n * a->n * sizeof *a->turn);
    pare_scratch_free(a->shift, a->n * a->n_rows * sizeof *a->shift);
    *a = (pare_aim){0};
}

/* Columns [first, first + n) of rows x, what W~ adds to W. */
static void add_tile(const pare_aim *a, uint64_t row, size_t n_rows, const float *x, size_t first, size_t n, float *out)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < n; i++)
            out[r * a->n + first + i] = a->shift != NULL ? a->shift[(row + r) * a->n + first + i] : 0;
    for (size_t k = 0; k < a->n; k++) {
        const float *turn = a->turn + k * a->n + first;
        for (size_t r = 0; r < n_rows; r++)
            for (size_t i = 0; i < n; i++)
                out[r * a->n + first + i] += x[r * a->n + k] * turn[i];
    }
}

pare_status pare_aim_rows(const pare_aim *a, uint64_t row, size_t n_rows, float *x, pare_error *err)
{
    const size_t bytes = n_rows * a->n * sizeof *x; /* x has as much */
    float *out = pare_scratch_alloc(bytes);
    if (out == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu rows of %zu columns", n_rows, a->n);
    for (size_t first = 0; first < a->n; first += TILE)
        add_tile(a, row, n_rows, x, first, a->n - first < TILE ? a->n - first : TILE, out);
    for (size_t i = 0; i < n_rows * a->n; i++)
        x[i] += out[i];
    pare_scratch_free(out, bytes);
    return PARE_OK;
}
