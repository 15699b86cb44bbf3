/* formats/lock.h - pare.lock and SHA256SUMS: written from a pin, verified against files. Layout:
 * docs/formats/LOCK.md */
#ifndef PARE_FORMATS_LOCK_H
#define PARE_FORMATS_LOCK_H

#include "core/json.h"
#include "core/output_set.h"
#include "formats/pin.h"

/* Hash the files at path into p, with the tensors and the metadata of those that are GGUF or safetensors: one file;
 * all files of the set that a part or an index.json stands for; a folder with its subfolders, which p then covers as a
 * whole. An index.json in a folder that names files which are not there is warned of.
 * Hashing runs on all threads; progress is told in bytes.
 * Errors: PARE_ERR_FORMAT (absent, no regular file, a link out of the folder: all of a folder in one message) and those
 * of the readers, PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED; p then holds what was added so far. */
pare_status pare_pin_scan(pare_pin *p, const char *path, pare_error *err);

/* What else goes into the lock: all optional, borrowed. */
typedef struct pare_lock_extra {
    const json_t *recipe;       /* what made the files: verb, options, input hashes */
    const json_t *measurements; /* evaluation results */
    const json_t *parents;      /* the inputs: names, roles, hashes, and the locks that list them */
    const json_t *repository;   /* of the Hub, that the files are from: {name, revision} */
    const char *beside[2];      /* paths of checksums and of a signature that are written with the lock, NULL: none */
} pare_lock_extra;

/* Write pare.lock: JSON, sorted keys, names relative to the lock's folder; the same files give the same bytes. Sets the
 * names of p's files and sorts them. extra may be NULL.
 * Errors: PARE_ERR_USAGE   a file outside of the folder, or given twice; the lock exists and force is false;
 *                          SOURCE_DATE_EPOCH is no number
 *         PARE_ERR_FORMAT  names that a lock cannot hold, or that differ in case or composition alone
 *         PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_lock_write(pare_pin *p, const char *lock_path, const pare_lock_extra *extra, bool force,
                            pare_error *err);

/* Write SHA256SUMS: "<64 hex>  <name>", sorted, names relative to the folder of sums_path, odd ones escaped.
 * Errors: those of pare_lock_write; PARE_ERR_USAGE: a name that pare_path_leaves refuses, too */
pare_status pare_sums_write(pare_pin *p, const char *sums_path, bool force, pare_error *err);

/* The same as finished files of a set, which the caller publishes: with the model that they describe. */
pare_status pare_lock_add(pare_output_set *set, pare_pin *p, const char *lock_path, const pare_lock_extra *extra,
                          bool force, pare_error *err);
pare_status pare_sums_add(pare_output_set *set, pare_pin *p, const char *sums_path, bool force, pare_error *err);

typedef enum pare_verdict { PARE_VERDICT_OK, PARE_VERDICT_DIFFERENT, PARE_VERDICT_ABSENT } pare_verdict;

/* When the hash of a whole file is computed whose tensors' hashes and that of the rest stand for its bytes: it costs as
 * much again, on one thread, and tells only whether the lock says a false hash of the file beside true ones of its
 * parts, which one who forges a lock can make it do. */
typedef enum pare_verify_whole {
    PARE_WHOLE_SMALL, /* of files of up to PARE_WHOLE_BYTES */
    PARE_WHOLE_ALWAYS,
    PARE_WHOLE_NEVER
} pare_verify_whole;

#define PARE_WHOLE_BYTES (UINT64_C(256) << 20)

typedef struct pare_verify_options {
    bool fast; /* XXH3 instead of SHA-256; not tamper-proof, and the report says so */
    pare_verify_whole whole;
    bool allow_extra; /* files in the folder that the lock does not know */
    /* A path that is neither lock nor model is no error, its structure is absent then and a warning says why; GGUF and
     * safetensors files are looked at one by one. For what a signature alone speaks of. */
    bool any_file;
} pare_verify_options;

/* One finding a line. kind: "refused" (a link, FIFO, socket, device or folder in a file's place: not opened),
 * "exchanged" (it holds what another file should), "size", "sha256" or "xxh3_128" (the whole file), "tensor",
 * "tensors exchanged", "metadata", "tokenizer", "chat template", "git_sha1", "missing", "renamed", "extra", "etag" (a
 * store's name for it); "lock" (its seal does not fit); "structure"; of a signature, those of formats/bundle.h. item:
 * the tensor or key, may be empty. Strings are owned by the report, and as the files have them: a printer escapes them.
 */
typedef struct pare_finding {
    char *kind, *file, *item, *text;
} pare_finding;

typedef struct pare_verify_report {
    pare_verdict bytes, structure, signature;
    pare_verdict seal; /* of a lock: absent where it has none, which is warned of, and of SHA256SUMS */
    pare_finding *findings;
    size_t n_findings;
    uint64_t n_files, n_bytes, n_tensors;
    const char
        *store; /* of another program, which names n_stored of the files by their hashes: "the Hub's cache"; or NULL */
    uint64_t n_stored;
    uint64_t n_refused;  /* entries of the lock that are no regular files */
    uint64_t n_by_parts; /* files that were verified by their parts alone (pare_verify_whole) */
} pare_verify_report;

void pare_verify_report_close(pare_verify_report *r);

/* Verify files against a lock or a SHA256SUMS file, or (path is a model) the structure of a model without a lock; which
 * it is, is seen from its content. options may be NULL. Returns PARE_OK when the verification ran, whatever it found:
 * the verdicts say. A verdict that was not asked for is PARE_VERDICT_ABSENT.
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE  the lock is bad; a model without a lock cannot be opened
 *         PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED; *r is empty then */
pare_status pare_verify(const char *path, const pare_verify_options *options, pare_verify_report *r, pare_error *err);

#endif
