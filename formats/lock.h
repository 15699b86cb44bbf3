/* formats/lock.h - pare.lock and SHA256SUMS: written from a pin, verified against files. Layout: docs/formats/LOCK.md */
#ifndef PARE_FORMATS_LOCK_H
#define PARE_FORMATS_LOCK_H

#include "core/json.h"
#include "formats/pin.h"

/* Hash the files of a model (file, split set, or folder with its side files) or any other regular file or folder at
 * path into p: files in parallel, tensors and metadata of those that parse as GGUF or safetensors. */
pare_status pare_pin_scan(pare_pin *p, const char *path, pare_error *err);

/* What else goes into the lock: all optional, borrowed. */
typedef struct pare_lock_extra {
    const json_t *recipe;       /* what made the files: verb, options, input hashes */
    const json_t *measurements; /* evaluation results */
} pare_lock_extra;

/* Write pare.lock: JSON, sorted keys; names relative to the lock's folder (a file outside of it is PARE_ERR_USAGE). */
pare_status pare_lock_write(pare_pin *p, const char *lock_path, const pare_lock_extra *extra, bool force, pare_error *err);

/* Write SHA256SUMS: "<64 hex>  <name>", sorted, names relative to the folder of sums_path. */
pare_status pare_sums_write(pare_pin *p, const char *sums_path, bool force, pare_error *err);

typedef enum pare_verdict { PARE_VERDICT_OK, PARE_VERDICT_DIFFERENT, PARE_VERDICT_ABSENT } pare_verdict;

typedef struct pare_verify_options {
    bool fast;        /* XXH3 instead of SHA-256; not tamper-proof, and the report says so */
    bool allow_extra; /* files in the folder that the lock does not know */
} pare_verify_options;

/* One finding a line: kind ("size", "sha256", "missing", "extra", "renamed", "tensor", "tensors exchanged",
 * "metadata", "structure", ...), file, item (tensor or key, may be empty), text. Strings owned by the report. */
typedef struct pare_finding {
    char *kind, *file, *item, *text;
} pare_finding;

typedef struct pare_verify_report {
    pare_verdict bytes, structure, signature;
    pare_finding *findings;
    size_t n_findings;
    uint64_t n_files, n_bytes, n_tensors;
} pare_verify_report;

void pare_verify_report_close(pare_verify_report *r);

/* Verify files against a lock or a SHA256SUMS file, or (path is a model) the structure of a model without a lock.
 * Returns PARE_OK when the verification ran, whatever it found: the verdicts say. Errors: the lock itself is bad. */
pare_status pare_verify(const char *path, const pare_verify_options *options, pare_verify_report *r, pare_error *err);

#endif
