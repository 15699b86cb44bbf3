#include "eval/cpu.h"
#include "eval/cpu_kernels.h"

#include "core/checked.h"
#include "core/threads.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>

/* One piece: TILE queries of one head of one sequence. Its scores, TILE rows of at most n keys, are the only thing that
 * grows with the context: TILE * (n_past + n) floats a thread.
 *
 *            keys  lo ......................... hi
 *   query q0      [ seen by all ][ triangle of the
 *        ...      [              ][  last TILE keys ]
 *   query q0+TILE-1                                     */
enum { TILE = 64 };

typedef struct job {
    const pare_attention *a;
    const float *sinks;
    size_t n_tiles;
    float **scores; /* one a thread, [TILE, n_past + n] */
} job;

/* Turn the scores of the query at position i against keys [lo, hi) into weights; keys that it does not see get 0. */
static void weigh_row(const pare_attention *a, float *s, uint32_t i, uint32_t lo, uint32_t hi, const float *sink)
{
    uint32_t first = a->window != 0 && i >= a->window ? i - a->window + 1 : 0,
             last = a->causal ? i + 1 : a->n_past + a->n;
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

static pare_status attend_tile(size_t index, int thread, void *ctx, pare_error *err)
{
    job *w = ctx;
    const pare_attention *a = w->a;
    uint32_t q0 = (uint32_t)(index % w->n_tiles) * TILE, n_q = a->n - q0 < TILE ? a->n - q0 : TILE;
    size_t head = index / w->n_tiles % a->n_head, seq = index / w->n_tiles / a->n_head;
    size_t kv = head / (a->n_head / a->n_head_kv), bytes;
    uint32_t at = a->n_past + q0, n_keys = a->n_past + a->n; /* at: position of the first query */
    uint32_t lo = a->window != 0 && at >= a->window ? at - a->window + 1 : 0, hi = a->causal ? at + n_q : n_keys;
    if (w->scores[thread] == NULL) {
        if (!pare_mul_size(n_keys, TILE * sizeof(float), &bytes) || (w->scores[thread] = malloc(bytes)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for attention scores of %d by %u tokens", TILE, n_keys);
    }
    float *s = w->scores[thread];
    size_t q_row = (size_t)a->n_head * a->head_dim_k, k_row = (size_t)a->n_head_kv * a->head_dim_k;
    size_t v_row = (size_t)a->n_head_kv * a->head_dim_v, o_row = (size_t)a->n_head * a->head_dim_v;
    const float *q = a->q + (seq * a->n + q0) * q_row + head * a->head_dim_k;
    const float *k = a->k + (seq * a->kv_rows + lo) * k_row + kv * a->head_dim_k;
    const float *v = a->v + (seq * a->kv_rows + lo) * v_row + kv * a->head_dim_v;
    float *out = a->out + (seq * a->n + q0) * o_row + head * a->head_dim_v;
    blasint rows = (blasint)n_q, keys = (blasint)(hi - lo), dim_k = (blasint)a->head_dim_k,
            dim_v = (blasint)a->head_dim_v;

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, keys, dim_k, a->scale, q, (blasint)q_row, k,
                (blasint)k_row, 0.0f, s, keys);
    for (uint32_t i = 0; i < n_q; i++)
        weigh_row(a, s + (size_t)i * (hi - lo), at + i, lo, hi, w->sinks != NULL ? w->sinks + head : NULL);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, dim_v, keys, 1.0f, s, keys, v, (blasint)v_row, 0.0f,
                out, (blasint)o_row);
    return PARE_OK;
}

pare_status pare_cpu_attention(pare_backend *b, const pare_attention *a, pare_error *err)
{
    (void)b;
    int threads = pare_threads();
    job w = {.a = a, .n_tiles = (a->n + TILE - 1) / TILE};
    float *owned = NULL;
    pare_status st = a->sinks != NULL ? pare_cpu_vector(a->sinks, a->n_head, &owned, &w.sinks, err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    if ((w.scores = calloc((size_t)threads, sizeof *w.scores)) == NULL) {
        free(owned);
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %d pointers", threads);
    }
    st = pare_parallel((size_t)a->n_seq * a->n_head * w.n_tiles, attend_tile, &w, err);
    for (int i = 0; i < threads; i++)
        free(w.scores[i]);
    free(w.scores);
    free(owned);
    return st;
}
