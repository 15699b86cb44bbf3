/* formats/pin.h - what is known of files that were written or read: sizes and hashes of files, tensors, metadata
 *
 * Writers record into one while they write (no second reading); pare_pin_scan fills one from files on disk.
 * formats/lock writes it as pare.lock and SHA256SUMS and verifies against it. */
#ifndef PARE_FORMATS_PIN_H
#define PARE_FORMATS_PIN_H

#include "core/guard.h"
#include "core/hash.h"
#include "model/model.h"

typedef struct pare_pin_tensor {
    char *name; /* as in the file */
    pare_type type;
    uint32_t n_dims;
    uint64_t dim[PARE_MAX_DIMS]; /* slowest first */
    uint64_t offset;             /* from the start of the file */
    pare_digest digest;          /* of the stored bytes; digest.n_bytes is the length */
    uint64_t bad_block;          /* the first one that is not finite, or one of these */
} pare_pin_tensor;

#define PARE_PIN_ALL_FINITE UINT64_MAX
#define PARE_PIN_NOT_LOOKED_AT (UINT64_MAX - 1)

typedef struct pare_pin_meta {
    char *key;
    pare_digest digest; /* of pare_meta_serialize */
} pare_pin_meta;

typedef struct pare_pin_file {
    char *path;           /* as opened */
    char *stored_at;      /* where its bytes lie until the caller of the writer publishes it; NULL: at path */
    char *name;           /* relative, as it stands in the lock; set by formats/lock */
    pare_identity source; /* of a file that is read, when it was opened; hashing compares */
    pare_digest digest;
    pare_digest rest; /* of the bytes that lie in no tensor, in file order: header, padding, what follows */
    bool has_rest;    /* a file with tensors has it, once it is hashed */
    pare_pin_tensor *tensors;
    size_t n_tensors;
    pare_pin_meta *meta; /* one a metadata key of this file */
    size_t n_meta;
    bool has_chat_template;    /* a string tokenizer.chat_template was among the metadata */
    pare_digest chat_template; /* of its text alone, so that it equals the hash of a chat_template.jinja file */
} pare_pin_file;

/* Zeroed is empty. */
typedef struct pare_pin {
    pare_pin_file *files;
    size_t n_files;
    char **folders; /* every file below these is in the pin, so that a further one is a difference */
    size_t n_folders;
    bool files_only; /* for writers: tensors need not be recorded */
} pare_pin;

void pare_pin_close(pare_pin *p);
void pare_pin_file_close(pare_pin_file *f);

/* For writers: start a file (copies path), add its tensors and metadata in file order, set file->digest at the end.
 * The returned pointer is valid until the next pare_pin_add_file. */
pare_status pare_pin_add_file(pare_pin *p, const char *path, pare_pin_file **out, pare_error *err);
pare_status pare_pin_store_at(pare_pin_file *f, const char *temporary, pare_error *err); /* sets stored_at */
pare_status pare_pin_add_tensor(pare_pin_file *f, const pare_tensor *t, uint64_t offset, const pare_digest *digest,
                                pare_error *err);
pare_status pare_pin_add_meta(pare_pin_file *f, const pare_meta_value *value, pare_error *err);
pare_status pare_pin_add_meta_digest(pare_pin_file *f, const char *key, const pare_digest *digest, pare_error *err);
pare_status pare_pin_add_folder(pare_pin *p, const char *path, pare_error *err);

/* The files were recorded in the folder `from`, which has been renamed to `to` (core/output.h, pare_outdir). */
pare_status pare_pin_move(pare_pin *p, const char *from, const char *to, pare_error *err);

#endif
