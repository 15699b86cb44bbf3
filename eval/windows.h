/* eval/windows.h - a text cut into windows: n_ctx tokens each without overlap, the tail dropped */
#ifndef PARE_EVAL_WINDOWS_H
#define PARE_EVAL_WINDOWS_H

#include "core/error.h"

#include <stdint.h>

enum { PARE_DEFAULT_CTX = 512 };

/* Zeroed is closed. */
typedef struct pare_windows {
    uint32_t n_ctx, n_windows;
    uint32_t n_seq;     /* windows that pass through the layers together, so that each weight is decoded once for all */
    const int32_t *ids; /* the text, borrowed */
    int64_t bos;        /* takes the place of token 0 of each window; PARE_TOKEN_NONE: nothing does */
    int32_t *batch;     /* [n_seq, n_ctx], owned */
} pare_windows;

/* Cut ids [n]. n_ctx 0: PARE_DEFAULT_CTX; n_windows: at most so many, 0: all.
 * Errors: PARE_ERR_USAGE (n_ctx below 4 or above 2^31 - 1), PARE_ERR_MEMORY */
pare_status pare_windows_open(pare_windows *w, const int32_t *ids, size_t n, int64_t bos, uint32_t n_ctx,
                              uint32_t n_windows, pare_error *err);
void pare_windows_close(pare_windows *w);

/* Fill w->batch with windows [first, first + n); returns n: n_seq, or what is left. */
uint32_t pare_windows_fill(pare_windows *w, uint32_t first);

#endif
