/* memory/place_search.h - the search behind memory/placement.h and memory/inverse.h: answers without messages */
#ifndef PARE_MEMORY_PLACE_SEARCH_H
#define PARE_MEMORY_PLACE_SEARCH_H

#include "memory/placement.h"

/* Refuse what no search can start from. Errors: PARE_ERR_USAGE, PARE_ERR_RANGE. */
pare_status pare_place_check(const pare_place_query *query, pare_error *err);

/* As pare_place; *fits says whether out is a placement that fits. Where it does not, out is the leanest one for the
 * devices that the query allows: its plan shows what is missing. Errors: those of the plans. */
pare_status pare_place_search(const pare_place_query *query, pare_placement *out, bool *fits, pare_error *err);

/* The largest n_ctx that fits among the multiples of step up to limit, and limit itself (not 0); out is its placement.
 * *n_ctx is 0 and out the leanest placement of one step where none fits. */
pare_status pare_place_longest(const pare_place_query *query, uint64_t step, uint64_t limit, pare_placement *out,
                               uint64_t *n_ctx, pare_error *err);

/* Cells by which the context of a run grows, and the largest that a runtime takes. */
uint64_t pare_context_step(const pare_memory_run *run);
uint64_t pare_context_limit(const pare_memory_run *run);

#endif
