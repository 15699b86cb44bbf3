/* llama-perplexity's --kl-divergence-base file. Layout, rounding and what the clamp costs: docs/formats/LOGITS.md.
 *
 *     "_logits_"  u32 n_ctx  i32 n_vocab  i32 n_chunk  i32 tokens[n_chunk * n_ctx]
 *     n_chunk * (n_ctx - 1 - n_ctx/2) rows: f32 scale, f32 lowest, u16 number[n_vocab], u16 0 where n_vocab is odd
 */
#include "formats/logit_store_impl.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/threads.h"
#include "core/vector_math.h"
#include "model/vocab.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float clamp = 16; /* nats below the largest */

/* ---- writing ---- */

typedef struct llama_writer {
    uint32_t n_done; /* windows */
    size_t row_bytes;
    uint8_t *rows; /* [TILE, row_bytes] */
    pare_logit_noise *noise;
} llama_writer;

enum { TILE = 64 };

typedef struct llama_rows {
    pare_logit_writer *w;
    const float *logits;
    const double *lse;
} llama_rows;

/* One row, by stock's arithmetic: single precision, halves to even. */
static void quantize_row(const float *x, uint32_t n, double lse, uint8_t *dst)
{
    float high = x[0], low = x[0];
    for (uint32_t i = 1; i < n; i++) {
        high = x[i] > high ? x[i] : high;
        low = x[i] < low ? x[i] : low;
    }
    low = low > high - clamp ? low : high - clamp;
    float log_sum = (float)(lse - (double)high), scale = (high - low) / 65535.0f;
    float per_scale = scale != 0 ? 1 / scale : 0;
    pare_store_f32le(dst, scale);
    pare_store_f32le(dst + 4, low - high - log_sum);
    for (uint32_t i = 0; i < n; i++)
        pare_store_u16le(dst + 8 + 2 * (size_t)i, x[i] > low ? (uint16_t)lrintf(per_scale * (x[i] - low)) : 0);
    if (n % 2 != 0)
        pare_store_u16le(dst + 8 + 2 * (size_t)n, 0);
}

static float row_value(const uint8_t *row, uint32_t i)
{
    return pare_load_f32le(row) * (float)pare_load_u16le(row + 8 + 2 * (size_t)i) + pare_load_f32le(row + 4);
}

/* KL(p || what a reader that normalises makes of the row), and the same for the next token's -ln p. */
static pare_logit_noise row_noise(const float *x, uint32_t n, double lse, uint32_t target, const uint8_t *row)
{
    double sum = 0, linear = 0;
    for (uint32_t i = 0; i < n; i++) {
        double y = (double)x[i] - lse, stored = (double)row_value(row, i);
        sum += pare_exp_f64(stored);
        linear += pare_exp_f64(y) * (y - stored);
    }
    double log_sum = pare_logit_ln(sum);
    return (pare_logit_noise){linear + log_sum, (double)x[target] - lse - ((double)row_value(row, target) - log_sum)};
}

static pare_status llama_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const llama_rows *in = ctx;
    const pare_logit_writer *w = in->w;
    llama_writer *l = w->state;
    const float *x = in->logits + i * w->info.n_vocab;
    uint8_t *dst = l->rows + i * l->row_bytes;
    (void)thread;
    (void)err;
    quantize_row(x, w->info.n_vocab, in->lse[i], dst);
    l->noise[i] = row_noise(x, w->info.n_vocab, in->lse[i], (uint32_t)w->ids[w->first + w->done + i + 1], dst);
    return PARE_OK;
}

static pare_status llama_write_rows(pare_logit_writer *w, const float *logits, const double *lse, uint32_t n,
                                    pare_error *err)
{
    llama_writer *l = w->state;
    for (uint32_t at = 0; at < n;) {
        uint32_t part = n - at < TILE ? n - at : TILE;
        llama_rows in = {w, logits + (size_t)at * w->info.n_vocab, lse + at};
        pare_status st = pare_parallel(part, llama_row, &in, err);
        if (st == PARE_OK)
            st = pare_output_write(w->out, l->rows, part * l->row_bytes, err);
        if (st != PARE_OK)
            return st;
        pare_logit_add_noise(w, l->noise, part);
        w->done += part;
        at += part;
    }
    return PARE_OK;
}

static pare_status llama_window(pare_logit_writer *w, pare_error *err)
{
    llama_writer *l = w->state;
    uint32_t n_ctx = w->info.n_ctx;
    if (w->first != n_ctx / 2 || w->n != n_ctx - 1 - n_ctx / 2)
        return pare_fail(err, PARE_ERR_USAGE,
                         "%s: positions %" PRIu32 " to %" PRIu32 " of a window; llama-perplexity's format has %" PRIu32
                         " to %" PRIu32 " of %" PRIu32,
                         w->path, w->first, w->first + w->n - 1, n_ctx / 2, n_ctx - 2, n_ctx);
    if (l->n_done == w->info.n_windows)
        return pare_fail(err, PARE_ERR_USAGE, "%s: more windows than the %" PRIu32 " announced", w->path,
                         w->info.n_windows);
    l->n_done++;
    return PARE_OK;
}

static pare_status llama_finish(pare_logit_writer *w, pare_error *err)
{
    const llama_writer *l = w->state;
    if (l->n_done == w->info.n_windows)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_USAGE, "%s: %" PRIu32 " windows of %" PRIu32 " announced", w->path, l->n_done,
                     w->info.n_windows);
}

static void llama_close_writer(pare_logit_writer *w)
{
    llama_writer *l = w->state;
    if (l == NULL)
        return;
    free(l->rows);
    free(l->noise);
    free(l);
}

static pare_status put_llama_header(pare_logit_writer *w, pare_error *err)
{
    const pare_logit_info *info = &w->info;
    uint8_t head[PARE_LLAMA_LOGIT_HEAD];
    size_t n = 0;
    if (info->n_windows == 0 || info->text == NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: llama-perplexity's format needs the text before its logits",
                         w->path);
    if (info->n_ctx < 4 || !pare_mul_size(info->n_ctx, info->n_windows, &n) || n > INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %" PRIu32 " windows of %" PRIu32
                         " tokens; llama-perplexity's format has room for 2^31 - 1 tokens in windows of 4 or more",
                         w->path, info->n_windows, info->n_ctx);
    memcpy(head, PARE_LLAMA_LOGIT_MAGIC, PARE_LOGIT_MAGIC_BYTES);
    pare_store_u32le(head + 8, info->n_ctx);
    pare_store_u32le(head + 12, info->n_vocab);
    pare_store_u32le(head + 16, info->n_windows);
    pare_status st = pare_output_write(w->out, head, sizeof head, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        uint8_t id[4];
        pare_store_u32le(id, (uint32_t)info->text[i]);
        st = pare_output_write(w->out, id, sizeof id, err);
    }
    return st;
}

pare_status pare_logit_writer_open_llama(pare_logit_writer *w, pare_error *err)
{
    llama_writer *l = w->state = calloc(1, sizeof *l);
    w->window = llama_window;
    w->rows = llama_write_rows;
    w->finish = llama_finish;
    w->close = llama_close_writer;
    if (l == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", w->path);
    l->row_bytes = pare_llama_logit_row_bytes(w->info.n_vocab);
    l->rows = malloc(TILE * l->row_bytes);
    l->noise = malloc(TILE * sizeof *l->noise);
    if (l->rows == NULL || l->noise == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for rows of %zu bytes", w->path, l->row_bytes);
    return put_llama_header(w, err);
}

/* ---- reading ---- */

typedef struct llama_read {
    const pare_logit_store *s;
    const uint8_t *rows;
    float *out;
} llama_read;

static pare_status read_row(size_t i, int thread, void *ctx, pare_error *err)
{
    const llama_read *r = ctx;
    uint32_t n = r->s->info.n_vocab;
    const uint8_t *row = r->rows + i * pare_llama_logit_row_bytes(n);
    float scale = pare_load_f32le(row), low = pare_load_f32le(row + 4), *out = r->out + i * n;
    (void)thread;
    if (!(scale >= 0 && scale <= 1e30f) || !(fabsf(low) <= 1e30f))
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset %zu: a row with scale %.9g and lowest log-probability %.9g",
                         r->s->path, (size_t)(row - r->s->bytes), (double)scale, (double)low);
    for (uint32_t v = 0; v < n; v++)
        out[v] = scale * (float)pare_load_u16le(row + 8 + 2 * (size_t)v) + low;
    return PARE_OK;
}

static pare_status llama_rows_of(pare_logit_store *s, uint64_t index, uint32_t pos, uint32_t n, float *out,
                                 pare_error *err)
{
    const pare_logit_window *w = &s->windows[index];
    size_t row_bytes = pare_llama_logit_row_bytes(s->info.n_vocab);
    size_t data = PARE_LLAMA_LOGIT_HEAD + (size_t)s->info.n_windows * s->info.n_ctx * 4;
    llama_read r = {s, s->bytes + data + (index * w->n + (pos - w->first)) * row_bytes, out};
    pare_status st = pare_parallel(n, read_row, &r, err);
    pare_map_release(r.rows, n * row_bytes);
    return st;
}

/* Windows of the file and the hashes of their tokens. */
static pare_status hash_windows(pare_logit_store *s, pare_error *err)
{
    uint32_t n_ctx = s->info.n_ctx;
    int32_t *ids = malloc((size_t)n_ctx * sizeof *ids);
    pare_status st = ids == NULL ? pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", s->path) : PARE_OK;
    for (uint32_t i = 0; i < s->info.n_windows && st == PARE_OK; i++) {
        const uint8_t *src = s->bytes + PARE_LLAMA_LOGIT_HEAD + (size_t)i * n_ctx * 4;
        for (uint32_t k = 0; k < n_ctx; k++) {
            uint32_t id = pare_load_u32le(src + 4 * (size_t)k);
            ids[k] = (int32_t)id;
            if (id >= s->info.n_vocab && st == PARE_OK)
                st = pare_fail(err, PARE_ERR_RANGE, "%s: offset %zu: token %" PRId32 "; the vocabulary has %" PRIu32,
                               s->path, (size_t)(src - s->bytes) + 4 * (size_t)k, ids[k], s->info.n_vocab);
        }
        s->windows[i] = (pare_logit_window){.first = n_ctx / 2, .n = n_ctx - 1 - n_ctx / 2, .token0 = ids[0]};
        if (st == PARE_OK)
            st = pare_logit_hash_ids(ids, n_ctx, s->windows[i].sha256, err);
    }
    free(ids);
    return st;
}

pare_status pare_logit_store_open_llama(pare_logit_store *s, pare_error *err)
{
    if (s->n < PARE_LLAMA_LOGIT_HEAD)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %zu bytes; the header has %d", s->path, s->n,
                         PARE_LLAMA_LOGIT_HEAD);
    uint32_t n_ctx = pare_load_u32le(s->bytes + 8), n_vocab = pare_load_u32le(s->bytes + 12);
    uint32_t n_windows = pare_load_u32le(s->bytes + 16);
    if (n_ctx < 4 || n_ctx > INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset 8: windows of %" PRIu32 " tokens; allowed are 4 to 2^31 - 1",
                         s->path, n_ctx);
    if (n_vocab < 1 || n_vocab > PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset 12: a vocabulary of %" PRIu32 "; allowed are 1 to %d",
                         s->path, n_vocab, PARE_MAX_VOCAB);
    if (n_windows < 1 || n_windows > INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset 16: %" PRIu32 " windows; allowed are 1 to 2^31 - 1", s->path,
                         n_windows);
    size_t per_window = 0, need = 0;
    bool fits = pare_mul_size(n_ctx - 1 - n_ctx / 2, pare_llama_logit_row_bytes(n_vocab), &per_window) &&
                pare_add_size(per_window, (size_t)n_ctx * 4, &per_window) &&
                pare_mul_size(per_window, n_windows, &need) && pare_add_size(need, PARE_LLAMA_LOGIT_HEAD, &need);
    if (!fits || need != s->n)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: %zu bytes; %" PRIu32 " windows of %" PRIu32 " tokens with a vocabulary of %" PRIu32
                         " need %zu%s",
                         s->path, s->n, n_windows, n_ctx, n_vocab, fits ? need : SIZE_MAX, fits ? "" : " or more");
    s->info = (pare_logit_info){.format = PARE_LOGITS_LLAMA,
                                .n_vocab = n_vocab,
                                .n_ctx = n_ctx,
                                .stride = n_ctx,
                                .bos = PARE_TOKEN_NONE,
                                .model = "",
                                .bits = 16,
                                .n_windows = n_windows,
                                .noise_kld = NAN,
                                .noise_max = NAN,
                                .noise_nll = NAN,
                                .n_rows = (uint64_t)n_windows * (n_ctx - 1 - n_ctx / 2),
                                .n_bytes = s->n};
    s->rows = llama_rows_of;
    if ((s->windows = malloc(n_windows * sizeof *s->windows)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " windows", s->path, n_windows);
    return hash_windows(s, err);
}
