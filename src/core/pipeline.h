/* core/pipeline.h - pieces made on all threads, in any order, and taken in order, within a bound of memory
 *
 *                          ┌─> make ─┐   ┌─> take, lane 0 ─┐
 *     next, one at a time ─┼─> make ─┼───┼─> take, lane 1 ─┼─> done: the memory is free again
 *                          └─> make ─┘   └─> take, lane 2 ─┘
 *
 * There are as many threads as pare_threads() says, and each does whatever can be done: lane 0 before making what comes
 * next, and the further lanes when it would wait otherwise. For each of these there is one thread more, which takes and
 * does nothing else: where a core is free, they cost no time. Each lane takes all pieces in order, one at a time;
 * different lanes run at once. */
#ifndef PARE_CORE_PIPELINE_H
#define PARE_CORE_PIPELINE_H

#include "core/error.h"

#include <stdint.h>

enum { PARE_PIPELINE_LANES = 4 };

/* One piece. next describes it; the pipeline adds the buffer. */
typedef struct pare_piece {
    uint64_t id[3];     /* what it is, for the caller */
    size_t n_bytes;     /* of the result */
    size_t extra_bytes; /* further memory that making it needs */
    const void *data; /* the result: set by next when it lies somewhere already, else NULL for a buffer to make it in */
} pare_piece;

typedef struct pare_pipeline {
    /* Describe the next piece; false: there are no more. Must not fail or wait. */
    bool (*next)(pare_piece *piece, void *user);
    /* Make it: buffer has n_bytes; NULL when next has set data. Called from several threads at once. */
    pare_status (*make)(const pare_piece *piece, void *buffer, void *user, pare_error *err);
    /* Take it in lane 0 .. n_lanes - 1; in those behind the first also on threads of core/background.h. */
    pare_status (*take)(size_t lane, const pare_piece *piece, void *user, pare_error *err);
    size_t n_lanes; /* 1 .. PARE_PIPELINE_LANES */
    /* All lanes have taken it. In order, one at a time. May be NULL. */
    void (*done)(const pare_piece *piece, void *user);
    void *user;
    size_t max_bytes; /* of pieces between next and done, n_bytes and extra_bytes; one that is larger goes alone */
} pare_pipeline;

/* Run until there are no more pieces, or one fails. After a failure nothing more is started or taken; the error is that
 * of the first piece, in order, that could not be made or taken, whatever the threads did. Errors: those of make and
 * take; PARE_ERR_INTERRUPTED; PARE_ERR_MEMORY */
pare_status pare_pipeline_run(const pare_pipeline *pipeline, pare_error *err);

#endif
