/* formats/structure_check.h - is a model whole, whatever its bytes should be */
#ifndef PARE_FORMATS_STRUCTURE_CHECK_H
#define PARE_FORMATS_STRUCTURE_CHECK_H

#include "core/error.h"

#include <stdint.h>

/* Told of each fault; item is a tensor or empty. */
typedef pare_status (*pare_fault_fn)(const char *item, const char *text, void *user, pare_error *err);

typedef struct pare_structure_counts {
    uint64_t n_files, n_bytes, n_tensors;
} pare_structure_counts;

/* Open the model at path with everything that opening checks (layout, hyperparameters, tokenizer), then check that the
 * weights which the architecture needs are there with the right shapes, and that every block's scales are finite. A
 * folder whose architecture pare does not know is opened raw, only its container and its numbers are checked; a single
 * number that is not finite is a warning there (a mask). A GGUF file of calibration statistics (general.type "imatrix")
 * is read as such.
 * Reads all weights; memory: a few slices a thread. Errors: those of pare_model_open, and what fault returns. */
pare_status pare_structure_check(const char *path, pare_structure_counts *counts, pare_fault_fn fault, void *user,
                                 pare_error *err);

#endif
