/* memory/inverse.h - the questions the other way round: which context, which model fits
 *
 * All by bisection over pare_place, so an answer is one that was planned, and the next larger one was planned too and
 * did not fit. */
#ifndef PARE_MEMORY_INVERSE_H
#define PARE_MEMORY_INVERSE_H

#include "memory/placement.h"

/* Cells come in so many: llama.cpp pads a context to it (GGML_PAD(n_ctx, 256) in llama-context.cpp). */
enum { PARE_CONTEXT_STEP = 256 };

typedef enum pare_context_bound {
    PARE_CONTEXT_MEMORY,  /* the next step does not fit */
    PARE_CONTEXT_TRAINED, /* it would fit, but the model was trained for no more */
    PARE_CONTEXT_RUNTIME  /* the runtime takes no longer one */
} pare_context_bound;

typedef struct pare_context_answer {
    uint64_t n_ctx; /* of all sequences together, a multiple of PARE_CONTEXT_STEP for each that has cells of its own,
                     * unless it is what the model was trained for */
    pare_context_bound bound;
    pare_placement placement;
} pare_context_answer;

/* The largest n_ctx that fits; query->run.n_ctx is not read. beyond_trained: not capped by what the model was trained
 * for. Errors: PARE_ERR_DIFFERENCE (not even one step fits: the message says what is missing), those of pare_place. */
pare_status pare_largest_context(const pare_place_query *query, bool beyond_trained, pare_context_answer *out,
                                 pare_error *err);

typedef struct pare_cache_types {
    pare_type k, v;
} pare_cache_types;

/* Sizes of cards as they are sold, in GiB, for the table: ends with 0. */
extern const uint32_t pare_common_card_sizes[];

/* Context by memory: cells[s * n_types + t] is the largest context on one device of sizes[s] bytes with the cache types
 * t, 0 where none fits; the query's devices are not read. Errors: those of pare_largest_context but DIFFERENCE. */
pare_status pare_context_table(const pare_place_query *query, bool beyond_trained, const uint64_t *sizes,
                               size_t n_sizes, const pare_cache_types *types, size_t n_types, uint64_t *cells,
                               pare_error *err);

typedef struct pare_cache_row {
    pare_cache_types types;
    uint64_t per_token;          /* bytes */
    uint64_t per_1000, per_1024; /* tokens */
} pare_cache_row;

/* What the cache grows by, for each pair of types; a pair that the model cannot have (rows are no multiple of a block)
 * has zeros. */
pare_status pare_cache_table(const pare_memory_model *m, const pare_cache_types *types, size_t n_types,
                             pare_cache_row *rows, pare_error *err);

typedef struct pare_model_verdict {
    pare_status status; /* PARE_OK: it fits; PARE_ERR_DIFFERENCE: it does not; else why it has no answer */
    uint64_t n_bytes;   /* of its tensors */
    double n_weights;
    pare_placement_kind kind; /* when it fits */
    char why[256];            /* when it does not */
} pare_model_verdict;

/* Which of n models is the largest that fits at the query's context (query->model is not read): the most weights, then
 * the most bytes. *best: its index, n where none fits. verdicts[n]. Errors: PARE_ERR_USAGE (n is 0), PARE_ERR_MEMORY.
 */
pare_status pare_largest_model(const pare_place_query *query, const pare_memory_model *models, size_t n,
                               pare_model_verdict *verdicts, size_t *best, pare_error *err);

#endif
