/* eval/weight_drift.h - how far the weights of a modified model are from the original's, tensor by tensor
 *
 * Both are decoded, so that a quantized model can be laid beside its source. Method: docs/methods/DRIFT.md. */
#ifndef PARE_EVAL_WEIGHT_DRIFT_H
#define PARE_EVAL_WEIGHT_DRIFT_H

#include "model/model.h"

typedef enum pare_weight_state {
    PARE_WEIGHT_SAME, /* every value */
    PARE_WEIGHT_CHANGED,
    PARE_WEIGHT_SHAPE,   /* another shape: values cannot be compared */
    PARE_WEIGHT_REMOVED, /* only the original has it */
    PARE_WEIGHT_ADDED    /* only the modified model has it */
} pare_weight_state;

/* Differences of some weights. Pairs with a NaN or an infinity are counted and in no sum. */
typedef struct pare_weight_change {
    uint64_t n_weights, n_changed, n_nonfinite;
    double max_abs;      /* largest |modified - original| */
    double change, size; /* sums of squares: of modified - original, and of original */
    bool same_bytes;     /* same type and same stored bytes */
} pare_weight_change;

typedef struct pare_weight_row {
    const char *name;                       /* of a tensor; the models own it */
    const pare_tensor *original, *modified; /* NULL: lacking */
    pare_weight_state state;
    bool decoded; /* false: a type without a decoder, only bytes were compared: a tensor whose bytes or type differ is
                     CHANGED and has no figures */
    pare_weight_change change; /* of SAME and CHANGED */
} pare_weight_row;

/* Tensors whose names differ in the number of the layer only. */
typedef struct pare_weight_kind {
    const char *name; /* "blk.*.attn_q.weight" */
    size_t n_tensors, n_changed;
    pare_weight_change change;
} pare_weight_kind;

/* Zeroed is closed. The models must outlive it. */
typedef struct pare_weight_drift {
    pare_weight_row *rows; /* [n_rows] in the original's order, then those that only the modified model has */
    size_t n_rows;
    pare_weight_kind *kinds; /* [n_kinds] of tensors that were compared, in the order of their first */
    size_t n_kinds;
    const pare_weight_row **most; /* [n_most] rows that are CHANGED, the largest relative change first */
    size_t n_most;
    pare_weight_change total;
    pare_arena arena;
} pare_weight_drift;

/* sqrt(change / size): the norm of the difference over that of the original. INFINITY: the original is zero. */
double pare_weight_relative(const pare_weight_change *c);

/* May the tensors of both be laid side by side? Errors: PARE_ERR_UNSUPPORTED (the architectures differ; the message
 * names them) */
pare_status pare_weights_comparable(const pare_model *original, const pare_model *modified, pare_error *err);

/* Compare every tensor, in slices on all threads; the same figures to the last bit for any number of them.
 * Errors: those of reading weights, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_weight_drift_measure(pare_weight_drift *out, const pare_model *original, const pare_model *modified,
                                      pare_error *err);
void pare_weight_drift_close(pare_weight_drift *d);

#endif
