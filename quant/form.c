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

pare_status pare_form_factor(double *c, size_t n, bool *done, pare_error *err)
{
    const size_t panel = PANEL * n * sizeof *c; /* c has more */
    factor f = {.n = n, .c = c, .turned = pare_scratch_alloc(panel)};
    pare_status st = PARE_OK;
    if (f.turned == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory to factor a matrix of %zu columns", n);
    *done = true;
    for (f.at = 0; f.at < n && *done && st == PARE_OK; f.at = f.end) {
        f.end = n - f.at < PANEL ? n : f.at + PANEL;
        *done = factor_square(&f);
        if (*done && (st = pare_check_interrupt(err)) == PARE_OK)
            st = pare_parallel(n - f.end, factor_row, &f, err);
        if (*done && st == PARE_OK)
            st = pare_parallel((n - f.end + ROWS - 1) / ROWS, update_rows, &f, err);
    }
    pare_scratch_free(f.turned, panel);
    return st;
}

typedef struct ranked {
    double size;
    uint32_t unit;
} ranked;

static int by_size(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return x->unit < y->unit ? 1 : -1; /* of equal ones the first is rounded first */
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
    size_t n_units = f->n / f->unit;
    ranked *list = malloc(n_units * sizeof *list);
    if (list == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for %zu columns", path, g->name, f->n);
    pare_status st = PARE_OK;
    *mean = 0;
    *least = HUGE_VAL;
    for (size_t i = 0; i < f->n && st == PARE_OK; i++) {
        double size = 0;
        st = check_element(g, i, i, path, &size, err);
        if (i % f->unit == 0)
            list[i / f->unit] = (ranked){0, (uint32_t)(i / f->unit)};
        list[i / f->unit].size += size;
        *mean += size / (double)f->n;
        *least = size > 0 && size < *least ? size : *least;
    }
    if (st == PARE_OK)
        qsort(list, n_units, sizeof *list, by_size);
    for (size_t i = 0; i < f->n && st == PARE_OK; i++)
        f->order[i] = (uint32_t)(list[i / f->unit].unit * f->unit + i % f->unit);
    free(list);
    return st;
}

typedef struct filling {
    pare_form *f;
    const pare_gram *g;
    const char *path;
    double least;
} filling;
enum { TILE = 64 }; /* rows and columns that are mirrored together */

/* TILE rows of h up to the diagonal. */
static pare_status fill_rows(size_t i, int thread, void *ctx, pare_error *err)
{
    const filling *w = ctx;
    const size_t n = w->f->n, end = n - i * TILE < TILE ? n : (i + 1) * TILE;
    (void)thread;
    for (size_t r = i * TILE; r < end; r++)
        for (size_t j = 0; j <= r; j++) {
            uint64_t a = w->f->order[r], b = w->f->order[j];
            double v;
            pare_status st = check_element(w->g, a > b ? a : b, a > b ? b : a, w->path, &v, err);
            if (st != PARE_OK)
                return st;
            w->f->h[r * n + j] = (float)(r == j && v == 0 ? w->least : v);
        }
    return PARE_OK;
}

/* The rest of these rows. */
static pare_status mirror_rows(size_t i, int thread, void *ctx, pare_error *err)
{
    const filling *w = ctx;
    const size_t n = w->f->n, end = n - i * TILE < TILE ? n : (i + 1) * TILE;
    float *h = w->f->h;
    (void)thread;
    (void)err;
    for (size_t at = i * TILE; at < n; at += TILE)
        for (size_t r = i * TILE; r < end; r++)
            for (size_t j = r < at ? at : r + 1; j < at + TILE && j < n; j++)
                h[r * n + j] = h[j * n + r];
    return PARE_OK;
}

static pare_status fill(pare_form *f, const pare_gram *g, const char *path, double least, pare_error *err)
{
    filling w = {f, g, path, least};
    const size_t n_tiles = (f->n + TILE - 1) / TILE;
    pare_status st = pare_parallel(n_tiles, fill_rows, &w, err);
    return st == PARE_OK ? pare_parallel(n_tiles, mirror_rows, &w, err) : st;
}

/* The inverse of a symmetric positive definite matrix of n <= PARE_FORM_UNIT rows. */
static void invert(const double *a, int n, double *inverse)
{
    double rows[PARE_FORM_UNIT][2 * PARE_FORM_UNIT];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            rows[i][j] = a[i * n + j];
            rows[i][n + j] = i == j;
        }
    for (int k = 0; k < n; k++) { /* no row is exchanged: the pivots of such a matrix are positive */
        double pivot = 1 / rows[k][k];
        for (int j = 0; j < 2 * n; j++)
            rows[k][j] *= pivot;
        for (int i = 0; i < n; i++) {
            double times = i == k ? 0 : rows[i][k];
            for (int j = 0; j < 2 * n; j++)
                rows[i][j] -= times * rows[k][j];
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            inverse[i * n + j] = rows[i][n + j];
}

static void make_square(const double *m, pare_form_square *out)
{
    enum { UNIT = PARE_FORM_UNIT, HALF = PARE_FORM_HALF };
    double inverse[UNIT * UNIT], part[HALF * HALF], rest[HALF * HALF], scale = 0;
    for (int i = 0; i < UNIT; i++)
        scale += m[i * UNIT + i] / UNIT;
    invert(m, UNIT, inverse);
    for (int i = 0; i < UNIT * UNIT; i++) {
        out->m[i] = (float)(m[i] / scale);
        out->inverse[i] = (float)inverse[i];
    }
    for (int h = 0; h < 2; h++) { /* by its Schur complement: the inverse of that part of the inverse */
        for (int i = 0; i < HALF * HALF; i++)
            part[i] = inverse[(h * HALF + i / HALF) * UNIT + h * HALF + i % HALF];
        invert(part, HALF, rest);
        for (int i = 0; i < HALF * HALF; i++)
            out->half[h][i] = (float)(rest[i] / scale);
    }
}

/* The squares of the unit at position `at`: of the factor C, whose square is D, and of h. */
static void take_squares(pare_form *f, const double *c, size_t at)
{
    enum { UNIT = PARE_FORM_UNIT };
    double first[UNIT * UNIT], again[UNIT * UNIT];
    for (size_t i = 0; i < UNIT; i++)
        for (size_t j = 0; j < UNIT; j++) {
            double sum = 0;
            for (size_t k = 0; k <= (i < j ? i : j); k++)
                sum += c[(at + i) * f->n + at + k] * c[(at + j) * f->n + at + k];
            first[i * UNIT + j] = sum;
            again[i * UNIT + j] = (double)f->h[(at + i) * f->n + at + j];
        }
    make_square(first, f->first + at / UNIT);
    make_square(again, f->again + at / UNIT);
}

typedef struct taking {
    pare_form *f;
    double *c;
    double more; /* on the diagonal */
} taking;

static pare_status copy_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const taking *t = ctx;
    const size_t n = t->f->n;
    (void)thread;
    (void)err;
    for (size_t j = 0; j <= i; j++)
        t->c[i * n + j] = (double)t->f->h[i * n + j];
    t->c[i * n + i] += t->more;
    return PARE_OK;
}

/* Row i of L = C times the inverse of the squares on C's diagonal; and these, at the last row of each. */
static pare_status take_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const taking *t = ctx;
    pare_form *f = t->f;
    size_t n = f->n, unit = f->unit, at = i / unit * unit;
    double row[PARE_FORM_UNIT];
    (void)thread;
    (void)err;
    for (size_t k = 0; k < at; k += unit)
        for (size_t j = unit; j-- > 0;) {
            double sum = t->c[i * n + k + j];
            for (size_t m = j + 1; m < unit; m++)
                sum -= row[m] * t->c[(k + m) * n + k + j];
            row[j] = sum / t->c[(k + j) * n + k + j];
            f->lower[i * n + k + j] = (float)row[j];
        }
    if (f->first != NULL && i == at + unit - 1)
        take_squares(f, t->c, at);
    return PARE_OK;
}

/* H with `more` on its diagonal is factored into f->lower; f->h gets the same diagonal. */
static pare_status try_factor(pare_form *f, double *c, double more, bool *done, pare_error *err)
{
    size_t n = f->n;
    taking t = {f, c, more};
    pare_status st = pare_parallel(n, copy_row, &t, err);
    if (st == PARE_OK)
        st = pare_form_factor(c, n, done, err);
    if (st != PARE_OK || !*done)
        return st;
    for (size_t i = 0; i < n; i++)
        f->h[i * n + i] += (float)more;
    return pare_parallel(n, take_row, &t, err);
}

static pare_status find_factor(pare_form *f, const pare_gram *g, const char *path, double mean, double damping,
                               pare_error *err)
{
    size_t n = f->n, square = n * n * sizeof(double); /* h has half of it */
    double *c = pare_scratch_alloc(square);
    pare_status st = PARE_OK;
    bool done = false;
    if (c == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory to factor a matrix of %zu columns", path,
                       g->name, n);
    for (; st == PARE_OK && !done && damping<1; damping = damping> 0 ? damping * 10 : 1) {
        f->damping = damping;
        st = try_factor(f, c, damping * mean, &done, err);
    }
    if (st == PARE_OK && !done)
        st = pare_fail(err, PARE_ERR_RANGE,
                       "%s: tensor '%s': the products of its inputs have no Cholesky factor, even with %.3g of their "
                       "mean on the diagonal",
                       path, g->name, f->damping);
    pare_scratch_free(c, square);
    return st;
}

static bool reserve(pare_form *f)
{
    size_t squares = 0, bytes = 0, n_units = f->n / f->unit;
    if (f->n >= UINT32_MAX || !pare_mul_size(f->n, f->n, &squares) || !pare_mul_size(squares, 8, &bytes))
        return false;
    f->order = malloc(f->n * sizeof *f->order);
    f->h = pare_scratch_alloc(bytes / 2);
    f->lower = pare_scratch_alloc(bytes / 2);
    if (f->unit > 1) {
        f->first = calloc(n_units, sizeof *f->first);
        f->again = calloc(n_units, sizeof *f->again);
    }
    return f->order != NULL && f->h != NULL && f->lower != NULL &&
           (f->unit == 1 || (f->first != NULL && f->again != NULL));
}

pare_status pare_form_open(pare_form *f, const pare_gram *g, const char *path, size_t unit, double damping,
                           pare_error *err)
{
    double mean = 0, least = 0;
    *f = (pare_form){.n = (size_t)g->n_columns, .unit = unit};
    pare_status st = PARE_OK;
    if (g->n_columns % unit != 0)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': %" PRIu64 " columns are no units of %zu", path, g->name,
                       g->n_columns, unit);
    else if (!reserve(f))
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: tensor '%s': no memory for products of %" PRIu64 " columns", path,
                       g->name, g->n_columns);
    if (st == PARE_OK)
        st = rank_columns(f, g, path, &mean, &least, err);
    if (st == PARE_OK && !(mean > 0))
        st = pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': all products of its inputs are zero", path, g->name);
    if (st == PARE_OK)
        st = fill(f, g, path, least, err);
    if (st == PARE_OK)
        st = find_factor(f, g, path, mean, damping, err);
    if (st != PARE_OK)
        pare_form_close(f);
    return st;
}

void pare_form_close(pare_form *f)
{
    free(f->order);
    free(f->first);
    free(f->again);
    pare_scratch_free(f->h, f->n * f->n * sizeof *f->h);
    pare_scratch_free(f->lower, f->n * f->n * sizeof *f->lower);
    *f = (pare_form){0};
}
