#include "formats/logit_store_impl.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/threads.h"
#include "model/vocab.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* ---- either format ---- */

pare_status pare_logit_hash_ids(const int32_t *ids, uint32_t n, uint8_t sha256[32], pare_error *err)
{
    pare_digest digest;
    uint32_t n_hashed = n > 0 ? n - 1 : 0;
    uint8_t *bytes = malloc((size_t)n_hashed * 4 + 1);
    if (bytes == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " token ids", n);
    for (size_t i = 0; i < n_hashed; i++)
        pare_store_u32le(bytes + 4 * i, (uint32_t)ids[i + 1]);
    pare_status st = pare_hash_bytes(bytes, (size_t)n_hashed * 4, PARE_HASH_SHA256, &digest, err);
    if (st == PARE_OK)
        memcpy(sha256, digest.sha256, 32);
    free(bytes);
    return st;
}

void pare_logit_add_noise(pare_logit_writer *w, const pare_logit_noise *noise, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        w->noise_sum += noise[i].kld;
        w->noise_nll_sum += noise[i].nll;
        if (noise[i].kld > w->info.noise_max)
            w->info.noise_max = noise[i].kld;
    }
    w->info.n_rows += n;
}

static pare_status check_info(const pare_logit_info *info, const char *path, pare_error *err)
{
    if (info->n_vocab < 1 || info->n_vocab > PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE, "%s: a vocabulary of %" PRIu32 "; a logit store has room for 1 to %d",
                         path, info->n_vocab, PARE_MAX_VOCAB);
    if (info->format == PARE_LOGITS_PARE && info->bits != 0 &&
        (info->bits < PARE_LOGIT_BITS_MIN || info->bits > PARE_LOGIT_BITS_MAX))
        return pare_fail(err, PARE_ERR_USAGE, "%s: %" PRIu32 " bits a logit; %d to %d are possible", path, info->bits,
                         PARE_LOGIT_BITS_MIN, PARE_LOGIT_BITS_MAX);
    return PARE_OK;
}

pare_status pare_logit_writer_open(pare_logit_writer **out, const char *path, const pare_logit_info *info, bool force,
                                   pare_error *err)
{
    *out = NULL;
    pare_status st = check_info(info, path, err);
    if (st != PARE_OK)
        return st;
    pare_logit_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    w->info = *info;
    w->info.noise_kld = w->info.noise_max = w->info.noise_nll = 0;
    w->info.n_rows = w->info.n_bytes = 0;
    const char *model = info->model != NULL ? info->model : "";
    w->path = strdup(path);
    char *name = strndup(model, PARE_LOGIT_MAX_NAME);
    w->info.model = name;
    if (w->path == NULL || name == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    if (st == PARE_OK)
        st = pare_output_open(&w->out, path, 0, force ? PARE_OUTPUT_FORCE : 0, err);
    if (st == PARE_OK && info->format == PARE_LOGITS_LLAMA)
        st = pare_logit_writer_open_llama(w, err);
    else if (st == PARE_OK)
        st = pare_logit_writer_open_pare(w, err);
    w->info.text = NULL;
    if (st == PARE_OK)
        *out = w;
    else
        pare_logit_writer_close(w);
    return st;
}

static pare_status check_window_done(const pare_logit_writer *w, pare_error *err)
{
    if (w->done == w->n)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "%s: a window of %" PRIu32 " positions was given %" PRIu32 " rows", w->path,
                     w->n, w->done);
}

pare_status pare_logit_writer_window(pare_logit_writer *w, const int32_t *ids, uint32_t first, uint32_t n,
                                     pare_error *err)
{
    pare_status st = check_window_done(w, err);
    if (st != PARE_OK)
        return st;
    if (n == 0 || n >= INT32_MAX - first)
        return pare_fail(err, PARE_ERR_USAGE, "%s: a window of %" PRIu32 " positions", w->path, n);
    size_t n_ids = (size_t)first + n + 1;
    int32_t *copy = realloc(w->ids, n_ids * sizeof *copy);
    if (copy == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu token ids", w->path, n_ids);
    w->ids = copy;
    memcpy(copy, ids, n_ids * sizeof *copy);
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= w->info.n_vocab)
            return pare_fail(err, PARE_ERR_USAGE,
                             "%s: token %" PRId32 " at place %zu of a window; the vocabulary has %" PRIu32, w->path,
                             ids[i], i, w->info.n_vocab);
    w->first = first;
    w->n = n;
    w->done = 0;
    return w->window(w, err);
}

pare_status pare_logit_writer_rows(pare_logit_writer *w, const float *logits, const double *lse, uint32_t n_rows,
                                   pare_error *err)
{
    if (n_rows > w->n - w->done)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %" PRIu32 " rows for a window that lacks %" PRIu32, w->path, n_rows,
                         w->n - w->done);
    return w->rows(w, logits, lse, n_rows, err);
}

pare_status pare_logit_writer_commit(pare_logit_writer *w, pare_logit_info *info, pare_error *err)
{
    pare_status st = check_window_done(w, err);
    if (st == PARE_OK && w->info.n_rows > 0) {
        w->info.noise_kld = w->noise_sum / (double)w->info.n_rows;
        w->info.noise_nll = w->noise_nll_sum / (double)w->info.n_rows;
    }
    if (st == PARE_OK)
        st = w->finish(w, err);
    w->info.n_bytes = pare_output_offset(w->out);
    if (st == PARE_OK)
        st = pare_output_commit(w->out, err);
    if (st == PARE_OK && info != NULL) {
        const char *model = info->model;
        *info = w->info;
        info->model = model;
    }
    return st;
}

void pare_logit_writer_close(pare_logit_writer *w)
{
    if (w == NULL)
        return;
    if (w->close != NULL)
        w->close(w);
    pare_output_close(w->out);
    free((char *)w->info.model);
    free(w->path);
    free(w->ids);
    free(w);
}

/* ---- pare's own format ---- */

/* A zstd frame of a chunk. */
typedef struct piece {
    void *data;
    size_t n;
} piece;

typedef struct chunk_writer {
    pare_logit_code code;
    bool started; /* the header is written: precision and order are known */
    uint32_t chunk_rows, piece_tokens, n_pieces;
    uint32_t *order;      /* [n_vocab] tokens, the most likely first */
    uint32_t n_held;      /* rows of the chunk that have come */
    float *y;             /* [chunk_rows, n_vocab] their log-probabilities */
    int32_t *numbers;     /* the same shape */
    float *scratch;       /* [threads, n_vocab] */
    pare_logit_row *rows; /* [chunk_rows] */
    pare_logit_noise *noise;
    piece *pieces;            /* [1 + n_pieces]: the rows' own, then the numbers */
    pare_buf windows, chunks; /* of the index */
    uint32_t n_chunks;
} chunk_writer;

static size_t row_of(const pare_logit_writer *w, size_t i)
{
    return i * w->info.n_vocab;
}

static pare_status encode_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const pare_logit_writer *w = ctx;
    chunk_writer *c = w->state;
    (void)err;
    pare_logit_encode(&c->code, c->y + row_of(w, i), w->info.n_vocab, c->scratch + row_of(w, (size_t)thread),
                      c->numbers + row_of(w, i), &c->rows[i]);
    return PARE_OK;
}

static pare_status compress(piece *p, const uint8_t *raw, size_t n, pare_error *err)
{
    enum { LEVEL = 1 }; /* higher ones find nothing more in such bytes and are slower */
    size_t room = ZSTD_compressBound(n);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    p->data = malloc(room);
    if (zstd == NULL || p->data == NULL) {
        ZSTD_freeCCtx(zstd);
        return pare_fail(err, PARE_ERR_MEMORY, "no memory to compress %zu bytes of logits", n);
    }
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
    p->n = ZSTD_compress2(zstd, p->data, room, raw, n);
    ZSTD_freeCCtx(zstd);
    if (ZSTD_isError(p->n))
        return pare_fail(err, PARE_ERR_MEMORY, "compressing %zu bytes of logits: %s", n, ZSTD_getErrorName(p->n));
    return PARE_OK;
}

/* Numbers v - base of a piece, token by token, as they are stored: hi = (v - base) >> shift in n_planes bytes, all
 * first bytes, then all second ones; then the low bits of each token's rows side by side. */
typedef struct plane_shape {
    int32_t base;
    uint32_t shift, n_planes;
    uint32_t n_tokens, n_rows;
} plane_shape;

/* Low bits are noise that no code makes smaller; what is above is what a byte code does well with: the smallest shift
 * that leaves 1 number in 200 or fewer above a byte. Larger ones are the tokens that became likely for once; their
 * upper bytes cost little, being nearly all 0. */
static plane_shape choose_shape(const int32_t *v, uint32_t n_tokens, uint32_t n_rows)
{
    plane_shape s = {.base = v[0], .n_tokens = n_tokens, .n_rows = n_rows};
    size_t n = (size_t)n_tokens * n_rows, above = 0, of_length[33] = {0};
    for (size_t i = 1; i < n; i++)
        s.base = v[i] < s.base ? v[i] : s.base;
    uint32_t length = 0, top = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)(v[i] - s.base);
        of_length[u != 0 ? 32 - __builtin_clz(u) : 0]++;
        top = u > top ? u : top;
    }
    for (length = 32; length > 8 && (above + of_length[length]) <= n / 200; length--)
        above += of_length[length];
    s.shift = length - 8 < PARE_LOGIT_MAX_SHIFT ? length - 8 : PARE_LOGIT_MAX_SHIFT;
    for (s.n_planes = 1; top >> s.shift >> 8 * s.n_planes != 0;)
        s.n_planes++;
    return s;
}

static size_t shape_bytes(const plane_shape *s)
{
    return PARE_LOGIT_PIECE_HEAD +
           s->n_tokens * ((size_t)s->n_rows * s->n_planes + pare_logit_low_bytes(s->n_rows, s->shift));
}

static void fill_planes(const plane_shape *s, const int32_t *v, uint8_t *raw)
{
    size_t n = (size_t)s->n_tokens * s->n_rows, low_bytes = pare_logit_low_bytes(s->n_rows, s->shift);
    uint32_t mask = (1u << s->shift) - 1;
    pare_store_u32le(raw, (uint32_t)s->base);
    raw[4] = (uint8_t)s->shift;
    raw[5] = (uint8_t)s->n_planes;
    raw[6] = raw[7] = 0;
    raw += PARE_LOGIT_PIECE_HEAD;
    for (uint32_t b = 0; b < s->n_planes; b++, raw += n)
        for (size_t i = 0; i < n; i++)
            raw[i] = (uint8_t)((uint32_t)(v[i] - s->base) >> s->shift >> 8 * b);
    for (uint32_t j = 0; j < s->n_tokens && s->shift > 0; j++, raw += low_bytes) {
        uint32_t bits = 0, n_bits = 0;
        uint8_t *dst = raw;
        for (uint32_t r = 0; r < s->n_rows; r++) {
            bits |= ((uint32_t)(v[(size_t)j * s->n_rows + r] - s->base) & mask) << n_bits;
            for (n_bits += s->shift; n_bits >= 8; n_bits -= 8, bits >>= 8)
                *dst++ = (uint8_t)bits;
        }
        if (n_bits > 0)
            *dst = (uint8_t)bits;
    }
}

/* Numbers of n_tokens tokens from place `from` of the order on, of each token all rows: what is alike lies together. */
static pare_status make_planes(const pare_logit_writer *w, uint32_t from, uint32_t n_tokens, uint8_t **raw, size_t *n,
                               pare_error *err)
{
    const chunk_writer *c = w->state;
    int32_t *v = malloc((size_t)n_tokens * c->n_held * sizeof *v);
    *raw = NULL;
    if (v != NULL) {
        for (uint32_t j = 0; j < n_tokens; j++)
            for (uint32_t r = 0; r < c->n_held; r++)
                v[(size_t)j * c->n_held + r] = c->numbers[row_of(w, r) + c->order[from + j]];
        plane_shape shape = choose_shape(v, n_tokens, c->n_held);
        *n = shape_bytes(&shape);
        if ((*raw = malloc(*n)) != NULL)
            fill_planes(&shape, v, *raw);
        free(v);
    }
    return *raw != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a piece of logits", w->path);
}

static pare_status make_rows(const pare_logit_writer *w, uint8_t **raw, size_t *n, pare_error *err)
{
    const chunk_writer *c = w->state;
    *n = (size_t)c->n_held * PARE_LOGIT_ROW;
    uint8_t *at = *raw = malloc(*n);
    if (at == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " rows", w->path, c->n_held);
    for (uint32_t r = 0; r < c->n_held; r++, at += PARE_LOGIT_ROW) {
        pare_store_f32le(at, c->rows[r].shift);
        pare_store_u32le(at + 4, c->rows[r].target);
        pare_store_f32le(at + 8, c->rows[r].target_logp);
        pare_store_u32le(at + 12, c->rows[r].top);
        pare_store_f32le(at + 16, c->rows[r].top_logp);
    }
    return PARE_OK;
}

static pare_status make_piece(size_t i, int thread, void *ctx, pare_error *err)
{
    const pare_logit_writer *w = ctx;
    const chunk_writer *c = w->state;
    uint32_t from = i > 0 ? (uint32_t)(i - 1) * c->piece_tokens : 0, left = w->info.n_vocab - from;
    uint8_t *raw = NULL;
    size_t n = 0;
    (void)thread;
    pare_status st = i > 0 ? make_planes(w, from, left < c->piece_tokens ? left : c->piece_tokens, &raw, &n, err)
                           : make_rows(w, &raw, &n, err);
    if (st == PARE_OK)
        st = compress(&c->pieces[i], raw, n, err);
    free(raw);
    return st;
}

static void drop_pieces(chunk_writer *c)
{
    for (uint32_t i = 0; c->pieces != NULL && i <= c->n_pieces; i++) {
        free(c->pieces[i].data);
        c->pieces[i] = (piece){0};
    }
}

/* The chunk's pieces, and their size. */
static pare_status compress_chunk(pare_logit_writer *w, size_t *n_bytes, pare_error *err)
{
    chunk_writer *c = w->state;
    drop_pieces(c);
    pare_status st = pare_parallel((size_t)c->n_pieces + 1, make_piece, w, err);
    *n_bytes = 0;
    for (uint32_t i = 0; i <= c->n_pieces; i++)
        *n_bytes += c->pieces[i].n;
    return st;
}

typedef struct ranked {
    int64_t sum;
    uint32_t token;
} ranked;

static int by_likelihood(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->sum != y->sum)
        return x->sum > y->sum ? -1 : 1;
    return x->token < y->token ? -1 : 1;
}

/* Tokens by the mean of their numbers in the first chunk: neighbours then have numbers of alike size and spread, so
 * that zstd, which makes a code for every 128 KiB, has a good one for each. */
static pare_status choose_order(pare_logit_writer *w, pare_error *err)
{
    chunk_writer *c = w->state;
    ranked *list = malloc(w->info.n_vocab * sizeof *list);
    if (list == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " tokens", w->path, w->info.n_vocab);
    for (uint32_t v = 0; v < w->info.n_vocab; v++) {
        list[v] = (ranked){0, v};
        for (uint32_t r = 0; r < c->n_held; r++)
            list[v].sum += c->numbers[row_of(w, r) + v];
    }
    qsort(list, w->info.n_vocab, sizeof *list, by_likelihood);
    for (uint32_t v = 0; v < w->info.n_vocab; v++)
        c->order[v] = list[v].token;
    free(list);
    return PARE_OK;
}

/* The chunk held, with step j of the ladder. */
static pare_status try_step(pare_logit_writer *w, int j, size_t *n_bytes, pare_error *err)
{
    chunk_writer *c = w->state;
    double step, cap;
    pare_logit_ladder(j, w->info.n_vocab, &step, &cap);
    pare_logit_code_close(&c->code);
    pare_status st = pare_logit_code_open(&c->code, step, cap, err);
    if (st == PARE_OK)
        st = pare_parallel(c->n_held, encode_row, w, err);
    if (st == PARE_OK && c->order[0] == UINT32_MAX)
        st = choose_order(w, err);
    return st == PARE_OK ? compress_chunk(w, n_bytes, err) : st;
}

/* Precision and order of tokens from the first chunk: the finest step that needs no more than the bits asked for. */
static pare_status choose_code(pare_logit_writer *w, pare_error *err)
{
    chunk_writer *c = w->state;
    size_t n_bytes;
    c->order[0] = UINT32_MAX;
    if (w->info.bits == 0)
        return try_step(w, 0, &n_bytes, err);
    int low = PARE_LOGIT_LADDER_MIN, high = PARE_LOGIT_LADDER_MAX, last = high + 1;
    pare_status st = PARE_OK;
    while (low < high && st == PARE_OK) {
        int j = low + (high - low) / 2;
        st = try_step(w, last = j, &n_bytes, err);
        if (8.0 * (double)n_bytes <= (double)w->info.bits * (double)row_of(w, c->n_held))
            high = j;
        else
            low = j + 1;
    }
    return st == PARE_OK && last != low ? try_step(w, low, &n_bytes, err) : st;
}

static pare_status put_header(pare_logit_writer *w, pare_error *err)
{
    const chunk_writer *c = w->state;
    const pare_logit_info *info = &w->info;
    size_t name = strlen(info->model), padded = (name + 3) / 4 * 4;
    size_t n = PARE_LOGIT_HEAD + padded + (size_t)info->n_vocab * 4;
    uint8_t *head = calloc(1, n + PARE_LOGIT_CHECK);
    if (head == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a header of %zu bytes", w->path, n);
    memcpy(head, PARE_LOGIT_MAGIC, PARE_LOGIT_MAGIC_BYTES);
    const uint32_t words[] = {
        PARE_LOGIT_VERSION, (uint32_t)(n + PARE_LOGIT_CHECK), info->n_vocab, info->n_ctx, info->stride, info->bits};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        pare_store_u32le(head + 8 + 4 * i, words[i]);
    pare_store_u64le(head + 32, (uint64_t)info->bos);
    uint64_t bits[2];
    memcpy(&bits[0], &c->code.step, 8);
    memcpy(&bits[1], &c->code.cap, 8);
    pare_store_u64le(head + 40, bits[0]);
    pare_store_u64le(head + 48, bits[1]);
    pare_store_u32le(head + 56, c->chunk_rows);
    pare_store_u32le(head + 60, c->piece_tokens);
    if (!pare_unhex(head + 64, 32, info->model_sha256))
        memset(head + 64, 0, 32);
    if (!pare_unhex(head + 96, 32, info->tokenizer_sha256))
        memset(head + 96, 0, 32);
    pare_store_u32le(head + 128, (uint32_t)name);
    memcpy(head + 132, info->compute, strnlen(info->compute, sizeof info->compute - 1));
    memcpy(head + PARE_LOGIT_HEAD, info->model, name);
    for (uint32_t v = 0; v < info->n_vocab; v++)
        pare_store_u32le(head + PARE_LOGIT_HEAD + padded + 4 * (size_t)v, c->order[v]);
    pare_digest check;
    pare_status st = pare_hash_bytes(head, n, PARE_HASH_XXH3, &check, err);
    memcpy(head + n, check.xxh3_128, PARE_LOGIT_CHECK);
    if (st == PARE_OK)
        st = pare_output_write(w->out, head, n + PARE_LOGIT_CHECK, err);
    free(head);
    return st;
}

static pare_status put_u32(pare_buf *b, uint32_t v, pare_error *err)
{
    uint8_t bytes[4];
    pare_store_u32le(bytes, v);
    return pare_buf_put(b, bytes, 4, err);
}

/* Compress and write the rows held. */
static pare_status flush_chunk(pare_logit_writer *w, pare_error *err)
{
    chunk_writer *c = w->state;
    size_t n_bytes;
    pare_status st;
    if (!c->started) {
        if ((st = choose_code(w, err)) == PARE_OK)
            st = put_header(w, err);
        c->started = true;
    } else if ((st = pare_parallel(c->n_held, encode_row, w, err)) == PARE_OK) {
        st = compress_chunk(w, &n_bytes, err);
    }
    for (uint32_t i = 0; i <= c->n_pieces && st == PARE_OK; i++) {
        st = pare_output_write(w->out, c->pieces[i].data, c->pieces[i].n, err);
        if (st == PARE_OK)
            st = put_u32(&c->chunks, (uint32_t)c->pieces[i].n, err);
    }
    drop_pieces(c);
    for (uint32_t r = 0; r < c->n_held; r++)
        c->noise[r].kld = c->rows[r].noise;
    pare_logit_add_noise(w, c->noise, c->n_held);
    c->n_held = 0;
    c->n_chunks++;
    return st;
}

static pare_status pare_window(pare_logit_writer *w, pare_error *err)
{
    chunk_writer *c = w->state;
    uint8_t entry[PARE_LOGIT_WINDOW];
    pare_store_u32le(entry, w->first);
    pare_store_u32le(entry + 4, w->n);
    pare_store_u32le(entry + 8, (uint32_t)w->ids[0]);
    pare_status st = pare_logit_hash_ids(w->ids, w->first + w->n + 1, entry + 12, err);
    return st == PARE_OK ? pare_buf_put(&c->windows, entry, sizeof entry, err) : st;
}

/* Rows that are added to the chunk. */
typedef struct incoming {
    pare_logit_writer *w;
    const float *logits;
    const double *lse;
} incoming;

static pare_status hold_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const incoming *in = ctx;
    const pare_logit_writer *w = in->w;
    chunk_writer *c = w->state;
    const float *x = in->logits + row_of(w, i);
    float *y = c->y + row_of(w, c->n_held + i);
    uint32_t top = 0, target = (uint32_t)w->ids[w->first + w->done + i + 1];
    (void)thread;
    (void)err;
    for (uint32_t v = 0; v < w->info.n_vocab; v++) {
        double logp = (double)x[v] - in->lse[i];
        y[v] = (float)(logp > -1e30 ? logp : -1e30); /* a float, whatever the logits are */
        top = x[v] > x[top] ? v : top;
    }
    c->rows[c->n_held + i] = (pare_logit_row){.target = target, .top = top};
    c->noise[c->n_held + i].nll = ((double)x[target] - in->lse[i]) - (double)y[target];
    return PARE_OK;
}

static pare_status pare_rows(pare_logit_writer *w, const float *logits, const double *lse, uint32_t n, pare_error *err)
{
    chunk_writer *c = w->state;
    for (uint32_t at = 0; at < n;) {
        uint32_t room = c->chunk_rows - c->n_held, part = n - at < room ? n - at : room;
        incoming in = {w, logits + row_of(w, at), lse + at};
        pare_status st = pare_parallel(part, hold_row, &in, err);
        c->n_held += part;
        w->done += part;
        at += part;
        if (st == PARE_OK && (c->n_held == c->chunk_rows || w->done == w->n))
            st = flush_chunk(w, err);
        if (st != PARE_OK)
            return st;
    }
    return PARE_OK;
}

static void store_f64(uint8_t *dst, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    pare_store_u64le(dst, bits);
}

/* Noise, windows, chunks, and the trailer that says where they begin. */
static pare_status pare_finish(pare_logit_writer *w, pare_error *err)
{
    chunk_writer *c = w->state;
    pare_buf index = {0};
    uint8_t noise[PARE_LOGIT_NOISE], trailer[PARE_LOGIT_TRAILER];
    uint64_t offset = pare_output_offset(w->out);
    pare_digest check;
    if (!c->started)
        return pare_fail(err, PARE_ERR_USAGE, "%s: a logit store without a window", w->path);
    w->info.n_windows = (uint32_t)(c->windows.len / PARE_LOGIT_WINDOW);
    store_f64(noise, w->info.noise_kld);
    store_f64(noise + 8, w->info.noise_max);
    store_f64(noise + 16, w->info.noise_nll);
    pare_store_u64le(noise + 24, w->info.n_rows);
    pare_store_u64le(trailer, offset);
    pare_store_u32le(trailer + 8, w->info.n_windows);
    pare_store_u32le(trailer + 12, c->n_chunks);
    pare_status st = pare_buf_put(&index, noise, sizeof noise, err);
    if (st == PARE_OK)
        st = pare_buf_put(&index, c->windows.data, c->windows.len, err);
    if (st == PARE_OK)
        st = pare_buf_put(&index, c->chunks.data, c->chunks.len, err);
    if (st == PARE_OK)
        st = pare_buf_put(&index, trailer, 16, err);
    if (st == PARE_OK)
        st = pare_hash_bytes(index.data, index.len, PARE_HASH_XXH3, &check, err);
    if (st == PARE_OK)
        st = pare_output_write(w->out, index.data, index.len, err);
    if (st == PARE_OK)
        st = pare_output_write(w->out, check.xxh3_128, PARE_LOGIT_CHECK, err);
    if (st == PARE_OK)
        st = pare_output_write(w->out, PARE_LOGIT_END, PARE_LOGIT_MAGIC_BYTES, err);
    pare_buf_close(&index);
    return st;
}

static void pare_close(pare_logit_writer *w)
{
    chunk_writer *c = w->state;
    if (c == NULL)
        return;
    drop_pieces(c);
    pare_logit_code_close(&c->code);
    pare_buf_close(&c->windows);
    pare_buf_close(&c->chunks);
    free(c->order);
    free(c->y);
    free(c->numbers);
    free(c->scratch);
    free(c->rows);
    free(c->noise);
    free(c->pieces);
    free(c);
}

pare_status pare_logit_writer_open_pare(pare_logit_writer *w, pare_error *err)
{
    uint32_t n_vocab = w->info.n_vocab;
    chunk_writer *c = w->state = calloc(1, sizeof *c);
    w->window = pare_window;
    w->rows = pare_rows;
    w->finish = pare_finish;
    w->close = pare_close;
    if (c == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", w->path);
    c->chunk_rows = pare_logit_chunk_rows(n_vocab);
    c->piece_tokens = pare_logit_piece_tokens(n_vocab, c->chunk_rows);
    c->n_pieces = (n_vocab + c->piece_tokens - 1) / c->piece_tokens;
    size_t n = row_of(w, c->chunk_rows);
    c->order = malloc(n_vocab * sizeof *c->order);
    c->y = malloc(n * sizeof *c->y);
    c->numbers = malloc(n * sizeof *c->numbers);
    c->scratch = malloc(row_of(w, (size_t)pare_threads()) * sizeof *c->scratch);
    c->rows = malloc(c->chunk_rows * sizeof *c->rows);
    c->noise = malloc(c->chunk_rows * sizeof *c->noise);
    c->pieces = calloc((size_t)c->n_pieces + 1, sizeof *c->pieces);
    if (c->order == NULL || c->y == NULL || c->numbers == NULL || c->scratch == NULL || c->rows == NULL ||
        c->noise == NULL || c->pieces == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for logits of %" PRIu32 " tokens", w->path, n_vocab);
    return PARE_OK;
}
