/* eval/kv_pass.h - a text's windows through one pass that somebody watches */
#ifndef PARE_EVAL_KV_PASS_H
#define PARE_EVAL_KV_PASS_H

#include "eval/forward.h"
#include "eval/windows.h"

/* A text, and the model that reads it. All borrowed. */
typedef struct pare_kv_text {
    const pare_model *m;
    pare_backend *b;
    const int32_t *ids; /* [n] */
    size_t n;
    int64_t bos; /* as in pare_measure */
    pare_window_plan windows;
} pare_kv_text;

/* Run the windows of t through a pass that prepare, called once before the first run, has set up; nothing is scored.
 *   n_tokens  that went through it
 * Errors: PARE_ERR_USAGE (a text of no window), PARE_ERR_MEMORY, those of prepare and of the pass */
typedef pare_status (*pare_kv_prepare_fn)(pare_forward *f, void *user, pare_error *err);
pare_status pare_kv_pass(const pare_kv_text *t, pare_kv_prepare_fn prepare, void *user, uint64_t *n_tokens,
                         pare_error *err);

#endif
