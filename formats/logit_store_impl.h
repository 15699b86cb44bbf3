/* formats/logit_store_impl.h - what the sources of logit stores share; layouts: docs/formats/LOGITS.md */
#ifndef PARE_FORMATS_LOGIT_STORE_IMPL_H
#define PARE_FORMATS_LOGIT_STORE_IMPL_H

#include "core/hash.h"
#include "core/map.h"
#include "core/output.h"
#include "core/text.h"
#include "formats/logit_code.h"
#include "formats/logit_store.h"

#define PARE_LOGIT_MAGIC "pare-lgt"
#define PARE_LOGIT_END "lgt-pare"
#define PARE_LLAMA_LOGIT_MAGIC "_logits_"

enum {
    PARE_LOGIT_MAGIC_BYTES = 8,
    PARE_LOGIT_VERSION = 1,
    PARE_LOGIT_HEAD = 140,               /* bytes of the header before the model's name */
    PARE_LOGIT_MAX_NAME = 4096,          /* bytes */
    PARE_LOGIT_CHECK = 16,               /* bytes of an XXH3-128 */
    PARE_LOGIT_NOISE = 32,               /* bytes at the start of the index */
    PARE_LOGIT_WINDOW = 44,              /* bytes of a window in the index */
    PARE_LOGIT_PIECE_HEAD = 8,           /* bytes: of a piece of numbers */
    PARE_LOGIT_MAX_SHIFT = 8,            /* bits of a number that are stored as they are */
    PARE_LOGIT_TRAILER = 40,             /* bytes */
    PARE_LOGIT_ROW = 20,                 /* bytes of what a row keeps beside its numbers */
    PARE_LOGIT_CHUNK_ELEMENTS = 1 << 21, /* logits that are compressed together, */
    PARE_LOGIT_CHUNK_ROWS = 1024,        /* and rows, at most */
    PARE_LOGIT_PIECE_ELEMENTS = 1 << 17, /* of a zstd frame, at most: its blocks have so many bytes */
    PARE_LLAMA_LOGIT_HEAD = 20
};

/* Rows of a full chunk. */
static inline uint32_t pare_logit_chunk_rows(uint32_t n_vocab)
{
    uint32_t n = PARE_LOGIT_CHUNK_ELEMENTS / n_vocab;
    return n > PARE_LOGIT_CHUNK_ROWS ? PARE_LOGIT_CHUNK_ROWS : n > 0 ? n : 1;
}

/* Tokens of a piece. */
static inline uint32_t pare_logit_piece_tokens(uint32_t n_vocab, uint32_t chunk_rows)
{
    uint32_t n = PARE_LOGIT_PIECE_ELEMENTS / chunk_rows;
    return n > n_vocab ? n_vocab : n;
}

/* Bytes that the lowest bits of a token's numbers take in a piece. */
static inline size_t pare_logit_low_bytes(uint32_t n_rows, uint32_t shift)
{
    return ((size_t)n_rows * shift + 7) / 8;
}

/* SHA-256 of the tokens [1, n) of a window as 32-bit little-endian numbers. Token 0 stands apart: a BOS may have taken
 * its place. */
pare_status pare_logit_hash_ids(const int32_t *ids, uint32_t n, uint8_t sha256[32], pare_error *err);

/* llama-perplexity's rows: 2 floats, then 16-bit numbers padded to an even count. */
static inline size_t pare_llama_logit_row_bytes(uint32_t n_vocab)
{
    return 8 + 2 * ((size_t)n_vocab + n_vocab % 2);
}

/* A writer: what both formats share is in the struct, the rest behind the three functions. */
struct pare_logit_writer {
    pare_output *out;
    pare_logit_info info;
    char *path;
    uint32_t first, n, done; /* the window: its positions, rows that have come */
    int32_t *ids;            /* [first + n + 1] */
    double noise_sum, noise_nll_sum;
    void *state;
    pare_status (*window)(pare_logit_writer *w, pare_error *err);
    pare_status (*rows)(pare_logit_writer *w, const float *logits, const double *lse, uint32_t n, pare_error *err);
    pare_status (*finish)(pare_logit_writer *w, pare_error *err);
    void (*close)(pare_logit_writer *w);
};

pare_status pare_logit_writer_open_pare(pare_logit_writer *w, pare_error *err);
pare_status pare_logit_writer_open_llama(pare_logit_writer *w, pare_error *err);

/* Add the noise of n rows, in their order. */
typedef struct pare_logit_noise {
    double kld, nll;
} pare_logit_noise;
void pare_logit_add_noise(pare_logit_writer *w, const pare_logit_noise *noise, uint32_t n);

/* A window of a store. */
typedef struct pare_logit_window {
    uint32_t first, n;
    int32_t token0;
    uint8_t sha256[32];
    uint64_t chunk; /* its first one; pare's own format */
} pare_logit_window;

struct pare_logit_store {
    pare_map map;
    const uint8_t *bytes;
    size_t n;
    char *path, *model;
    pare_logit_info info;
    pare_logit_window *windows; /* [info.n_windows] */
    uint32_t *by_hash;          /* the windows' numbers in the order of their hashes */
    uint64_t bytes_held;
    void *state;
    pare_status (*rows)(pare_logit_store *s, uint64_t index, uint32_t pos, uint32_t n, float *out, pare_error *err);
    void (*close)(pare_logit_store *s);
};

pare_status pare_logit_store_open_pare(pare_logit_store *s, pare_error *err);
pare_status pare_logit_store_open_llama(pare_logit_store *s, pare_error *err);

#endif
