#include "formats/logit_store_impl.h"

#include "model/vocab.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_hash(const void *a, const void *b, void *ctx)
{
    const pare_logit_window *windows = ctx;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = memcmp(windows[x].sha256, windows[y].sha256, sizeof windows[x].sha256);
    return order != 0 ? order : x < y ? -1 : x > y;
}

static pare_status parse(pare_logit_store *s, pare_error *err)
{
    pare_status st;
    if (s->n >= PARE_LOGIT_MAGIC_BYTES && memcmp(s->bytes, PARE_LOGIT_MAGIC, PARE_LOGIT_MAGIC_BYTES) == 0)
        st = pare_logit_store_open_pare(s, err);
    else if (s->n >= PARE_LOGIT_MAGIC_BYTES && memcmp(s->bytes, PARE_LLAMA_LOGIT_MAGIC, PARE_LOGIT_MAGIC_BYTES) == 0)
        st = pare_logit_store_open_llama(s, err);
    else
        st = pare_fail(err, PARE_ERR_FORMAT,
                       "%s: offset 0: no logit store: it begins with neither '" PARE_LOGIT_MAGIC
                       "' nor '" PARE_LLAMA_LOGIT_MAGIC "'",
                       s->path);
    if (st != PARE_OK)
        return st;
    uint32_t n = s->info.n_windows;
    if ((s->by_hash = malloc(n * sizeof *s->by_hash)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " windows", s->path, n);
    for (uint32_t i = 0; i < n; i++)
        s->by_hash[i] = i;
    qsort_r(s->by_hash, n, sizeof *s->by_hash, by_hash, s->windows);
    s->bytes_held += n * (sizeof *s->by_hash + sizeof *s->windows);
    return PARE_OK;
}

pare_status pare_logit_store_parse(pare_logit_store **out, const void *bytes, size_t n, const char *path,
                                   pare_error *err)
{
    *out = NULL;
    pare_logit_store *s = calloc(1, sizeof *s);
    if (s == NULL || (s->path = strdup(path)) == NULL) {
        free(s);
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    }
    s->bytes = bytes;
    s->n = n;
    pare_status st = parse(s, err);
    if (st == PARE_OK)
        *out = s;
    else
        pare_logit_store_close(s);
    return st;
}

pare_status pare_logit_store_open(pare_logit_store **out, const char *path, pare_error *err)
{
    pare_map map;
    *out = NULL;
    pare_status st = pare_map_open_content(&map, path, err);
    if (st == PARE_OK && map.size > SIZE_MAX)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: too large to be mapped", path);
    if (st == PARE_OK)
        st = pare_logit_store_parse(out, map.data, (size_t)map.size, path, err);
    if (st == PARE_OK)
        (*out)->map = map;
    else
        pare_map_close(&map);
    return st;
}

void pare_logit_store_close(pare_logit_store *s)
{
    if (s == NULL)
        return;
    if (s->close != NULL)
        s->close(s);
    pare_map_close(&s->map);
    free(s->windows);
    free(s->by_hash);
    free(s->model);
    free(s->path);
    free(s);
}

const pare_logit_info *pare_logit_store_info(const pare_logit_store *s)
{
    return &s->info;
}

const char *pare_logit_store_path(const pare_logit_store *s)
{
    return s->path;
}

uint64_t pare_logit_store_bytes(const pare_logit_store *s)
{
    return s->bytes_held;
}

/* "8184", or what stands for no replacement. Returns buf. */
static const char *bos_text(int64_t bos, char buf[24])
{
    if (bos == PARE_TOKEN_NONE)
        return "left as it is";
    snprintf(buf, 24, "%" PRId64, bos);
    return buf;
}

pare_status pare_logit_store_check(const pare_logit_store *s, const pare_logit_info *run, pare_error *err)
{
    const pare_logit_info *own = &s->info;
    char a[24], b[24];
    if (own->n_vocab != run->n_vocab)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: made with a vocabulary of %" PRIu32 " tokens, the model has %" PRIu32, s->path,
                         own->n_vocab, run->n_vocab);
    if (own->tokenizer_sha256[0] != '\0' && run->tokenizer_sha256[0] != '\0' &&
        strcmp(own->tokenizer_sha256, run->tokenizer_sha256) != 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: made with the tokenizer of SHA-256 %s, the model's is %s", s->path,
                         own->tokenizer_sha256, run->tokenizer_sha256);
    if (own->n_ctx != run->n_ctx)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: made with windows of %" PRIu32 " tokens, this run has windows of %" PRIu32, s->path,
                         own->n_ctx, run->n_ctx);
    if (own->stride != run->stride)
        return pare_fail(err, PARE_ERR_RANGE, "%s: made with a stride of %" PRIu32 " tokens, this run has %" PRIu32,
                         s->path, own->stride, run->stride);
    if (own->compute[0] != '\0' && run->compute[0] != '\0' && strcmp(own->compute, run->compute) != 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: made with --compute %s, this run has --compute %s", s->path,
                         own->compute, run->compute);
    if (own->format != PARE_LOGITS_LLAMA && own->bos != run->bos)
        return pare_fail(err, PARE_ERR_RANGE, "%s: token 0 of each window was %s, in this run it is %s", s->path,
                         bos_text(own->bos, a), bos_text(run->bos, b));
    return PARE_OK;
}

/* Place in by_hash of the first window with this hash or a larger one. */
static uint32_t lower_bound(const pare_logit_store *s, const uint8_t sha256[32])
{
    uint32_t low = 0, high = s->info.n_windows;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(s->windows[s->by_hash[mid]].sha256, sha256, 32) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

pare_status pare_logit_store_find(pare_logit_store *s, const int32_t *ids, uint32_t first, uint32_t n, uint64_t *index,
                                  pare_error *err)
{
    uint8_t sha256[32];
    const pare_logit_window *same = NULL;
    pare_status st = pare_logit_hash_ids(ids, first + n + 1, sha256, err);
    if (st != PARE_OK)
        return st;
    for (uint32_t at = lower_bound(s, sha256); at < s->info.n_windows; at++) {
        const pare_logit_window *w = &s->windows[s->by_hash[at]];
        if (memcmp(w->sha256, sha256, sizeof sha256) != 0)
            break;
        same = w;
        if (w->first == first && w->n == n && (w->token0 == ids[0] || s->info.format == PARE_LOGITS_LLAMA)) {
            *index = s->by_hash[at];
            return PARE_OK;
        }
    }
    const pare_logit_window *any = &s->windows[0];
    if (same != NULL && same->token0 != ids[0])
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: token 0 of a window is %" PRId32 " there and %" PRId32
                         " in this run: another rule for BOS",
                         s->path, same->token0, ids[0]);
    if (same != NULL || any->first + any->n != first + n)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: has positions %" PRIu32 " to %" PRIu32 " of windows, this run scores %" PRIu32
                         " to %" PRIu32 ": another size of windows or another stride",
                         s->path, any->first, any->first + any->n - 1, first, first + n - 1);
    return pare_fail(err, PARE_ERR_RANGE,
                     "%s: has no window with the tokens %" PRId32 " %" PRId32 " %" PRId32
                     " ...: another text, another tokenizer, or a part of the text that is not stored",
                     s->path, ids[0], ids[1], ids[2]);
}

pare_status pare_logit_store_rows(pare_logit_store *s, uint64_t index, uint32_t pos, uint32_t n, float *out,
                                  pare_error *err)
{
    const pare_logit_window *w = index < s->info.n_windows ? &s->windows[index] : NULL;
    if (w == NULL || pos < w->first || n > w->n || pos - w->first > w->n - n)
        return pare_fail(err, PARE_ERR_USAGE, "%s: window %" PRIu64 " has no %" PRIu32 " positions from %" PRIu32,
                         s->path, index, n, pos);
    return s->rows(s, index, pos, n, out, err);
}
