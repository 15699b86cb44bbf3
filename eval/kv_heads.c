#include "eval/kv_heads.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Host memory for what is downloaded slice by slice. */
typedef struct rows {
    pare_backend *b;
    float *x;
    size_t room;
} rows;

static pare_status download(rows *r, const float *from, size_t n, pare_error *err)
{
    if (n > r->room) {
        free(r->x);
        r->room = (r->x = malloc(n * sizeof *r->x)) != NULL ? n : 0;
    }
    if (n > r->room)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu numbers of attention", n);
    return r->b->download(r->b, r->x, from, n * sizeof *r->x, err);
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The lower of the two in the middle; sorts x. */
static double median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, compare_doubles);
    return n > 0 ? x[(n - 1) / 2] : NAN;
}

typedef struct errors {
    pare_head_errors *out;
    const pare_kv_form *form;
    double *power; /* [n_layer, n_head] sum |o|^2 */
    rows exact, kept;
} errors;

static pare_status add_outputs(uint32_t layer, uint32_t n, uint32_t n_head, uint32_t dim, const float *exact,
                               const float *kept, void *user, pare_error *err)
{
    errors *s = user;
    const size_t count = (size_t)n * n_head * dim;
    if (n_head > s->out->n_head)
        return pare_fail(err, PARE_ERR_RANGE, "layer %" PRIu32 " has %" PRIu32 " heads, more than the model's %" PRIu32,
                         layer, n_head, s->out->n_head);
    pare_status st = download(&s->exact, exact, count, err);
    if (st == PARE_OK)
        st = download(&s->kept, kept, count, err);
    for (size_t i = 0; i < (size_t)n * n_head && st == PARE_OK; i++) {
        const size_t at = (size_t)layer * s->out->n_head + i % n_head;
        for (size_t k = i * dim; k < (i + 1) * dim; k++) {
            const double o = (double)s->exact.x[k], d = (double)s->kept.x[k] - o;
            s->out->error[at] += d * d;
            s->power[at] += o * o;
        }
    }
    return st;
}

static pare_status watch(pare_forward *f, void *user, pare_error *err)
{
    errors *s = user;
    pare_status st = pare_forward_keep(f, s->form, err);
    return st == PARE_OK ? pare_forward_watch(f, add_outputs, s, err) : st;
}

pare_status pare_head_errors_measure(pare_head_errors *out, const pare_kv_text *t, const pare_kv_form *form,
                                     pare_error *err)
{
    const size_t count = (size_t)t->m->hp.n_layer * t->m->hp.n_head;
    uint64_t n_tokens;
    size_t n = 0;
    *out = (pare_head_errors){.n_layer = t->m->hp.n_layer, .n_head = t->m->hp.n_head};
    errors s = {.out = out, .form = form, .exact.b = t->b, .kept.b = t->b};
    out->error = calloc(count + 1, sizeof *out->error);
    s.power = calloc(count + 1, sizeof *s.power);
    pare_status st = out->error != NULL && s.power != NULL
                         ? pare_kv_pass(t, watch, &s, &n_tokens, err)
                         : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for errors of %zu heads", t->m->path, count);
    for (size_t i = 0; i < count && st == PARE_OK; i++) {
        out->error[i] = s.power[i] > 0 ? out->error[i] / s.power[i] : NAN;
        if (!isnan(out->error[i]))
            s.power[n++] = out->error[i]; /* n <= i: what is overwritten was read */
    }
    if (st == PARE_OK)
        out->median = median(s.power, n);
    free(s.power);
    free(s.exact.x);
    free(s.kept.x);
    return st;
}

bool pare_head_breaks(const pare_head_errors *e, uint32_t layer, uint32_t head)
{
    const double x = e->error[(size_t)layer * e->n_head + head];
    return x > PARE_HEAD_ERROR && x > PARE_HEAD_TIMES * e->median;
}

uint32_t pare_head_errors_broken(const pare_head_errors *e)
{
    uint32_t n = 0;
    for (uint32_t l = 0; l < e->n_layer; l++)
        for (uint32_t h = 0; h < e->n_head; h++)
            n += pare_head_breaks(e, l, h);
    return n;
}

void pare_head_errors_close(pare_head_errors *e)
{
    free(e->error);
    *e = (pare_head_errors){0};
}

typedef struct keys {
    size_t width;
    double *sum, *squares; /* [n_layer, width] */
    uint64_t *n;           /* [n_layer] tokens */
    rows rows;
} keys;

static pare_status add_keys(uint32_t layer, uint32_t n, uint32_t width, const float *k, void *user, pare_error *err)
{
    keys *s = user;
    pare_status st = download(&s->rows, k, (size_t)n * width, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        for (size_t c = 0; c < width; c++) {
            const double x = (double)s->rows.x[i * width + c];
            s->sum[layer * s->width + c] += x;
            s->squares[layer * s->width + c] += x * x;
        }
    s->n[layer] += n;
    return st;
}

static pare_status observe(pare_forward *f, void *user, pare_error *err)
{
    (void)err;
    pare_forward_observe_keys(f, add_keys, user);
    return PARE_OK;
}

/* One head out of its sums [dim] over n tokens; squares become root mean squares, sorted. */
static pare_key_head look_at(const double *sum, double *squares, uint32_t dim, double n)
{
    pare_key_head k = {.times = NAN};
    double most = -1;
    for (uint32_t c = 0; c < dim; c++) {
        const double square = squares[c] / n;
        if (square > most) {
            most = square;
            k.channel = c;
            k.mean = sum[c] / n;
            k.deviation = sqrt(fmax(0, square - k.mean * k.mean));
        }
        squares[c] = sqrt(square);
    }
    const double middle = median(squares, dim);
    if (most >= 0)
        k.times = middle > 0 ? sqrt(most) / middle : most > 0 ? (double)INFINITY : 1;
    return k;
}

pare_status pare_key_heads_measure(pare_key_heads *out, const pare_kv_text *t, pare_error *err)
{
    const uint32_t n_layer = t->m->hp.n_layer;
    uint64_t n_tokens;
    keys s = {.width = pare_kv_mean_width(t->m), .rows.b = t->b};
    *out = (pare_key_heads){.n_layer = n_layer};
    for (uint32_t i = 0; i < n_layer; i++) {
        const uint32_t n = pare_kv_shape_of(t->m, i).n_head;
        out->n_head = n > out->n_head ? n : out->n_head;
    }
    out->head = calloc((size_t)n_layer * out->n_head + 1, sizeof *out->head);
    s.sum = calloc(n_layer * s.width + 1, sizeof *s.sum);
    s.squares = calloc(n_layer * s.width + 1, sizeof *s.squares);
    s.n = calloc((size_t)n_layer + 1, sizeof *s.n);
    pare_status st = out->head != NULL && s.sum != NULL && s.squares != NULL && s.n != NULL
                         ? pare_kv_pass(t, observe, &s, &n_tokens, err)
                         : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for sums over keys", t->m->path);
    for (uint32_t i = 0; i < n_layer && st == PARE_OK; i++) {
        const pare_kv_shape of = pare_kv_shape_of(t->m, i);
        for (uint32_t h = 0; h < out->n_head; h++) {
            const size_t at = i * s.width + (size_t)h * of.dim_k;
            out->head[(size_t)i * out->n_head + h] = h < of.n_head && s.n[i] > 0
                                                         ? look_at(s.sum + at, s.squares + at, of.dim_k, (double)s.n[i])
                                                         : (pare_key_head){.times = NAN};
        }
    }
    free(s.sum);
    free(s.squares);
    free(s.n);
    free(s.rows.x);
    return st;
}

void pare_key_heads_close(pare_key_heads *k)
{
    free(k->head);
    *k = (pare_key_heads){0};
}

bool pare_key_head_is_biased(const pare_key_head *k)
{
    return fabs(k->mean) > 2 * k->deviation;
}

uint32_t pare_key_head_of(const pare_model *m, uint32_t layer, uint32_t head)
{
    const uint32_t n = pare_kv_shape_of(m, layer).n_head;
    return n > 0 && m->hp.n_head > n ? head / (m->hp.n_head / n) : n > 0 && head >= n ? n - 1 : head;
}
