/* formats/structure_check.h - is a model whole, whatever its bytes should be */
#ifndef PARE_FORMATS_STRUCTURE_CHECK_H
#define PARE_FORMATS_STRUCTURE_CHECK_H

#include "model/model.h"

/* Told of each fault; item is a tensor or empty. */
typedef pare_status (*pare_fault_fn)(const char *item, const char *text, void *user, pare_error *err);

typedef struct pare_structure_counts {
    uint64_t n_files, n_bytes, n_tensors;
} pare_structure_counts;

/* Whether somebody has looked at the numbers of tensor, whose stored bytes lie in file, already; *bad_block is then the
 * first block that is not finite, or UINT64_MAX. Called from several threads. */
typedef bool (*pare_numbers_fn)(const pare_map *file, const pare_tensor *tensor, uint64_t *bad_block, void *user);

/* Open the model at path with everything that opening checks (layout, hyperparameters, tokenizer), then check that the
 * weights which the architecture needs are there with the right shapes, and that every block's scales are finite. A
 * folder whose architecture pare does not know is opened raw, only its container and its numbers are checked; a single
 * number that is not finite is a warning there (a mask). A GGUF file of calibration statistics (general.type "imatrix")
 * is read as such.
 * Reads all weights but those that numbers (may be NULL; user is for it, too) knows; memory: a few slices a thread.
 * Errors: those of pare_model_open, and what fault returns. */
pare_status pare_structure_check(const char *path, pare_numbers_fn numbers, pare_structure_counts *counts,
                                 pare_fault_fn fault, void *user, pare_error *err);

#endif
