/* formats/pin_scan.h - the two halves of filling a pin from files on disk; lock_verify uses them apart */
#ifndef PARE_FORMATS_PIN_SCAN_H
#define PARE_FORMATS_PIN_SCAN_H

#include "formats/pin.h"

/* Record the size of f->path, and, of a GGUF or safetensors file, its tensors (ranges without hashes) and its metadata
 * (with hashes). Which of them a file is, is seen from its content; a name that ends in .gguf or .safetensors promises
 * it. Any other regular file has a size only; *is_model says which it was.
 * Errors: PARE_ERR_FORMAT and others of the readers; f then has the size and nothing else. */
pare_status pare_pin_read_structure(pare_pin_file *f, bool *is_model, pare_error *err);

/* Hash the n files and the tensor ranges that they name, all of them in parallel; files[i] is left out when skip (may
 * be NULL) says so. The bytes are read and not mapped, so that a file cut meanwhile is an error and not a signal.
 * Errors: PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED; PARE_ERR_FORMAT: no regular file. */
pare_status pare_pin_hash(pare_pin_file *files, size_t n, const bool *skip, pare_hash_kind kind, pare_error *err);

#endif
