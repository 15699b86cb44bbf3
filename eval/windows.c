#include "eval/windows.h"

#include "core/random.h"
#include "model/vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH_TOKENS = 2048 }; /* where the plan does not say */

static pare_status cut(pare_windows *w, const pare_window_plan *plan, pare_error *err)
{
    if (w->n_ctx < 4 || w->n_ctx > INT32_MAX)
        return pare_fail(err, PARE_ERR_USAGE, "a window of %" PRIu32 " tokens; 4 to %d are possible", w->n_ctx,
                         INT32_MAX);
    if (plan->stride >= w->n_ctx)
        return pare_fail(err, PARE_ERR_USAGE, "a stride of %" PRIu32 " tokens; it must be below the window's %" PRIu32,
                         plan->stride, w->n_ctx);
    w->step = plan->stride != 0 ? plan->stride : w->n_ctx;
    w->first = plan->stride != 0 ? w->n_ctx - 1 - plan->stride : w->n_ctx / 2;
    w->n_scored = w->n_ctx - 1 - w->first;
    size_t n = w->n_tokens < w->n_ctx ? 0 : (w->n_tokens - w->n_ctx) / w->step + 1;
    w->n_all = n < INT32_MAX ? (uint32_t)n : INT32_MAX;
    return PARE_OK;
}

/* The window drawn from stretch k of n: the stretches differ in length by one at most. */
static uint32_t draw(uint32_t n_windows, uint32_t k, uint32_t n, uint64_t seed)
{
    uint64_t lo = (uint64_t)n_windows * k / n, hi = (uint64_t)n_windows * (k + 1) / n;
    return (uint32_t)(lo + pare_random_below(seed, k, hi - lo));
}

static pare_status choose(pare_windows *w, const pare_window_plan *plan, pare_error *err)
{
    uint32_t n = plan->n_chunks != 0 && plan->n_chunks < w->n_all ? plan->n_chunks : w->n_all;
    uint32_t n_drawn = plan->n_sample != 0 ? plan->n_sample : n, end = plan->range_end;
    if (n_drawn > n)
        return pare_fail(err, PARE_ERR_USAGE, "a sample of %" PRIu32 " windows out of %" PRIu32, n_drawn, n);
    if (end == 0)
        end = n_drawn;
    if (end > n_drawn || plan->range_first > end || (plan->range_first == end && end != 0))
        return pare_fail(err, PARE_ERR_USAGE, "windows %" PRIu32 " to %" PRIu32 " out of %" PRIu32, plan->range_first,
                         end, n_drawn);
    w->n_windows = end - plan->range_first;
    if ((w->number = malloc(((size_t)w->n_windows + 1) * sizeof *w->number)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the numbers of %" PRIu32 " windows", w->n_windows);
    for (uint32_t i = 0; i < w->n_windows; i++) {
        uint32_t k = plan->range_first + i;
        w->number[i] = plan->n_sample != 0 ? draw(n, k, n_drawn, plan->seed) : k;
    }
    return PARE_OK;
}

pare_status pare_windows_open(pare_windows *w, const int32_t *ids, size_t n, int64_t bos, const pare_window_plan *plan,
                              pare_error *err)
{
    *w = (pare_windows){
        .n_ctx = plan->n_ctx != 0 ? plan->n_ctx : PARE_DEFAULT_CTX, .n_tokens = n, .ids = ids, .bos = bos};
    pare_status st = cut(w, plan, err);
    if (st == PARE_OK)
        st = choose(w, plan, err);
    if (st != PARE_OK)
        return st;
    uint32_t batch = plan->batch_tokens != 0 ? plan->batch_tokens : BATCH_TOKENS;
    w->n_seq = w->n_ctx < batch ? batch / w->n_ctx : 1;
    if (w->n_seq > w->n_windows)
        w->n_seq = w->n_windows;
    w->batch = malloc(((size_t)w->n_seq * w->n_ctx + 1) * sizeof *w->batch);
    if (w->batch == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for windows of %" PRIu32 " tokens", w->n_ctx);
    return PARE_OK;
}

void pare_windows_close(pare_windows *w)
{
    free(w->number);
    free(w->batch);
    *w = (pare_windows){0};
}

pare_status pare_windows_check_text(const pare_windows *w, pare_error *err)
{
    if (w->n_tokens / 2 >= w->n_ctx)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "the text has %zu tokens; two windows of %" PRIu32 " need at least %" PRIu64,
                     w->n_tokens, w->n_ctx, (uint64_t)w->n_ctx * 2);
}

uint32_t pare_windows_fill(pare_windows *w, uint32_t i)
{
    uint32_t n = w->n_windows - i < w->n_seq ? w->n_windows - i : w->n_seq;
    for (uint32_t s = 0; s < n; s++) {
        int32_t *row = w->batch + (size_t)s * w->n_ctx;
        memcpy(row, w->ids + (size_t)w->number[i + s] * w->step, w->n_ctx * sizeof *row);
        if (w->bos != PARE_TOKEN_NONE)
            row[0] = (int32_t)w->bos;
    }
    return n;
}
