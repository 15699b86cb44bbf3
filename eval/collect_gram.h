/* eval/collect_gram.h - second-order statistics (quant/gram.h) while a text runs through a model
 *
 * Which matrices multiply the same inputs is found in the first batch, by comparing what they are given. Products are
 * summed in float over a batch and in double over all of them. Sums that do not fit in memory at once are collected in
 * several runs over the text, some layers in each. */
#ifndef PARE_EVAL_COLLECT_GRAM_H
#define PARE_EVAL_COLLECT_GRAM_H

#include "eval/backend.h"
#include "quant/gram.h"

typedef struct pare_gram_collector pare_gram_collector;

/* max_bytes: of sums in memory at once; 0: no limit. One input's sums are the least that is held. */
pare_status pare_gram_collector_open(pare_gram_collector **out, pare_backend *b, uint64_t max_bytes, pare_error *err);
void pare_gram_collector_close(pare_gram_collector *g); /* NULL is allowed */

/* What pare_observe_fn gets. Before the first pare_gram_collector_next only the inputs are told apart. */
pare_status pare_gram_collector_observe(pare_gram_collector *g, const pare_tensor *w, uint32_t matrix, const float *x,
                                        uint32_t n, pare_error *err);

/* Put what the run behind us has summed into out, and prepare the sums of the next run: *more; false: there is nothing
 * left to sum. The first call ends the run that tells the inputs apart. */
pare_status pare_gram_collector_next(pare_gram_collector *g, pare_grams *out, bool *more, pare_error *err);

/* Runs over the text that are needed, and bytes of triangles when all are there; known after the first next. */
uint32_t pare_gram_collector_runs(const pare_gram_collector *g);
uint64_t pare_gram_collector_bytes(const pare_gram_collector *g);

#endif
