/* eval/collect_state.h - what has been summed of a text so far, in a file from which the run goes on
 *
 * A GGUF file: sums in 64-bit floats as they are in memory, and how far the text is done. Triangles that are complete
 * lie in a file of their own beside it (core/spool.h). docs/formats/IMATRIX.md, "Unfinished runs". */
#ifndef PARE_EVAL_COLLECT_STATE_H
#define PARE_EVAL_COLLECT_STATE_H

#include "core/hash.h"
#include "model/model.h"

typedef struct pare_collect_point {
    char what[512];            /* the text and the options, as the caller of pare_collect sees them */
    char model[PARE_XXH3_HEX]; /* what the first batch gave: the model, and the arithmetic that ran it */
    uint32_t run, n_windows;   /* runs over the text that are complete; windows of the next one that are */
} pare_collect_point;

/* Where the triangles of the state at `path` lie: owned by the caller, NULL without memory. */
char *pare_collect_state_triangles(const char *path, pare_error *err);

/* A state without sums, with room for those of n tensors. */
pare_status pare_collect_state_start(pare_model *s, const char *path, size_t n, pare_error *err);

/* Sums [n] called NAME.PART, which must stay where they are. Errors: PARE_ERR_MEMORY */
pare_status pare_collect_state_add(pare_model *s, const char *name, const char *part, const double *sums, uint64_t n,
                                   pare_error *err);
pare_status pare_collect_state_write(pare_model *s, const pare_collect_point *at, pare_error *err);

/* Errors: PARE_ERR_FORMAT (no such file, or not one of these), PARE_ERR_RANGE */
pare_status pare_collect_state_open(pare_model *s, const char *path, pare_collect_point *at, pare_error *err);
bool pare_collect_state_has(const pare_model *s, const char *name, const char *part);

/* Errors: PARE_ERR_FORMAT (absent, or other than n sums), PARE_ERR_NUMBER (one is not finite) */
pare_status pare_collect_state_get(const pare_model *s, const char *name, const char *part, double *sums, uint64_t n,
                                   pare_error *err);

/* The same for whole numbers >= 0. Errors: PARE_ERR_RANGE as well */
pare_status pare_collect_state_count(const pare_model *s, const char *name, const char *part, uint64_t *counts,
                                     uint64_t n, pare_error *err);

/* Is `at` a point of a run that `now` describes? Errors: PARE_ERR_USAGE, which says what differs */
pare_status pare_collect_state_check(const char *path, const pare_collect_point *at, const pare_collect_point *now,
                                     pare_error *err);

/* Remove both files; what is not there is no error. */
void pare_collect_state_remove(const char *path);

#endif
