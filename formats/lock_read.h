/* formats/lock_read.h - pare.lock and SHA256SUMS as what they expect of the files */
#ifndef PARE_FORMATS_LOCK_READ_H
#define PARE_FORMATS_LOCK_READ_H

#include "formats/pin.h"

#include <jansson.h>

/* Hashes that a lock gives beside those of a pin; one a file. */
typedef struct pare_lock_file {
    bool has_metadata, has_tokenizer, has_git_sha1;
    uint8_t metadata[32], tokenizer[32], git_sha1[20];
} pare_lock_file;

/* Zeroed is closed. */
typedef struct pare_lock {
    char *path, *folder;   /* of the lock; names are relative to folder */
    bool has_seal, sealed; /* it has a seal; and that fits: nothing was edited */
    bool sums;             /* a SHA256SUMS file: sizes and everything inside the files are unknown */
    bool left_out;         /* it says what was left out of its folders: older locks do not, and left out more */
    pare_pin pin;          /* expected; path is folder/name. folders: whole folders that the lock covers */
    pare_lock_file *files; /* [pin.n_files] */
    const json_t *beside;  /* names of checksums and signature that were written with it; borrowed from doc, or NULL */
    json_t *tokenizers;    /* the lock's "tokenizers", borrowed from doc, or NULL */
    json_t *doc;
} pare_lock;

/* Read and check a lock (text is JSON) or SHA256SUMS. Names are plain relative paths (docs/formats/LOCK.md), hashes are
 * lower-case and complete, nothing is named twice. Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE, PARE_ERR_MEMORY. */
pare_status pare_lock_parse(pare_lock *lock, const char *path, const void *text, size_t len, pare_error *err);
pare_status pare_sums_parse(pare_lock *lock, const char *path, const void *text, size_t len, pare_error *err);
void pare_lock_close(pare_lock *lock);

/* Warn that the lock has no seal. Errors: PARE_ERR_FORMAT (in strict mode) */
pare_status pare_lock_warn_unsealed(const pare_lock *lock, pare_error *err);

/* Whether the file at path is a lock or SHA256SUMS, so that writing a new one over it loses nothing else. */
bool pare_lock_is_one(const char *path);

#endif
