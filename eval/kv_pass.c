#include "eval/kv_pass.h"

#include <inttypes.h>

pare_status pare_kv_pass(const pare_kv_text *t, pare_kv_prepare_fn prepare, void *user, uint64_t *n_tokens,
                         pare_error *err)
{
    pare_windows w = {0};
    pare_forward *f = NULL;
    pare_window_plan plan = t->windows;
    *n_tokens = 0;
    if (plan.batch_tokens == 0)
        plan.batch_tokens = t->b->batch_tokens;
    pare_status st = pare_windows_open(&w, t->ids, t->n, t->bos, &plan, err);
    if (st == PARE_OK && w.n_windows == 0)
        st = pare_fail(err, PARE_ERR_USAGE, "a text of %zu tokens has no window of %" PRIu32, t->n, w.n_ctx);
    if (st == PARE_OK)
        st = pare_forward_open(&f, t->m, t->b, w.n_ctx, w.n_seq, err);
    if (st == PARE_OK)
        st = prepare(f, user, err);
    for (uint32_t i = 0; i < w.n_windows && st == PARE_OK;) {
        const uint32_t n_seq = pare_windows_fill(&w, i);
        st = pare_forward_run(f, w.batch, n_seq, w.n_ctx, err);
        *n_tokens += (uint64_t)n_seq * w.n_ctx;
        i += n_seq;
    }
    pare_forward_close(f);
    pare_windows_close(&w);
    return st;
}
