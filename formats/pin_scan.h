/* formats/pin_scan.h - the two halves of filling a pin from files on disk; lock_verify uses them apart */
#ifndef PARE_FORMATS_PIN_SCAN_H
#define PARE_FORMATS_PIN_SCAN_H

#include "formats/pin.h"

/* Record the size of f->path, and, of a GGUF or safetensors file, its tensors (ranges without hashes) and its metadata
 * (with hashes). Which of them a file is, is seen from its content; a name that ends in .gguf or .safetensors promises
 * it. Any other regular file has a size only; *is_model says which it was.
 * Errors: PARE_ERR_FORMAT and others of the readers; f then has the size and nothing else. */
pare_status pare_pin_read_structure(pare_pin_file *f, bool *is_model, pare_error *err);

/* The same of f->path as the caller has opened it (pare_path_open); fd is closed. */
pare_status pare_pin_read_structure_fd(pare_pin_file *f, int fd, bool *is_model, pare_error *err);

/* What pare_pin_hash does with a file. */
enum {
    PARE_PIN_WHOLE = 1,  /* hash the file as a whole */
    PARE_PIN_PARTS = 2,  /* hash each tensor, and the rest; of a file without tensors nothing */
    PARE_PIN_NUMBERS = 4 /* with one of these, or both: look for blocks of tensors that are not finite (bad_block) */
};

/* Hash the n files and the tensor ranges that they name, in parallel: each byte is read once, whatever is asked for.
 * what: [n], or NULL for the whole and the parts of each. The bytes are read and not mapped, so that a file cut
 * meanwhile is an error and not a signal.
 * Errors: PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED; PARE_ERR_FORMAT: no regular file. */
pare_status pare_pin_hash(pare_pin_file *files, size_t n, const uint8_t *what, pare_hash_kind kind, pare_error *err);

#endif
