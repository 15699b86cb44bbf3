/* recipe/state.h - encoded tensors that outlive a run which did not finish
 *
 * A named file (core/spool.h) with room for the bytes of every tensor that is encoded ahead of the writer. What a
 * killed process left is taken over tensor by tensor: where the inputs of the encoding are the same, and the bytes
 * what they were. Layout, all numbers little endian:
 *
 *     "PARESTA3" | u64 length of the text | digest of the text [16] | text | padding to 8
 *     records, 88 bytes each: key [16] | digest of the bytes [16] | error, weighted error, feedback, form (F64) |
 *         u64 lossless | digest of the record so far [16]
 *     padding to 4096 | the bytes of the tensors, each from a multiple of 64 on
 *
 * text says in lines what the run is: the caller's lines, then one a tensor. Digests are XXH3-128. */
#ifndef PARE_RECIPE_STATE_H
#define PARE_RECIPE_STATE_H

#include "core/hash.h"
#include "core/spool.h"
#include "recipe/recipe.h"

/* What the bytes of an encoded tensor come from. */
typedef struct pare_state_key {
    uint8_t xxh3_128[16];
} pare_state_key;

/* Zeroed is closed. */
typedef struct pare_state {
    char *path;
    pare_spool spool;
    size_t n;
    uint64_t *offset; /* [n] of the bytes in the spool */
    uint64_t *size;   /* [n] */
    uint64_t records; /* offset of the first */
    uint32_t n_kept;  /* whole records */
    bool reused;      /* it was there */
    bool dropped;
} pare_state;

/* OUTPUT.pare-state, owned by the caller. Errors: PARE_ERR_MEMORY */
pare_status pare_state_path(char **out, const char *output, pare_error *err);

bool pare_state_is_there(const char *output);
void pare_state_remove(const char *output); /* if it is there */

/* Bytes of the file for such tensors. Errors: PARE_ERR_MEMORY (they are too many) */
pare_status pare_state_bytes(uint64_t *out, const char *text, size_t n, const uint64_t *size, pare_error *err);

/* Open the state of the model that output will be, n tensors of size[i] bytes. With resume, one that is there is gone
 * on with; else it is started anew. Without tensors nothing is made.
 * Errors: PARE_ERR_USAGE (it is of another run: the first line that differs is named), PARE_ERR_FORMAT (it is damaged,
 * or of another version: with the offset; it stays as it is),
 * those of pare_spool_open_named */
pare_status pare_state_open(pare_state *s, const char *output, const char *text, size_t n, const uint64_t *size,
                            bool resume, pare_error *err);

/* Where the bytes of tensor i lie, until s is closed. */
uint8_t *pare_state_at(const pare_state *s, size_t i);

/* Is tensor i complete? *found; then what was found out about it is put into row.
 * Errors: PARE_ERR_USAGE (it was made of something else, as the key says), PARE_ERR_MEMORY, those of warnings in strict
 * mode: the bytes are not what they were, and the tensor is to be encoded again */
pare_status pare_state_take(pare_state *s, size_t i, const pare_state_key *key, const char *name, pare_plan_row *row,
                            bool *found, pare_error *err);
bool pare_state_has(const pare_state *s, size_t i); /* its record is whole; the bytes are not looked at */

/* Tensor i is complete. Errors: PARE_ERR_MEMORY */
pare_status pare_state_keep(pare_state *s, size_t i, const pare_state_key *key, const pare_plan_row *row,
                            pare_error *err);

/* Would the file be there after pare_state_close? */
bool pare_state_stays(const pare_state *s);

/* Remove the file: the model is written. Its bytes stay readable until s is closed. */
void pare_state_drop(pare_state *s);

/* The file stays if it was there before or holds a complete tensor, and was not dropped. */
void pare_state_close(pare_state *s);

#endif
