#include "gpu/attention.h"

#include "gpu/attention_parts.h"
#include "gpu/decode.h"
#include "gpu/weights.h"

#include <stdlib.h>

/* Keys and values that the kernels want in another form than they are in (stored blocks; two parts of each factor) are
 * held so in scratch memory, for as many spans at once as need BATCH_BYTES, or a part of a small budget, and at least
 * one. */
enum : uint64_t { BATCH_BYTES = (uint64_t)256 << 20, BATCH_PART = 16, BATCH_SPANS = 32768 };

/* Spans [first, first + n) of an operation, and how they are attended. */
typedef struct batch {
    const pare_attention *a;
    const attention_form *form; /* NULL: floats */
    bool held;                  /* keys and values are in scratch memory, only the spans' rows */
    const pare_attention_span *spans;
    uint32_t n;
    held_rows *rows; /* of each span */
    uint64_t total, longest;
} batch;

/* The rows of a span's keys that any of its queries sees. */
static held_rows rows_of(const pare_attention *a, const pare_attention_span *s, uint64_t to)
{
    uint64_t lo = a->window != 0 && s->n_past >= a->window ? s->n_past - a->window + 1 : 0;
    return held_rows{s->kv_row + lo, to, (uint64_t)s->n_past + s->n - lo};
}

/* The spans from number `first` on that are taken at once. */
static batch next_batch(const pare_gpu *g, const pare_attention *a, const attention_form *form, uint32_t first,
                        held_rows *rows)
{
    bool held = form != NULL || a->type_k != PARE_TYPE_F32 || a->type_v != PARE_TYPE_F32;
    batch b = {a, form, held, a->spans + first, a->n_spans - first, rows, 0, 0};
    uint64_t row_bytes = (uint64_t)a->n_head_kv * sizeof(float) *
                         (form != NULL ? form->dim_k + form->dim_v : a->head_dim_k + a->head_dim_v);
    uint64_t most = g->max_bytes / BATCH_PART < BATCH_BYTES ? g->max_bytes / BATCH_PART : BATCH_BYTES;
    for (uint32_t i = 0; held && i < b.n; i++) {
        rows[i] = rows_of(a, &b.spans[i], b.total);
        if (i > 0 && (i == BATCH_SPANS || (b.total + rows[i].n) * row_bytes > most)) {
            b.n = i;
            break;
        }
        b.total += rows[i].n;
        b.longest = rows[i].n > b.longest ? rows[i].n : b.longest;
    }
    return b;
}

/* Keys or values of a batch as floats, one span's rows behind the other's. */
static pare_status decode_rows(pare_gpu *g, const batch *b, pare_type type, const void *src, uint64_t width, float *dst,
                               pare_error *err)
{
    pare_status st = PARE_OK;
    uint64_t row_bytes = pare_gpu_stored_bytes(type, width);
    if (row_bytes == 0)
        return pare_gpu_calls->fail(err, PARE_ERR_RANGE, "keys or values: rows of %llu weights are no whole blocks",
                                    (unsigned long long)width);
    for (uint32_t i = 0; i < b->n && st == PARE_OK; i++)
        st = pare_gpu_decode(g, type, (const uint8_t *)src + b->rows[i].from * row_bytes, b->rows[i].n * width,
                             dst + b->rows[i].to * width, false, err);
    return st;
}

/* Keys or values of a batch, heads of dim, as the kernels take them; padded: the form's dim. */
static pare_status hold(pare_gpu *g, const batch *b, pare_type type, const void *src, uint32_t dim, uint32_t padded,
                        pare_gpu_purpose purpose, const void **out, pare_error *err)
{
    uint64_t width = (uint64_t)b->a->n_head_kv * dim;
    pare_status st = PARE_OK;
    attention_pack p = {(const float *)src,   NULL, NULL, b->total, b->longest, b->n, b->a->n_head_kv, dim, padded,
                        type != PARE_TYPE_F32};
    if (b->form == NULL || type != PARE_TYPE_F32) {
        float *floats = (float *)pare_gpu_scratch_of(g, b->form == NULL ? purpose : PARE_GPU_DECODED,
                                                     b->total * width * sizeof *floats, err);
        st = floats != NULL ? decode_rows(g, b, type, src, width, floats, err) : PARE_ERR_MEMORY;
        p.src = floats;
        *out = floats;
    }
    if (b->form == NULL || st != PARE_OK)
        return st;
    p.dst = (uint16_t *)pare_gpu_scratch_of(g, purpose, b->total * b->a->n_head_kv * 2 * padded * sizeof *p.dst, err);
    p.spans = (const held_rows *)pare_gpu_push(g, b->rows, b->n * sizeof *b->rows, err);
    *out = p.dst;
    return p.dst != NULL && p.spans != NULL ? pare_gpu_attention_pack(g, &p, err) : PARE_ERR_MEMORY;
}

/* Tiles of queries of a batch, on the device. Those that see most keys come first in a span: they end last. */
static pare_status push_tiles(pare_gpu *g, const batch *b, const query_tile **out, uint32_t *n, pare_error *err)
{
    uint64_t group = b->a->n_head / b->a->n_head_kv, count = 0,
             size = b->form != NULL ? b->form->rows : PARE_ATTENTION_FLOAT_ROWS;
    for (uint32_t i = 0; i < b->n; i++)
        count += (b->spans[i].n * group - 1) / size + 1;
    query_tile *tiles = count <= INT32_MAX ? (query_tile *)malloc(count * sizeof *tiles) : NULL, *p = tiles;
    if (tiles == NULL)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for the attention of %u sequences", b->n);
    for (uint32_t i = 0; i < b->n; i++) {
        const pare_attention_span *s = &b->spans[i];
        int64_t key = (int64_t)s->kv_row;
        if (b->held) /* the rows that are held end with the span's last key */
            key = (int64_t)(b->rows[i].to + b->rows[i].n) - (int64_t)((uint64_t)s->n_past + s->n);
        for (uint64_t k = (s->n * group - 1) / size + 1; k-- > 0;)
            *p++ = query_tile{key, s->row, (uint32_t)(k * size), s->n, s->n_past};
    }
    *out = (const query_tile *)pare_gpu_push(g, tiles, count * sizeof *tiles, err);
    *n = (uint32_t)count;
    free(tiles);
    return *out != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

static pare_status attend(pare_gpu *g, const batch *b, attention_job *job, pare_error *err)
{
    const pare_attention *a = b->a;
    uint32_t n_tiles = 0, dim_k = b->form != NULL ? b->form->dim_k : 0, dim_v = b->form != NULL ? b->form->dim_v : 0;
    pare_status st = push_tiles(g, b, &job->tiles, &n_tiles, err);
    job->k = a->k;
    job->v = a->v;
    job->kv_rows = b->total;
    if (st != PARE_OK)
        return st;
    if (b->held && (st = hold(g, b, a->type_k, a->k, a->head_dim_k, dim_k, PARE_GPU_KEYS, &job->k, err)) == PARE_OK)
        st = hold(g, b, a->type_v, a->v, a->head_dim_v, dim_v, PARE_GPU_VALUES, &job->v, err);
    if (st != PARE_OK)
        return st;
    return b->form != NULL ? b->form->launch(g, job, n_tiles, err) : pare_gpu_attention_float(g, job, n_tiles, err);
}

static attention_job job_of(const pare_attention *a)
{
    attention_job job = {};
    job.q = a->q;
    job.out = a->out;
    job.n_head = a->n_head;
    job.n_head_kv = a->n_head_kv;
    job.group = a->n_head / a->n_head_kv;
    job.dim_k = a->head_dim_k;
    job.dim_v = a->head_dim_v;
    job.window = a->window;
    job.causal = a->causal;
    job.scale = a->scale;
    job.softcap = a->softcap;
    job.alibi = a->alibi;
    return job;
}

pare_status pare_gpu_attention(pare_gpu *g, const pare_attention *a, pare_error *err)
{
    if (a->n_spans == 0)
        return PARE_OK;
    const attention_form *form = g->f32 || a->alibi != 0 ? NULL : pare_gpu_attention_form(a->head_dim_k, a->head_dim_v);
    attention_job job = job_of(a);
    held_rows *rows = (held_rows *)malloc(a->n_spans * sizeof *rows);
    if (rows == NULL)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for the attention of %u sequences", a->n_spans);
    pare_status st = a->sinks != NULL ? pare_gpu_vector(g, a->sinks, &job.sinks, err) : PARE_OK;
    for (uint32_t first = 0; first < a->n_spans && st == PARE_OK;) {
        const batch b = next_batch(g, a, form, first, rows);
        st = attend(g, &b, &job, err);
        first += b.n;
    }
    free(rows);
    return st;
}
