/* formats/tokenizer_order.c - what a vocabulary of tokenizer.json needs so that GGUF's narrower description joins the
 * same pieces: the name of the pre-tokenizer, and scores in the place of merges */
#include "formats/tokenizer_parts.h"
#include "model/merges.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static pare_status unknown_steps(const pare_tokenizer_rules *rules, const char *path, pare_error *err)
{
    static const char *const names[] = {"", "Split", "Digits", "Punctuation", "ByteLevel"};
    pare_buf text = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < rules->n_steps && st == PARE_OK; i++) {
        const pare_pre_step *s = &rules->steps[i];
        if (s->pattern != NULL &&
            (st = pare_check_regex(s->pattern, strlen(s->pattern), path, "pre_tokenizer", err)) != PARE_OK)
            break;
        st = pare_buf_printf(
            &text, err, "%s%s%s%s%s", i > 0 ? ", " : "", names[s->kind], s->pattern == NULL ? "" : " '",
            s->pattern == NULL ? (s->flag ? " (flag set)" : "") : s->pattern, s->pattern == NULL ? "" : "'");
    }
    if (st == PARE_OK)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: unknown pre_tokenizer pattern: %s", path,
                       text.len == 0 ? "none" : text.data);
    pare_buf_close(&text);
    return st;
}

static pare_status index_of(const pare_vocab *v, pare_index *ids, pare_error *err)
{
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++)
        st = pare_index_add(ids, v->tokens[i], i, NULL, err);
    return st;
}

/* True when the merges make token id out of its characters. */
static pare_status is_made(const pare_vocab *v, const pare_index *ids, const pare_merge_table *table, uint32_t id,
                           pare_merge_work *w, bool *made, pare_error *err)
{
    pare_str s = v->tokens[id];
    pare_status st = PARE_OK;
    w->n = 0;
    for (size_t i = 0, n; i < s.len && st == PARE_OK; i += n) {
        n = pare_utf8_next(s.data + i, s.len - i, NULL);
        n = n == 0 ? 1 : n;
        st = pare_merge_put(w, (int32_t)pare_index_find(ids, (pare_str){s.data + i, n}), (uint32_t)i, (uint32_t)n, err);
    }
    if (st == PARE_OK)
        st = pare_merge_run(w, s.data, pare_merge_table_join, table, err);
    *made = st == PARE_OK && w->n > 0 && w->symbols[0].next < 0;
    return st;
}

/* Warnings below are for other readers of the GGUF file: pare writes tokenizer.pare.* keys that it follows itself.
 *
 * Either the row or the file takes whole tokens past the merges: the same, unless a token is not made by its merges.
 */
static pare_status check_shortcut(pare_vocab *v, bool by_row, const char *path, pare_error *err)
{
    pare_index ids = {0};
    pare_merge_table table = {0};
    pare_merge_work w = {0};
    uint32_t n_apart = 0, first = 0;
    pare_status st = index_of(v, &ids, err);
    if (st == PARE_OK)
        st = pare_merge_table_open(&table, v, &ids, err);
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++) {
        bool made = true;
        if (pare_vocab_type(v, i) == PARE_TOKEN_NORMAL)
            st = is_made(v, &ids, &table, i, &w, &made, err);
        if (!made && n_apart++ == 0)
            first = i;
    }
    if (st == PARE_OK && n_apart == 0)
        v->ignore_merges = -1;
    else if (st == PARE_OK)
        st = pare_warn(err,
                       "%s: pre-tokenizer '%.*s' %s, and merges do not make %" PRIu32 " of the tokens, the first is "
                       "%" PRIu32,
                       path, (int)v->pre.len, v->pre.data,
                       by_row ? "takes tokens without merging" : "merges where the file takes whole tokens", n_apart,
                       first);
    pare_merge_work_close(&w);
    pare_merge_table_close(&table);
    pare_index_close(&ids);
    return st;
}

pare_status pare_tokenizer_json_name(pare_vocab *v, const pare_tokenizer_rules *rules, const char *path,
                                     pare_error *err)
{
    const pare_pretokenizer *row =
        pare_pretokenizer_match(rules->steps, rules->ignore_merges, rules->normalizer, v->add_bos > 0);
    pare_status st = PARE_OK;
    if (row == NULL)
        return unknown_steps(rules, path, err);
    v->pre = (pare_str){row->name, strlen(row->name)};
    v->normalizer = row->normalizer == rules->normalizer ? -1 : (int)rules->normalizer;
    v->ignore_merges = row->ignore_merges == rules->ignore_merges ? -1 : rules->ignore_merges;
    if (row->normalizer != rules->normalizer)
        st = pare_warn(err, "%s: the normalizer is %s, but that of pre-tokenizer '%s' is %s", path,
                       pare_normalizer_name(rules->normalizer), row->name, pare_normalizer_name(row->normalizer));
    if (st == PARE_OK && rules->ignore_merges != row->ignore_merges)
        st = check_shortcut(v, row->ignore_merges, path, err);
    return st;
}

/* Merges by the token that they make. */
typedef struct made {
    uint32_t n;    /* merges that make it */
    uint32_t last; /* the last of them */
} made;

enum { LONG_TOKEN = 1024 }; /* bytes from which on the checks, quadratic in the length, are not worth it */

/* True when an end of the token is also its start, so that two of it may overlap. */
static bool repeats_itself(pare_str s)
{
    if (s.len > LONG_TOKEN)
        return true;
    for (size_t k = 1; k < s.len; k++)
        if (memcmp(s.data, s.data + k, s.len - k) == 0)
            return true;
    return false;
}

static bool is_piece(const pare_vocab *v, int64_t id)
{
    pare_token_type type = id < 0 ? PARE_TOKEN_UNUSED : pare_vocab_type(v, (uint32_t)id);
    return type == PARE_TOKEN_NORMAL || type == PARE_TOKEN_USER_DEFINED;
}

/* True when each way to cut token id into two pieces is a merge: scores know no other rule than that both are pieces.
 */
static bool all_cuts_merge(const pare_vocab *v, const pare_index *ids, const pare_merge_table *t, uint32_t id)
{
    pare_str s = v->tokens[id];
    if (s.len > LONG_TOKEN)
        return false;
    for (size_t i = 1; i < s.len; i++) {
        pare_symbol left = {0}, right = {0};
        int32_t made_id = 0;
        uint32_t rank = 0;
        int64_t a = pare_index_find(ids, (pare_str){s.data, i}),
                b = pare_index_find(ids, (pare_str){s.data + i, s.len - i});
        if (!is_piece(v, a) || !is_piece(v, b))
            continue;
        left.id = (int32_t)a;
        right.id = (int32_t)b;
        if (!pare_merge_table_join(t, NULL, &left, &right, &made_id, &rank))
            return false;
    }
    return true;
}

/* Scores by rank, and whether they say as much as the merges. */
static bool score_merges(const pare_vocab *v, const pare_index *ids, made *of, float *scores)
{
    bool same = true;
    uint32_t group = 0;
    for (uint32_t i = 0; i < v->n_merges; i++) {
        pare_str m = v->merges[i];
        const char *space = memchr(m.data, ' ', m.len);
        char joined[512];
        if (space == NULL || m.len > sizeof joined)
            return false;
        size_t left = (size_t)(space - m.data);
        memcpy(joined, m.data, left);
        memcpy(joined + left, space + 1, m.len - left - 1);
        int64_t id = pare_index_find(ids, (pare_str){joined, m.len - 1});
        if (id < 0)
            return false;
        if (of[id].n == 0)
            scores[id] = -(float)++group;
        else if (of[id].last + 1 != i || repeats_itself(v->tokens[id]))
            same = false;
        of[id].n++;
        of[id].last = i;
    }
    return same;
}

static bool has_bytes(const pare_vocab *v)
{
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (pare_vocab_type(v, i) == PARE_TOKEN_BYTE)
            return true;
    return false;
}

pare_status pare_tokenizer_json_scores(pare_vocab *v, pare_error *err)
{
    pare_index ids = {0};
    pare_merge_table table = {0};
    float *scores = pare_arena_alloc(&v->arena, v->n_tokens * sizeof *scores, err);
    made *of = calloc(v->n_tokens, sizeof *of);
    pare_status st = scores == NULL ? PARE_ERR_MEMORY : PARE_OK;
    if (st == PARE_OK && of == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " tokens", v->n_tokens);
    if (st == PARE_OK)
        st = index_of(v, &ids, err);
    if (st == PARE_OK)
        st = pare_merge_table_open(&table, v, &ids, err);
    if (st == PARE_OK) {
        memcpy(scores, v->scores, v->n_tokens * sizeof *scores);
        bool same = score_merges(v, &ids, of, scores) && (v->unk >= 0 || has_bytes(v));
        for (uint32_t i = 0; i < v->n_tokens && same; i++)
            same = !is_piece(v, i) || all_cuts_merge(v, &ids, &table, i);
        v->scores = scores;
        v->n_merges = same ? 0 : v->n_merges;
    }
    pare_merge_table_close(&table);
    pare_index_close(&ids);
    free(of);
    return st;
}
