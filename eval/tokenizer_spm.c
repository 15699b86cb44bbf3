/* eval/tokenizer_spm.c - SentencePiece BPE: spaces become U+2581, neighbours merge by score, bytes stand in
 * Method: docs/formats/TOKENIZER.md */
#include "eval/tokenizer_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char space_mark[] = "\xe2\x96\x81"; /* U+2581 */
enum { MARK = 3 };

static bool is_mark(const char *s, size_t len)
{
    return len >= MARK && memcmp(s, space_mark, MARK) == 0;
}

typedef struct scored {
    float score;
    uint32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x < y) - (x > y);
}

/* Scores as ranks: one integer comparison orders merges of both kinds. */
static pare_status rank_scores(pare_tokenizer *t, pare_error *err)
{
    uint32_t n = t->v->n_tokens, rank = 0;
    scored *order = calloc(n, sizeof *order);
    t->rank = calloc(n, sizeof *t->rank);
    if (order == NULL || t->rank == NULL) {
        free(order);
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " scores", n);
    }
    for (uint32_t i = 0; i < n; i++)
        order[i] = (scored){t->v->scores == NULL ? 0 : t->v->scores[i], i};
    qsort(order, n, sizeof *order, by_score);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && order[i].score != order[i - 1].score)
            rank = i;
        t->rank[order[i].id] = rank;
    }
    free(order);
    return PARE_OK;
}

static bool join_by_score(const void *tokenizer, const char *text, const pare_symbol *left, const pare_symbol *right,
                          int32_t *id, uint32_t *rank)
{
    const pare_tokenizer *t = tokenizer;
    int64_t found = pare_index_find(&t->ids, (pare_str){text + left->start, left->len + right->len});
    if (found < 0)
        return false;
    *id = (int32_t)found;
    *rank = t->rank[found];
    return true;
}

bool pare_spm_mark_inside(pare_str s)
{
    for (size_t i = 1; i + MARK <= s.len; i++)
        if (is_mark(s.data + i, s.len - i) && !(i >= MARK && is_mark(s.data + i - MARK, MARK)))
            return true;
    return false;
}

pare_status pare_spm_open(pare_tokenizer *t, pare_error *err)
{
    const pare_vocab *v = t->v;
    t->add_bos = v->add_bos < 0 ? v->bos >= 0 : v->add_bos != 0;
    t->add_prefix = v->add_space_prefix != 0;
    t->late_marks = v->prefix_rule != PARE_PREFIX_EACH;
    t->normalizer = v->normalizer < 0 ? PARE_NORMALIZE_NONE : (pare_normalizer)v->normalizer;
    t->words_apart = true;
    t->unk = (int32_t)v->unk;
    t->has_merges = v->n_merges > 0;
    memset(t->byte_id, -1, sizeof t->byte_id);
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        pare_token_type type = pare_vocab_type(v, i);
        int byte = type == PARE_TOKEN_BYTE ? pare_byte_token_value(v->tokens[i]) : -1;
        if (byte >= 0)
            t->byte_id[byte] = (int32_t)i;
        else if (type == PARE_TOKEN_UNKNOWN && t->unk < 0)
            t->unk = (int32_t)i;
        else if (t->words_apart && (type == PARE_TOKEN_NORMAL || type == PARE_TOKEN_USER_DEFINED))
            t->words_apart = !pare_spm_mark_inside(v->tokens[i]);
    }
    t->drops = t->has_merges && t->unk < 0;
    for (int b = 0; b < 256; b++)
        t->drops = t->drops && t->byte_id[b] < 0;
    return t->has_merges ? pare_merge_table_open(&t->merges, v, &t->ids, err) : rank_scores(t, err);
}

/* Text without leading and trailing spaces and with one in the place of several, as SentencePiece's normalizer does. */
static pare_status squeeze(pare_buf *out, const char *text, size_t len, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t n = 1; n > 0; len -= n) /* marks that the text holds itself go with the spaces at its end */
        n = len > 0 && text[len - 1] == ' ' ? 1 : len >= MARK && is_mark(text + len - MARK, MARK) ? MARK : 0;
    for (size_t i = 0; i < len && st == PARE_OK; i++)
        if (text[i] != ' ' || (i > 0 && text[i - 1] != ' ' && out->len > 0))
            st = pare_buf_put(out, text + i, 1, err);
    return st;
}

static pare_status mark_spaces(pare_buf *out, const char *text, size_t len, bool prefix, pare_error *err)
{
    pare_status st = prefix ? pare_buf_put(out, space_mark, MARK, err) : PARE_OK;
    for (size_t i = 0, run; i < len && st == PARE_OK; i += run) {
        const char *space = memchr(text + i, ' ', len - i);
        run = space == NULL ? len - i : (size_t)(space - text) - i;
        st = pare_buf_put(out, text + i, run, err);
        if (st == PARE_OK && space != NULL) {
            st = pare_buf_put(out, space_mark, MARK, err);
            run++;
        }
    }
    return st;
}

pare_status pare_spm_mark(const pare_tokenizer *t, const char *text, size_t len, bool at_start, pare_buf *out,
                          pare_error *err)
{
    const pare_vocab *v = t->v;
    pare_buf squeezed = {0};
    pare_status st = PARE_OK;
    if (v->remove_extra_whitespaces == 1) {
        st = squeeze(&squeezed, text, len, err);
        text = squeezed.data;
        len = squeezed.len;
    }
    if (st == PARE_OK && len > 0) {
        bool has_space = text[0] == ' ' || is_mark(text, len);
        bool prefix = t->add_prefix && (v->prefix_rule == PARE_PREFIX_EACH || !has_space) &&
                      (v->prefix_rule != PARE_PREFIX_FIRST || at_start);
        st = mark_spaces(out, text, len, prefix, err);
    }
    pare_buf_close(&squeezed);
    return st;
}

pare_status pare_spm_put_unknown(pare_tokenize_work *w, const char *text, size_t len, pare_error *err)
{
    const pare_tokenizer *t = w->t;
    pare_status st = PARE_OK;
    bool bytes = true;
    for (size_t i = 0; i < len; i++)
        bytes = bytes && t->byte_id[(uint8_t)text[i]] >= 0;
    for (size_t i = 0; bytes && i < len && st == PARE_OK; i++)
        st = pare_ids_put(w->out, t->byte_id[(uint8_t)text[i]], err);
    if (!bytes && (!w->last_unk || t->v->unk_each == 1) && t->unk >= 0)
        st = pare_ids_put(w->out, t->unk, err);
    w->last_unk = !bytes;
    return st;
}

static pare_status merge_word(pare_tokenize_work *w, const char *text, size_t len, pare_error *err)
{
    const pare_tokenizer *t = w->t;
    pare_status st = PARE_OK;
    w->merge.n = 0;
    if (len > INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "a word of %zu bytes, at most %" PRId32, len, INT32_MAX);
    for (size_t i = 0, n; i < len && st == PARE_OK; i += n) {
        n = pare_utf8_next(text + i, len - i, NULL);
        n = n == 0 ? 1 : n; /* a byte that is not UTF-8 */
        int64_t id = pare_index_find(&t->ids, (pare_str){text + i, n});
        if (id < 0 && t->drops)
            continue;
        st = pare_merge_put(&w->merge, (int32_t)id, (uint32_t)i, (uint32_t)n, err);
    }
    if (st == PARE_OK)
        st = pare_merge_run(&w->merge, text, t->has_merges ? pare_merge_table_join : join_by_score,
                            t->has_merges ? (const void *)&t->merges : t, err);
    for (int32_t i = w->merge.n > 0 ? 0 : -1; i >= 0 && st == PARE_OK; i = w->merge.symbols[i].next) {
        const pare_symbol *s = &w->merge.symbols[i];
        if (s->id < 0) {
            st = pare_spm_put_unknown(w, text + s->start, s->len, err);
            continue;
        }
        w->last_unk = false;
        st = pare_ids_put(w->out, s->id, err);
    }
    return st;
}

pare_status pare_spm_encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    const pare_tokenizer *t = w->t;
    pare_status st = PARE_OK;
    size_t from = 0;
    w->last_unk = false;
    if (t->late_marks) {
        w->mapped.len = 0;
        st = pare_spm_mark(t, text, len, at_start, &w->mapped, err);
        text = w->mapped.data;
        len = w->mapped.len;
    }
    /* Where no token holds a mark behind another character nothing merges across the start of a word, so that words
     * can be merged one by one: the same ids, and memory for one word and not for the whole text. */
    for (size_t i = 1; i < len && st == PARE_OK; i++) {
        if (!is_mark(text + i, len - i))
            continue;
        bool start = i < from + MARK || !is_mark(text + i - MARK, MARK);
        if (t->v->split_spaces == 1 || (t->words_apart && start)) {
            st = merge_word(w, text + from, i - from, err);
            from = i;
        }
    }
    return st == PARE_OK && len > 0 ? merge_word(w, text + from, len - from, err) : st;
}
