/* eval/source.h - where distributions over the vocabulary come from: a model's forward pass, or a store of what one
 * gave earlier */
#ifndef PARE_EVAL_SOURCE_H
#define PARE_EVAL_SOURCE_H

#include "eval/forward.h"
#include "eval/windows.h"
#include "formats/logit_store.h"

/* rows() gives logits up to a constant a position: whoever reads them normalises them. A store gives
 * log-probabilities, which are such logits. One thread at a time calls a source. */
typedef struct pare_source pare_source;
struct pare_source {
    const char *path; /* for messages; borrowed */
    uint32_t n_vocab;
    void *state;

    /* Make ready windows [i, i + n_seq) of w, which pare_windows_fill has put into w->batch. */
    pare_status (*run)(pare_source *s, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err);
    /* Positions [pos, pos + n) of the window at place seq of the batch: out [n, n_vocab]. */
    pare_status (*rows)(pare_source *s, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err);
    /* Of the last run: what pare_backend.score takes, for the positions from w->first on of all its windows in turn;
     * *n: how many. NULL, as the backend is: there are only rows. */
    pare_status (*side)(pare_source *s, pare_score_side *out, uint32_t *n, pare_error *err);
    pare_backend *backend;
    /* err says that a logit of the window ids [n_ctx] is not finite: add where in the network such values begin. Ends
     * the run of the batch. NULL: nothing is computed here. */
    void (*trace)(pare_source *s, const int32_t *ids, uint32_t n_ctx, pare_error *err);
    uint64_t (*bytes)(const pare_source *s); /* memory that it holds */
    void (*close)(pare_source *s);           /* frees s too */
};

/* The forward pass of m over b, both of which must outlive it, for windows like w. form: of keys and values, NULL:
 * floats. Errors: those of pare_forward_open and pare_forward_keep. */
pare_status pare_source_of_model(pare_source **out, const pare_model *m, pare_backend *b, const pare_windows *w,
                                 const pare_kv_form *form, pare_error *err);

/* What the store s has of the windows of w, which pare_logit_store_check has let pass; s stays the caller's and must
 * outlive it. All windows are looked up here: one that s does not have is an error, those of pare_logit_store_find.
 * Windows are then asked for by their place in w. Errors also: PARE_ERR_MEMORY */
pare_status pare_source_of_store(pare_source **out, pare_logit_store *s, const pare_windows *w, pare_error *err);

void pare_source_close(pare_source *s); /* NULL is allowed */

#endif
