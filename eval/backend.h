/* eval/backend.h - the table of operations over which the forward pass is written; CPU and CUDA each fill one
 *
 * Activations are float matrices [n_tokens, width], rows contiguous, in memory of the backend ("device memory" below;
 * on the CPU ordinary memory). Weights are tensors of a model, multiplied straight from their quantized blocks: nothing
 * keeps a decoded copy of a whole weight. A backend is free to compute products in another type (BF16, 8 bit): the
 * float interface between operations stays. One thread at a time calls a backend. */
#ifndef PARE_EVAL_BACKEND_H
#define PARE_EVAL_BACKEND_H

#include "core/bytes.h"
#include "model/model.h"
#include "quant/hadamard.h"
#include "quant/kv_codec.h"

#include <math.h>

typedef struct pare_backend pare_backend;

/* The queries of one sequence: rows [row, row + n) of q and out, at positions n_past, n_past + 1, ... of the sequence,
 * whose keys and values are rows [kv_row, kv_row + n_past + n) of k and v. */
typedef struct pare_attention_span {
    uint32_t row, n, n_past;
    size_t kv_row;
} pare_attention_span;

/* Attention of n_spans sequences (spans: host memory, each with n > 0). q: [rows, n_head, head_dim_k]; k: [kv rows,
 * n_head_kv, head_dim_k]; v: [kv rows, n_head_kv, head_dim_v]; out: [rows, n_head, head_dim_v]. Rows of k and v are
 * stored as type_k and type_v, one behind the other: floats, or blocks of a type whose length divides a row. The query
 * at position i of a sequence sees its keys j with j <= i (causal) and i - j < window (window 0: no limit). Query head
 * h reads key/value head h / (n_head / n_head_kv). Scores are scale * q.k, then softcap * tanh(s / softcap) where
 * softcap is not 0, then plus (j - i) pare_alibi_slope(alibi, n_head, h) where alibi is not 0. sinks: [n_head] logits
 * that take part in the softmax without a value, or NULL. */
typedef struct pare_attention {
    const pare_attention_span *spans;
    uint32_t n_spans, n_head, n_head_kv, head_dim_k, head_dim_v, window;
    bool causal;
    float scale, softcap, alibi;
    pare_type type_k, type_v; /* PARE_TYPE_F32, which is 0, unless the cache is quantized */
    const float *q;
    const void *k, *v;
    const pare_tensor *sinks;
    float *out;
} pare_attention;

/* How much less a head likes each token farther away (Press, Smith, Lewis: Train Short, Test Long, arXiv 2108.12409):
 * in powers of 2^(-bias_max / n) for the first n heads, n being the largest power of two; the others lie between them.
 */
PARE_HD float pare_alibi_slope(float bias_max, uint32_t n_head, uint32_t head)
{
    uint32_t n = 1;
    while (2 * n <= n_head)
        n *= 2;
    return head < n ? exp2f(-bias_max * (float)(head + 1) / (float)n)
                    : exp2f(-bias_max * (float)(2 * (head - n) + 1) / (float)(2 * n));
}

/* Rotary embedding of x: [n, n_head, head_dim] in place; row r is at positions[r]. The first n_rot elements of a head
 * turn: pair i (interleaved: elements 2i and 2i + 1; halves: i and i + n_rot / 2) by the angle whose cosine and sine
 * are cos_sin[position][i][0] and [1]. positions: host memory; cos_sin: [> the largest, n_rot / 2, 2] in device memory.
 */
typedef struct pare_rope {
    const int32_t *positions;
    uint32_t n, n_head, head_dim, n_rot;
    pare_rope_layout layout;
    const float *cos_sin;
} pare_rope;

/* x: [n, n_head, head_dim] in place: less shift [n_head, head_dim], device memory (NULL: 0), then each head rotated;
 * back: each head rotated back, without a shift. rotation.dim is head_dim, or 0: none. */
typedef struct pare_turn {
    pare_rotation rotation;
    const float *shift;
    float *x;
    uint32_t n, n_head, head_dim;
    bool back;
} pare_turn;

/* y = (x - mean) / sqrt(variance + eps) * weight + bias (LAYER), or x / sqrt(mean of x^2 + eps) * weight (RMS), over
 * each of n groups of `width` elements; x and y: [n, width], y may be x. weight and bias are
 * NULL: one, zero; or have rows of `width` elements, one for all groups or n_rows for groups in turn: group g takes row
 * g % n_rows (a norm of its own for each head). */
typedef struct pare_norm_op {
    pare_norm kind;
    const float *x;
    uint64_t n;
    uint32_t width;
    const pare_tensor *weight, *bias;
    float eps;
    float *y;
} pare_norm_op;

/* Elements of t, its weight or bias, that a norm over groups of `width` reads; more than any tensor has where the shape
 * is another. */
static inline uint64_t pare_norm_elements(const pare_tensor *t, uint32_t width)
{
    bool rows = t->n_rows > 1 && t->row_len == width;
    return t->n_rows == 1 ? width : rows ? t->n_rows * width : UINT64_MAX;
}

/* y = g / (1 + e^(-alpha g)) * (u + 1) with g = min(gate, limit) and u = up within [-limit, limit]: the gated unit of
 * gpt-oss. n elements; y may be gate or up. */
typedef struct pare_clamped_glu {
    const float *gate, *up;
    size_t n;
    float alpha, limit;
    float *y;
} pare_clamped_glu;

/* Hidden states and what makes logits of them: softcap(scale * (x W^T + bias)), softcap(l) = cap * tanh(l / cap). */
typedef struct pare_score_side {
    const float *x;              /* [n, w->row_len], device memory, behind the last norm */
    const pare_tensor *w, *bias; /* [n_vocab, width]; [n_vocab] or NULL */
    float scale, softcap;        /* 1, and 0: none */
} pare_score_side;

/* What one position says of two distributions, p the reference's and q the model's; natural logarithms. Without a
 * reference ref_bad is -1, and what else has ref or kld in its name 0. Where a logit is not finite, nll or ref_nll is
 * that logit, and of the other fields only bad and ref_bad mean anything. */
typedef struct pare_position_score {
    double nll, ref_nll;     /* -ln q(target), -ln p(target) */
    double kld, kld_reverse; /* KL(p || q), KL(q || p) */
    int32_t top, ref_top;    /* the most likely token, the first of equals */
    int32_t bad, ref_bad;    /* the first token whose logit is not finite, else -1 */
} pare_position_score;

/* A layer of linear attention keeps a state in place of keys and values. Of span i it lies in slot slots[i]: it is read
 * where the span's n_past is not 0, and left there for the tokens that follow; -1: the span is a whole sequence, and
 * nobody reads its state. spans as in attention (kv_row is not looked at); slots: [n_spans], all different but for -1,
 * host memory. */

/* y[t][c] = silu(sum over k < kernel of w[c][k] x[t - kernel + 1 + k][c]), x being 0 before a sequence begins: a
 * convolution over time in each channel by itself. x, y: [rows, width], apart. past: [slots, kernel - 1, width], the
 * last inputs, oldest first. */
typedef struct pare_conv {
    const pare_attention_span *spans;
    const int32_t *slots;
    uint32_t n_spans, width, kernel;
    const float *x;
    const pare_tensor *w; /* [width, kernel] */
    float *past, *y;
} pare_conv;

/* The gated delta rule (Yang, Kautz, Hatamizadeh: Gated Delta Networks, arXiv 2412.06464, equation 10), head by head,
 * with the state S [dim_k, dim_v] of a head, 0 before a sequence begins:
 *
 *   S = e^(a softplus(alpha + dt)) S;  S += k (sigmoid(beta) (v - S^T k))^T;  out = S^T q
 *
 * q and k are scaled to length one (x / sqrt(sum of x^2 + PARE_DELTA_EPS)), q then by 1 / sqrt(dim_k). A row of qkv
 * holds the heads of q, of k (n_head_k each) and of v (n_head_v). alpha, beta: [rows, n_head_v]; a (negative), dt:
 * [n_head_v]; state: [slots, n_head_v, dim_k, dim_v]; out: [rows, n_head_v, dim_v], apart from qkv. */
#define PARE_DELTA_EPS 1e-6f
typedef struct pare_delta {
    const pare_attention_span *spans;
    const int32_t *slots;
    uint32_t n_spans, n_head_k, n_head_v, dim_k, dim_v;
    bool tiled; /* value head h reads key head h mod n_head_k, else h / (n_head_v / n_head_k) */
    const float *qkv, *alpha, *beta;
    const pare_tensor *a, *dt;
    float *state, *out;
} pare_delta;

PARE_HD uint32_t pare_delta_key_head(const pare_delta *d, uint32_t h)
{
    return d->tiled ? h % d->n_head_k : h / (d->n_head_v / d->n_head_k);
}

PARE_HD size_t pare_delta_width(const pare_delta *d) /* of a row of qkv */
{
    return 2 * (size_t)d->n_head_k * d->dim_k + (size_t)d->n_head_v * d->dim_v;
}

struct pare_backend {
    const char *name;    /* "cpu", "cuda:0" */
    const char *compute; /* "f32", "bf16", "ggml": how matmul rounds its factors; sums are floats in any case */
    bool host_memory;    /* device memory is the host's: results can be written straight into the caller's arrays */
    void *state;
    /* Device memory for what a pass needs only while it runs, shared by all passes over the backend: they run one after
     * the other. Passes make it grow, close frees it. NULL at first. */
    void *workspace;
    size_t workspace_bytes;
    uint32_t slice_tokens; /* tokens that a pass takes through a layer at once */
    uint32_t batch_tokens; /* of windows that go through the layers together, about */

    void *(*alloc)(pare_backend *b, size_t bytes, pare_error *err); /* aligned to 64; NULL and err on failure */
    void (*release)(pare_backend *b, void *p);                      /* NULL is allowed */
    pare_status (*upload)(pare_backend *b, void *dst, const void *src, size_t bytes, pare_error *err);
    pare_status (*download)(pare_backend *b, void *dst, const void *src, size_t bytes, pare_error *err);
    /* within device memory; apart */
    pare_status (*copy)(pare_backend *b, void *dst, const void *src, size_t bytes, pare_error *err);

    /* y[n, n_rows] = x[n, w->row_len] * W^T with W = rows [row, row + n_rows) of w; y apart from x */
    pare_status (*matmul)(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                          uint32_t n, float *y, pare_error *err);
    /* The same, added to what y holds. NULL: there is no shorter way than a product and an addition. */
    pare_status (*matmul_add)(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                              uint32_t n, float *y, pare_error *err);
    /* As matmul with factors that are never rounded below float: for scores that choose, a router's. */
    pare_status (*matmul_f32)(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                              uint32_t n, float *y, pare_error *err);
    /* y[n, row_len] = rows ids[i] of w; ids in host memory, each below w->n_rows */
    pare_status (*embed)(pare_backend *b, const pare_tensor *w, const int32_t *ids, uint32_t n, float *y,
                         pare_error *err);
    /* y[i] = row ids[i] of x; n rows of `width`. ids in host memory, as below. */
    pare_status (*gather)(pare_backend *b, const float *x, const int32_t *ids, uint32_t n, uint32_t width, float *y,
                          pare_error *err);
    /* columns [to, to + width) of y = columns [from, from + width) of x; rows of x are x_width and those of y y_width
     * floats apart; the two parts do not overlap */
    pare_status (*copy_columns)(pare_backend *b, const float *x, uint32_t x_width, uint32_t from, uint32_t n,
                                uint32_t width, float *y, uint32_t y_width, uint32_t to, pare_error *err);
    /* row ids[i] of y += weights[i] * x[i]; ids all different, both in host memory */
    pare_status (*scatter_add)(pare_backend *b, const float *x, const int32_t *ids, const float *weights, uint32_t n,
                               uint32_t width, float *y, pare_error *err);
    pare_status (*clear)(pare_backend *b, float *y, size_t n, pare_error *err); /* y = 0 */
    pare_status (*norm)(pare_backend *b, const pare_norm_op *op, pare_error *err);
    pare_status (*rope)(pare_backend *b, const pare_rope *r, float *x, pare_error *err);
    pare_status (*attention)(pare_backend *b, const pare_attention *a, pare_error *err);
    /* Keys or values, quant/kv_codec.h: n rows of units; x: [n * group, n_head, dim]. Errors:
     * PARE_ERR_NUMBER, as pare_kv_encode; tokens are counted from x. */
    pare_status (*kv_encode)(pare_backend *b, const pare_kv_codec *c, const float *x, uint64_t n, uint32_t n_head,
                             uint32_t dim, void *dst, pare_error *err);
    pare_status (*kv_decode)(pare_backend *b, const pare_kv_codec *c, const void *src, uint64_t n, uint32_t n_head,
                             uint32_t dim, float *x, pare_error *err);
    pare_status (*turn)(pare_backend *b, const pare_turn *t, pare_error *err);
    pare_status (*conv)(pare_backend *b, const pare_conv *c, pare_error *err);
    pare_status (*delta)(pare_backend *b, const pare_delta *d, pare_error *err);
    /* y[i] = act(gate[i]) * up[i], or act(up[i]) when gate is NULL; n elements; y may be gate or up */
    pare_status (*activate)(pare_backend *b, pare_activation act, const float *gate, const float *up, size_t n,
                            float *y, pare_error *err);
    pare_status (*clamped_glu)(pare_backend *b, const pare_clamped_glu *op, pare_error *err);
    pare_status (*add)(pare_backend *b, float *x, const float *y, float y_scale, size_t n,
                       pare_error *err); /* x += y_scale * y */
    /* each of n rows of x += elements [first, first + width) of bias */
    pare_status (*add_row)(pare_backend *b, float *x, const pare_tensor *bias, uint64_t first, uint32_t n,
                           uint32_t width, pare_error *err);
    pare_status (*scale)(pare_backend *b, float *x, float factor, size_t n, pare_error *err);
    pare_status (*clamp)(pare_backend *b, float *x, float limit, size_t n, pare_error *err); /* to -limit .. limit */
    pare_status (*softcap)(pare_backend *b, float *x, float cap, size_t n, pare_error *err); /* cap * tanh(x / cap) */

    /* Rows of x and y: [n, width].
     * row i of x += (weights[i * stride] + offset) * row i of y; weights in device memory */
    pare_status (*add_weighted)(pare_backend *b, float *x, const float *y, const float *weights, uint32_t stride,
                                float offset, uint32_t n, uint32_t width, pare_error *err);
    /* column c of x times element c of w */
    pare_status (*scale_columns)(pare_backend *b, float *x, const pare_tensor *w, uint32_t n, uint32_t width,
                                 pare_error *err);
    /* each row of x scaled to the mean square of the row of `like`; its own counts as `least` at least */
    pare_status (*match_rms)(pare_backend *b, float *x, const float *like, float least, uint32_t n, uint32_t width,
                             pare_error *err);
    /* x = max(0, x - mean - deviations * standard deviation) over each row, that of all its elements */
    pare_status (*sparsify)(pare_backend *b, float *x, float deviations, uint32_t n, uint32_t width, pare_error *err);

    /* Sums over the n rows of x [n, width] in their order, in double: sum[c] += x[t][c], sum2[c] += x[t][c]^2; sum and
     * sum2: [width] in device memory. */
    pare_status (*add_columns)(pare_backend *b, const float *x, uint32_t n, uint32_t width, double *sum, double *sum2,
                               pare_error *err);
    /* h += x^T x; h: [width, width] in device memory. Sums in float; factors as compute says. */
    pare_status (*add_gram)(pare_backend *b, const float *x, uint32_t n, uint32_t width, float *h, pare_error *err);

    /* Scores of n positions by n_models models (out: [n_models, n], host memory), each beside the reference unless that
     * is NULL. targets: [n], host memory, each below the n_vocab that all sides share. Sums over the vocabulary in
     * double; the logits of a part of the vocabulary at a time are all that is ever held. NULL: the backend does not do
     * this, and scores come from downloaded logits. */
    pare_status (*score)(pare_backend *b, const pare_score_side *models, size_t n_models,
                         const pare_score_side *reference, const int32_t *targets, uint32_t n, pare_position_score *out,
                         pare_error *err);

    /* Weights that a pass which is opened may ask for; those of one that is closed. What is dropped as often as it was
     * held is forgotten: its model may be closed, and another one's tensors may come to lie where these were. NULL
     * (both are): nothing is kept of weights. */
    pare_status (*hold)(pare_backend *b, const pare_tensor *const *weights, size_t n, pare_error *err);
    void (*drop)(pare_backend *b, const pare_tensor *const *weights, size_t n);
    /* These weights will be needed soon, in this order: a hint, given one layer ahead. NULL: of no use. */
    pare_status (*expect)(pare_backend *b, const pare_tensor *const *weights, size_t n, pare_error *err);

    /* A sentence for the user about how the model is held, "12.3 of 131.4 GiB of weights stay on the device, the rest
     * is streamed each pass", once it is known; NULL: there is nothing to say. Valid until the next call. */
    const char *(*remark)(pare_backend *b);

    void (*close)(pare_backend *b); /* frees b too */
};

/* The CPU backend: float32 arithmetic, BLAS for products. Work is cut by the shapes alone and each piece is summed by
 * one thread, so results do not depend on the number of threads. */
pare_status pare_backend_cpu(pare_backend **out, pare_error *err);

/* The CPU backend with weights and activations of matmul rounded to BF16 (nearest even), through oneDNN: AMX or AVX-512
 * BF16 where the CPU has them. Everything else as above; results depend on the CPU, not on the number of threads.
 * Errors: PARE_ERR_UNSUPPORTED (built without oneDNN; the CPU has no AVX-512) */
pare_status pare_backend_cpu_bf16(pare_backend **out, pare_error *err);
/* The CPU backend with the inputs of each product rounded as llama.cpp's CPU kernels round them, to 8 bits before
 * weights in blocks: what a quantized file costs in that program, its arithmetic included. Results do not depend on the
 * CPU more than those of pare_backend_cpu do. */
pare_status pare_backend_cpu_ggml(pare_backend **out, pare_error *err);

/* What computes BF16 products: "oneDNN 2.6.3, AVX-512 BF16", or "none". */
const char *pare_cpu_bf16_library(void);

#endif
