#include "gpu/backend.h"

#include "gpu/attention.h"
#include "gpu/kv.h"
#include "gpu/matmul.h"
#include "gpu/ops.h"
#include "gpu/rows.h"
#include "gpu/recurrence.h"
#include "gpu/statistics.h"
#include "gpu/weights.h"

#include <stdio.h>
#include <stdlib.h>

/* A weight decoded for a slice costs a tenth of its product, and a streamed one takes no longer to arrive than a batch
 * takes to use it (docs/methods/CUDA.md); a small device has a smaller batch: activations take a fifth of it or so. */
enum : uint64_t { SLICE_TOKENS = 4096, MIN_BATCH = 2048, MAX_BATCH = 16384, BYTES_A_TOKEN = 3 << 20 };

/* What is known of an allocation: release gets an address only. */
typedef struct block {
    void *p;
    size_t bytes;
    struct block *next;
} block;

typedef struct device_backend {
    pare_backend table;
    pare_gpu *g;
    block *blocks;
    char name[32], remark[256];
} device_backend;

static device_backend *backend_of(const pare_backend *b)
{
    return (device_backend *)b->state;
}

pare_gpu *pare_gpu_of(const pare_backend *b)
{
    return backend_of(b)->g;
}

/* Every operation starts here: calls may come from another thread than the last one. */
static pare_status enter(const pare_backend *b, pare_gpu **g, pare_error *err)
{
    *g = pare_gpu_of(b);
    cudaError_t code = cudaSetDevice((*g)->device);
    return code == cudaSuccess ? PARE_OK : pare_gpu_check(*g, code, "choosing the device", err);
}

static void *device_alloc(pare_backend *b, size_t bytes, pare_error *err)
{
    pare_gpu *g;
    if (enter(b, &g, err) != PARE_OK)
        return NULL;
    block *k = (block *)malloc(sizeof *k);
    if (k == NULL) {
        pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a list of allocations");
        return NULL;
    }
    k->bytes = bytes;
    if ((k->p = pare_gpu_alloc(g, bytes, "activations", err)) == NULL) {
        free(k);
        return NULL;
    }
    k->next = backend_of(b)->blocks;
    backend_of(b)->blocks = k;
    return k->p;
}

static void device_release(pare_backend *b, void *p)
{
    pare_gpu *g;
    if (p == NULL || enter(b, &g, NULL) != PARE_OK)
        return;
    for (block **at = &backend_of(b)->blocks; *at != NULL; at = &(*at)->next)
        if ((*at)->p == p) {
            block *k = *at;
            *at = k->next;
            pare_gpu_free(g, k->p, k->bytes);
            free(k);
            return;
        }
}

/* The operations: a member of the table calls the function of that name with the device in place of the backend. */
#define OPERATION(name, call, ...)                                                                                     \
    static pare_status device_##name(pare_backend *b, __VA_ARGS__, pare_error *err)                                    \
    {                                                                                                                  \
        pare_gpu *g;                                                                                                   \
        pare_status st = enter(b, &g, err);                                                                            \
        return st == PARE_OK ? (call) : st;                                                                            \
    }

OPERATION(upload, pare_gpu_upload(g, dst, src, bytes, err), void *dst, const void *src, size_t bytes)
OPERATION(download, pare_gpu_download(g, dst, src, bytes, err), void *dst, const void *src, size_t bytes)
OPERATION(copy, pare_gpu_check(g, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, g->stream), "copy", err),
          void *dst, const void *src, size_t bytes)
OPERATION(matmul, pare_gpu_matmul(g, w, row, n_rows, x, n, y, 0, g->f32, err), const pare_tensor *w, uint64_t row,
          uint64_t n_rows, const float *x, uint32_t n, float *y)
OPERATION(matmul_add, pare_gpu_matmul_add(g, w, row, n_rows, x, n, y, err), const pare_tensor *w, uint64_t row,
          uint64_t n_rows, const float *x, uint32_t n, float *y)
OPERATION(matmul_f32, pare_gpu_matmul(g, w, row, n_rows, x, n, y, 0, true, err), const pare_tensor *w, uint64_t row,
          uint64_t n_rows, const float *x, uint32_t n, float *y)
OPERATION(embed, pare_gpu_embed(g, w, ids, n, y, err), const pare_tensor *w, const int32_t *ids, uint32_t n, float *y)
OPERATION(gather, pare_gpu_gather(g, x, ids, n, width, y, err), const float *x, const int32_t *ids, uint32_t n,
          uint32_t width, float *y)
OPERATION(copy_columns, pare_gpu_copy_columns(g, x, x_width, from, n, width, y, y_width, to, err), const float *x,
          uint32_t x_width, uint32_t from, uint32_t n, uint32_t width, float *y, uint32_t y_width, uint32_t to)
OPERATION(scatter_add, pare_gpu_scatter_add(g, x, ids, weights, n, width, y, err), const float *x, const int32_t *ids,
          const float *weights, uint32_t n, uint32_t width, float *y)
OPERATION(clear, pare_gpu_clear(g, y, n, err), float *y, size_t n)
OPERATION(norm, pare_gpu_norm(g, op, err), const pare_norm_op *op)
OPERATION(rope, pare_gpu_rope(g, r, x, err), const pare_rope *r, float *x)
OPERATION(attention, pare_gpu_attention(g, a, err), const pare_attention *a)
OPERATION(kv_encode, pare_gpu_kv_encode(g, c, x, n, n_head, dim, dst, err), const pare_kv_codec *c, const float *x,
          uint64_t n, uint32_t n_head, uint32_t dim, void *dst)
OPERATION(kv_decode, pare_gpu_kv_decode(g, c, src, n, n_head, dim, x, err), const pare_kv_codec *c, const void *src,
          uint64_t n, uint32_t n_head, uint32_t dim, float *x)
OPERATION(turn, pare_gpu_turn(g, t, err), const pare_turn *t)
OPERATION(conv, pare_gpu_conv(g, c, err), const pare_conv *c)
OPERATION(delta, pare_gpu_delta(g, d, err), const pare_delta *d)
OPERATION(activate, pare_gpu_activate(g, act, gate, up, n, y, err), pare_activation act, const float *gate,
          const float *up, size_t n, float *y)
OPERATION(clamped_glu, pare_gpu_clamped_glu(g, op, err), const pare_clamped_glu *op)
OPERATION(add, pare_gpu_add(g, x, y, y_scale, n, err), float *x, const float *y, float y_scale, size_t n)
OPERATION(add_row, pare_gpu_add_row(g, x, bias, first, n, width, err), float *x, const pare_tensor *bias,
          uint64_t first, uint32_t n, uint32_t width)
OPERATION(scale, pare_gpu_scale(g, x, factor, n, err), float *x, float factor, size_t n)
OPERATION(add_weighted, pare_gpu_add_weighted(g, x, y, weights, stride, offset, n, width, err), float *x,
          const float *y, const float *weights, uint32_t stride, float offset, uint32_t n, uint32_t width)
OPERATION(scale_columns, pare_gpu_scale_columns(g, x, w, n, width, err), float *x, const pare_tensor *w, uint32_t n,
          uint32_t width)
OPERATION(match_rms, pare_gpu_match_rms(g, x, like, least, n, width, err), float *x, const float *like, float least,
          uint32_t n, uint32_t width)
OPERATION(sparsify, pare_gpu_sparsify(g, x, deviations, n, width, err), float *x, float deviations, uint32_t n,
          uint32_t width)
OPERATION(clamp, pare_gpu_clamp(g, x, limit, n, err), float *x, float limit, size_t n)
OPERATION(softcap, pare_gpu_softcap(g, x, cap, n, err), float *x, float cap, size_t n)
OPERATION(add_columns, pare_gpu_add_columns(g, x, n, width, sum, sum2, err), const float *x, uint32_t n, uint32_t width,
          double *sum, double *sum2)
OPERATION(add_gram, pare_gpu_gram(g, x, n, width, h, err), const float *x, uint32_t n, uint32_t width, float *h)
OPERATION(score, pare_gpu_score(g, models, n_models, reference, targets, n, out, err), const pare_score_side *models,
          size_t n_models, const pare_score_side *reference, const int32_t *targets, uint32_t n,
          pare_position_score *out)
OPERATION(hold, pare_gpu_weights_hold(g, weights, n, err), const pare_tensor *const *weights, size_t n)
OPERATION(expect, pare_gpu_weights_expect(g, weights, n, err), const pare_tensor *const *weights, size_t n)
#undef OPERATION

static void device_drop(pare_backend *b, const pare_tensor *const *weights, size_t n)
{
    pare_gpu *g;
    if (enter(b, &g, NULL) == PARE_OK)
        pare_gpu_weights_drop(g, weights, n);
}

static const char *device_remark(pare_backend *b)
{
    const double mib = 1024.0 * 1024.0, gib = 1024.0 * mib;
    device_backend *d = backend_of(b);
    pare_gpu_traffic t;
    pare_gpu_weights_traffic(d->g, &t);
    if (t.streamed_bytes == 0)
        return NULL;
    double unit = (double)t.all_bytes < gib ? mib : gib;
    snprintf(d->remark, sizeof d->remark,
             "%.1f of %.1f %s of weights stay on the device, the rest is streamed each pass, at %.1f GB/s",
             (double)t.resident_bytes / unit, (double)t.all_bytes / unit, unit < gib ? "MiB" : "GiB",
             t.stream_seconds > 0 ? (double)t.streamed_bytes / 1e9 / t.stream_seconds : 0.0);
    return d->remark;
}

static void device_close(pare_backend *b)
{
    device_backend *d = backend_of(b);
    pare_gpu *g;
    enter(b, &g, NULL);
    device_release(b, b->workspace);
    while (d->blocks != NULL)
        device_release(b, d->blocks->p);
    pare_gpu_close(g);
    free(d);
}

static void fill_operations(pare_backend *t)
{
    t->alloc = device_alloc;
    t->release = device_release;
    t->upload = device_upload;
    t->download = device_download;
    t->copy = device_copy;
    t->matmul = device_matmul;
    t->matmul_add = device_matmul_add;
    t->matmul_f32 = device_matmul_f32;
    t->embed = device_embed;
    t->gather = device_gather;
    t->conv = device_conv;
    t->delta = device_delta;
    t->copy_columns = device_copy_columns;
    t->scatter_add = device_scatter_add;
    t->clear = device_clear;
    t->norm = device_norm;
    t->rope = device_rope;
    t->attention = device_attention;
    t->kv_encode = device_kv_encode;
    t->kv_decode = device_kv_decode;
    t->turn = device_turn;
    t->activate = device_activate;
    t->clamped_glu = device_clamped_glu;
    t->add = device_add;
    t->add_row = device_add_row;
    t->scale = device_scale;
    t->clamp = device_clamp;
    t->add_weighted = device_add_weighted;
    t->scale_columns = device_scale_columns;
    t->match_rms = device_match_rms;
    t->sparsify = device_sparsify;
    t->softcap = device_softcap;
    t->add_columns = device_add_columns;
    t->add_gram = device_add_gram;
    t->score = device_score;
    t->hold = device_hold;
    t->drop = device_drop;
    t->expect = device_expect;
    t->remark = device_remark;
    t->close = device_close;
}

pare_status pare_gpu_backend(pare_backend **out, pare_gpu *g, pare_error *err)
{
    device_backend *d = (device_backend *)calloc(1, sizeof *d);
    if (d == NULL) {
        pare_gpu_close(g);
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a backend");
    }
    snprintf(d->name, sizeof d->name, "cuda:%d", g->device);
    d->g = g;
    d->table.name = d->name;
    d->table.compute = g->f32 ? "f32" : "bf16";
    d->table.state = d;
    uint64_t batch = g->max_bytes / BYTES_A_TOKEN;
    batch = batch < MIN_BATCH ? MIN_BATCH : batch > MAX_BATCH ? MAX_BATCH : batch;
    d->table.batch_tokens = (uint32_t)batch;
    d->table.slice_tokens = batch < SLICE_TOKENS ? (uint32_t)batch : (uint32_t)SLICE_TOKENS;
    fill_operations(&d->table);
    *out = &d->table;
    return PARE_OK;
}
