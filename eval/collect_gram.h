/* eval/collect_gram.h - second-order statistics (quant/gram.h) while a text runs through a model
 *
 * Which matrices multiply the same inputs is found in the first batch, by comparing what they are given. Products are
 * summed in float over a batch and in double over all of them. Sums that do not fit in memory at once are collected in
 * several runs over the text, some layers in each. */
#ifndef PARE_EVAL_COLLECT_GRAM_H
#define PARE_EVAL_COLLECT_GRAM_H

#include "eval/backend.h"
#include "model/model.h"
#include "quant/gram.h"

typedef struct pare_gram_collector pare_gram_collector;

/* The experts of a tensor have sums of their own, or share one. */
typedef enum pare_gram_experts {
    PARE_GRAM_EXPERTS_AUTO, /* their own where the sums of all inputs fit in max_bytes at once */
    PARE_GRAM_EXPERTS_OWN,
    PARE_GRAM_EXPERTS_SHARED
} pare_gram_experts;

/* max_bytes: of sums in memory at once; 0: no limit. One input's sums (of one expert) are the least that is held. */
pare_status pare_gram_collector_open(pare_gram_collector **out, pare_backend *b, uint64_t max_bytes,
                                     pare_gram_experts experts, pare_error *err);
void pare_gram_collector_close(pare_gram_collector *g); /* NULL is allowed */

/* What pare_observe_fn gets. Before the first pare_gram_collector_next only the inputs are told apart. */
pare_status pare_gram_collector_observe(pare_gram_collector *g, const pare_tensor *w, uint32_t matrix, const float *x,
                                        uint32_t n, pare_error *err);

/* Put what the run behind us has summed into out, and prepare the sums of the next run: *more; false: there is nothing
 * left to sum. The first call ends the run that tells the inputs apart. */
pare_status pare_gram_collector_next(pare_gram_collector *g, pare_grams *out, bool *more, pare_error *err);

/* Known after the first next: runs over the text that are needed, bytes of all triangles, and of the sums of the
 * largest run. */
uint32_t pare_gram_collector_runs(const pare_gram_collector *g);
uint64_t pare_gram_collector_bytes(const pare_gram_collector *g);
uint64_t pare_gram_collector_sum_bytes(const pare_gram_collector *g);
size_t pare_gram_collector_inputs(const pare_gram_collector *g); /* those of each expert count */

/* Where triangles go: [pare_gram_collector_bytes], which must outlive what next puts into out. NULL, as at first: into
 * out's own memory. */
void pare_gram_collector_place(pare_gram_collector *g, uint8_t *to);

/* Add the sums of the run in hand, and the counts of those before, to a state (eval/collect_state.h); they are
 * borrowed. */
pare_status pare_gram_collector_save(const pare_gram_collector *g, pare_model *state, pare_error *err);

/* Behind the first next: go on from a state that was saved in run number `run`; the triangles of those before it lie
 * where pare_gram_collector_place said. Errors: those of reading a state */
pare_status pare_gram_collector_load(pare_gram_collector *g, const pare_model *state, uint32_t run, pare_grams *out,
                                     pare_error *err);

#endif
