#include "eval/cpu.h"
#include "eval/cpu_kernels.h"

#include "core/checked.h"
#include "core/threads.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>

/* One piece: TILE queries of one head of one sequence. Its scores, TILE rows of at most n_keys keys, are the only thing
 * that grows with the context: TILE * n_keys floats a thread. Position q0 is that of the piece's first query.
 *
 *            keys  lo ......................... hi
 *   query q0      [ seen by all ][ triangle of the
 *        ...      [              ][  last TILE keys ]
 *   query q0+TILE-1                                     */
enum { TILE = 64 };

typedef struct job {
    const pare_attention *a;
    const float *sinks;
    size_t *first_piece; /* [n_spans + 1] */
    size_t score_bytes;  /* of the largest piece */
    float **scores;      /* one a thread */
} job;

/* Turn the scores of the query at position i against keys [lo, hi) into weights; keys that it does not see get 0. */
static void weigh_row(const pare_attention *a, float *s, uint32_t i, uint32_t lo, uint32_t hi, const float *sink)
{
    uint32_t first = a->window != 0 && i >= a->window ? i - a->window + 1 : 0, last = a->causal ? i + 1 : hi;
    first = first > lo ? first - lo : 0;
    last = (last < hi ? last : hi) - lo;
    if (a->softcap != 0)
        for (uint32_t j = first; j < last; j++)
            s[j] = a->softcap * tanhf(s[j] / a->softcap);
    for (uint32_t j = 0; j < first; j++)
        s[j] = 0;
    pare_cpu_softmax(s + first, last - first, sink);
    for (uint32_t j = last; j < hi - lo; j++)
        s[j] = 0;
}

/* The span that piece number `index` belongs to. */
static size_t span_of(const job *w, size_t index)
{
    size_t lo = 0, hi = w->a->n_spans; /* first_piece[lo] <= index < first_piece[hi] */
    while (hi - lo > 1) {
        size_t middle = lo + (hi - lo) / 2;
        if (w->first_piece[middle] <= index)
            lo = middle;
        else
            hi = middle;
    }
    return lo;
}

static pare_status attend_tile(size_t index, int thread, void *ctx, pare_error *err)
{
    job *w = ctx;
    const pare_attention *a = w->a;
    size_t at = span_of(w, index);
    const pare_attention_span *span = &a->spans[at];
    index -= w->first_piece[at];
    size_t n_tiles = (w->first_piece[at + 1] - w->first_piece[at]) / a->n_head;
    uint32_t from = (uint32_t)(index % n_tiles) * TILE, n_q = span->n - from < TILE ? span->n - from : TILE;
    size_t head = index / n_tiles, kv = head / (a->n_head / a->n_head_kv);
    uint32_t q0 = span->n_past + from; /* position of the first query */
    uint32_t lo = a->window != 0 && q0 >= a->window ? q0 - a->window + 1 : 0;
    uint32_t hi = a->causal ? q0 + n_q : span->n_past + span->n;
    if (w->scores[thread] == NULL && (w->scores[thread] = malloc(w->score_bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu bytes of attention scores", w->score_bytes);
    float *s = w->scores[thread];
    size_t q_row = (size_t)a->n_head * a->head_dim_k, k_row = (size_t)a->n_head_kv * a->head_dim_k;
    size_t v_row = (size_t)a->n_head_kv * a->head_dim_v, o_row = (size_t)a->n_head * a->head_dim_v;
    const float *q = a->q + (span->row + (size_t)from) * q_row + head * a->head_dim_k;
    const float *k = a->k + (span->kv_row + lo) * k_row + kv * a->head_dim_k;
    const float *v = a->v + (span->kv_row + lo) * v_row + kv * a->head_dim_v;
    float *out = a->out + (span->row + (size_t)from) * o_row + head * a->head_dim_v;
    blasint rows = (blasint)n_q, keys = (blasint)(hi - lo), dim_k = (blasint)a->head_dim_k,
            dim_v = (blasint)a->head_dim_v;

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, keys, dim_k, a->scale, q, (blasint)q_row, k,
                (blasint)k_row, 0.0f, s, keys);
    for (uint32_t i = 0; i < n_q; i++)
        weigh_row(a, s + (size_t)i * (hi - lo), q0 + i, lo, hi, w->sinks != NULL ? w->sinks + head : NULL);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, dim_v, keys, 1.0f, s, keys, v, (blasint)v_row, 0.0f,
                out, (blasint)o_row);
    return PARE_OK;
}

/* Number the pieces and find the largest. */
static pare_status plan(job *w, pare_error *err)
{
    const pare_attention *a = w->a;
    for (uint32_t i = 0; i < a->n_spans; i++) {
        const pare_attention_span *span = &a->spans[i];
        size_t rows = span->n < TILE ? span->n : TILE, bytes;
        if (!pare_mul_size((size_t)span->n_past + span->n, rows * sizeof(float), &bytes))
            return pare_fail(err, PARE_ERR_MEMORY, "attention scores of %zu queries and %zu keys do not fit in memory",
                             rows, (size_t)span->n_past + span->n);
        if (bytes > w->score_bytes)
            w->score_bytes = bytes;
        w->first_piece[i + 1] = w->first_piece[i] + (size_t)a->n_head * ((span->n - 1) / TILE + 1);
    }
    return PARE_OK;
}

pare_status pare_cpu_attention(pare_backend *b, const pare_attention *a, pare_error *err)
{
    (void)b;
    int threads = pare_threads();
    job w = {.a = a};
    float *owned = NULL;
    pare_status st = a->sinks != NULL ? pare_cpu_vector(a->sinks, a->n_head, &owned, &w.sinks, err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    w.scores = calloc((size_t)threads, sizeof *w.scores);
    w.first_piece = calloc((size_t)a->n_spans + 1, sizeof *w.first_piece);
    if (w.scores == NULL || w.first_piece == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the attention of %u sequences", a->n_spans);
    else if ((st = plan(&w, err)) == PARE_OK)
        st = pare_parallel(w.first_piece[a->n_spans], attend_tile, &w, err);
    for (int i = 0; w.scores != NULL && i < threads; i++)
        free(w.scores[i]);
    free(w.scores);
    free(w.first_piece);
    free(owned);
    return st;
}
