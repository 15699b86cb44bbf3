/* formats/model_hash.h - what a model is, in a few hashes: for the records of evaluations and for stores of logits.
 * Definitions: docs/formats/RECORD.md */
#ifndef PARE_FORMATS_MODEL_HASH_H
#define PARE_FORMATS_MODEL_HASH_H

#include "formats/pin.h"

/* Texts are hexadecimal SHA-256. Zeroed is closed. */
typedef struct pare_model_hash {
    pare_pin pin; /* weight files and side files by name (set: without folder), with the digests of their tensors */
    char files_sha256[PARE_SHA256_HEX];   /* of one file its own; of several, of the sorted "<sha256>  <name>" lines */
    char tensors_sha256[PARE_SHA256_HEX]; /* of the lines of all tensors, sorted by name */
    char tokenizer_sha256[PARE_SHA256_HEX]; /* pare_tokenizer_hash; empty: the model was opened without vocabulary */
    char chat_template_sha256[PARE_SHA256_HEX]; /* of its text; empty: none */
} pare_model_hash;

/* Read all files of m once and hash them and their tensors, on all threads.
 * Errors: PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED, those of the readers; *out is closed then */
pare_status pare_model_hash_open(pare_model_hash *out, const pare_model *m, pare_error *err);
void pare_model_hash_close(pare_model_hash *h);

/* Of vocabulary, merges and rules: of the lines "<sha256 of the value>  <key>" of the tokenizer.* metadata that a GGUF
 * file of v has, without chat templates. So a folder and the GGUF file made from it have the same. */
pare_status pare_tokenizer_hash(char out[PARE_SHA256_HEX], const pare_vocab *v, pare_error *err);

/* Of a regular file, as large as it is now. n_bytes may be NULL. Errors: PARE_ERR_FORMAT (absent, no regular file),
 * PARE_ERR_IO, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_file_hash(char out[PARE_SHA256_HEX], const char *path, uint64_t *n_bytes, pare_error *err);

#endif
