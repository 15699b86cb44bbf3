/* eval/tokenizer_bpe.c - byte-level BPE: cut the text by patterns, write bytes in a printable alphabet, merge
 * Method: docs/formats/TOKENIZER.md */
#include "eval/tokenizer_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static pare_status compile(pare_pattern *p, const pare_pre_step *step, pare_error *err)
{
    pare_buf text = {0};
    int code = 0;
    PCRE2_SIZE at = 0;
    pare_status st = pare_pre_step_pcre(step, &text, err);
    if (st == PARE_OK && text.len > 0) {
        p->code =
            pcre2_compile((PCRE2_SPTR)text.data, text.len, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &at, NULL);
        if (p->code == NULL) {
            PCRE2_UCHAR why[160] = {0};
            pcre2_get_error_message(code, why, sizeof why);
            st = pare_fail(err, code == PCRE2_ERROR_HEAP_FAILED ? PARE_ERR_MEMORY : PARE_ERR_FORMAT, "pattern '%s': at %zu: %s", text.data, (size_t)at, (const char *)why);
        } else {
            p->jit = pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0;
        }
    }
    pare_buf_close(&text);
    return st;
}

pare_status pare_bpe_open(pare_tokenizer *t, pare_error *err)
{
    const pare_vocab *v = t->v;
    t->pre = pare_pretokenizer_find(v->pre);
    if (t->pre == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not supported",
                         (int)v->pre.len, v->pre.len > 0 ? v->pre.data : "");
    t->ignore_merges = v->ignore_merges < 0 ? t->pre->ignore_merges : v->ignore_merges != 0;
    t->normalizer = v->normalizer < 0 ? t->pre->normalizer : (pare_normalizer)v->normalizer;
    t->add_bos = v->add_bos < 0 ? t->pre->add_bos && v->bos >= 0 : v->add_bos != 0;
    memset(t->byte_of, -1, sizeof t->byte_of);
    for (int b = 0; b < 256; b++) {
        char text[4];
        t->alphabet[b] = pare_byte_alphabet((uint8_t)b);
        t->byte_of[t->alphabet[b]] = (int16_t)b;
        t->byte_id[b] = (int32_t)pare_index_find(&t->ids, (pare_str){text, pare_utf8_put(text, t->alphabet[b])});
    }
    pare_status st = PARE_OK;
    for (size_t i = 0; t->pre->steps[i].kind != PARE_PRE_END && st == PARE_OK; i++)
        st = compile(&t->patterns[i], &t->pre->steps[i], err);
    return st == PARE_OK ? pare_merge_table_open(&t->merges, v, &t->ids, err) : st;
}

/* Length of the leading part of text that is UTF-8, and of the bytes behind it that are none. */
static size_t good_part(const char *text, size_t len, size_t *n_bad)
{
    size_t good = len;
    *n_bad = 0;
    if (pare_utf8_valid(text, len, &good))
        return len;
    do
        ++*n_bad;
    while (good + *n_bad < len && pare_utf8_next(text + good + *n_bad, len - good - *n_bad, NULL) == 0);
    return good;
}

/* The ids of one piece, written in the alphabet. */
static pare_status merge_piece(pare_tokenize_work *w, const char *text, size_t len, pare_error *err)
{
    const pare_tokenizer *t = w->t;
    if (t->ignore_merges) {
        int64_t id = pare_index_find(&t->ids, (pare_str){text, len});
        if (id >= 0 && !pare_token_is_added(pare_vocab_type(t->v, (uint32_t)id)))
            return pare_ids_put(w->out, (int32_t)id, err);
    }
    pare_status st = PARE_OK;
    w->merge.n = 0;
    for (size_t i = 0, n; i < len && st == PARE_OK; i += n) {
        uint32_t cp = 0;
        n = pare_utf8_next(text + i, len - i, &cp);
        /* A byte without a token: `tokenizers` leaves it out when the model names no unknown token, and so do we. */
        int32_t id = t->byte_id[t->byte_of[cp]];
        if (id < 0)
            id = (int32_t)t->v->missing;
        if (id >= 0)
            st = pare_merge_put(&w->merge, id, (uint32_t)i, (uint32_t)n, err);
    }
    if (st == PARE_OK)
        st = pare_merge_run(&w->merge, text, pare_merge_table_join, &t->merges, err);
    for (int32_t i = w->merge.n > 0 ? 0 : -1; i >= 0 && st == PARE_OK; i = w->merge.symbols[i].next)
        st = pare_ids_put(w->out, w->merge.symbols[i].id, err);
    return st;
}

/* Bytes that are not UTF-8 go byte by byte, without merging: no text of the tokenizer's training looks like that. */
static pare_status put_bytes(pare_tokenize_work *w, const char *text, size_t len, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < len && st == PARE_OK; i++) {
        int32_t id = w->t->byte_id[(uint8_t)text[i]];
        if (id >= 0)
            st = pare_ids_put(w->out, id, err);
    }
    return st;
}

/* The next match from `from` on that is not an empty one there, which would be the last one again. */
static pare_status find(pare_tokenize_work *w, const pare_pattern *p, const char *text, size_t len, size_t from,
                        size_t *start, size_t *end, pare_error *err)
{
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (p->jit)
        rc = pcre2_jit_match(p->code, (PCRE2_SPTR)text, len, from, PCRE2_NOTEMPTY_ATSTART, w->match, w->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(p->code, (PCRE2_SPTR)text, len, from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT | PCRE2_NOTEMPTY_ATSTART, w->match, w->context);
    if (rc == PCRE2_ERROR_NOMATCH) {
        *start = *end = len;
        return PARE_OK;
    }
    if (rc < 0) {
        PCRE2_UCHAR why[160] = {0};
        pcre2_get_error_message(rc, why, sizeof why);
        return pare_fail(err, rc == PCRE2_ERROR_NOMEMORY ? PARE_ERR_MEMORY : PARE_ERR_FORMAT,
                         "pre-tokenizer '%s': text at byte %zu: %s", w->t->pre->name, from, (const char *)why);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(w->match);
    *start = at[0];
    *end = at[1];
    return PARE_OK;
}

static pare_status cut(pare_tokenize_work *w, size_t step, const char *text, size_t len, pare_error *err);

/* Write a piece in the alphabet and go on behind the byte-level step. w->mapped is in use below this call only. */
static pare_status map_piece(pare_tokenize_work *w, size_t step, const char *text, size_t len, pare_error *err)
{
    w->mapped.len = 0;
    pare_status st = pare_buf_reserve(&w->mapped, 2 * len, err);
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i < len; i++)
        w->mapped.len += pare_utf8_put(w->mapped.data + w->mapped.len, w->t->alphabet[(uint8_t)text[i]]);
    return cut(w, step + 1, w->mapped.data, w->mapped.len, err);
}

static pare_status next_step(pare_tokenize_work *w, size_t step, const char *text, size_t len, pare_error *err)
{
    if (len == 0)
        return PARE_OK;
    if (w->t->pre->steps[step].kind == PARE_PRE_BYTE_LEVEL)
        return map_piece(w, step, text, len, err);
    return cut(w, step + 1, text, len, err);
}

/* Apply step and all behind it. Recursion is as deep as the row has steps. */
static pare_status cut(pare_tokenize_work *w, size_t step, const char *text, size_t len, pare_error *err)
{
    const pare_pattern *p = &w->t->patterns[step];
    pare_pre_step_kind kind = w->t->pre->steps[step].kind;
    pare_status st = PARE_OK;
    if (kind == PARE_PRE_END)
        return merge_piece(w, text, len, err);
    if (kind == PARE_PRE_BYTE_LEVEL && w->t->v->byte_prefix == 1 && text[0] != ' ') {
        w->prefixed.len = 0; /* a row has one such step: nothing below uses it again */
        st = pare_buf_puts(&w->prefixed, " ", err);
        if (st == PARE_OK)
            st = pare_buf_put(&w->prefixed, text, len, err);
        text = w->prefixed.data;
        len++;
    }
    if (st != PARE_OK)
        return st;
    if (p->code == NULL)
        return next_step(w, step, text, len, err);
    for (size_t done = 0; done < len && st == PARE_OK;) {
        size_t start = 0, end = 0;
        st = find(w, p, text, len, done, &start, &end, err);
        if (st == PARE_OK)
            st = next_step(w, step, text + done, start - done, err);
        if (st == PARE_OK)
            st = next_step(w, step, text + start, end - start, err);
        done = end;
    }
    return st;
}

pare_status pare_bpe_encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    (void)at_start;
    pare_status st = PARE_OK;
    while (len > 0 && st == PARE_OK) {
        size_t bad = 0, good = good_part(text, len, &bad);
        if (good > 0)
            st = cut(w, 0, text, good, err);
        if (st == PARE_OK)
            st = put_bytes(w, text + good, bad, err);
        text += good + bad;
        len -= good + bad;
    }
    return st;
}
