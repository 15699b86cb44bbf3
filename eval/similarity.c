#include "eval/similarity.h"

#include <math.h>
#include <stdlib.h>

double pare_cosine(const float *x, const float *y, size_t n)
{
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < n; i++) {
        xy += (double)x[i] * (double)y[i];
        xx += (double)x[i] * (double)x[i];
        yy += (double)y[i] * (double)y[i];
    }
    double c = xy / sqrt(xx) / sqrt(yy); /* 0 / 0: NAN */
    return c > 1 ? 1 : c < -1 ? -1 : c;
}

double pare_pearson(const double *x, const double *y, size_t n)
{
    double mx = 0, my = 0, xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < n; i++) {
        mx += x[i] / (double)n;
        my += y[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        xy += (x[i] - mx) * (y[i] - my);
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
    }
    if (n < 2 || xx <= 0 || yy <= 0)
        return NAN;
    double r = xy / sqrt(xx) / sqrt(yy);
    return r > 1 ? 1 : r < -1 ? -1 : r;
}

typedef struct placed {
    double value;
    size_t at;
} placed;

static int by_value(const void *a, const void *b)
{
    double x = ((const placed *)a)->value, y = ((const placed *)b)->value;
    return (x > y) - (x < y);
}

static void rank(const double *x, size_t n, placed *order, double *ranks)
{
    for (size_t i = 0; i < n; i++)
        order[i] = (placed){x[i], i};
    qsort(order, n, sizeof *order, by_value);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && order[end].value == order[i].value;)
            end++;
        for (size_t k = i; k < end; k++)
            ranks[order[k].at] = ((double)i + (double)end - 1) / 2;
    }
}

pare_status pare_spearman(const double *x, const double *y, size_t n, double *out, pare_error *err)
{
    placed *order = calloc(n + 1, sizeof *order);
    double *ranks = calloc(2 * n + 1, sizeof *ranks);
    pare_status st = PARE_OK;
    if (order == NULL || ranks == NULL) {
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the ranks of %zu pairs", n);
    } else {
        rank(x, n, order, ranks);
        rank(y, n, order, ranks + n);
        *out = pare_pearson(ranks, ranks + n, n);
    }
    free(order);
    free(ranks);
    return st;
}

static void compare_texts(const pare_vectors *a, const pare_vectors *b, double *cosines, pare_embedding_drift *out)
{
    pare_moments all = {0};
    out->cosine_min = INFINITY;
    for (size_t i = 0; i < a->n; i++) {
        cosines[i] = pare_cosine(a->x + i * a->width, b->x + i * b->width, a->width);
        pare_moments_add(&all, cosines[i]);
        if (cosines[i] < out->cosine_min) {
            out->cosine_min = cosines[i];
            out->worst_text = i;
        }
    }
    out->cosine = pare_mean(&all);
    pare_sort(cosines, a->n);
    out->cosine_median = pare_quantile(cosines, a->n, 0.5).value;
    out->cosine_p01 = pare_quantile(cosines, a->n, 0.01).value;
}

static void similarities(const pare_vectors *v, const pare_text_pair *pairs, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = pare_cosine(v->x + pairs[i].a * v->width, v->x + pairs[i].b * v->width, v->width);
}

/* Correlation of similarities with the scores of those pairs that have one. room: [2 n]. */
static pare_status with_scores(const pare_text_pair *pairs, const double *similarity, size_t n, double *room,
                               double *out, pare_error *err)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (!isnan(pairs[i].score)) {
            room[k] = pairs[i].score;
            room[n + k++] = similarity[i];
        }
    return pare_spearman(room, room + n, k, out, err);
}

static pare_status compare_pairs(const pare_vectors *reference, const pare_vectors *model, const pare_text_pair *pairs,
                                 size_t n, double *room, pare_embedding_drift *out, pare_error *err)
{
    double *a = room, *b = room + n;
    pare_moments change = {0};
    similarities(reference, pairs, n, a);
    similarities(model, pairs, n, b);
    out->change_max = n > 0 ? -1 : NAN;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        pare_moments_add(&change, d);
        out->n_scored += !isnan(pairs[i].score);
        if (d > out->change_max) {
            out->change_max = d;
            out->worst_pair = i;
        }
    }
    out->change = pare_mean(&change);
    out->pearson = pare_pearson(a, b, n);
    pare_status st = pare_spearman(a, b, n, &out->spearman, err);
    if (st == PARE_OK)
        st = with_scores(pairs, a, n, room + 2 * n, &out->reference_score_spearman, err);
    return st == PARE_OK ? with_scores(pairs, b, n, room + 2 * n, &out->score_spearman, err) : st;
}

static pare_status check_directions(const pare_vectors *v, const char *whose, pare_error *err)
{
    for (size_t i = 0; i < v->n; i++)
        if (isnan(pare_cosine(v->x + i * v->width, v->x + i * v->width, v->width)))
            return pare_fail(err, PARE_ERR_NUMBER, "text %zu: its vector by the %s is zero and has no direction", i,
                             whose);
    return PARE_OK;
}

pare_status pare_embedding_drift_measure(const pare_vectors *reference, const pare_vectors *model,
                                         const pare_text_pair *pairs, size_t n_pairs, pare_embedding_drift *out,
                                         pare_error *err)
{
    size_t n = reference->n;
    *out = (pare_embedding_drift){.n_texts = n,
                                  .n_pairs = n_pairs,
                                  .same_width = reference->width == model->width,
                                  .cosine = {NAN, NAN},
                                  .cosine_median = NAN,
                                  .cosine_p01 = NAN,
                                  .cosine_min = NAN};
    double *room = calloc((n_pairs > n ? n_pairs : n) * 4 + 1, sizeof *room);
    if (room == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu pairs", n_pairs);
    pare_status st = check_directions(reference, "reference", err);
    if (st == PARE_OK)
        st = check_directions(model, "model", err);
    if (st == PARE_OK && out->same_width)
        compare_texts(reference, model, room, out);
    if (st == PARE_OK)
        st = compare_pairs(reference, model, pairs, n_pairs, room, out, err);
    free(room);
    return st;
}
