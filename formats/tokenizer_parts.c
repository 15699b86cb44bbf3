#include "formats/tokenizer_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pare_token_rows_close(pare_token_rows *t)
{
    free(t->rows);
    *t = (pare_token_rows){0};
}

pare_status pare_token_row_at(pare_token_rows *t, uint64_t id, const char *path, pare_token_row **row, pare_error *err)
{
    if (id >= PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE, "%s: token id %" PRIu64 ", allowed 0 to %d", path, id,
                         PARE_MAX_VOCAB - 1);
    if (id >= t->cap) {
        size_t cap = t->cap < 1024 ? 1024 : t->cap;
        while (cap <= id)
            cap *= 2;
        pare_token_row *rows = realloc(t->rows, cap * sizeof *rows);
        if (rows == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tokens", path, cap);
        t->rows = rows;
        t->cap = cap;
    }
    for (; t->n <= id; t->n++)
        t->rows[t->n] = (pare_token_row){.type = PARE_TOKEN_UNUSED};
    *row = &t->rows[id];
    return PARE_OK;
}

/* GGUF marks pieces that begin a word, the Hub those that do not; special tokens have no mark. */
static pare_status mark_word(pare_vocab *v, pare_str *token, pare_error *err)
{
    bool inside = token->len > 2 && token->data[0] == '#' && token->data[1] == '#';
    if (inside) {
        *token = (pare_str){token->data + 2, token->len - 2};
        return PARE_OK;
    }
    pare_buf text = {0};
    pare_status st = pare_buf_puts(&text, "\xe2\x96\x81", err);
    if (st == PARE_OK)
        st = pare_buf_put(&text, token->data, token->len, err);
    if (st == PARE_OK)
        *token = pare_vocab_text(v, (pare_str){text.data, text.len}, false, err);
    pare_buf_close(&text);
    return st == PARE_OK && token->data == NULL ? PARE_ERR_MEMORY : st;
}

static pare_status fill_row(pare_vocab *v, const pare_token_row *row, uint32_t id, pare_str *token, pare_error *err)
{
    char text[32];
    *token = row->text;
    if (row->text.data == NULL) {
        int n = snprintf(text, sizeof text, "[PAD%" PRIu32 "]", id);
        *token = pare_vocab_text(v, (pare_str){text, (size_t)n}, false, err);
        if (token->data == NULL)
            return PARE_ERR_MEMORY;
    }
    bool marked = v->kind == PARE_VOCAB_WPM && row->type != PARE_TOKEN_CONTROL;
    return marked ? mark_word(v, token, err) : PARE_OK;
}

static bool is_ascii(pare_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.data[i] >= 0x80)
            return false;
    return true;
}

static bool is_added(const pare_token_row *row)
{
    return row->text.data != NULL &&
           (row->type == PARE_TOKEN_CONTROL || row->type == PARE_TOKEN_USER_DEFINED || row->type == PARE_TOKEN_UNKNOWN);
}

/* True when both can be found in one place of a text: one holds the other, or starts with its end. */
static bool overlap(pare_str a, pare_str b)
{
    enum { LONG = 256 };
    if (a.len > LONG || b.len > LONG)
        return true;
    for (size_t i = 0; i < a.len; i++) {
        size_t n = a.len - i < b.len ? a.len - i : b.len;
        if (memcmp(a.data + i, b.data, n) == 0)
            return true;
    }
    for (size_t i = 0; i < b.len; i++) {
        size_t n = b.len - i < a.len ? b.len - i : a.len;
        if (memcmp(b.data + i, a.data, n) == 0)
            return true;
    }
    return false;
}

/* Added tokens that are looked for in the normalized text come behind all others. Whether that is another result than
 * one search for all: some of either kind, with flags, or texts that get into each other's way. */
static bool order_matters(const pare_token_rows *t)
{
    enum { FLAGS = PARE_TOKEN_LSTRIP | PARE_TOKEN_RSTRIP | PARE_TOKEN_SINGLE_WORD, MAX_PAIRS = 1 << 20 };
    size_t n[2] = {0}, work = 0;
    uint8_t flags = 0;
    for (size_t i = 0; i < t->n; i++)
        if (is_added(&t->rows[i])) {
            n[(t->rows[i].attrs & PARE_TOKEN_NORMALIZED) != 0]++;
            flags |= t->rows[i].attrs & FLAGS;
        }
    if (n[0] == 0 || n[1] == 0)
        return false;
    if (flags != 0 || n[0] > MAX_PAIRS / n[1])
        return true;
    for (size_t i = 0; i < t->n; i++) {
        if (!is_added(&t->rows[i]) || (t->rows[i].attrs & PARE_TOKEN_NORMALIZED) == 0)
            continue;
        for (size_t k = 0; k < t->n && work <= 64 * (size_t)MAX_PAIRS; k++, work++)
            if (is_added(&t->rows[k]) && (t->rows[k].attrs & PARE_TOKEN_NORMALIZED) == 0 &&
                overlap(t->rows[i].text, t->rows[k].text))
                return true;
    }
    return work > 64 * (size_t)MAX_PAIRS;
}

pare_status pare_token_rows_finish(pare_token_rows *t, pare_vocab *v, uint32_t n_vocab, const char *path,
                                   pare_error *err)
{
    if (n_vocab > 0 && t->n > n_vocab)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %zu tokens for %" PRIu32 " rows of the embedding", path, t->n,
                         n_vocab);
    if (t->n == 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: no tokens", path);
    pare_token_row *last = NULL;
    pare_status st = n_vocab > t->n ? pare_token_row_at(t, n_vocab - 1, path, &last, err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    size_t n = t->n;
    bool one_search = v->kind == PARE_VOCAB_BPE && !order_matters(t);
    pare_str *tokens = pare_arena_alloc(&v->arena, n * sizeof *tokens, err);
    int32_t *types = pare_arena_alloc(&v->arena, n * sizeof *types, err);
    float *scores = pare_arena_alloc(&v->arena, n * sizeof *scores, err);
    uint8_t *attrs = pare_arena_alloc(&v->arena, n, err);
    if (tokens == NULL || types == NULL || scores == NULL || attrs == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        types[i] = t->rows[i].type;
        /* A form of Unicode leaves ASCII as it is. */
        bool plain = one_search && is_ascii(t->rows[i].text);
        attrs[i] = t->rows[i].attrs & (plain ? ~PARE_TOKEN_NORMALIZED : ~0);
        scores[i] = t->rows[i].text.data == NULL ? -10000.0F : t->rows[i].score;
        st = fill_row(v, &t->rows[i], (uint32_t)i, &tokens[i], err);
    }
    v->n_tokens = (uint32_t)n;
    v->tokens = tokens;
    v->types = types;
    v->attrs = attrs;
    v->scores = v->kind == PARE_VOCAB_SPM || v->kind == PARE_VOCAB_UGM ? scores : NULL;
    return st;
}

static pare_status read_attr(const json_t *entry, const char *path, const char *key, uint8_t bit, uint8_t *attrs,
                             pare_error *err)
{
    bool set = false, found = false;
    pare_status st = pare_json_bool(entry, path, key, &set, &found, err);
    *attrs |= found && set ? bit : 0;
    return st;
}

pare_status pare_added_token_read(const json_t *entry, const char *path, pare_added_token *out, pare_error *err)
{
    static const struct {
        const char *key;
        uint8_t bit;
    } attrs[] = {{"lstrip", PARE_TOKEN_LSTRIP},
                 {"rstrip", PARE_TOKEN_RSTRIP},
                 {"normalized", PARE_TOKEN_NORMALIZED},
                 {"single_word", PARE_TOKEN_SINGLE_WORD}};
    bool found = false;
    if (!json_is_object(entry))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: an added token is no object", path);
    pare_status st = pare_json_str(entry, path, "content", &out->content, NULL, err);
    if (st == PARE_OK)
        st = pare_json_bool(entry, path, "special", &out->special, &found, err);
    for (size_t i = 0; i < sizeof attrs / sizeof attrs[0] && st == PARE_OK; i++)
        st = read_attr(entry, path, attrs[i].key, attrs[i].bit, &out->attrs, err);
    if (st == PARE_OK && out->content.len == 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: an added token is empty", path);
    return st;
}

pare_status pare_added_token_id(const char *key, const char *dir, uint64_t *id, pare_error *err)
{
    char *end = NULL;
    *id = strtoull(key, &end, 10);
    if (key[0] < '0' || key[0] > '9' || *end != 0 || *id >= PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s/tokenizer_config.json: added_tokens_decoder: id '%.32s', allowed 0 to %d", dir, key,
                         PARE_MAX_VOCAB - 1);
    return PARE_OK;
}

static bool between(pare_str s, const char *first, const char *last)
{
    size_t a = strlen(first), b = strlen(last);
    return s.len >= a && s.len >= b && memcmp(s.data, first, a) == 0 && memcmp(s.data + s.len - b, last, b) == 0;
}

bool pare_token_looks_special(pare_str s)
{
    static const char *const known[] = {"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (pare_str_equal(s, known[i]))
            return true;
    return between(s, "<|", "|>") || between(s, "<\xef\xbd\x9c", "\xef\xbd\x9c>") || between(s, "<unused", ">");
}

pare_str pare_vocab_text(pare_vocab *v, pare_str s, bool plain_spaces, pare_error *err)
{
    char *copy = pare_arena_copy(&v->arena, s.data, s.len, err);
    size_t n = 0;
    for (size_t i = 0; copy != NULL && i < s.len; n++) {
        bool mark = plain_spaces && s.len - i >= 3 && memcmp(s.data + i, "\xe2\x96\x81", 3) == 0;
        copy[n] = mark ? ' ' : s.data[i];
        i += mark ? 3 : 1;
    }
    return (pare_str){copy, n};
}
