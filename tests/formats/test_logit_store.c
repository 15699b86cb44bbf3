/* Logit stores: what comes back, how exact, for both formats; what is refused. */
#include "check.h"

#include "core/bytes.h"
#include "core/hash.h"
#include "core/threads.h"
#include "formats/logit_store_impl.h"
#include "model/vocab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { CTX = 12, FIRST = 6, N = 5, BOS = 1 };

/* Windows of a made-up text, and the logits of their scored positions. */
typedef struct sample {
    uint32_t n_vocab, n_windows;
    int32_t *text, *ids; /* [n_windows, CTX] before and after BOS took its place */
    float *logits;       /* [n_windows, N, n_vocab] */
    double *lse;         /* [n_windows, N] */
    char path[512];
} sample;

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static double log_sum(const float *x, uint32_t n)
{
    double high = (double)x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++)
        high = (double)x[i] > high ? (double)x[i] : high;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)x[i] - high);
    return high + log(sum);
}

static float *row(const sample *s, uint32_t window, uint32_t i)
{
    return s->logits + ((size_t)window * N + i) * s->n_vocab;
}

/* Rows of all kinds: a long tail, nearly certain, uniform, with masked tokens. */
static void open_sample(sample *s, uint32_t n_vocab, uint32_t n_windows, const char *name)
{
    uint64_t state = 7;
    size_t n_ids = (size_t)n_windows * CTX, n_rows = (size_t)n_windows * N;
    *s = (sample){.n_vocab = n_vocab, .n_windows = n_windows};
    s->text = check_malloc(n_ids * sizeof *s->text);
    s->ids = check_malloc(n_ids * sizeof *s->ids);
    s->logits = check_malloc(n_rows * n_vocab * sizeof *s->logits);
    s->lse = check_malloc(n_rows * sizeof *s->lse);
    for (size_t i = 0; i < n_ids; i++) {
        s->text[i] = (int32_t)(next_random(&state) % n_vocab);
        s->ids[i] = i % CTX == 0 ? BOS : s->text[i];
    }
    for (size_t r = 0; r < n_rows; r++) {
        float *x = s->logits + r * n_vocab;
        for (uint32_t v = 0; v < n_vocab; v++) {
            float noise = (float)(next_random(&state) % 100000) / 1e4f;
            x[v] = r % 4 == 2 ? 3.5f : noise - 12.0f * (float)v / (float)n_vocab;
        }
        if (r % 4 == 1)
            x[r % n_vocab] += 30;
        if (r % 4 == 3)
            x[(r + 1) % n_vocab] = r % 8 == 3 ? -1e30f : -400;
        s->lse[r] = log_sum(x, n_vocab);
    }
    snprintf(s->path, sizeof s->path, "%s/%s", temp_dir(), name);
}

static void close_sample(sample *s)
{
    free(s->text);
    free(s->ids);
    free(s->logits);
    free(s->lse);
}

static pare_logit_info info_of(const sample *s, pare_logit_format format, uint32_t bits)
{
    return (pare_logit_info){.format = format,
                             .n_vocab = s->n_vocab,
                             .n_ctx = CTX,
                             .stride = CTX,
                             .bos = BOS,
                             .model = "demo.gguf",
                             .bits = bits,
                             .n_windows = s->n_windows,
                             .text = s->text,
                             .tokenizer_sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
}

/* Rows are handed over `step` at a time. */
static pare_logit_info write_store(const sample *s, pare_logit_format format, uint32_t bits, uint32_t step)
{
    pare_error err = {0};
    pare_logit_writer *w = NULL;
    pare_logit_info info = info_of(s, format, bits);
    CHECK_OK(pare_logit_writer_open(&w, s->path, &info, true, &err), &err);
    for (uint32_t k = 0; k < s->n_windows; k++) {
        CHECK_OK(pare_logit_writer_window(w, s->ids + k * CTX, FIRST, N, &err), &err);
        for (uint32_t i = 0; i < N; i += step)
            CHECK_OK(pare_logit_writer_rows(w, row(s, k, i), s->lse + k * N + i, N - i < step ? N - i : step, &err),
                     &err);
    }
    CHECK_OK(pare_logit_writer_commit(w, &info, &err), &err);
    pare_logit_writer_close(w);
    return info;
}

typedef struct difference {
    double kld_mean, kld_max, nll_max, log_p_max, sum_max; /* sum_max: |1 - sum of probabilities| */
    uint32_t n_top;                                        /* rows with another most likely token */
} difference;

static uint32_t argmax(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* One row against what was stored of it. */
static void add_row(const sample *s, uint32_t window, uint32_t i, const float *y, difference *d)
{
    const float *x = row(s, window, i);
    double lse = s->lse[window * N + i], kld = 0, own = log_sum(y, s->n_vocab), at_most = 0;
    for (uint32_t v = 0; v < s->n_vocab; v++) {
        double a = (double)x[v] - lse, b = (double)y[v] - own;
        kld += exp(a) * (a - b);
        if (a > -1e4 && fabs(a - b) > at_most)
            at_most = fabs(a - b);
    }
    int32_t target = s->ids[window * CTX + FIRST + i + 1];
    double nll = fabs((double)x[target] - lse - ((double)y[target] - own));
    d->kld_mean += kld / (s->n_windows * N);
    d->kld_max = kld > d->kld_max ? kld : d->kld_max;
    d->nll_max = nll > d->nll_max && (double)x[target] > -1e4 ? nll : d->nll_max;
    d->log_p_max = at_most > d->log_p_max ? at_most : d->log_p_max;
    d->sum_max = fabs(own) > d->sum_max ? fabs(own) : d->sum_max;
    d->n_top += argmax(x, s->n_vocab) != argmax(y, s->n_vocab);
}

static difference compare(const sample *s)
{
    pare_error err = {0};
    pare_logit_store *store = NULL;
    difference d = {0};
    float *out = check_malloc((size_t)N * s->n_vocab * sizeof *out);
    CHECK_OK(pare_logit_store_open(&store, s->path, &err), &err);
    CHECK(pare_logit_store_info(store)->n_windows == s->n_windows);
    for (uint32_t back = s->n_windows; back-- > 0;) { /* not in the order in which they were written */
        uint64_t index = 0;
        CHECK_OK(pare_logit_store_find(store, s->ids + back * CTX, FIRST, N, &index, &err), &err);
        CHECK_OK(pare_logit_store_rows(store, index, FIRST, 2, out, &err), &err);
        CHECK_OK(pare_logit_store_rows(store, index, FIRST + 2, N - 2, out + 2 * s->n_vocab, &err), &err);
        for (uint32_t i = 0; i < N; i++)
            add_row(s, back, i, out + (size_t)i * s->n_vocab, &d);
    }
    pare_logit_store_close(store);
    free(out);
    return d;
}

static void own_format_is_exact_to_its_noise(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {2, 37, 1000, 5003};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        sample s;
        open_sample(&s, sizes[i], 9, "own.lgt");
        pare_logit_info info = write_store(&s, PARE_LOGITS_PARE, 0, 3);
        difference d = compare(&s);
        CHECK(d.kld_max < 1e-6 && d.n_top == 0 && d.nll_max < 5e-6 && d.sum_max < 1e-5);
        CHECK(d.log_p_max < 0.1); /* the largest step: no token is clamped */
        CHECK(fabs(d.kld_mean - info.noise_kld) < 2e-8 && fabs(d.kld_max - info.noise_max) < 1e-7);
        CHECK(fabs(info.noise_nll) < 1e-6 && info.n_rows == 9 * N && info.n_windows == 9);
        close_sample(&s);
    }
}

static void fewer_bits_say_their_noise(void **state)
{
    (void)state;
    sample s;
    open_sample(&s, 1500, 6, "bits.lgt");
    double last = 0;
    for (uint32_t bits = 10; bits >= 6; bits -= 2) {
        pare_logit_info info = write_store(&s, PARE_LOGITS_PARE, bits, N);
        difference d = compare(&s);
        double used = 8.0 * (double)info.n_bytes / ((double)info.n_rows * s.n_vocab);
        CHECK(used < bits + 1.6); /* the order of tokens takes 32 / (6 * 5) of that: there are few rows here */
        CHECK(info.noise_kld > last && fabs(d.kld_mean - info.noise_kld) < 0.02 * info.noise_kld + 2e-8);
        CHECK(d.n_top == 0 && d.nll_max < 5e-6);
        last = info.noise_kld;
    }
    pare_error err = {0};
    pare_logit_writer *w = NULL;
    for (uint32_t bits = PARE_LOGIT_BITS_MIN - 1; bits <= PARE_LOGIT_BITS_MAX + 1; bits += 12) {
        pare_logit_info info = info_of(&s, PARE_LOGITS_PARE, bits);
        CHECK(pare_logit_writer_open(&w, s.path, &info, true, &err) == PARE_ERR_USAGE && w == NULL);
    }
    close_sample(&s);
}

static void bytes_do_not_depend_on_threads_or_tiles(void **state)
{
    (void)state;
    static const pare_logit_format formats[] = {PARE_LOGITS_PARE, PARE_LOGITS_LLAMA};
    sample s;
    open_sample(&s, 700, 5, "same.lgt");
    for (size_t f = 0; f < 3; f++) {
        size_t n_first = 0, n = 0;
        uint32_t bits = f == 2 ? 6 : 0;
        pare_set_threads(1);
        write_store(&s, formats[f % 2], bits, N);
        uint8_t *first = check_read_file(s.path, &n_first);
        pare_set_threads(3);
        write_store(&s, formats[f % 2], bits, 2);
        uint8_t *other = check_read_file(s.path, &n);
        CHECK(n == n_first && memcmp(first, other, n) == 0);
        free(first);
        free(other);
    }
    pare_set_threads(0);
    close_sample(&s);
}

/* Chunks that end within a window: more rows than one holds. */
static void long_windows_are_cut_into_chunks(void **state)
{
    (void)state;
    enum { ROWS = 2500, VOCAB = 3 };
    pare_error err = {0};
    pare_logit_writer *w = NULL;
    pare_logit_store *store = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/long.lgt", temp_dir());
    int32_t *ids = check_malloc((ROWS + 1) * sizeof *ids);
    float *logits = check_malloc((size_t)ROWS * VOCAB * sizeof *logits),
          *out = check_malloc((size_t)ROWS * VOCAB * sizeof *out);
    double *lse = check_malloc(ROWS * sizeof *lse);
    for (int i = 0; i <= ROWS; i++)
        ids[i] = i % VOCAB;
    for (int i = 0; i < ROWS; i++) {
        for (int v = 0; v < VOCAB; v++)
            logits[i * VOCAB + v] = (float)((i * 7 + v * 3) % 11);
        lse[i] = log_sum(logits + i * VOCAB, VOCAB);
    }
    pare_logit_info info = {.n_vocab = VOCAB, .n_ctx = ROWS + 1, .stride = ROWS, .bos = PARE_TOKEN_NONE};
    CHECK_OK(pare_logit_writer_open(&w, path, &info, false, &err), &err);
    CHECK_OK(pare_logit_writer_window(w, ids, 0, ROWS, &err), &err);
    CHECK(pare_logit_writer_rows(w, logits, lse, ROWS + 1, &err) == PARE_ERR_USAGE);
    CHECK_OK(pare_logit_writer_rows(w, logits, lse, ROWS, &err), &err);
    CHECK_OK(pare_logit_writer_commit(w, NULL, &err), &err);
    pare_logit_writer_close(w);
    CHECK_OK(pare_logit_store_open(&store, path, &err), &err);
    for (uint32_t pos = 0; pos < ROWS; pos += 777) {
        uint32_t n = ROWS - pos < 777 ? ROWS - pos : 777;
        CHECK_OK(pare_logit_store_rows(store, 0, pos, n, out + (size_t)pos * VOCAB, &err), &err);
    }
    for (int i = 0; i < ROWS; i++)
        for (int v = 0; v < VOCAB; v++)
            CHECK(fabs((double)logits[i * VOCAB + v] - lse[i] - (double)out[i * VOCAB + v]) < 0.05);
    CHECK(pare_logit_store_rows(store, 0, ROWS, 1, out, &err) == PARE_ERR_USAGE);
    CHECK(pare_logit_store_rows(store, 1, 0, 1, out, &err) == PARE_ERR_USAGE);
    pare_logit_store_close(store);
    free(ids);
    free(logits);
    free(out);
    free(lse);
}

static void a_store_appears_whole_or_not(void **state)
{
    (void)state;
    sample s;
    pare_error err = {0};
    pare_logit_writer *w = NULL;
    open_sample(&s, 20, 2, "whole.lgt");
    pare_logit_info info = info_of(&s, PARE_LOGITS_PARE, 0);
    CHECK_OK(pare_logit_writer_open(&w, s.path, &info, false, &err), &err);
    CHECK(pare_logit_writer_commit(w, NULL, &err) == PARE_ERR_USAGE); /* no window */
    CHECK_OK(pare_logit_writer_window(w, s.ids, FIRST, N, &err), &err);
    CHECK_OK(pare_logit_writer_rows(w, s.logits, s.lse, 2, &err), &err);
    CHECK(pare_logit_writer_commit(w, NULL, &err) == PARE_ERR_USAGE); /* rows are missing */
    CHECK(pare_logit_writer_window(w, s.ids, FIRST, N, &err) == PARE_ERR_USAGE);
    pare_logit_writer_close(w);
    CHECK(fopen(s.path, "rb") == NULL);
    write_store(&s, PARE_LOGITS_PARE, 0, N);
    CHECK(pare_logit_writer_open(&w, s.path, &info, false, &err) == PARE_ERR_USAGE);
    s.ids[3] = 20; /* outside of the vocabulary */
    CHECK_OK(pare_logit_writer_open(&w, s.path, &info, true, &err), &err);
    CHECK(pare_logit_writer_window(w, s.ids, FIRST, N, &err) == PARE_ERR_USAGE);
    pare_logit_writer_close(w);
    close_sample(&s);
}

static void other_windows_are_named(void **state)
{
    (void)state;
    sample s;
    pare_error err = {0};
    pare_logit_store *store = NULL;
    uint64_t index;
    open_sample(&s, 50, 3, "find.lgt");
    write_store(&s, PARE_LOGITS_PARE, 0, N);
    CHECK_OK(pare_logit_store_open(&store, s.path, &err), &err);
    s.ids[0] = 2;
    CHECK(pare_logit_store_find(store, s.ids, FIRST, N, &index, &err) == PARE_ERR_RANGE && strstr(err.text, "BOS"));
    s.ids[0] = BOS;
    CHECK(pare_logit_store_find(store, s.ids, FIRST - 1, N, &index, &err) == PARE_ERR_RANGE &&
          strstr(err.text, "positions 6 to 10"));
    CHECK(pare_logit_store_find(store, s.ids, FIRST - 1, N + 1, &index, &err) == PARE_ERR_RANGE);
    s.ids[2] ^= 1;
    CHECK(pare_logit_store_find(store, s.ids, FIRST, N, &index, &err) == PARE_ERR_RANGE && strstr(err.text, "text"));

    const pare_logit_info right = info_of(&s, PARE_LOGITS_PARE, 0);
    pare_logit_info run = right;
    CHECK_OK(pare_logit_store_check(store, &run, &err), &err);
    CHECK(strcmp(pare_logit_store_info(store)->model, "demo.gguf") == 0);
    CHECK(strcmp(pare_logit_store_info(store)->tokenizer_sha256, right.tokenizer_sha256) == 0);
    CHECK(pare_logit_store_info(store)->model_sha256[0] == '\0');
    run.tokenizer_sha256[0] = 'b';
    CHECK(pare_logit_store_check(store, &run, &err) == PARE_ERR_RANGE && strstr(err.text, "tokenizer"));
    run.tokenizer_sha256[0] = '\0'; /* not known */
    CHECK_OK(pare_logit_store_check(store, &run, &err), &err);
    run.n_ctx++;
    CHECK(pare_logit_store_check(store, &run, &err) == PARE_ERR_RANGE && strstr(err.text, "windows of 12"));
    run = right;
    run.stride--;
    CHECK(pare_logit_store_check(store, &run, &err) == PARE_ERR_RANGE && strstr(err.text, "stride"));
    run = right;
    run.bos = PARE_TOKEN_NONE;
    CHECK(pare_logit_store_check(store, &run, &err) == PARE_ERR_RANGE && strstr(err.text, "token 0"));
    run = right;
    run.n_vocab++;
    CHECK(pare_logit_store_check(store, &run, &err) == PARE_ERR_RANGE && strstr(err.text, "vocabulary"));
    pare_logit_store_close(store);
    close_sample(&s);
}

/* ---- damaged files ---- */

/* Every row of the file in bytes [n], which the allocator bounds; the status of what failed first. */
static pare_status read_all(const uint8_t *bytes, size_t n, float *out, pare_error *err)
{
    pare_logit_store *store = NULL;
    pare_status st = pare_logit_store_parse(&store, bytes, n, "damaged.lgt", err);
    for (uint32_t k = 0; st == PARE_OK && k < pare_logit_store_info(store)->n_windows; k++)
        st = pare_logit_store_rows(store, k, FIRST, N, out + (size_t)k * N * 3, err);
    pare_logit_store_close(store);
    return st;
}

enum { SMALL_WINDOWS = 2, SMALL_VALUES = SMALL_WINDOWS * N * 3 };

static uint8_t *small_file(pare_logit_format format, size_t *n)
{
    sample s;
    open_sample(&s, 3, SMALL_WINDOWS, "small.lgt");
    write_store(&s, format, 0, N);
    close_sample(&s);
    return check_read_file(s.path, n);
}

static void truncations_and_flips_are_found(void **state)
{
    (void)state;
    float right[SMALL_VALUES], out[SMALL_VALUES];
    pare_error err = {0};
    size_t n = 0;
    uint8_t *whole = small_file(PARE_LOGITS_PARE, &n);
    pare_set_threads(1);
    CHECK_OK(read_all(whole, n, right, &err), &err);
    for (size_t len = 0; len < n; len++) {
        uint8_t *cut = check_malloc(len + (len == 0));
        memcpy(cut, whole, len);
        CHECK(read_all(cut, len, out, &err) == PARE_ERR_FORMAT);
        free(cut);
    }
    for (size_t i = 0; i < n; i++) {
        whole[i] ^= (uint8_t)(1u << i % 8);
        pare_status st = read_all(whole, n, out, &err);
        CHECK(st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE || st == PARE_ERR_UNSUPPORTED ||
              (st == PARE_OK && memcmp(out, right, sizeof out) == 0)); /* a bit of a frame that means nothing */
        whole[i] ^= (uint8_t)(1u << i % 8);
    }
    pare_set_threads(0);
    free(whole);
}

/* The hashes of header and index, after something in them was changed. */
static void seal(uint8_t *bytes, size_t n)
{
    pare_error err = {0};
    pare_digest check;
    size_t head = pare_load_u32le(bytes + 12), index = (size_t)pare_load_u64le(bytes + n - PARE_LOGIT_TRAILER);
    if (head >= PARE_LOGIT_CHECK && head <= n) {
        CHECK_OK(pare_hash_bytes(bytes, head - PARE_LOGIT_CHECK, PARE_HASH_XXH3, &check, &err), &err);
        memcpy(bytes + head - PARE_LOGIT_CHECK, check.xxh3_128, PARE_LOGIT_CHECK);
    }
    size_t end = n - PARE_LOGIT_TRAILER + 16;
    if (index < end) {
        CHECK_OK(pare_hash_bytes(bytes + index, end - index, PARE_HASH_XXH3, &check, &err), &err);
        memcpy(bytes + end, check.xxh3_128, PARE_LOGIT_CHECK);
    }
}

/* Numbers that lie, under hashes that are right. Offsets: docs/formats/LOGITS.md. */
static void lies_are_found(void **state)
{
    (void)state;
    float out[SMALL_VALUES];
    pare_error err = {0};
    size_t n = 0;
    uint8_t *whole = small_file(PARE_LOGITS_PARE, &n), *bad = check_malloc(n);
    size_t index = (size_t)pare_load_u64le(whole + n - PARE_LOGIT_TRAILER), windows = index + PARE_LOGIT_NOISE;
    size_t sizes = windows + SMALL_WINDOWS * PARE_LOGIT_WINDOW, order = PARE_LOGIT_HEAD + 12,
           trailer = n - PARE_LOGIT_TRAILER;
    const struct {
        size_t at;
        uint32_t value;
    } lies[] = {
        {8, 2}, /* version */
        {12, 0},
        {12, 0xffffffff},
        {12, (uint32_t)n}, /* bytes of the header */
        {16, 0},
        {16, 4},
        {16, 1 << 24},
        {16, 0xffffffff}, /* vocabulary */
        {44, 0},
        {44, 0x7ff80000},
        {44, 0x7ff00000},
        {52, 0x40000000},
        {52, 0xbff00000}, /* steps: 0, NaN, inf, 2, -1 */
        {56, 0},
        {56, 4},
        {56, 1025},
        {56, 0xffffffff}, /* rows of a chunk */
        {60, 0},
        {60, 2},
        {60, 4}, /* tokens of a piece */
        {128, 5000},
        {128, 0xffffffff},
        {128, 13}, /* bytes of the name */
        {order, 3},
        {order, 0xffffffff},
        {order, pare_load_u32le(whole + order + 4)}, /* token absent, twice */
        {index + 24, 11},
        {index + 28, 1}, /* rows */
        {windows, 0x80000000},
        {windows + 4, 0},
        {windows + 4, 4},
        {windows + 4, 0x7fffffff},
        {windows + 4, 0xffffffff},
        {sizes, 0},
        {sizes, 0xffffffff},
        {sizes, pare_load_u32le(whole + sizes) + 1},
        {sizes + 4, 0},
        {trailer, (uint32_t)index - 4},
        {trailer, (uint32_t)n},
        {trailer + 4, 1}, /* where the index begins */
        {trailer + 8, 0},
        {trailer + 8, 3},
        {trailer + 8, 0xffffffff}, /* windows */
        {trailer + 12, 0},
        {trailer + 12, 3},
        {trailer + 12, 0xffffffff}, /* chunks */
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(bad, whole, n);
        pare_store_u32le(bad + lies[i].at, lies[i].value);
        seal(bad, n);
        pare_status st = read_all(bad, n, out, &err);
        if (st != PARE_ERR_FORMAT && st != PARE_ERR_RANGE && st != PARE_ERR_UNSUPPORTED)
            print_error("lie %zu: %u at %zu\n", i, lies[i].value, lies[i].at);
        CHECK(st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE || st == PARE_ERR_UNSUPPORTED);
    }
    free(bad);
    free(whole);
}

/* A store of one window whose first or second piece is replaced by a frame of these bytes; content size and window as
 * given. The file is rebuilt around it. */
static pare_status read_with_piece(size_t piece, const void *raw, size_t n_raw, bool sized, int window_log)
{
    float out[SMALL_VALUES];
    pare_error err = {0};
    size_t n = 0, at = 0, room = ZSTD_compressBound(n_raw);
    uint8_t *whole = small_file(PARE_LOGITS_PARE, &n), *frame = check_malloc(room);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, sized);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, window_log);
    size_t n_frame = ZSTD_compress2(zstd, frame, room, raw, n_raw);
    CHECK(!ZSTD_isError(n_frame));
    ZSTD_freeCCtx(zstd);
    size_t index = (size_t)pare_load_u64le(whole + n - PARE_LOGIT_TRAILER);
    size_t sizes = index + PARE_LOGIT_NOISE + SMALL_WINDOWS * PARE_LOGIT_WINDOW;
    for (at = pare_load_u32le(whole + 12); piece > 0; piece--, sizes += 4)
        at += pare_load_u32le(whole + sizes);
    size_t old = pare_load_u32le(whole + sizes);
    pare_store_u32le(whole + sizes, (uint32_t)n_frame);
    pare_store_u64le(whole + n - PARE_LOGIT_TRAILER, index + n_frame - old);
    uint8_t *file = check_malloc(n - old + n_frame);
    memcpy(file, whole, at);
    memcpy(file + at, frame, n_frame);
    memcpy(file + at + n_frame, whole + at + old, n - at - old);
    seal(file, n - old + n_frame);
    pare_status st = read_all(file, n - old + n_frame, out, &err);
    free(file);
    free(whole);
    free(frame);
    return st;
}

static void frames_that_lie_are_found(void **state)
{
    (void)state;
    uint8_t rows[N * PARE_LOGIT_ROW] = {0};
    for (int r = 0; r < N; r++)
        pare_store_f32le(rows + r * PARE_LOGIT_ROW + 8, -1.0f);
    CHECK(read_with_piece(0, rows, sizeof rows, true, 17) == PARE_OK);
    CHECK(read_with_piece(0, rows, sizeof rows, false, 17) == PARE_ERR_FORMAT); /* size not stated */
    CHECK(read_with_piece(0, rows, sizeof rows - 1, true, 17) == PARE_ERR_FORMAT);
    const size_t large = (size_t)8 << 20;
    uint8_t *zeros = calloc(1, large); /* less than a KiB as a frame */
    CHECK(zeros != NULL);
    CHECK(read_with_piece(0, zeros, large, true, 17) == PARE_ERR_FORMAT);
    CHECK(read_with_piece(1, zeros, large, true, 24) == PARE_ERR_FORMAT);
    CHECK(read_with_piece(1, zeros, large, false, 24) == PARE_ERR_FORMAT);
    free(zeros);
    pare_store_u32le(rows + 4, 3); /* a target outside of the vocabulary */
    CHECK(read_with_piece(0, rows, sizeof rows, true, 17) == PARE_ERR_RANGE);
    pare_store_u32le(rows + 4, 0);
    pare_store_u32le(rows + 16, 0x7fc00000); /* NaN */
    CHECK(read_with_piece(0, rows, sizeof rows, true, 17) == PARE_ERR_RANGE);
    pare_store_f32le(rows + 16, 0);
    pare_store_f32le(rows + 8, 0.0005f); /* a target above the most likely token */
    CHECK(read_with_piece(0, rows, sizeof rows, true, 17) == PARE_ERR_RANGE);
    /* numbers: base 0, shift 0, one byte each */
    uint8_t planes[PARE_LOGIT_PIECE_HEAD + 3 * N] = {0, 0, 0, 0, 0, 1};
    CHECK(read_with_piece(1, planes, sizeof planes, true, 17) == PARE_OK);
    CHECK(read_with_piece(1, planes, sizeof planes - 1, true, 17) == PARE_ERR_FORMAT);
    CHECK(read_with_piece(1, planes, 4, true, 17) == PARE_ERR_RANGE);
    planes[4] = 9; /* shift */
    CHECK(read_with_piece(1, planes, sizeof planes, true, 17) == PARE_ERR_RANGE);
    planes[4] = 0;
    planes[5] = 0; /* bytes */
    CHECK(read_with_piece(1, planes, sizeof planes, true, 17) == PARE_ERR_RANGE);
    planes[5] = 1;
    pare_store_u32le(planes, 0x7fffffff); /* all probabilities above 1 */
    CHECK(read_with_piece(1, planes, sizeof planes, true, 17) == PARE_ERR_RANGE);
    pare_store_u32le(planes, 0x80000000); /* below the tail */
    CHECK(read_with_piece(1, planes, sizeof planes, true, 17) == PARE_ERR_RANGE);
}

/* ---- llama-perplexity's format ---- */

static void llama_format_has_its_layout(void **state)
{
    (void)state;
    sample s;
    size_t n = 0;
    open_sample(&s, 7, 4, "llama.kld"); /* odd: rows are padded */
    pare_logit_info info = write_store(&s, PARE_LOGITS_LLAMA, 0, 2);
    uint8_t *b = check_read_file(s.path, &n);
    const size_t row_bytes = 8 + 2 * 8, data = 20 + 4 * CTX * 4;
    CHECK(n == data + 4 * N * row_bytes && n == info.n_bytes);
    CHECK(memcmp(b, "_logits_\x0c\0\0\0\x07\0\0\0\x04\0\0\0", 20) == 0);
    for (size_t i = 0; i < 4 * CTX; i++) /* the text's own tokens, not BOS */
        CHECK(pare_load_u32le(b + 20 + 4 * i) == (uint32_t)s.text[i]);
    for (uint32_t r = 0; r < 4 * N; r++) {
        const uint8_t *at = b + data + r * row_bytes;
        const float *x = s.logits + (size_t)r * 7;
        float high = x[argmax(x, 7)], low = high;
        for (int v = 0; v < 7; v++)
            low = x[v] < low ? x[v] : low;
        low = low < high - 16 ? high - 16 : low;
        CHECK(pare_load_f32le(at) == (high - low) / 65535.0f);
        CHECK(fabs((double)pare_load_f32le(at + 4) - ((double)low - s.lse[r])) < 1e-5);
        for (int v = 0; v < 7; v++) {
            double want = high > low ? fmax(0, ((double)x[v] - (double)low) / ((double)(high - low) / 65535)) : 0;
            CHECK(fabs((double)pare_load_u16le(at + 8 + 2 * v) - want) < 0.51);
        }
        CHECK(pare_load_u16le(at + 8 + 14) == 0);
    }
    free(b);
    close_sample(&s);
}

static void llama_format_comes_back(void **state)
{
    (void)state;
    sample s;
    pare_error err = {0};
    pare_logit_store *store = NULL;
    uint64_t index = 9;
    open_sample(&s, 300, 6, "back.kld");
    pare_logit_info info = write_store(&s, PARE_LOGITS_LLAMA, 0, N);
    difference d = compare(&s);
    CHECK(d.kld_max < 1e-4 && fabs(d.kld_mean - info.noise_kld) < 1e-8 && d.n_top == 0);
    CHECK(d.log_p_max > 10); /* of the masked tokens: the clamp */
    CHECK_OK(pare_logit_store_open(&store, s.path, &err), &err);
    CHECK(isnan(pare_logit_store_info(store)->noise_kld));
    CHECK_OK(pare_logit_store_find(store, s.text, FIRST, N, &index, &err), &err); /* with its own token 0, too */
    CHECK(index == 0);
    s.ids[1] ^= 1;
    CHECK(pare_logit_store_find(store, s.ids, FIRST, N, &index, &err) == PARE_ERR_RANGE);
    pare_logit_store_close(store);

    pare_logit_writer *w = NULL;
    pare_logit_info bad = info_of(&s, PARE_LOGITS_LLAMA, 0);
    bad.text = NULL;
    CHECK(pare_logit_writer_open(&w, s.path, &bad, true, &err) == PARE_ERR_USAGE);
    bad = info_of(&s, PARE_LOGITS_LLAMA, 0);
    CHECK_OK(pare_logit_writer_open(&w, s.path, &bad, true, &err), &err);
    CHECK(pare_logit_writer_window(w, s.text, FIRST + 1, N - 1, &err) == PARE_ERR_USAGE);
    CHECK(pare_logit_writer_commit(w, NULL, &err) == PARE_ERR_USAGE); /* windows are missing */
    pare_logit_writer_close(w);
    close_sample(&s);
}

static void llama_format_is_checked(void **state)
{
    (void)state;
    float out[SMALL_VALUES];
    pare_error err = {0};
    size_t n = 0;
    uint8_t *whole = small_file(PARE_LOGITS_LLAMA, &n), *bad = check_malloc(n + 1);
    CHECK_OK(read_all(whole, n, out, &err), &err);
    for (size_t len = 0; len < n; len++) {
        uint8_t *cut = check_malloc(len + (len == 0));
        memcpy(cut, whole, len);
        CHECK(read_all(cut, len, out, &err) == PARE_ERR_FORMAT);
        free(cut);
    }
    memcpy(bad, whole, n);
    bad[n] = 0;
    CHECK(read_all(bad, n + 1, out, &err) == PARE_ERR_FORMAT);
    const size_t data = 20 + SMALL_WINDOWS * CTX * 4;
    const struct {
        size_t at;
        uint32_t value;
    } lies[] = {{8, 0},
                {8, 3},
                {8, 13},
                {8, 0x80000000},
                {12, 0},
                {12, 4 + 2},
                {12, 0xffffffff},
                {16, 0},
                {16, 3},
                {16, 0x80000000},
                {16, 0xffffffff},
                {20, 3},
                {20 + 4 * CTX, 0xffffffff}, /* tokens */
                {data, 0x7fc00000},
                {data, 0xbf800000},
                {data, 0x7f800000},
                {data + 4, 0x7fc00000},
                {data + 4, 0xff800000}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        memcpy(bad, whole, n);
        pare_store_u32le(bad + lies[i].at, lies[i].value);
        pare_status st = read_all(bad, n, out, &err);
        CHECK(st == PARE_ERR_FORMAT || st == PARE_ERR_RANGE);
    }
    free(bad);
    free(whole);
}

static void logarithms_are_right(void **state)
{
    (void)state;
    for (double x = 1e-300; x < 1e300; x *= 1.37)
        CHECK(fabs(pare_logit_ln(x) - log(x)) <= 1e-14 * fabs(log(x)) + 3e-16);
    for (double x = 0.9; x < 1.1; x += 0.00137)
        CHECK(fabs(pare_logit_ln(x) - log(x)) <= 3e-16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_format_is_exact_to_its_noise),
        cmocka_unit_test(fewer_bits_say_their_noise),
        cmocka_unit_test(bytes_do_not_depend_on_threads_or_tiles),
        cmocka_unit_test(long_windows_are_cut_into_chunks),
        cmocka_unit_test(a_store_appears_whole_or_not),
        cmocka_unit_test(other_windows_are_named),
        cmocka_unit_test(truncations_and_flips_are_found),
        cmocka_unit_test(lies_are_found),
        cmocka_unit_test(frames_that_lie_are_found),
        cmocka_unit_test(llama_format_has_its_layout),
        cmocka_unit_test(llama_format_comes_back),
        cmocka_unit_test(llama_format_is_checked),
        cmocka_unit_test(logarithms_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
