/* eval/windows.h - a text cut into windows of n_ctx tokens, and which of them are measured
 *
 *   stride 0    |--------------|--scored--|--------------|--scored--|        second halves, as llama-perplexity does
 *   stride S    |-----------------|-scored|
 *               |<- S ->|-----------------|-scored|                          the last S tokens of each
 *
 * A tail that fills no window is dropped. Windows are numbered from 0 in the order of the text, whichever of them are
 * measured, so that several machines can share one evaluation. */
#ifndef PARE_EVAL_WINDOWS_H
#define PARE_EVAL_WINDOWS_H

#include "core/error.h"

#include <stdint.h>

enum { PARE_DEFAULT_CTX = 512 };

/* Zeroed: windows of 512 tokens without overlap, all of them. The choices apply in this order. */
typedef struct pare_window_plan {
    uint32_t n_ctx;    /* tokens a window; 0: PARE_DEFAULT_CTX */
    uint32_t stride;   /* tokens from the start of one window to that of the next, the last of which are scored;
                          0: no overlap, and positions n_ctx / 2 .. n_ctx - 2 are scored */
    uint32_t n_chunks; /* the first n_chunks windows; 0: all */
    uint32_t n_sample; /* so many of these, one drawn from each of n_sample equal stretches; 0: all */
    uint64_t seed;     /* of the sample: the same seed draws the same windows on every machine */
    uint32_t range_first, range_end; /* of what is left the ones from range_first to before range_end; end 0: all */
    uint32_t batch_tokens;           /* of windows that go through the layers together, about, as pare_backend says; 0:
                                        2048. Changes no figure. */
} pare_window_plan;

/* Zeroed is closed. */
typedef struct pare_windows {
    uint32_t n_ctx, step;     /* window w starts at token w * step of the text */
    uint32_t first, n_scored; /* positions [first, first + n_scored) of each are scored against the token after them */
    size_t n_tokens;          /* of the text */
    uint32_t n_all;           /* windows that fit in it */
    uint32_t n_windows;       /* windows that are measured */
    uint32_t *number;         /* [n_windows] which, ascending; owned */
    uint32_t n_seq;     /* windows that pass through the layers together, so that each weight is decoded once for all */
    const int32_t *ids; /* the text, borrowed */
    int64_t bos;        /* takes the place of token 0 of each window; PARE_TOKEN_NONE: nothing does */
    int32_t *batch;     /* [n_seq, n_ctx], owned */
} pare_windows;

/* Cut ids [n]. A text without a window gives n_windows 0.
 * Errors: PARE_ERR_USAGE (n_ctx below 4 or above 2^31 - 1; a stride of n_ctx and more; a sample or range larger than
 * what there is), PARE_ERR_MEMORY */
pare_status pare_windows_open(pare_windows *w, const int32_t *ids, size_t n, int64_t bos, const pare_window_plan *plan,
                              pare_error *err);
void pare_windows_close(pare_windows *w);

/* A text of less than two windows gives no figure that says anything. Errors: PARE_ERR_USAGE */
pare_status pare_windows_check_text(const pare_windows *w, pare_error *err);

/* Fill w->batch with windows number[i], number[i + 1], ...; returns how many: n_seq, or what is left. */
uint32_t pare_windows_fill(pare_windows *w, uint32_t i);

#endif
