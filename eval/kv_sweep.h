/* eval/kv_sweep.h - what forms of keys and values cost: several of them beside floats, over the windows of one text */
#ifndef PARE_EVAL_KV_SWEEP_H
#define PARE_EVAL_KV_SWEEP_H

#include "eval/kv.h"
#include "eval/source.h"
#include "eval/tally.h"

/* All borrowed. */
typedef struct pare_kv_sweep_job {
    const pare_model *m;
    pare_backend *b;
    const int32_t *ids; /* [n] the text */
    size_t n;
    int64_t bos; /* as in pare_measure */
    pare_window_plan windows;
    const pare_kv_form *forms; /* [n_forms], at least one */
    size_t n_forms;
    uint64_t seed;                                                 /* of the bootstrap */
    void (*each)(uint32_t n_done, uint32_t n_windows, void *user); /* behind each window; may be NULL */
    void *user;
} pare_kv_sweep_job;

/* Run m with each form, and with floats, on the same windows: figures of each form against floats, out [n_forms]. The
 * floats are run once. Memory: activations for each form. Errors: PARE_ERR_USAGE (no form, a text of less than two
 * windows), those of pare_forward_keep and pare_evaluate */
pare_status pare_kv_sweep(const pare_kv_sweep_job *job, pare_eval_result *out, pare_error *err);

/* Means of keys behind RoPE over all positions of the windows, for pare_kv_form.key_mean: out [n_layer,
 * pare_kv_mean_width]. Errors: PARE_ERR_USAGE (a text of no window), PARE_ERR_MEMORY, those of a pass */
pare_status pare_kv_means(const pare_model *m, pare_backend *b, const int32_t *ids, size_t n, int64_t bos,
                          const pare_window_plan *plan, float *out, pare_error *err);

#endif
