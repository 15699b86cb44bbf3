/* formats/logit_store.h - a reference's log-probabilities in a file, so that the reference need not be run again.
 * Layout of pare's own format (zstd, seekable) and of llama-perplexity's, accuracy of both: docs/formats/LOGITS.md */
#ifndef PARE_FORMATS_LOGIT_STORE_H
#define PARE_FORMATS_LOGIT_STORE_H

#include "core/error.h"

#include <stdint.h>

typedef enum pare_logit_format {
    PARE_LOGITS_PARE, /* pare's own: no clamp, noise as small as one likes */
    PARE_LOGITS_LLAMA /* llama-perplexity's --kl-divergence-base: 16 bits, clamped 16 nats below the best token */
} pare_logit_format;

enum { PARE_LOGIT_BITS_MIN = 4, PARE_LOGIT_BITS_MAX = 14 };

/* What made a store, and how. Texts are hexadecimal SHA-256 or empty where not known. The writer is given what stands
 * above the line; below it is what was measured. */
typedef struct pare_logit_info {
    pare_logit_format format;
    uint32_t n_vocab, n_ctx, stride;
    int64_t bos;               /* the id that took the place of token 0 of each window, or PARE_TOKEN_NONE */
    char model_sha256[65];     /* of the model's files: sorted "<sha256>  <name>" lines hashed; of one file its own */
    char tokenizer_sha256[65]; /* of its vocabulary, merges and rules */
    char compute[8];           /* arithmetic of its pass: "f32", "bf16", "ggml" (eval/backend.h) */
    const char *model;         /* its name without folder; borrowed (writer) or owned by the store (reader) */
    uint32_t bits;             /* bits a logit in the file, about; 0: the default precision. Only pare's own format */
    uint32_t n_windows;        /* needed for llama-perplexity's format, which has it in front; else counted */
    const int32_t *text; /* needed for llama-perplexity's format: the windows' tokens [n_windows, n_ctx] before BOS
                          * took the place of the first of each; borrowed until the writer is open */
    /* ---- measured; NAN in what is read from llama-perplexity's format, which does not say it ---- */
    double noise_kld; /* mean of KL(p || p of the store) over the positions, nat */
    double noise_max; /* the largest */
    double noise_nll; /* mean of -ln p_store(t) + ln p(t), t the next token: what it does to ln perplexity */
    uint64_t n_rows;  /* positions */
    uint64_t n_bytes; /* of the file */
} pare_logit_info;

typedef struct pare_logit_writer pare_logit_writer;

/* Start a store at path. The bytes do not depend on the number of threads, nor on how rows are handed over.
 * Errors: PARE_ERR_USAGE (it exists and force is false; bits out of range), PARE_ERR_RANGE (vocabulary or windows too
 * large for the format), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_logit_writer_open(pare_logit_writer **out, const char *path, const pare_logit_info *info, bool force,
                                   pare_error *err);
/* Start the next window: ids [first + n + 1] as the model saw them; rows of positions [first, first + n) follow.
 * Errors: PARE_ERR_USAGE (llama-perplexity's format has the second half of each window, no other positions) */
pare_status pare_logit_writer_window(pare_logit_writer *w, const int32_t *ids, uint32_t first, uint32_t n,
                                     pare_error *err);
/* The next n_rows positions of the window: logits [n_rows, n_vocab], all finite, and lse [n_rows] = ln sum e^row. */
pare_status pare_logit_writer_rows(pare_logit_writer *w, const float *logits, const double *lse, uint32_t n_rows,
                                   pare_error *err);
/* Write index and noise, sync, rename. info, if not NULL, receives what was written; its texts stay the caller's. */
pare_status pare_logit_writer_commit(pare_logit_writer *w, pare_logit_info *info, pare_error *err);
void pare_logit_writer_close(pare_logit_writer *w); /* without commit the file is removed; NULL is allowed */

typedef struct pare_logit_store pare_logit_store;

/* Open pare's own format, or llama-perplexity's --kl-divergence-base file (seen from the magic). Nothing is decoded
 * yet: header and index are checked against their hash, sizes against the file. Errors: PARE_ERR_FORMAT,
 * PARE_ERR_RANGE, PARE_ERR_UNSUPPORTED (a newer version), PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_logit_store_open(pare_logit_store **out, const char *path, pare_error *err);
/* The same from n bytes in memory, which must outlive the store. */
pare_status pare_logit_store_parse(pare_logit_store **out, const void *bytes, size_t n, const char *path,
                                   pare_error *err);
void pare_logit_store_close(pare_logit_store *s); /* NULL is allowed */
const pare_logit_info *pare_logit_store_info(const pare_logit_store *s);
const char *pare_logit_store_path(const pare_logit_store *s);
uint64_t pare_logit_store_bytes(const pare_logit_store *s); /* memory that it holds */

/* Is this the store for such a run? Compares what both sides know of vocabulary, windows, BOS rule and tokenizer; the
 * model is not compared. Errors: PARE_ERR_RANGE naming what differs */
pare_status pare_logit_store_check(const pare_logit_store *s, const pare_logit_info *run, pare_error *err);

/* The window with these tokens: ids [first + n + 1] as the model saw them, positions [first, first + n) wanted. In
 * llama-perplexity's format token 0 is not compared: there it is the text's, which BOS replaces when a model runs.
 * Errors: PARE_ERR_RANGE: the store has no such window; the message says what differs (n_ctx, BOS rule, text). */
pare_status pare_logit_store_find(pare_logit_store *s, const int32_t *ids, uint32_t first, uint32_t n, uint64_t *index,
                                  pare_error *err);
/* Log-probabilities of positions [pos, pos + n) of a window: out [n, n_vocab], finite, the sum of e^out of a row is 1
 * within rounding (llama-perplexity's: as it stands in the file). One thread at a time; works on all threads.
 * Errors: PARE_ERR_FORMAT and PARE_ERR_RANGE (damaged data), PARE_ERR_MEMORY */
pare_status pare_logit_store_rows(pare_logit_store *s, uint64_t index, uint32_t pos, uint32_t n, float *out,
                                  pare_error *err);

#endif
