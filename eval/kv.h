/* eval/kv.h - how a run keeps its keys and values: codecs, rotations, what stays exact
 *
 * With a form given, a run really stores keys and values in its codecs, and attention reads what is stored. Tokens go
 * through a layer a slice at a time, and of codecs that keep recent tokens exact a step at a time, as a runtime's
 * micro-batches do: the keys and values of its tokens are stored, then its queries read those of all tokens so far.
 * Queries of a step that begins at position s read tokens of positions below s - recent (rounded down to whole groups)
 * as they are stored, and later ones, their own among them, in F16.
 *
 *   keys     norm, [before_rope: stored here], RoPE, minus their mean, rotated, [stored here]
 *   queries  norm, RoPE, rotated alike        q.k does not change, but for one number a query and head that the mean
 *   values   rotated, stored                  takes off all its scores, which the softmax does not see
 *   output   rotated back */
#ifndef PARE_EVAL_KV_H
#define PARE_EVAL_KV_H

#include "model/model.h"
#include "quant/hadamard.h"
#include "quant/kv_codec.h"

typedef enum pare_kv_turn {
    PARE_KV_TURN_OFF,
    PARE_KV_TURN_LLAMA, /* as llama.cpp since PR 21038: no signs; keys in blocks of the largest power of two, 64 or
                           more, that divides the head, values of 64; not other heads, nor where the first layer has
                           others, nor latent attention, and only block types */
    PARE_KV_TURN_FULL   /* signs; blocks as large as the head allows, or as the codec's own program has them */
} pare_kv_turn;

/* Plain floats are never rotated, keys before RoPE and by channel neither. */
typedef struct pare_kv_form {
    const pare_kv_codec *k, *v; /* NULL: F32, nothing is rounded */
    pare_kv_turn turn_k, turn_v;
    uint32_t first, last; /* so many layers at the ends keep F16 */
    uint32_t sinks;       /* so many tokens at the beginning of a sequence stay in F16, rounded up to whole groups */
    uint32_t recent;      /* so many last tokens stay in F16, or those that the codec keeps, if they are more; 0: the
                             codec's. Behind them whole groups are coded, so group - 1 more may stay */
    uint32_t step;        /* tokens of a micro-batch where recent ones stay exact; 0: 32 */
    bool calibrates;      /* bases come later, before it is kept: pare_kv_check does not ask for them */
    const pare_kv_codec *layers_k, *layers_v; /* [n_layer] copies of k and v with bases, where those are calibrated
                                                 (eval/kv_calibrate.h); or NULL. Borrowed */
    const float *key_mean; /* [n_layer, pare_kv_mean_width], behind RoPE, before rotation; or NULL. Borrowed */
} pare_kv_form;

/* Is a layer one of those at the ends? */
bool pare_kv_is_end(const pare_kv_form *form, const pare_model *m, uint32_t layer);

/* The form of one layer. Of latent attention the values are a part of the keys, and coded as they are. */
typedef struct pare_kv_layer {
    const pare_kv_codec *k, *v;
    pare_rotation turn_k, turn_v; /* dim 0: none */
} pare_kv_layer;
pare_kv_layer pare_kv_layer_of(const pare_kv_form *form, const pare_model *m, uint32_t layer);

/* Heads, and elements of one, of keys and values as a cache holds them. */
typedef struct pare_kv_shape {
    uint32_t n_head, dim_k, dim_v;
} pare_kv_shape;
pare_kv_shape pare_kv_shape_of(const pare_model *m, uint32_t layer);

bool pare_kv_has_layer(const pare_model *m, uint32_t layer); /* it has keys and values of its own */
uint32_t pare_kv_mean_width(const pare_model *m);            /* of the widest layer's keys */

/* Tokens of a side that stay in F16: the last ones; the first ones, in whole groups. 0 where the codec is F16 or F32,
 * or NULL, which no token can be kept more exactly than. */
uint32_t pare_kv_recent(const pare_kv_form *form, const pare_kv_codec *c);
uint32_t pare_kv_sinks(const pare_kv_form *form, const pare_kv_codec *c);

/* Can m be run so? Errors: PARE_ERR_UNSUPPORTED (a model without a layer of keys and values; attention that looks both
 * ways; keys before RoPE, or recent tokens kept, of a family that pare cannot do that for), PARE_ERR_USAGE (a codec for
 * the other side; a head size that the codec cannot take: layer and size; a codec for rotated vectors without rotation;
 * a calibrated one without bases; another codec for values than for keys where attention is latent; a mean where the
 * softmax would change), those of pare_arch_refuse_unknown. */
pare_status pare_kv_check(const pare_kv_form *form, const pare_model *m, pare_error *err);

/* Bytes that n tokens of one sequence take in all layers: whole groups as they are stored; sinks, recent tokens and
 * what is left of a group in F16. Layers with a window keep n_window of them: a runtime's matter (llama.cpp's:
 * pare_memory_window_tokens); a run of pare keeps all. Errors: PARE_ERR_RANGE */
pare_status pare_kv_bytes(const pare_kv_form *form, const pare_model *m, uint64_t n, uint64_t n_window, uint64_t *out,
                          pare_error *err);

#endif
