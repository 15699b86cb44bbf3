/* formats/gguf.h - GGUF v2 and v3 in, v3 out; one file or a split set. Layout: docs/formats/GGUF.md */
#ifndef PARE_FORMATS_GGUF_H
#define PARE_FORMATS_GGUF_H

#include "core/output_set.h"
#include "formats/pin.h"
#include "model/model.h"

/* Fill m from the GGUF file at path; when it is a part of a split set, from the whole set (any part may be named).
 * m->tensors in file order, GGUF names, dims turned to slowest first. m->meta: part 1's values in order, without the
 * split.* keys for a set. With PARE_OPEN_RAW (formats/open.h) neither hyperparameters nor vocabulary are read.
 * Everything is checked as docs/formats/GGUF.md says: counts against the bytes left, overflow, duplicates, overlap.
 * Memory while parsing: proportional to the header. Errors: see formats/open.h. */
pare_status pare_gguf_open(pare_model *m, const char *path, unsigned flags, pare_error *err);

/* What opening without PARE_OPEN_RAW adds to a model that was opened with it: hyperparameters, vocabulary (not with
 * PARE_OPEN_NO_VOCAB), and whether the weights are those that the architecture needs. On error m stays open. */
pare_status pare_gguf_interpret(pare_model *m, unsigned flags, pare_error *err);

/* Parse the header of one file in memory, for tests and fuzzing: fills m->meta and m->tensors as views into bytes. */
pare_status pare_gguf_parse(pare_model *m, const void *bytes, size_t n, const char *path, pare_error *err);

typedef struct pare_write_options {
    bool force;           /* replace existing output */
    uint64_t split_bytes; /* a new part when tensor data would exceed it; 0: one file. A tensor is never divided */
    bool keep_split;      /* a new part where the tensors' source (pare_tensor.file) has one; not with split_bytes */
    pare_output_set *pending; /* receives the finished files, for the caller to publish; NULL: they are published */
} pare_write_options;

/* Write m as GGUF v3 in one pass: m->meta as it is (general.alignment is kept), tensors in m's order. With split_bytes
 * the files are <prefix>-00001-of-0000N.gguf, prefix being path without ".gguf", with split.* keys as stock gguf-split
 * writes them; all parts appear together or none. With keep_split it is one file, without the suffix, when the tensors
 * come from one file. pin may be NULL; else the files, tensors and hashes are recorded in
 * the same pass. Errors: PARE_ERR_UNSUPPORTED (a type that GGUF has no number for), PARE_ERR_IO, PARE_ERR_USAGE (exists,
 * or is an input), PARE_ERR_MEMORY, and whatever reading the tensors gives. */
pare_status pare_gguf_write(const pare_model *m, const char *path, const pare_write_options *options, pare_pin *pin, pare_error *err);

/* Exact bytes that pare_gguf_write would write, all parts together. */
pare_status pare_gguf_size(const pare_model *m, const pare_write_options *options, uint64_t *n_bytes, pare_error *err);

#endif
