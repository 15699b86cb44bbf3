#include "quant/kv_basis.h"

#include "quant/kv_unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BITS = 10, SWEEPS = 60 };

/* ---- matrices [n, n], row by row ---- */

/* The lower L of a = L L^T in its place; what is above it becomes 0. False: a is not positive. */
static bool factor(double *a, uint32_t n)
{
    for (uint32_t j = 0; j < n; j++) {
        double *row = a + (size_t)j * n;
        for (uint32_t i = 0; i <= j; i++) {
            const double *other = a + (size_t)i * n;
            double sum = row[i];
            for (uint32_t k = 0; k < i; k++)
                sum -= row[k] * other[k];
            if (i < j)
                row[i] = sum / other[i];
            else if (!(sum > 0) || !isfinite(sum))
                return false;
            else
                row[j] = sqrt(sum);
        }
        for (uint32_t i = j + 1; i < n; i++)
            row[i] = 0;
    }
    return true;
}

/* c = L^T c L */
static void between(const double *l, double *c, double *work, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) /* work = c L */
        for (uint32_t j = 0; j < n; j++) {
            double sum = 0;
            for (uint32_t k = j; k < n; k++)
                sum += c[(size_t)i * n + k] * l[(size_t)k * n + j];
            work[(size_t)i * n + j] = sum;
        }
    memset(c, 0, (size_t)n * n * sizeof *c);
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = 0; i <= k; i++)
            for (uint32_t j = 0; j < n; j++)
                c[(size_t)i * n + j] += l[(size_t)k * n + i] * work[(size_t)k * n + j];
}

/* Rows p and q of m: the rotation by the angle of cosine c and sine s. */
static void turn_rows(double *m, uint32_t n, uint32_t p, uint32_t q, double c, double s)
{
    double *a = m + (size_t)p * n, *b = m + (size_t)q * n;
    for (uint32_t k = 0; k < n; k++) {
        const double x = a[k], y = b[k];
        a[k] = c * x - s * y;
        b[k] = s * x + c * y;
    }
}

/* Eigenvectors of the symmetric a, the rows of u, and its diagonal behind it: Jacobi's method, row by row (Golub and
 * Van Loan, Matrix Computations, 8.5). */
static void eigen(double *a, double *u, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            u[(size_t)i * n + j] = i == j;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0, all = 0;
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++) {
                const double v = a[(size_t)i * n + j] * a[(size_t)i * n + j];
                all += v;
                off += i != j ? v : 0;
            }
        if (!(off > 1e-26 * all))
            return;
        for (uint32_t p = 0; p + 1 < n; p++)
            for (uint32_t q = p + 1; q < n; q++) {
                const double pq = a[(size_t)p * n + q];
                if (pq == 0)
                    continue;
                const double tau = (a[(size_t)q * n + q] - a[(size_t)p * n + p]) / (2 * pq);
                const double t = (tau >= 0 ? 1 : -1) / (fabs(tau) + sqrt(1 + tau * tau));
                const double c = 1 / sqrt(1 + t * t), s = t * c;
                turn_rows(a, n, p, q, c, s);
                for (uint32_t k = 0; k < n; k++) { /* and its columns */
                    double *row = a + (size_t)k * n, x = row[p], y = row[q];
                    row[p] = c * x - s * y;
                    row[q] = s * x + c * y;
                }
                turn_rows(u, n, p, q, c, s);
            }
    }
}

/* ---- bases ---- */

typedef struct work {
    double *l, *c, *u, *w; /* [dim, dim] */
    double *v;             /* [dim] */
    uint32_t *order;       /* [dim] of the eigenvectors, the largest first */
} work;

static void release(work *w)
{
    free(w->l);
    free(w->c);
    free(w->u);
    free(w->w);
    free(w->v);
    free(w->order);
}

static bool reserve(work *w, uint32_t dim)
{
    const size_t square = (size_t)dim * dim * sizeof(double);
    w->l = malloc(square);
    w->c = malloc(square);
    w->u = malloc(square);
    w->w = malloc(square);
    w->v = malloc(dim * sizeof *w->v);
    w->order = malloc(dim * sizeof *w->order);
    return w->l != NULL && w->c != NULL && w->u != NULL && w->w != NULL && w->v != NULL && w->order != NULL;
}

/* L of the metric, which gets a millionth of its mean diagonal more: it may have directions that cost nothing. */
static bool factor_metric(const pare_kv_moments *of, double *l)
{
    const uint32_t n = of->dim;
    double trace = 0;
    memcpy(l, of->metric, (size_t)n * n * sizeof *l);
    for (uint32_t i = 0; i < n; i++)
        trace += l[(size_t)i * n + i];
    for (uint32_t i = 0; i < n; i++)
        l[(size_t)i * n + i] += trace > 0 ? 1e-6 * trace / n : 1;
    return factor(l, n);
}

static void covariance(const pare_kv_moments *of, double *c)
{
    const uint32_t n = of->dim;
    const double count = (double)of->n;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            c[(size_t)i * n + j] = of->square[(size_t)i * n + j] / count - of->sum[i] / count * (of->sum[j] / count);
}

static void sort(work *w, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        w->v[i] = w->c[(size_t)i * n + i];
        for (; at > 0 && w->v[w->order[at - 1]] < w->v[i]; at--)
            w->order[at] = w->order[at - 1];
        w->order[at] = i;
    }
}

/* Bits of coordinates of variances v, descending, `total` of them together. */
static void give_bits(const double *v, uint32_t n, uint32_t total, float *bits)
{
    for (uint32_t i = 0; i < n; i++)
        bits[i] = 0;
    for (uint32_t k = 0; k < total; k++) {
        double most = 0;
        uint32_t best = n;
        for (uint32_t i = 0; i < n; i++) {
            const int b = (int)bits[i];
            const double gain =
                b < MOST_BITS ? v[i] * ((double)pare_kv_gauss_loss(b) - (double)pare_kv_gauss_loss(b + 1)) : 0;
            if (gain > most) {
                most = gain;
                best = i;
            }
            if (b == 0) /* what follows varies no more, and has no bit either */
                break;
        }
        if (best == n) /* nothing else varies */
            return;
        bits[best] += 1;
    }
}

/* Row i of forward and of back, of the eigenvector u. */
static void put_rows(const work *w, const double *u, double v, uint32_t n, float *forward, float *back)
{
    const double size = sqrt(v);
    double *x = w->w; /* L^-T u: back from the last element */
    for (uint32_t e = n; e-- > 0;) {
        double sum = u[e];
        for (uint32_t k = e + 1; k < n; k++)
            sum -= w->l[(size_t)k * n + e] * x[k];
        x[e] = sum / w->l[(size_t)e * n + e];
    }
    for (uint32_t e = 0; e < n; e++) {
        double sum = 0; /* L u */
        for (uint32_t k = 0; k <= e; k++)
            sum += w->l[(size_t)e * n + k] * u[k];
        forward[e] = (float)(sum / size);
        back[e] = (float)(x[e] * size);
    }
}

static void fill(const pare_kv_moments *of, const pare_kv_codec *c, const work *w, float *out)
{
    const uint32_t n = of->dim, total = 8 * (uint32_t)pare_kv_unit_bytes(c, n) - 16;
    float *forward = out + n, *back = forward + (size_t)n * n, *bits = back + (size_t)n * n, *cost = bits + n;
    double *sorted = w->c; /* which nobody needs any more */
    for (uint32_t i = 0; i < n; i++) {
        const double v = w->v[w->order[i]], floor = 1e-12 * w->v[w->order[0]];
        out[i] = (float)(of->sum[i] / (double)of->n);
        sorted[i] = v > floor ? v : 0;
    }
    give_bits(sorted, n, total, bits);
    for (uint32_t i = 0; i < n; i++)
        cost[i] = bits[i] > 0 ? (float)(sorted[i] / sorted[0]) : 0;
    memset(forward, 0, 2 * (size_t)n * n * sizeof *forward);
    for (uint32_t i = 0; i < n; i++)
        if (sorted[i] > 0)
            put_rows(w, w->u + (size_t)w->order[i] * n, sorted[i], n, forward + (size_t)i * n, back + (size_t)i * n);
}

pare_status pare_kv_basis_make(const pare_kv_moments *of, const pare_kv_codec *c, float *out, pare_error *err)
{
    const uint32_t n = of->dim;
    work w = {0};
    pare_status st = reserve(&w, n) ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a basis of %u", n);
    double sum = 0;
    if (st == PARE_OK && of->n > 0)
        covariance(of, w.c);
    for (size_t i = 0; i < (size_t)n * n && st == PARE_OK && of->n > 0; i++)
        sum += fabs(w.c[i]) + fabs(of->metric[i]);
    if (st == PARE_OK && (of->n == 0 || !isfinite(sum) || !factor_metric(of, w.l)))
        st = pare_fail(err, PARE_ERR_NUMBER, "the sums over %llu vectors of %u elements are not finite",
                       (unsigned long long)of->n, n);
    if (st == PARE_OK) {
        between(w.l, w.c, w.w, n);
        eigen(w.c, w.u, n);
        sort(&w, n);
        fill(of, c, &w, out);
    }
    release(&w);
    return st;
}
