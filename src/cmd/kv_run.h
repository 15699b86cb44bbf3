/* cmd/kv_run.h - what `pare kv` measures: caches beside floats, heads, needles, and the context that memory leaves */
#ifndef PARE_CMD_KV_RUN_H
#define PARE_CMD_KV_RUN_H

#include "cmd/cache_text.h"
#include "cmd/fit_options.h"
#include "cmd/kv_options.h"
#include "eval/kv_heads.h"
#include "eval/kv_sweep.h"
#include "eval/needle.h"
#include "memory/inverse.h"

enum { CMD_KV_NEEDLE_DEPTHS = 11 };

/* Zeroed is closed. Borrows args, model, backend, tokenizer and text. */
typedef struct cmd_kv_run {
    const cmd_args *args;
    const pare_model *m;
    pare_backend *b;
    const pare_tokenizer *tokenizer;
    int64_t bos;
    const pare_ids *ids, *mean_ids; /* mean_ids: of --mean, or NULL */
    cmd_kv_request request;
    cmd_cache_text cache_text;
    float *means;
    pare_eval_result *results; /* [n_depths, n_forms] */
    pare_head_errors *heads;   /* [n_forms] */
    pare_key_heads keys;
    pare_needle_cell *needles; /* [n_depths, 1 + n_forms, CMD_KV_NEEDLE_DEPTHS]; NULL: --needle was not given */
    size_t first_needle;       /* the lengths before it have no room for a key, and their cells are 0 */
    uint32_t n_keys;           /* at each depth */
    cmd_fit_request memory;
    uint64_t *contexts; /* [n_forms] tokens that fit, 0: none, or no program plans such a cache; NULL: no budget */
} cmd_kv_run;

/* All of it, after request and memory are made. Errors: PARE_ERR_USAGE (no length has room for a key), those of
 * pare_kv_sweep, pare_kv_means, eval/kv_heads.h, pare_needle, pare_largest_context, PARE_ERR_INTERRUPTED */
pare_status cmd_kv_measure(cmd_kv_run *r, pare_error *err);
void cmd_kv_run_close(cmd_kv_run *r);

const pare_eval_result *cmd_kv_result(const cmd_kv_run *r, size_t depth, size_t form);

/* [CMD_KV_NEEDLE_DEPTHS] of a length and a row: 0 floats, 1 + i form i. */
const pare_needle_cell *cmd_kv_needles(const cmd_kv_run *r, size_t depth, size_t row);

#endif
