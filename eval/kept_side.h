/* eval/kept_side.h - keys, or values, of a layer while a form keeps them: in the store of a window (forward_kv.c), or
 * in a cache (kept_cache.c) */
#ifndef PARE_EVAL_KEPT_SIDE_H
#define PARE_EVAL_KEPT_SIDE_H

#include "eval/forward_parts.h"

typedef struct pare_kept_side {
    pare_forward *f;
    const pare_kv_codec *codec; /* NULL: floats */
    const char *name;
    uint32_t layer, n_head, dim;
    float *view, *source;   /* rows of the run; source: what is coded, the view unless keys are coded before RoPE */
    uint8_t *store;         /* of a window */
    size_t which;           /* 0: keys, 1: values */
    uint32_t first, recent; /* tokens that stay in F16 */
} pare_kept_side;

pare_kept_side pare_kept_side_of(pare_forward *f, uint32_t layer, pare_kv_side which);

/* st, with the model, the side and the layer before what err says of a number. */
pare_status pare_kept_failed(const pare_kept_side *s, pare_status st, pare_error *err);

/* n rows, a slice's at most, as a cache of F16 gives them back. */
pare_status pare_kept_round(const pare_kept_side *s, float *rows, uint32_t n, pare_error *err);

/* RoPE of n rows of keys. */
pare_status pare_kept_turn(const pare_kept_side *s, const int32_t *positions, float *rows, uint32_t n, pare_error *err);

/* What queries of a step that begins at position `at` read as it is stored: tokens below it, in whole groups. */
uint32_t pare_kept_before(const pare_kept_side *s, uint32_t at);

/* In the run's cache. put: a slice's tokens, but for those that wait in F16 for their step. read: what attention reads,
 * as the first step of the slice's tokens does; step: tokens [at, at + n) of the slice's span p, which are of one step,
 * go into it, behind what the step does not read in F16 any more. */
pare_status pare_kept_put(const pare_kept_side *s, const pare_forward_slice *slice, pare_error *err);
pare_status pare_kept_read(const pare_kept_side *s, const pare_forward_slice *slice, const void **out, pare_type *type,
                           pare_error *err);
pare_status pare_kept_step(const pare_kept_side *s, const pare_forward_slice *slice, const pare_attention_span *p,
                           uint32_t at, uint32_t n, pare_error *err);

#endif
