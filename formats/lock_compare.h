/* formats/lock_compare.h - how files differ from what a lock expects of them; the middle part of pare_verify */
#ifndef PARE_FORMATS_LOCK_COMPARE_H
#define PARE_FORMATS_LOCK_COMPARE_H

#include "formats/lock.h"
#include "formats/lock_read.h"

typedef struct pare_file_state {
    bool missing;
    bool refused;    /* no regular file: not opened */
    bool is_model;   /* GGUF or safetensors */
    bool broken;     /* it is, and its header cannot be read */
    bool other_size; /* than the lock says */
} pare_file_state;

/* One run against a lock. actual.files[i], states[i] and what[i] belong to lock->pin.files[i]. */
typedef struct pare_verification {
    const pare_lock *lock;
    pare_pin actual;
    pare_file_state *states;
    uint8_t
        *what; /* is hashed of it (formats/pin_scan.h). 0: it is absent, or of another size and nothing more to tell */
    pare_hash_kind kind;
    bool allow_extra;
    pare_verify_whole whole;
    bool any_checked; /* a model as a whole */
    pare_index names; /* of the lock's files -> their index */
    pare_verify_report *report;
} pare_verification;

typedef enum pare_found { PARE_FOUND_BYTES, PARE_FOUND_STRUCTURE, PARE_FOUND_SIGNATURE } pare_found;

/* Add a finding (strings are copied) and turn its verdict to PARE_VERDICT_DIFFERENT. */
pare_status pare_verification_add(pare_verification *v, pare_found verdict, const char *kind, const char *file,
                                  const char *item, const char *text, pare_error *err);

/* The hash that this run computes, of a digest, as a key of an index: a view into d. */
pare_str pare_verification_key(const pare_verification *v, const pare_digest *d);

/* Of uint64_t, for qsort and bsearch. */
int pare_compare_sizes(const void *a, const void *b);

/* Files, tensors, metadata: after hashing. */
pare_status pare_compare_files(pare_verification *v, pare_error *err);

/* Missing files, renamed ones (hashes what has the size of a missing one), and ones that the lock does not know. */
pare_status pare_compare_folders(pare_verification *v, pare_error *err);

/* What the store says that path lies in (formats/store.h), compared with the files; nothing where it lies in none. */
pare_status pare_verify_store(pare_verification *v, const char *path, pare_error *err);

/* The names that the Hub's cache or client gives the lock's files, compared with the lock's hashes. */
pare_status pare_compare_store(pare_verification *v, pare_error *err);

#endif
