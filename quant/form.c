#include "quant/form.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/scratch.h"
#include "core/threads.h"
#include "quant/path_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL = 64, ROWS = 4 };

/* A factorization in place: c becomes the lower triangle of C with H = C C^T, the diagonal of C on its own. */
typedef struct factor {
    size_t n;
    double *c;      /* [n, n] */
    double *turned; /* [PANEL, n] the panel in hand, transposed */
    size_t at, end; /* columns of the panel */
} factor;

/* The square on the diagonal. False: it has no factor. */
static bool factor_square(factor *f)
{
    for (size_t k = f->at; k < f->end; k++) {
        double *row = f->c + k * f->n;
        for (size_t j = f->at; j <= k; j++) {
            const double *other = f->c + j * f->n;
            double sum = row[j];
            for (size_t m = f->at; m < j; m++)
                sum -= row[m] * other[m];
            if (j == k && (!(sum > 0) || !isfinite(sum)))
                return false;
            row[j] = j == k ? sqrt(sum) : sum / other[j];
        }
    }
    return true;
}

/* A row of the panel below the square. */
static pare_status factor_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const factor *f = ctx;
    size_t r = f->end + i;
    double *row = f->c + r * f->n;
    (void)thread;
    (void)err;
    for (size_t j = f->at; j < f->end; j++) {
        const double *other = f->c + j * f->n;
        double sum = row[j];
        for (size_t m = f->at; m < j; m++)
            sum -= row[m] * other[m];
        row[j] = sum / other[j];
        f->turned[(j - f->at) * f->n + r] = row[j];
    }
    return PARE_OK;
}

/* ROWS rows behind the panel, up to the diagonal and a little beyond. */
static pare_status update_rows(size_t i, int thread, void *ctx, pare_error *err)
{
    const factor *f = ctx;
    size_t r = f->end + i * ROWS, n_rows = f->n - r < ROWS ? f->n - r : ROWS;
    (void)thread;
    (void)err;
    pare_path_now()->form_update(f->c + r * f->n + f->end, f->n, n_rows, r + n_rows - f->end, f->c + r * f->n + f->at,
                                 f->n, f->turned + f->end, f->n, f->end - f->at);
    return PARE_OK;
}

static pare_status run_factor(factor *f, bool *done, pare_error *err)
{
    pare_status st = PARE_OK;
    *done = true;
    for (f->at = 0; f->at < f->n && *done && st == PARE_OK; f->at = f->end) {
        f->end = f->n - f->at < PANEL ? f->n : f->at + PANEL;
        *done = factor_square(f);
        if (*done && (st = pare_check_interrupt(err)) == PARE_OK)
            st = pare_parallel(f->n - f->end, factor_row, f, err);
        if (*done && st == PARE_OK)
            st = pare_parallel((f->n - f->end + ROWS - 1) / ROWS, update_rows, f, err);
    }
    return st;
}

typedef struct ranked {
    double size;
    uint32_t column;
} ranked;

static int by_size(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return x->column < y->column ? 1 : -1; /* of equal ones the first column is rounded first */
}

/* Element (i, j), j <= i, of the triangle. */
static double element(const pare_gram *g, uint64_t i, uint64_t j)
{
    return (double)pare_load_f32le(g->lower + 4 * (i * (i + 1) / 2 + j)) / g->count;
}

/* The same, looked at. */
static pare_status check_element(const pare_gram *g, uint64_t i, uint64_t j, const char *path, double *out,
                                 pare_error *err)
{
    *out = element(g, i, j);
    if (isfinite(*out) && (i != j || *out >= 0))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_NUMBER,
                     "%s: tensor '%s': the mean product of columns %" PRIu64 " and %" PRIu64
                     " is %.9g; it must be finite%s",
                     path, g->name, i, j, *out, i == j ? " and not negative" : "");
}

/* The order of the columns, the mean of the diagonal and the least of what is not zero there. */
static pare_status rank_columns(pare_form *f, const pare_gram *g, const char *path, double *mean, double *least,
                                pare_error *err)
{
    ranked *list = malloc(f->n * sizeof *list);
    if (list == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for %zu columns", path, g->name, f->n);
    pare_status st = PARE_OK;
    *mean = 0;
    *least = HUGE_VAL;
    for (size_t i = 0; i < f->n && st == PARE_OK; i++) {
        list[i].column = (uint32_t)i;
        st = check_element(g, i, i, path, &list[i].size, err);
        *mean += list[i].size / (double)f->n;
        *least = list[i].size > 0 && list[i].size < *least ? list[i].size : *least;
    }
    if (st == PARE_OK)
        qsort(list, f->n, sizeof *list, by_size);
    for (size_t i = 0; i < f->n && st == PARE_OK; i++)
        f->order[i] = list[i].column;
    free(list);
    return st;
}

static pare_status fill_rows(pare_form *f, const pare_gram *g, const char *path, double least, pare_error *err)
{
    for (size_t i = 0; i < f->n; i++)
        for (size_t j = 0; j <= i; j++) {
            uint64_t a = f->order[i], b = f->order[j];
            double v;
            pare_status st = check_element(g, a > b ? a : b, a > b ? b : a, path, &v, err);
            if (st != PARE_OK)
                return st;
            f->h[i * f->n + j] = f->h[j * f->n + i] = (float)(i == j && v == 0 ? least : v);
        }
    return PARE_OK;
}

/* H with `more` on its diagonal is factored into f->lower; f->h gets the same diagonal. */
static pare_status try_factor(pare_form *f, factor *work, double more, bool *done, pare_error *err)
{
    size_t n = f->n;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++)
            work->c[i * n + j] = (double)f->h[i * n + j];
        work->c[i * n + i] += more;
    }
    pare_status st = run_factor(work, done, err);
    if (st != PARE_OK || !*done)
        return st;
    for (size_t i = 0; i < n; i++) {
        f->h[i * n + i] += (float)more;
        for (size_t j = 0; j < i; j++)
            f->lower[i * n + j] = (float)(work->c[i * n + j] / work->c[j * n + j]);
    }
    return PARE_OK;
}

static pare_status find_factor(pare_form *f, const pare_gram *g, const char *path, double mean, double damping,
                               pare_error *err)
{
    size_t n = f->n, square = n * n * sizeof(double), panel = PANEL * n * sizeof(double); /* h has half of it */
    factor work = {.n = n, .c = pare_scratch_alloc(square), .turned = pare_scratch_alloc(panel)};
    pare_status st = PARE_OK;
    bool done = false;
    if (work.c == NULL || work.turned == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory to factor a matrix of %zu columns", path,
                       g->name, n);
    for (; st == PARE_OK && !done && damping<1; damping = damping> 0 ? damping * 10 : 1) {
        f->damping = damping;
        st = try_factor(f, &work, damping * mean, &done, err);
    }
    if (st == PARE_OK && !done)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: tensor '%s': the products of its inputs have no Cholesky factor, even with %.3g of their "
                       "mean on the diagonal",
                       path, g->name, f->damping);
    pare_scratch_free(work.c, square);
    pare_scratch_free(work.turned, panel);
    return st;
}

pare_status pare_form_open(pare_form *f, const pare_gram *g, const char *path, double damping, pare_error *err)
{
    size_t squares = 0, bytes = 0;
    double mean = 0, least = 0;
    *f = (pare_form){.n = (size_t)g->n_columns};
    if (g->n_columns < UINT32_MAX && pare_mul_size(f->n, f->n, &squares) && pare_mul_size(squares, 8, &bytes)) {
        f->order = malloc(f->n * sizeof *f->order);
        f->h = pare_scratch_alloc(bytes / 2);
        f->lower = pare_scratch_alloc(bytes / 2);
    }
    pare_status st = PARE_OK;
    if (f->order == NULL || f->h == NULL || f->lower == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for products of %" PRIu64 " columns", path,
                       g->name, g->n_columns);
    if (st == PARE_OK)
        st = rank_columns(f, g, path, &mean, &least, err);
    if (st == PARE_OK && !(mean > 0))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': all products of its inputs are zero", path, g->name);
    if (st == PARE_OK)
        st = fill_rows(f, g, path, least, err);
    if (st == PARE_OK)
        st = find_factor(f, g, path, mean, damping, err);
    if (st != PARE_OK)
        pare_form_close(f);
    return st;
}

void pare_form_close(pare_form *f)
{
    free(f->order);
    pare_scratch_free(f->h, f->n * f->n * sizeof *f->h);
    pare_scratch_free(f->lower, f->n * f->n * sizeof *f->lower);
    *f = (pare_form){0};
}
