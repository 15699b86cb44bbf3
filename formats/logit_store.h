/* formats/logit_store.h - a reference's log-probabilities in a file, so that the reference need not be run again. Layout
 * of pare's own format (zstd, a frame a piece, seekable) and of llama-perplexity's: docs/formats/LOGITS.md */
#ifndef PARE_FORMATS_LOGIT_STORE_H
#define PARE_FORMATS_LOGIT_STORE_H

#include "core/error.h"

#include <stdint.h>

/* What made a store, and how. Texts are hexadecimal SHA-256 or empty where not known. */
typedef struct pare_logit_info {
    uint32_t n_vocab, n_ctx, stride;
    int64_t bos;               /* the id that took the place of token 0 of each window, or PARE_TOKEN_NONE */
    char model_sha256[65];     /* of the model's files: sorted "<sha256>  <name>" lines hashed; of one file its own */
    char tokenizer_sha256[65]; /* of its vocabulary, merges and rules */
    const char *model;         /* its name without folder; borrowed (writer) or owned by the store (reader) */
    uint32_t bits;             /* precision asked for; 0: the default */
    double noise_kld, noise_max; /* measured when it was written: |mean error| and largest error of KL(p || p of the store), nat */
    uint32_t n_windows;
} pare_logit_info;

typedef struct pare_logit_writer pare_logit_writer;

/* Start a store at path. Errors: PARE_ERR_USAGE (it exists and force is false), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_logit_writer_open(pare_logit_writer **out, const char *path, const pare_logit_info *info, bool force,
                                   pare_error *err);
/* Start the next window: ids [first + n + 1] as the model saw them; rows of positions [first, first + n) follow. */
pare_status pare_logit_writer_window(pare_logit_writer *w, const int32_t *ids, uint32_t first, uint32_t n,
                                     pare_error *err);
/* The next n_rows positions of the window: logits [n_rows, n_vocab] and lse [n_rows] = ln sum e^row. */
pare_status pare_logit_writer_rows(pare_logit_writer *w, const float *logits, const double *lse, uint32_t n_rows,
                                   pare_error *err);
/* Write index and noise, sync, rename. info, if not NULL, receives what was written. */
pare_status pare_logit_writer_commit(pare_logit_writer *w, pare_logit_info *info, pare_error *err);
void pare_logit_writer_close(pare_logit_writer *w); /* without commit the file is removed; NULL is allowed */

typedef struct pare_logit_store pare_logit_store;

/* Open pare's own format, or llama-perplexity's --kl-divergence-base file (seen from the magic).
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE, PARE_ERR_UNSUPPORTED (a newer version), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_logit_store_open(pare_logit_store **out, const char *path, pare_error *err);
void pare_logit_store_close(pare_logit_store *s); /* NULL is allowed */
const pare_logit_info *pare_logit_store_info(const pare_logit_store *s);

/* The window with these tokens: ids [first + n + 1] as the model saw them, positions [first, first + n) wanted.
 * Errors: PARE_ERR_USAGE: the store has no such window; the message says what differs (n_ctx, BOS rule, text). */
pare_status pare_logit_store_find(pare_logit_store *s, const int32_t *ids, uint32_t first, uint32_t n, uint64_t *index,
                                  pare_error *err);
/* Log-probabilities of positions [pos, pos + n) of a window: out [n, n_vocab]. One thread at a time. */
pare_status pare_logit_store_rows(pare_logit_store *s, uint64_t index, uint32_t pos, uint32_t n, float *out,
                                  pare_error *err);

#endif
