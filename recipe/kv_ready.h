/* recipe/kv_ready.h - weights whose keys and values suit a quantized cache, in runtimes that do not rotate it
 *
 * The same model with other weights, exactly but for rounding:
 *
 *     values   v rows (and bias) of each head times an orthogonal R, columns of the attention output that read it alike
 *     keys     each RoPE pair divided by one factor s > 0, that pair of the queries that read it times s
 *
 * R = D2 H D1, a Hadamard matrix between random signs (of heads that are no power of two: two of them, over blocks cut
 * from either end), one for each layer: a runtime's own H in front of it mixes again, and does not undo it. Factors are
 * in the gains and biases of norms of queries and keys where there are such, and else in rows and biases. Method:
 * docs/methods/KV_CACHE.md. */
#ifndef PARE_RECIPE_KV_READY_H
#define PARE_RECIPE_KV_READY_H

#include "model/imatrix.h"
#include "model/key_sample.h"
#include "model/model.h"

/* A layer that has keys and values of its own. */
typedef struct pare_kv_ready_layer {
    bool keys, values;                /* what is changed */
    bool alike;                       /* factors are those of all key heads: a norm's gain is */
    uint32_t n_head_kv, dim_k, dim_v; /* key heads, elements of a head */
    uint32_t n_rot;                   /* leading elements of a key in pairs; the others stand alone */
    bool interleaved;                 /* pairs (2i, 2i + 1), else (i, i + n_rot / 2) */
    float *scale;                     /* [n_head_kv, dim_k] s, finite and > 0, one of a pair; 1 at first */
} pare_kv_ready_layer;

/* Zeroed is empty. */
typedef struct pare_kv_ready {
    pare_kv_ready_layer *layers; /* [n_layer] by number */
    uint32_t n_layer, n_keys, n_values;
    char *left;        /* what is not changed, and why: a line; NULL: nothing is left out */
    double mean_ratio; /* pare_kv_ready_fit: what factors left of the error of q.k in q4_0, a geometric mean; NAN: they
                        * were not tried */
    pare_arena arena;
} pare_kv_ready;

#define PARE_KV_READY_KEY "general.kv_ready" /* of the metadata: what was changed */

/* What can be changed in m without changing what it says, by its architecture.
 * Errors: PARE_ERR_UNSUPPORTED (nothing: family and reason, such as weights that are quantized), PARE_ERR_USAGE (it was
 * done before), PARE_ERR_MEMORY */
pare_status pare_kv_ready_find(pare_kv_ready *r, const pare_model *m, pare_error *err);
void pare_kv_ready_close(pare_kv_ready *r);

/* Choose factors: of each key head, or all heads together, the powers of the sizes of keys, and of keys over queries,
 * that make the error of q.k least when keys are kept in q4_0. samples [n_layer] of a text (eval/key_collect.h); NULL:
 * keys are made up from rows, biases and gains. The calling thread only. Errors: those of reading weights,
 * PARE_ERR_NUMBER (a key is not finite), PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_kv_ready_fit(pare_kv_ready *r, const pare_model *m, const pare_key_sample *samples, pare_error *err);

/* Let m, which r was found for, show the changed weights, in F32, and say so in its metadata. r may be closed after it.
 * Errors: PARE_ERR_MEMORY */
pare_status pare_kv_ready_apply(pare_model *m, const pare_kv_ready *r, pare_error *err);

/* Calibration statistics of m as it was become those of m as it is. Of the inputs x of the attention output, which are
 * rotated: second-order statistics exactly, H' = R H R^T, and importances are its diagonal. Without them means are
 * rotated, and what importances hold beyond the squared means is spread evenly over each head, as if its elements
 * varied alone: *n_spread says of how many matrices. beside: a path in the folder for the new triangles, which lie in
 * im's spool: it has none yet.
 * Errors: PARE_ERR_RANGE (an entry of another shape), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_kv_ready_statistics(const pare_kv_ready *r, const pare_model *m, pare_imatrix *im, const char *beside,
                                     uint32_t *n_spread, pare_error *err);

/* x [n, dim_v], vectors of heads of the layer's values: R x, and back. */
void pare_kv_ready_turn(const pare_kv_ready_layer *l, uint32_t layer, float *x, size_t n);
void pare_kv_ready_turn_back(const pare_kv_ready_layer *l, uint32_t layer, float *x, size_t n);

/* The element that makes a pair with element i < dim_k; i itself: none. */
uint32_t pare_kv_ready_partner(const pare_kv_ready_layer *l, uint32_t i);

#endif
