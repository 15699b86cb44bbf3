/* eval/backend.h - the table of operations over which the forward pass is written; CPU and CUDA each fill one
 *
 * Activations are float matrices [n_tokens, width], rows contiguous, in memory of the backend. Weights are tensors of a
 * model, multiplied straight from their quantized blocks: nothing keeps a decoded copy of a whole weight. */
#ifndef PARE_EVAL_BACKEND_H
#define PARE_EVAL_BACKEND_H

#include "model/model.h"

typedef struct pare_backend pare_backend;

/* Attention over one sequence. q: [n, n_head, head_dim_k]; k: [n, n_head_kv, head_dim_k]; v: [n, n_head_kv,
 * head_dim_v]; out: [n, n_head, head_dim_v]. Query i sees keys j with i - window < j <= i (window 0: all j <= i).
 * Query head h reads key/value head h * n_head_kv / n_head. sinks: [n_head] extra logits or NULL. */
typedef struct pare_attention {
    uint32_t n, n_head, n_head_kv, head_dim_k, head_dim_v, window;
    bool causal;
    float scale, softcap;
    const float *q, *k, *v, *sinks;
    float *out;
} pare_attention;

/* Rotary embedding of x: [n, n_head, head_dim] in place; row t is position first + t; freq: [n_rot / 2] angles per
 * position, mscale multiplies cos and sin. */
typedef struct pare_rope {
    uint32_t n, n_head, head_dim, n_rot, first;
    pare_rope_layout layout;
    const float *freq;
    float mscale;
} pare_rope;

struct pare_backend {
    const char *name; /* "cpu", "cuda:0" */
    void *state;

    void *(*alloc)(pare_backend *b, size_t bytes, pare_error *err); /* NULL and err on failure */
    void (*release)(pare_backend *b, void *p);
    pare_status (*upload)(pare_backend *b, void *dst, const void *src, size_t bytes, pare_error *err);
    pare_status (*download)(pare_backend *b, void *dst, const void *src, size_t bytes, pare_error *err);

    /* y[n, w->n_rows] = x[n, w->row_len] * w^T; rows [row, row + n_rows) of w only */
    pare_status (*matmul)(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x, uint32_t n,
                          float *y, pare_error *err);
    /* y[n, row_len] = rows ids[i] of w */
    pare_status (*embed)(pare_backend *b, const pare_tensor *w, const int32_t *ids, uint32_t n, float *y, pare_error *err);
    /* y = norm(x) * weight + bias over groups of `width`; x and y: [n, width]; weight, bias: F32 tensors or NULL */
    pare_status (*norm)(pare_backend *b, pare_norm kind, const float *x, uint32_t n, uint32_t width, const pare_tensor *weight,
                        const pare_tensor *bias, float eps, float *y, pare_error *err);
    pare_status (*rope)(pare_backend *b, const pare_rope *r, float *x, pare_error *err);
    pare_status (*attention)(pare_backend *b, const pare_attention *a, pare_error *err);
    /* y[i] = act(gate[i]) * up[i], or act(up[i]) when gate is NULL; n elements; y may be gate or up */
    pare_status (*activate)(pare_backend *b, pare_activation act, const float *gate, const float *up, size_t n, float *y, pare_error *err);
    pare_status (*add)(pare_backend *b, float *x, const float *y, float y_scale, size_t n, pare_error *err); /* x += y_scale * y */
    pare_status (*add_row)(pare_backend *b, float *x, const pare_tensor *bias, uint32_t n, uint32_t width, pare_error *err); /* each row += bias */
    pare_status (*scale)(pare_backend *b, float *x, float factor, size_t n, pare_error *err);
    pare_status (*softcap)(pare_backend *b, float *x, float cap, size_t n, pare_error *err);

    void (*close)(pare_backend *b);
};

/* The CPU backend: float32 arithmetic, BLAS for products; results do not depend on the number of threads. */
pare_status pare_backend_cpu(pare_backend **out, pare_error *err);

#endif
