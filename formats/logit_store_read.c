/* pare's own format: docs/formats/LOGITS.md */
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

enum { GROUP = 16 }; /* rows that a thread decodes together: their bytes lie side by side */

typedef struct chunk {
    uint64_t offset;      /* of its first piece in the file */
    const uint8_t *sizes; /* u32 of each piece, in the mapped index */
    uint32_t n_rows;
} chunk;

/* Numbers of a piece, inflated. */
typedef struct plane_set {
    uint8_t *raw;
    int32_t base;
    uint32_t shift, n_planes, n_tokens;
    const uint8_t *high, *low; /* n_planes times [n_tokens, rows]; [n_tokens, pare_logit_low_bytes] */
} plane_set;

typedef struct chunk_reader {
    pare_logit_code code;
    uint32_t chunk_rows, piece_tokens, n_pieces;
    uint32_t *order;           /* [n_vocab] */
    uint64_t n_chunks, cached; /* cached: the chunk at hand, or n_chunks */
    chunk *chunks;
    plane_set *planes;  /* [n_pieces] */
    uint8_t *row_bytes; /* what its rows keep beside their numbers */
} chunk_reader;

static double load_f64(const uint8_t *src)
{
    uint64_t bits = pare_load_u64le(src);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static bool check_matches(const uint8_t *data, size_t n, pare_error *err, pare_status *st)
{
    pare_digest check;
    *st = pare_hash_bytes(data, n, PARE_HASH_XXH3, &check, err);
    return *st == PARE_OK && memcmp(check.xxh3_128, data + n, PARE_LOGIT_CHECK) == 0;
}

/* Hexadecimal, or empty when it is all zeros: not known. */
static void hash_text(char dst[65], const uint8_t src[32])
{
    static const uint8_t unknown[32];
    pare_hex(dst, src, 32);
    if (memcmp(src, unknown, sizeof unknown) == 0)
        dst[0] = '\0';
}

/* Sizes that follow from the vocabulary, and the order of its tokens. */
static pare_status read_layout(pare_logit_store *s, const uint8_t *order, pare_error *err)
{
    chunk_reader *c = s->state;
    uint32_t n_vocab = s->info.n_vocab;
    uint64_t most = PARE_LOGIT_CHUNK_ELEMENTS;
    if (c->chunk_rows < 1 || c->chunk_rows > PARE_LOGIT_CHUNK_ROWS ||
        (c->chunk_rows > 1 && (uint64_t)c->chunk_rows * n_vocab > most))
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset 56: chunks of %" PRIu32 " rows; allowed are 1 to %" PRIu32,
                         s->path, c->chunk_rows, pare_logit_chunk_rows(n_vocab));
    if (c->piece_tokens < 1 || c->piece_tokens > n_vocab)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset 60: pieces of %" PRIu32 " tokens; allowed are 1 to %" PRIu32,
                         s->path, c->piece_tokens, n_vocab);
    c->n_pieces = (n_vocab + c->piece_tokens - 1) / c->piece_tokens;
    uint8_t *seen = calloc(n_vocab, 1);
    c->order = malloc(n_vocab * sizeof *c->order);
    pare_status st = PARE_OK;
    c->planes = calloc(c->n_pieces, sizeof *c->planes);
    if (seen == NULL || c->order == NULL || c->planes == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " tokens", s->path, n_vocab);
    for (uint32_t i = 0; i < n_vocab && st == PARE_OK; i++) {
        uint32_t v = c->order[i] = pare_load_u32le(order + 4 * (size_t)i);
        if (v >= n_vocab || seen[v]++ != 0)
            st = pare_fail(err, PARE_ERR_RANGE, "%s: offset %zu: token %" PRIu32 " %s", s->path,
                           (size_t)(order - s->bytes) + 4 * (size_t)i, v,
                           v >= n_vocab ? "is not in the vocabulary" : "comes a second time");
    }
    for (uint32_t p = 0; p < c->n_pieces && st == PARE_OK; p++) {
        uint32_t left = n_vocab - p * c->piece_tokens;
        c->planes[p].n_tokens = left < c->piece_tokens ? left : c->piece_tokens;
    }
    free(seen);
    s->bytes_held += n_vocab * sizeof *c->order;
    return st;
}

static pare_status read_header(pare_logit_store *s, size_t *end, pare_error *err)
{
    chunk_reader *c = s->state;
    const uint8_t *h = s->bytes;
    pare_status st;
    if (s->n < PARE_LOGIT_HEAD + PARE_LOGIT_CHECK)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %zu bytes; the header of a logit store has %d", s->path, s->n,
                         PARE_LOGIT_HEAD + PARE_LOGIT_CHECK);
    uint32_t version = pare_load_u32le(h + 8), n_vocab = pare_load_u32le(h + 16), name = pare_load_u32le(h + 128);
    if (version != PARE_LOGIT_VERSION)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: offset 8: version %" PRIu32 "; supported is %d", s->path,
                         version, PARE_LOGIT_VERSION);
    *end = pare_load_u32le(h + 12);
    if (n_vocab < 1 || n_vocab > PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset 16: a vocabulary of %" PRIu32 "; allowed are 1 to %d",
                         s->path, n_vocab, PARE_MAX_VOCAB);
    if (name > PARE_LOGIT_MAX_NAME)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset 128: a name of %" PRIu32 " bytes; allowed are %d", s->path,
                         name, PARE_LOGIT_MAX_NAME);
    size_t order = PARE_LOGIT_HEAD + ((size_t)name + 3) / 4 * 4, n = order + (size_t)n_vocab * 4;
    if (*end != n + PARE_LOGIT_CHECK || *end > s->n)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset 12: a header of %zu bytes; its content needs %zu and the file has %zu", s->path,
                         *end, n + PARE_LOGIT_CHECK, s->n);
    if (!check_matches(h, n, err, &st))
        return st != PARE_OK ? st
                             : pare_fail(err, PARE_ERR_FORMAT,
                                         "%s: offset 0: the header's %zu bytes do not have their hash", s->path, n);
    s->info = (pare_logit_info){.format = PARE_LOGITS_PARE,
                                .n_vocab = n_vocab,
                                .n_ctx = pare_load_u32le(h + 20),
                                .stride = pare_load_u32le(h + 24),
                                .bits = pare_load_u32le(h + 28),
                                .bos = (int64_t)pare_load_u64le(h + 32),
                                .n_bytes = s->n};
    hash_text(s->info.model_sha256, h + 64);
    hash_text(s->info.tokenizer_sha256, h + 96);
    memcpy(s->info.compute, h + 132, sizeof s->info.compute - 1); /* zeroed before: it ends */
    c->chunk_rows = pare_load_u32le(h + 56);
    c->piece_tokens = pare_load_u32le(h + 60);
    if ((s->model = strndup((const char *)h + PARE_LOGIT_HEAD, name)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", s->path);
    s->info.model = s->model;
    if ((st = pare_logit_code_open(&c->code, load_f64(h + 40), load_f64(h + 48), err)) != PARE_OK)
        return pare_fail_in(err, st, s->path);
    return read_layout(s, h + order, err);
}

/* Windows of the index, and how many chunks they have. */
static pare_status read_windows(pare_logit_store *s, const uint8_t *index, pare_error *err)
{
    const chunk_reader *c = s->state;
    uint64_t chunk = 0, rows = 0;
    for (uint32_t i = 0; i < s->info.n_windows; i++) {
        const uint8_t *e = index + (size_t)i * PARE_LOGIT_WINDOW;
        pare_logit_window *w = &s->windows[i];
        *w = (pare_logit_window){.first = pare_load_u32le(e),
                                 .n = pare_load_u32le(e + 4),
                                 .token0 = (int32_t)pare_load_u32le(e + 8),
                                 .chunk = chunk};
        memcpy(w->sha256, e + 12, sizeof w->sha256);
        if (w->n < 1 || w->first > INT32_MAX || w->n >= INT32_MAX - w->first)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: offset %zu: window %" PRIu32 " has %" PRIu32 " positions from %" PRIu32, s->path,
                             (size_t)(e - s->bytes), i, w->n, w->first);
        chunk += (w->n + c->chunk_rows - 1) / c->chunk_rows;
        rows += w->n;
    }
    if (chunk != c->n_chunks || rows != s->info.n_rows)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset %zu: the index has %" PRIu64 " chunks and %" PRIu64
                         " rows; its windows make %" PRIu64 " and %" PRIu64,
                         s->path, (size_t)(index - s->bytes), c->n_chunks, s->info.n_rows, chunk, rows);
    return PARE_OK;
}

/* Chunks lie one behind the other from the header to the index. */
static pare_status read_chunks(pare_logit_store *s, const uint8_t *index, uint64_t offset, uint64_t end,
                               pare_error *err)
{
    chunk_reader *c = s->state;
    uint64_t k = 0;
    for (uint32_t i = 0; i < s->info.n_windows; i++)
        for (uint32_t left = s->windows[i].n; left > 0; k++) {
            chunk *h = &c->chunks[k];
            uint32_t rows = left < c->chunk_rows ? left : c->chunk_rows;
            *h = (chunk){.offset = offset, .sizes = index, .n_rows = rows};
            for (uint32_t p = 0; p <= c->n_pieces; p++)
                offset += pare_load_u32le(h->sizes + 4 * (size_t)p);
            index += 4 * ((size_t)c->n_pieces + 1);
            left -= rows;
        }
    if (offset != end)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: the pieces end at offset %" PRIu64 ", the index begins at %" PRIu64,
                         s->path, offset, end);
    return PARE_OK;
}

static pare_status read_index(pare_logit_store *s, size_t header_end, pare_error *err)
{
    chunk_reader *c = s->state;
    pare_status st;
    if (s->n - header_end < PARE_LOGIT_TRAILER + PARE_LOGIT_NOISE ||
        memcmp(s->bytes + s->n - PARE_LOGIT_MAGIC_BYTES, PARE_LOGIT_END, PARE_LOGIT_MAGIC_BYTES) != 0)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset %zu: the file does not end in '" PARE_LOGIT_END "': cut short", s->path, s->n);
    size_t trailer = s->n - PARE_LOGIT_TRAILER, per_chunk = 4 * ((size_t)c->n_pieces + 1);
    const uint8_t *t = s->bytes + trailer;
    uint64_t offset = pare_load_u64le(t), n_windows = pare_load_u32le(t + 8);
    c->n_chunks = pare_load_u32le(t + 12);
    /* both counts are below 2^32 and the factors below 2^27: no overflow */
    uint64_t need = PARE_LOGIT_NOISE + n_windows * PARE_LOGIT_WINDOW + c->n_chunks * per_chunk;
    if (n_windows < 1 || offset < header_end || offset > trailer || need != trailer - offset)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset %zu: an index of %" PRIu64 " windows and %" PRIu64 " chunks at offset %" PRIu64
                         " needs %" PRIu64 " bytes before the trailer",
                         s->path, trailer, n_windows, c->n_chunks, offset, need);
    const uint8_t *index = s->bytes + offset;
    if (!check_matches(index, (size_t)need + 16, err, &st))
        return st != PARE_OK ? st
                             : pare_fail(err, PARE_ERR_FORMAT,
                                         "%s: offset %" PRIu64 ": the index does not have its hash", s->path, offset);
    s->info.n_windows = (uint32_t)n_windows;
    s->info.noise_kld = load_f64(index);
    s->info.noise_max = load_f64(index + 8);
    s->info.noise_nll = load_f64(index + 16);
    s->info.n_rows = pare_load_u64le(index + 24);
    s->windows = malloc((size_t)n_windows * sizeof *s->windows);
    c->chunks = malloc((size_t)c->n_chunks * sizeof *c->chunks + 1);
    if (s->windows == NULL || c->chunks == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu64 " windows", s->path, n_windows);
    s->bytes_held += c->n_chunks * sizeof *c->chunks;
    if ((st = read_windows(s, index + PARE_LOGIT_NOISE, err)) != PARE_OK)
        return st;
    return read_chunks(s, index + PARE_LOGIT_NOISE + n_windows * PARE_LOGIT_WINDOW, header_end, offset, err);
}

/* ---- rows ---- */

typedef struct decoding {
    pare_logit_store *s;
    const chunk *h;
    uint32_t row, n_rows; /* of the chunk, wanted */
    float *out;
} decoding;

/* The zstd frame of n bytes at offset into *dst, which is allocated for at most `most` bytes. */
static pare_status inflate(const pare_logit_store *s, uint64_t offset, size_t n, size_t most, uint8_t **dst,
                           size_t *n_dst, pare_error *err)
{
    const uint8_t *src = s->bytes + offset;
    unsigned long long said = ZSTD_getFrameContentSize(src, n);
    if (said == ZSTD_CONTENTSIZE_ERROR || said == ZSTD_CONTENTSIZE_UNKNOWN || said > most)
        return pare_fail(
            err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": %s; allowed is one of %zu bytes or less", s->path, offset,
            said == ZSTD_CONTENTSIZE_ERROR ? "no zstd frame" : "a zstd frame of unknown or larger size", most);
    uint8_t *to = realloc(*dst, (size_t)said + 1);
    if (to == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %llu bytes of logits", s->path, said);
    *dst = to;
    *n_dst = ZSTD_decompress(to, (size_t)said, src, n);
    to[said] = 0; /* read, not used, by whoever takes the last bits two bytes at a time */
    pare_map_release(src, n);
    if (ZSTD_isError(*n_dst) || *n_dst != said)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": zstd: %s", s->path, offset,
                         ZSTD_isError(*n_dst) ? ZSTD_getErrorName(*n_dst) : "the frame is too short");
    return PARE_OK;
}

/* Are the bytes of the inflated piece what its head says? */
static pare_status check_planes(const decoding *d, plane_set *p, size_t n, uint64_t offset, pare_error *err)
{
    size_t rows = d->h->n_rows, high, low;
    const uint8_t *head = p->raw;
    p->base = n >= PARE_LOGIT_PIECE_HEAD ? (int32_t)pare_load_u32le(head) : INT32_MIN;
    if (p->base < -PARE_LOGIT_TAIL || head[4] > PARE_LOGIT_MAX_SHIFT || head[5] < 1 || head[5] > 3)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset %" PRIu64 ": a piece of %zu bytes with a wrong head",
                         d->s->path, offset, n);
    p->shift = head[4];
    p->n_planes = head[5];
    high = p->n_tokens * rows * p->n_planes;
    low = p->n_tokens * pare_logit_low_bytes((uint32_t)rows, p->shift);
    if (n != PARE_LOGIT_PIECE_HEAD + high + low)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset %" PRIu64 ": a piece of %zu bytes; %" PRIu32 " tokens of %zu rows need %zu",
                         d->s->path, offset, n, p->n_tokens, rows, PARE_LOGIT_PIECE_HEAD + high + low);
    p->high = head + PARE_LOGIT_PIECE_HEAD;
    p->low = p->high + high;
    return PARE_OK;
}

static pare_status inflate_piece(size_t i, int thread, void *ctx, pare_error *err)
{
    const decoding *d = ctx;
    chunk_reader *c = d->s->state;
    const chunk *h = d->h;
    uint64_t offset = h->offset;
    size_t n = pare_load_u32le(h->sizes + 4 * i), got = 0;
    (void)thread;
    for (size_t k = 0; k < i; k++)
        offset += pare_load_u32le(h->sizes + 4 * k);
    if (i == 0) {
        size_t need = (size_t)h->n_rows * PARE_LOGIT_ROW;
        pare_status st = inflate(d->s, offset, n, need, &c->row_bytes, &got, err);
        return st != PARE_OK || got == need
                   ? st
                   : pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": %zu bytes for %" PRIu32 " rows",
                               d->s->path, offset, got, h->n_rows);
    }
    plane_set *p = &c->planes[i - 1];
    size_t most = PARE_LOGIT_PIECE_HEAD + p->n_tokens * (3 * (size_t)h->n_rows + h->n_rows);
    pare_status st = inflate(d->s, offset, n, most, &p->raw, &got, err);
    return st == PARE_OK ? check_planes(d, p, got, offset, err) : st;
}

static bool load_row(const pare_logit_store *s, const uint8_t *src, pare_logit_row *row)
{
    *row = (pare_logit_row){.shift = pare_load_f32le(src),
                            .target = pare_load_u32le(src + 4),
                            .target_logp = pare_load_f32le(src + 8),
                            .top = pare_load_u32le(src + 12),
                            .top_logp = pare_load_f32le(src + 16)};
    return row->target < s->info.n_vocab && row->top < s->info.n_vocab && fabsf(row->shift) <= 1 &&
           row->top_logp <= 1e-3f && row->top_logp >= -20 && row->target_logp <= row->top_logp &&
           isfinite(row->target_logp);
}

/* Rows [row, row + n), n at most GROUP, of a piece's tokens. False: a number above that of probability 1. */
static bool decode_piece(const chunk_reader *c, const chunk *h, uint32_t piece, uint32_t row, uint32_t n,
                         size_t n_vocab, float *out)
{
    const plane_set *p = &c->planes[piece];
    const uint32_t *token = c->order + (size_t)piece * c->piece_tokens, mask = (1u << p->shift) - 1;
    size_t plane = (size_t)p->n_tokens * h->n_rows, low_bytes = pare_logit_low_bytes(h->n_rows, p->shift);
    const uint8_t *high = p->high + row, *low = p->low;
    bool good = true;
    for (uint32_t j = 0; j < p->n_tokens; j++, high += h->n_rows, low += low_bytes)
        for (uint32_t r = 0; r < n; r++) {
            uint32_t v = 0, bit = (row + r) * p->shift;
            for (uint32_t b = 0; b < p->n_planes; b++)
                v |= (uint32_t)high[b * plane + r] << 8 * b;
            if (p->shift > 0)
                v = v << p->shift | ((pare_load_u16le(low + bit / 8) >> bit % 8) & mask);
            int64_t k = (int64_t)p->base + v;
            good &= k <= c->code.top;
            out[r * n_vocab + token[j]] = pare_logit_value(&c->code, k <= c->code.top ? (int32_t)k : 0);
        }
    return good;
}

static pare_status decode_group(size_t i, int thread, void *ctx, pare_error *err)
{
    const decoding *d = ctx;
    const chunk_reader *c = d->s->state;
    uint32_t at = (uint32_t)i * GROUP, left = d->n_rows - at, n = left < GROUP ? left : GROUP, row = d->row + at;
    size_t n_vocab = d->s->info.n_vocab;
    float *out = d->out + (size_t)at * n_vocab;
    (void)thread;
    bool good = true;
    for (uint32_t p = 0; p < c->n_pieces; p++)
        good &= decode_piece(c, d->h, p, row, n, n_vocab, out);
    if (!good)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: chunk at offset %" PRIu64 ": a probability above 1 in rows %" PRIu32 " to %" PRIu32,
                         d->s->path, d->h->offset, row, row + n - 1);
    for (uint32_t r = 0; r < n; r++) {
        pare_logit_row kept;
        if (!load_row(d->s, c->row_bytes + (size_t)(row + r) * PARE_LOGIT_ROW, &kept))
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: chunk at offset %" PRIu64 ": row %" PRIu32 " has target %" PRIu32
                             " at %.9g, top %" PRIu32 " at %.9g, shift %.9g",
                             d->s->path, d->h->offset, row + r, kept.target, (double)kept.target_logp, kept.top,
                             (double)kept.top_logp, (double)kept.shift);
        pare_logit_correct(&kept, (uint32_t)n_vocab, out + r * n_vocab);
    }
    return PARE_OK;
}

/* Inflate chunk k unless it is the one at hand. */
static pare_status load_chunk(decoding *d, uint64_t k, pare_error *err)
{
    chunk_reader *c = d->s->state;
    d->h = &c->chunks[k];
    if (c->cached == k)
        return PARE_OK;
    c->cached = c->n_chunks;
    pare_status st = pare_parallel((size_t)c->n_pieces + 1, inflate_piece, d, err);
    if (st == PARE_OK)
        c->cached = k;
    return st;
}

static pare_status pare_rows_of(pare_logit_store *s, uint64_t index, uint32_t pos, uint32_t n, float *out,
                                pare_error *err)
{
    const chunk_reader *c = s->state;
    const pare_logit_window *w = &s->windows[index];
    pare_status st = PARE_OK;
    for (uint32_t row = pos - w->first, end = row + n; row < end && st == PARE_OK;) {
        decoding d = {.s = s, .row = row % c->chunk_rows, .out = out};
        if ((st = load_chunk(&d, w->chunk + row / c->chunk_rows, err)) != PARE_OK)
            break;
        d.n_rows = d.h->n_rows - d.row < end - row ? d.h->n_rows - d.row : end - row;
        st = pare_parallel((d.n_rows + GROUP - 1) / GROUP, decode_group, &d, err);
        out += (size_t)d.n_rows * s->info.n_vocab;
        row += d.n_rows;
    }
    return st;
}

static void close_chunks(pare_logit_store *s)
{
    chunk_reader *c = s->state;
    if (c == NULL)
        return;
    pare_logit_code_close(&c->code);
    free(c->order);
    free(c->chunks);
    for (uint32_t i = 0; c->planes != NULL && i < c->n_pieces; i++)
        free(c->planes[i].raw);
    free(c->planes);
    free(c->row_bytes);
    free(c);
}

pare_status pare_logit_store_open_pare(pare_logit_store *s, pare_error *err)
{
    chunk_reader *c = s->state = calloc(1, sizeof *c);
    size_t header_end = 0;
    s->close = close_chunks;
    s->rows = pare_rows_of;
    if (c == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", s->path);
    pare_status st = read_header(s, &header_end, err);
    if (st == PARE_OK)
        st = read_index(s, header_end, err);
    if (st != PARE_OK)
        return st;
    c->cached = c->n_chunks;
    s->bytes_held += (uint64_t)(c->code.top - c->code.bottom + 1) * sizeof *c->code.value;
    s->bytes_held += (uint64_t)c->chunk_rows * s->info.n_vocab * 2;
    return PARE_OK;
}
