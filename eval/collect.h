/* eval/collect.h - calibration statistics: sums over the inputs of every matrix while a text runs through a model
 *
 * Windows as in eval/perplexity.h, but every position counts. What is counted is what stock llama-imatrix counts: the
 * matrices of the layers, and on request the output matrix. Method and the differences to stock:
 * docs/methods/IMPORTANCE.md. */
#ifndef PARE_EVAL_COLLECT_H
#define PARE_EVAL_COLLECT_H

#include "eval/collect_gram.h"
#include "eval/forward.h"
#include "model/imatrix.h"

typedef struct pare_collect_options {
    uint32_t n_ctx;      /* 0: 512 */
    uint32_t n_chunks;   /* at most so many windows; 0: all */
    bool output_weight;  /* output.weight too; with full also an embedding that stands in for it */
    bool full;           /* second-order statistics too (quant/gram.h) */
    uint64_t full_bytes; /* of their sums in memory at once; more need further runs over the text. 0: no limit */
    pare_gram_experts experts;
    const char *state;      /* with full: a path at which what was summed is kept now and then, for a run that goes on
                               there; complete triangles lie in STATE.gram, and not in memory. NULL: nothing is kept */
    const char *output;     /* with state: what the caller will write; room for it is looked for, too */
    uint32_t state_batches; /* behind every so many batches; 0: once a minute, for at most a twentieth of the time */
    bool resume;            /* go on from state, which a run with the same text and options left */
} pare_collect_options;

/* Called after each batch of windows; n_chunks counts those of all runs over the text. */
typedef void (*pare_collect_fn)(uint32_t n_done, uint32_t n_chunks, void *user);

/* Run ids [n] through m and fill the zeroed im: one entry a matrix with sum2, sum and counts, chunk_count and
 * chunk_size; datasets are the caller's. bos as in pare_evaluate. Sums run in double where the activations are: on the
 * CPU over the tokens in their order, so they do not depend on the number of threads; on a device in an order that the
 * batches decide. Memory of the backend: activations of a batch (pare_backend.batch_tokens; one window, when that is
 * longer) and 16 bytes a column (of each expert); they come to the host once, at the end.
 * With a state, the bytes of im do not depend on where a run was broken off; it stays at an error, for the caller to
 * resume or remove (pare_collect_state_remove), and at success, while its triangles are im's.
 * Errors: PARE_ERR_USAGE (less than one window; a state of something else), PARE_ERR_NUMBER (an activation is not
 * finite: tensor and column), PARE_ERR_IO (no room for state and output, said before the run), PARE_ERR_FORMAT (a
 * damaged state), and those of the passes. On error im is closed. */
pare_status pare_collect(pare_imatrix *im, const pare_model *m, pare_backend *b, const int32_t *ids, size_t n,
                         int64_t bos, const pare_collect_options *options, pare_collect_fn each, void *user,
                         pare_error *err);

#endif
