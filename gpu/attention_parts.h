/* gpu/attention_parts.h - what the sources of attention share: tiles of queries, and the kernels over them */
#ifndef PARE_GPU_ATTENTION_PARTS_H
#define PARE_GPU_ATTENTION_PARTS_H

#include "gpu/runtime.h"

#include <math.h>

/* The query heads that share a key/value head are the rows of one matrix, `group` rows a query, so that keys are read
 * once for all of them and a query alone still fills rows. A block takes a tile of these rows through the keys that any
 * of them sees:
 *
 *              keys  lo ....... | ....... | ....... hi
 *   row 0 = query 0, head 0     #         #  ..\
 *   row 1 = query 0, head 1     #  seen   #  ..\      tiles of keys; those outside of the triangle, or of the window,
 *   row 2 = query 1, head 0     #  by all #  ...\     are skipped, and only those on its edges are masked
 *   ...                         #         #  ....\
 */
typedef struct query_tile {
    int64_t key;    /* row of k and v of key 0 of the sequence; below 0 where only later keys are held */
    uint32_t row;   /* of q and out: the span's first query */
    uint32_t first; /* row of the matrix */
    uint32_t n, n_past;
} query_tile;

/* What kernels know of a pare_attention. k and v: floats as they are given, or what pare_gpu_attention_pack made. */
typedef struct attention_job {
    const query_tile *tiles;
    const float *q, *sinks;
    const void *k, *v;
    float *out;
    uint64_t kv_rows; /* of packed keys and values */
    uint32_t n_head, n_head_kv, group, dim_k, dim_v, window;
    bool causal;
    float scale, softcap, alibi;
} attention_job;

/* The first key that the query at a position sees. */
static __device__ __forceinline__ uint32_t first_key(const attention_job *job, uint32_t at)
{
    return job->window != 0 && at >= job->window ? at - job->window + 1 : 0;
}

/* Keys [lo, hi) that rows [first, end) of the matrix see together. */
static __device__ __forceinline__ void keys_of_rows(const attention_job *job, const query_tile *t, uint32_t first,
                                                    uint32_t end, uint32_t *lo, uint32_t *hi)
{
    uint32_t early = t->n_past + first / job->group, late = t->n_past + (end - 1) / job->group;
    *lo = first_key(job, early);
    *hi = job->causal ? late + 1 : t->n_past + t->n;
}

static __device__ __forceinline__ float capped(float s, float softcap)
{
    return softcap != 0 ? softcap * tanhf(s / softcap) : s;
}

/* The row of q and out, [rows, n_head], where row r of the matrix of key/value head kv is. */
static __device__ __forceinline__ size_t row_of(const attention_job *job, const query_tile *t, uint32_t kv, uint32_t r)
{
    return (size_t)(t->row + r / job->group) * job->n_head + (size_t)kv * job->group + r % job->group;
}

/* In floats, any shape. */
enum : uint32_t { PARE_ATTENTION_FLOAT_ROWS = 32 };
pare_status pare_gpu_attention_float(pare_gpu *g, const attention_job *job, uint32_t n_tiles, pare_error *err);

/* On tensor cores, every factor in two bfloat16 parts. A form: head dims up to so many, tiles of so many rows. */
typedef struct attention_form {
    uint32_t dim_k, dim_v, rows;
    pare_status (*launch)(pare_gpu *g, const attention_job *job, uint32_t n_tiles, pare_error *err);
} attention_form;

/* The form for these head dims, NULL: there is none. */
const attention_form *pare_gpu_attention_form(uint32_t dim_k, uint32_t dim_v);

/* Rows [from, from + n) of keys or values, which become rows from `to` on of those that are held. */
typedef struct held_rows {
    uint64_t from, to, n;
} held_rows;

/* dst, uint16_t [n_head][total][2][padded]: the upper and the lower parts of those rows of src, [rows, n_head, dim];
 * or, when compact, of rows `to` instead of `from`. spans: device memory, n_spans <= 65535; longest: the largest n. */
typedef struct attention_pack {
    const float *src;
    uint16_t *dst;
    const held_rows *spans;
    uint64_t total, longest;
    uint32_t n_spans, n_head, dim, padded;
    bool compact;
} attention_pack;
pare_status pare_gpu_attention_pack(pare_gpu *g, const attention_pack *p, pare_error *err);

#endif
