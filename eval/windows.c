#include "eval/windows.h"

#include "model/vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_TOKENS = 2048 };

pare_status pare_windows_open(pare_windows *w, const int32_t *ids, size_t n, int64_t bos, uint32_t n_ctx,
                              uint32_t n_windows, pare_error *err)
{
    *w = (pare_windows){.n_ctx = n_ctx != 0 ? n_ctx : PARE_DEFAULT_CTX, .ids = ids, .bos = bos};
    if (w->n_ctx < 4 || w->n_ctx > INT32_MAX)
        return pare_fail(err, PARE_ERR_USAGE, "a window of %" PRIu32 " tokens; 4 to %d are possible", w->n_ctx,
                         INT32_MAX);
    size_t n_all = n / w->n_ctx;
    if (n_windows != 0 && n_all > n_windows)
        n_all = n_windows;
    w->n_windows = n_all < INT32_MAX ? (uint32_t)n_all : INT32_MAX;
    w->n_seq = w->n_ctx < BATCH_TOKENS ? BATCH_TOKENS / w->n_ctx : 1;
    if (w->n_seq > w->n_windows)
        w->n_seq = w->n_windows;
    w->batch = malloc(((size_t)w->n_seq * w->n_ctx + 1) * sizeof *w->batch);
    if (w->batch == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for windows of %" PRIu32 " tokens", w->n_ctx);
    return PARE_OK;
}

void pare_windows_close(pare_windows *w)
{
    free(w->batch);
    *w = (pare_windows){0};
}

uint32_t pare_windows_fill(pare_windows *w, uint32_t first)
{
    uint32_t n = w->n_windows - first < w->n_seq ? w->n_windows - first : w->n_seq;
    memcpy(w->batch, w->ids + (size_t)first * w->n_ctx, (size_t)n * w->n_ctx * sizeof *w->ids);
    for (uint32_t s = 0; w->bos != PARE_TOKEN_NONE && s < n; s++)
        w->batch[(size_t)s * w->n_ctx] = (int32_t)w->bos;
    return n;
}
