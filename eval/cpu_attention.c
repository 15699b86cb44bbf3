#include "eval/cpu.h"
#include "eval/cpu_kernels.h"

#include "core/checked.h"
#include "core/threads.h"
#include "quant/registry.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>

/* One piece: a tile of queries of one head of one sequence, TILE of them or LONG_TILE behind many keys, which pays the
 * copies that BLAS makes of keys and values. It goes through its keys CHUNK at a time; what it holds does not grow with
 * the context. The softmax goes on from chunk to chunk (Milakov and Gimelshein, "Online normalizer calculation for
 * softmax", 2018): weights are e^(s - m) with m the largest score so far, and when m grows what was summed before is
 * scaled down.
 *
 *            keys  lo ..... | ..... | ..... hi
 *   query q0      [ seen by all  |       | triangle of the
 *        ...      [              |       |  tile's own keys ] */
enum { TILE = 64, LONG_TILE = 256, LONG = 2048, CHUNK = 512, SCORE_BYTES = LONG_TILE * CHUNK * (int)sizeof(float) };

typedef struct job {
    const pare_attention *a;
    const float *sinks;
    size_t *first_piece; /* [n_spans + 1] */
    float **scores;      /* one a thread: [LONG_TILE, CHUNK], and behind it a chunk of decoded keys, of values */
    size_t k_floats, v_floats;
} job;

/* One head of the keys or values of a sequence as they are stored: elements [first, first + dim) of its rows. */
typedef struct stored {
    pare_type type;
    const uint8_t *rows;
    uint64_t row_bytes;
    size_t row_len, first, dim;
    float *decoded; /* room for a chunk of the blocks that hold them, unless they are floats */
} stored;

/* A piece: rows of q and out begin at its first query and head, those of k and v at the sequence's first key. */
typedef struct piece {
    const pare_attention *a;
    const float *q, *sink;
    stored k, v;
    float *out;
    size_t q_row, o_row; /* floats from a row to the next */
    uint32_t q0, n_q;    /* position of the first query, number of queries */
    uint32_t lo, hi;     /* keys */
    float slope;         /* of ALiBi, or 0 */
    float *s;            /* [LONG_TILE, CHUNK] */
    float max[LONG_TILE], sum[LONG_TILE];
} piece;

static uint32_t tile_of(const pare_attention_span *span)
{
    return span->n_past + span->n > LONG ? LONG_TILE : TILE;
}

/* Turn row r of the scores against keys [lo, hi) into weights; keys that the query does not see get 0. */
static void weigh_row(piece *p, uint32_t r, float *s, uint32_t lo, uint32_t hi)
{
    const pare_attention *a = p->a;
    uint32_t i = p->q0 + r, first = a->window != 0 && i >= a->window ? i - a->window + 1 : 0;
    uint32_t last = a->causal && i + 1 < hi ? i + 1 : hi;
    first = first > lo ? (first < last ? first : last) : lo;
    for (uint32_t j = lo; j < first; j++)
        s[j - lo] = 0;
    for (uint32_t j = last; j < hi; j++)
        s[j - lo] = 0;
    if (first == last)
        return;
    s += first - lo;
    if (a->softcap != 0)
        for (uint32_t j = 0; j < last - first; j++)
            s[j] = a->softcap * tanhf(s[j] / a->softcap);
    if (p->slope != 0)
        for (uint32_t j = first; j < last; j++)
            s[j - first] += p->slope * ((float)j - (float)i);
    float shrink = pare_cpu_softmax_part(s, last - first, &p->max[r], &p->sum[r]);
    float *out = p->out + r * p->o_row;
    for (uint32_t d = 0; shrink != 1 && d < a->head_dim_v; d++)
        out[d] *= shrink;
}

/* Rows [lo, hi) of a head as floats, *step from one to the next. Blocks may reach beyond the head on both sides. */
static pare_status take_rows(const stored *from, uint32_t lo, uint32_t hi, const float **out, size_t *step,
                             pare_error *err)
{
    const pare_type_info *info = pare_type_get(from->type);
    if (from->type == PARE_TYPE_F32) {
        *step = from->row_len;
        *out = (const float *)(const void *)from->rows + lo * *step + from->first;
        return PARE_OK;
    }
    size_t block = from->first / info->block_len, end = (from->first + from->dim - 1) / info->block_len + 1;
    pare_status st = PARE_OK;
    *step = (end - block) * info->block_len;
    *out = from->decoded + from->first % info->block_len;
    for (uint32_t j = lo; j < hi && st == PARE_OK; j++)
        st = pare_decode_rows(from->type, from->rows + j * from->row_bytes + block * info->block_bytes, 1, *step,
                              from->decoded + (j - lo) * *step, err);
    return st;
}

/* Keys [lo, hi), at most a chunk, for the queries that see any of them. */
static pare_status add_chunk(piece *p, uint32_t lo, uint32_t hi, pare_error *err)
{
    const pare_attention *a = p->a;
    const float *k, *v;
    size_t k_row, v_row;
    pare_status st = take_rows(&p->k, lo, hi, &k, &k_row, err);
    if (st != PARE_OK || (st = take_rows(&p->v, lo, hi, &v, &v_row, err)) != PARE_OK)
        return st;
    uint32_t r0 = a->causal && lo > p->q0 ? lo - p->q0 : 0;
    blasint rows = (blasint)(p->n_q - r0), keys = (blasint)(hi - lo), dim_k = (blasint)a->head_dim_k,
            dim_v = (blasint)a->head_dim_v;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, keys, dim_k, a->scale, p->q + r0 * p->q_row,
                (blasint)p->q_row, k, (blasint)k_row, 0.0f, p->s, keys);
    for (uint32_t r = r0; r < p->n_q; r++)
        weigh_row(p, r, p->s + (size_t)(r - r0) * (hi - lo), lo, hi);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, dim_v, keys, 1.0f, p->s, keys, v, (blasint)v_row,
                lo == p->lo ? 0.0f : 1.0f, p->out + r0 * p->o_row, (blasint)p->o_row);
    return PARE_OK;
}

static void finish_row(const piece *p, uint32_t r)
{
    float *out = p->out + r * p->o_row, sum = p->sum[r], shrink = 1, sink;
    if (p->sink != NULL) {
        sink = *p->sink;
        float max = p->max[r];
        shrink = pare_cpu_softmax_part(&sink, 1, &max, &sum);
    }
    float factor = shrink / sum;
    for (uint32_t d = 0; d < p->a->head_dim_v; d++)
        out[d] *= factor;
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

static stored stored_head(pare_type type, const void *rows, const pare_attention *a, size_t dim, size_t row,
                          size_t head, float *decoded)
{
    stored s = {.type = type, .row_len = a->n_head_kv * dim, .first = head * dim, .dim = dim, .decoded = decoded};
    pare_row_bytes(type, s.row_len, &s.row_bytes); /* checked before */
    s.rows = (const uint8_t *)rows + row * s.row_bytes;
    return s;
}

/* Floats of a chunk of one head's rows in whole blocks, 0 for floats, which are used where they are. */
static pare_status decoded_floats(const pare_attention *a, pare_type type, uint32_t dim, size_t *out, pare_error *err)
{
    const pare_type_info *info = pare_type_get(type);
    uint64_t row_bytes;
    *out = type == PARE_TYPE_F32 ? 0 : ((size_t)(dim - 1) / info->block_len + 2) * info->block_len * CHUNK;
    if (!pare_row_bytes(type, (uint64_t)a->n_head_kv * dim, &row_bytes))
        return pare_fail(err, PARE_ERR_RANGE, "keys or values in %s: rows of %u x %u are no multiple of its %u weights",
                         info->name, a->n_head_kv, dim, info->block_len);
    return PARE_OK;
}

static pare_status attend_tile(size_t index, int thread, void *ctx, pare_error *err)
{
    job *w = ctx;
    const pare_attention *a = w->a;
    size_t at = span_of(w, index);
    const pare_attention_span *span = &a->spans[at];
    index -= w->first_piece[at];
    size_t n_tiles = (w->first_piece[at + 1] - w->first_piece[at]) / a->n_head;
    uint32_t size = tile_of(span), from = (uint32_t)(index % n_tiles) * size;
    size_t head = index / n_tiles, kv = head / (a->n_head / a->n_head_kv);
    size_t bytes = SCORE_BYTES + (w->k_floats + w->v_floats) * sizeof(float);
    if (w->scores[thread] == NULL && (w->scores[thread] = malloc(bytes)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu bytes of attention scores", bytes);
    piece p = {.a = a,
               .q_row = (size_t)a->n_head * a->head_dim_k,
               .o_row = (size_t)a->n_head * a->head_dim_v,
               .q0 = span->n_past + from,
               .n_q = span->n - from < size ? span->n - from : size,
               .sink = w->sinks != NULL ? w->sinks + head : NULL,
               .slope = a->alibi != 0 ? pare_alibi_slope(a->alibi, a->n_head, (uint32_t)head) : 0,
               .s = w->scores[thread]};
    p.lo = a->window != 0 && p.q0 >= a->window ? p.q0 - a->window + 1 : 0;
    p.hi = a->causal ? p.q0 + p.n_q : span->n_past + span->n;
    p.q = a->q + (span->row + (size_t)from) * p.q_row + head * a->head_dim_k;
    p.k = stored_head(a->type_k, a->k, a, a->head_dim_k, span->kv_row, kv, w->scores[thread] + LONG_TILE * CHUNK);
    p.v = stored_head(a->type_v, a->v, a, a->head_dim_v, span->kv_row, kv,
                      w->scores[thread] + LONG_TILE * CHUNK + w->k_floats);
    p.out = a->out + (span->row + (size_t)from) * p.o_row + head * a->head_dim_v;
    for (uint32_t r = 0; r < p.n_q; r++) {
        p.max[r] = -INFINITY;
        p.sum[r] = 0;
    }
    pare_status st = PARE_OK;
    for (uint32_t lo = p.lo; lo < p.hi && st == PARE_OK; lo += CHUNK)
        st = add_chunk(&p, lo, p.hi - lo < CHUNK ? p.hi : lo + CHUNK, err);
    for (uint32_t r = 0; r < p.n_q && st == PARE_OK; r++)
        finish_row(&p, r);
    return st;
}

static void number_pieces(job *w)
{
    const pare_attention *a = w->a;
    for (uint32_t i = 0; i < a->n_spans; i++)
        w->first_piece[i + 1] =
            w->first_piece[i] + (size_t)a->n_head * ((a->spans[i].n - 1) / tile_of(&a->spans[i]) + 1);
}

pare_status pare_cpu_attention(pare_backend *b, const pare_attention *a, pare_error *err)
{
    (void)b;
    int threads = pare_threads();
    job w = {.a = a};
    float *owned = NULL;
    pare_status st = decoded_floats(a, a->type_k, a->head_dim_k, &w.k_floats, err);
    if (st == PARE_OK)
        st = decoded_floats(a, a->type_v, a->head_dim_v, &w.v_floats, err);
    if (st == PARE_OK && a->sinks != NULL)
        st = pare_cpu_vector(a->sinks, a->n_head, &owned, &w.sinks, err);
    if (st != PARE_OK)
        return st;
    w.scores = calloc((size_t)threads, sizeof *w.scores);
    w.first_piece = calloc((size_t)a->n_spans + 1, sizeof *w.first_piece);
    if (w.scores == NULL || w.first_piece == NULL) {
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the attention of %u sequences", a->n_spans);
    } else {
        number_pieces(&w);
        st = pare_parallel(w.first_piece[a->n_spans], attend_tile, &w, err);
    }
    for (int i = 0; w.scores != NULL && i < threads; i++)
        free(w.scores[i]);
    free(w.scores);
    free(w.first_piece);
    free(owned);
    return st;
}
