#include "eval/tokenizer.h"

#include "core/checked.h"
#include "eval/tokenizer_impl.h"
#include "eval/unicode_form.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static pare_status bpe_normalize(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    (void)at_start;
    w->text.len = 0;
    return pare_unicode_form(w->t->normalizer, text, len, &w->text, err);
}

static pare_status spm_normalize(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    const pare_tokenizer *t = w->t;
    if (t->late_marks)
        return bpe_normalize(w, text, len, at_start, err);
    w->mapped.len = w->text.len = 0;
    pare_status st = pare_unicode_form(t->normalizer, text, len, &w->mapped, err);
    return st == PARE_OK ? pare_spm_mark(t, w->mapped.data, w->mapped.len, at_start, &w->text, err) : st;
}

/* What each kind of vocabulary does. */
static const struct {
    pare_status (*open)(pare_tokenizer *t, pare_error *err);
    pare_status (*normalize)(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err);
    pare_status (*encode)(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err);
} kinds[] = {
    [PARE_VOCAB_BPE] = {pare_bpe_open, bpe_normalize, pare_bpe_encode},
    [PARE_VOCAB_SPM] = {pare_spm_open, spm_normalize, pare_spm_encode},
    [PARE_VOCAB_UGM] = {pare_ugm_open, pare_ugm_normalize, pare_ugm_encode},
    [PARE_VOCAB_WPM] = {pare_wpm_open, pare_wpm_normalize, pare_wpm_encode},
};

static pare_status open_kind(pare_tokenizer *t, pare_error *err)
{
    const pare_vocab *v = t->v;
    if (v->kind != PARE_VOCAB_UNKNOWN)
        return kinds[v->kind].open(t, err);
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "tokenizer '%.*s' (tokenizer.ggml.model) is not supported",
                     (int)v->model.len, v->model.len > 0 ? v->model.data : "");
}

/* Normalize a stretch into w->text. */
static pare_status normalize(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    return kinds[w->t->v->kind].normalize(w, text, len, at_start, err);
}

static pare_status encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    return kinds[w->t->v->kind].encode(w, text, len, at_start, err);
}

pare_status pare_ids_put(pare_ids *out, int32_t id, pare_error *err)
{
    if (out->n == out->cap) {
        size_t cap = out->cap < 256 ? 256 : out->cap * 2, bytes = 0;
        int32_t *ids = pare_mul_size(cap, sizeof *ids, &bytes) ? realloc(out->ids, bytes) : NULL;
        if (ids == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu token ids", cap);
        out->ids = ids;
        out->cap = cap;
    }
    out->ids[out->n++] = id;
    return PARE_OK;
}

static int32_t child_of(const pare_added *a, int32_t node, uint8_t byte)
{
    int32_t c = a->nodes[node].child;
    while (c >= 0 && a->nodes[c].byte != byte)
        c = a->nodes[c].sibling;
    return c;
}

static pare_status add_node(pare_added *a, int32_t *link, uint8_t byte, int32_t sibling, pare_error *err)
{
    if (a->n >= INT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "more than %" PRId32 " bytes of added tokens", INT32_MAX);
    *link = (int32_t)a->n; /* before the array moves: link may point into it */
    if (a->n == a->cap) {
        size_t cap = a->cap < 256 ? 256 : a->cap * 2;
        pare_added_node *nodes = realloc(a->nodes, cap * sizeof *nodes);
        if (nodes == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for added tokens");
        a->nodes = nodes;
        a->cap = cap;
    }
    a->nodes[a->n++] = (pare_added_node){byte, -1, sibling, PARE_TOKEN_NONE};
    return PARE_OK;
}

static pare_status add_token(pare_added *a, const char *text, size_t len, int32_t id, pare_error *err)
{
    pare_status st = PARE_OK;
    if (len == 0)
        return PARE_OK;
    uint8_t byte = (uint8_t)text[0];
    if (a->first[byte] < 0)
        st = add_node(a, &a->first[byte], byte, -1, err);
    int32_t node = a->first[byte];
    for (size_t i = 1; i < len && st == PARE_OK; i++) {
        int32_t next = child_of(a, node, (uint8_t)text[i]);
        if (next < 0) {
            next = (int32_t)a->n;
            st = add_node(a, &a->nodes[node].child, (uint8_t)text[i], a->nodes[node].child, err);
        }
        node = next;
    }
    if (st == PARE_OK && a->nodes[node].id == PARE_TOKEN_NONE)
        a->nodes[node].id = id;
    return st;
}

bool pare_token_is_added(pare_token_type type)
{
    return type == PARE_TOKEN_CONTROL || type == PARE_TOKEN_USER_DEFINED || type == PARE_TOKEN_UNKNOWN;
}

static pare_status index_tokens(pare_tokenizer *t, pare_error *err)
{
    const pare_vocab *v = t->v;
    pare_status st = PARE_OK;
    /* Merging may pass through any token of a byte-level vocabulary; of another one only through pieces. */
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++) {
        pare_token_type type = pare_vocab_type(v, i);
        if (v->kind != PARE_VOCAB_BPE && type != PARE_TOKEN_NORMAL && type != PARE_TOKEN_USER_DEFINED)
            continue;
        st = pare_index_add(&t->ids, v->tokens[i], i, NULL, err);
        t->longest = v->tokens[i].len > t->longest ? v->tokens[i].len : t->longest;
    }
    return st;
}

/* Added tokens to look for in the raw text, and those to look for, normalized, in the normalized text. */
static pare_status collect_added(pare_tokenizer *t, pare_error *err)
{
    const pare_vocab *v = t->v;
    pare_tokenize_work w = {.t = t};
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++) {
        pare_str s = v->tokens[i];
        if (!pare_token_is_added(pare_vocab_type(v, i)))
            continue;
        if (v->kind == PARE_VOCAB_WPM && pare_vocab_type(v, i) == PARE_TOKEN_USER_DEFINED)
            s = pare_wpm_text(s);
        if (v->attrs == NULL || (v->attrs[i] & PARE_TOKEN_NORMALIZED) == 0) {
            st = add_token(&t->raw, s.data, s.len, (int32_t)i, err);
            continue;
        }
        st = normalize(&w, s.data, s.len, true, err);
        if (st == PARE_OK)
            st = add_token(&t->normalized, w.text.data, w.text.len, (int32_t)i, err);
    }
    pare_buf_close(&w.text);
    pare_buf_close(&w.mapped);
    return st;
}

pare_status pare_tokenizer_open(pare_tokenizer **out, const pare_vocab *vocab, pare_error *err)
{
    pare_tokenizer *t = calloc(1, sizeof *t);
    *out = NULL;
    if (t == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a tokenizer");
    t->v = vocab;
    t->add_eos = vocab->add_eos > 0;
    memset(t->raw.first, -1, sizeof t->raw.first);
    memset(t->normalized.first, -1, sizeof t->normalized.first);
    pare_status st = index_tokens(t, err);
    if (st == PARE_OK)
        st = open_kind(t, err);
    if (st == PARE_OK)
        st = collect_added(t, err);
    if (st != PARE_OK) {
        pare_tokenizer_close(t);
        return st;
    }
    *out = t;
    return PARE_OK;
}

void pare_tokenizer_close(pare_tokenizer *t)
{
    if (t == NULL)
        return;
    pare_index_close(&t->ids);
    pare_merge_table_close(&t->merges);
    for (size_t i = 0; i < PARE_PRE_MAX_STEPS; i++)
        pcre2_code_free(t->patterns[i].code);
    free(t->raw.nodes);
    free(t->normalized.nodes);
    free(t->rank);
    free(t);
}

bool pare_is_white_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Length of the white space character at s, 0 when there is none. */
static size_t space_at(const char *s, size_t len)
{
    uint32_t c = 0;
    size_t n = len > 0 ? pare_utf8_next(s, len, &c) : 0;
    return n > 0 && pare_is_white_space(c) ? n : 0;
}

/* Start of the character that ends before text[end]. */
static size_t char_before(const char *text, size_t from, size_t end)
{
    size_t i = end - 1;
    while (i > from && ((unsigned char)text[i] & 0xc0) == 0x80)
        i--;
    return i;
}

/* \w of Unicode (UTS 18, annex C): alphabetic, mark, decimal digit, connector, joiner. Circled letters are alphabetic
 * although their category is a symbol. */
static bool word_char(const char *s, size_t len)
{
    uint32_t c = 0;
    if (pare_utf8_next(s, len, &c) == 0)
        return false;
    if ((c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
        (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c || c == 0x200d)
        return true;
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC;
}

/* An added token in text: [start, end), with the white space that it takes; the search for the next one goes on at
 * `next`, where its text ends, as in `tokenizers`: white space that it took may be a token too, which then comes behind
 * it, and what that one left of the white space again. id PARE_TOKEN_NONE: none. */
typedef struct hit {
    size_t start, end, next;
    int32_t id;
} hit;

/* The longest added token at text[i]. */
static hit longest_at(const pare_tokenizer *t, const pare_added *a, const char *text, size_t len, size_t i,
                      bool special)
{
    hit best = {i, i, i, PARE_TOKEN_NONE};
    int32_t node = a->first[(uint8_t)text[i]];
    for (size_t end = i + 1; node >= 0; end++) {
        int32_t id = a->nodes[node].id;
        if (id >= 0 && (special || pare_vocab_type(t->v, (uint32_t)id) == PARE_TOKEN_USER_DEFINED))
            best = (hit){i, end, end, id};
        if (end == len)
            break;
        node = child_of(a, node, (uint8_t)text[end]);
    }
    return best;
}

/* The added token behind the one before, which ended at last.end; the leftmost, and the longest there. */
static hit next_added(const pare_tokenizer *t, const pare_added *a, const char *text, size_t len, hit last,
                      bool special)
{
    for (size_t i = last.next; a->n > 0 && i < len; i++) {
        if (a->first[(uint8_t)text[i]] < 0)
            continue;
        hit h = longest_at(t, a, text, len, i, special);
        unsigned attrs = h.id < 0 || t->v->attrs == NULL ? 0 : t->v->attrs[h.id];
        if (h.id < 0)
            continue;
        if ((attrs & PARE_TOKEN_SINGLE_WORD) != 0) {
            size_t before = i > 0 ? char_before(text, 0, i) : 0;
            if ((i > 0 && word_char(text + before, i - before)) ||
                (h.end < len && word_char(text + h.end, len - h.end))) {
                i = h.end - 1;
                continue;
            }
        }
        while ((attrs & PARE_TOKEN_LSTRIP) != 0 && h.start > last.end) {
            size_t before = char_before(text, last.end, h.start);
            if (space_at(text + before, h.start - before) != h.start - before)
                break;
            h.start = before;
        }
        for (size_t n = 1; (attrs & PARE_TOKEN_RSTRIP) != 0 && n > 0; h.end += n)
            n = space_at(text + h.end, len - h.end);
        if (h.start < last.end && (attrs & PARE_TOKEN_LSTRIP) != 0)
            h.start = last.end;
        return h;
    }
    return (hit){len, len, len, PARE_TOKEN_NONE};
}

/* Text without raw added tokens: normalize it, cut it at normalized added tokens, encode what is between. */
static pare_status encode_stretch(pare_tokenize_work *w, const char *text, size_t len, bool at_start, unsigned flags,
                                  pare_error *err)
{
    pare_status st = normalize(w, text, len, at_start, err);
    const char *s = w->text.data;
    size_t n = w->text.len, done = 0;
    for (hit h = {.id = 0}; st == PARE_OK && n > 0 && h.id >= 0; done = h.end) {
        h = next_added(w->t, &w->t->normalized, s, n, h, (flags & PARE_TOKENIZE_SPECIAL) != 0);
        if (h.start > done)
            st = encode(w, s + done, h.start - done, at_start && done == 0, err);
        if (st == PARE_OK && h.id >= 0)
            st = pare_ids_put(w->out, h.id, err);
    }
    return st;
}

static pare_status open_work(pare_tokenize_work *w, const pare_tokenizer *t, pare_ids *out, pare_error *err)
{
    *w = (pare_tokenize_work){.t = t, .out = out};
    if (t->v->kind != PARE_VOCAB_BPE)
        return PARE_OK;
    w->match = pcre2_match_data_create(1, NULL);
    w->context = pcre2_match_context_create(NULL);
    w->stack = pcre2_jit_stack_create(32 << 10, 8 << 20, NULL);
    if (w->match == NULL || w->context == NULL || w->stack == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for matching");
    pcre2_jit_stack_assign(w->context, NULL, w->stack);
    /* Enough for patterns that are linear in a run of 100 MB; a quadratic one ends here and not next week. */
    pcre2_set_match_limit(w->context, 500000000);
    pcre2_set_heap_limit(w->context, 1 << 20); /* KiB */
    return PARE_OK;
}

static void close_work(pare_tokenize_work *w)
{
    pare_merge_work_close(&w->merge);
    pare_buf_close(&w->text);
    pare_buf_close(&w->mapped);
    pare_buf_close(&w->prefixed);
    free(w->cells);
    pcre2_jit_stack_free(w->stack);
    pcre2_match_context_free(w->context);
    pcre2_match_data_free(w->match);
}

static pare_status put_edge(const pare_tokenizer *t, bool wanted, int64_t id, const char *name, pare_ids *out,
                            pare_error *err)
{
    if (!wanted)
        return PARE_OK;
    if (id < 0 || id >= t->v->n_tokens)
        return pare_fail(err, PARE_ERR_FORMAT, "the vocabulary asks for a %s token and names none", name);
    return pare_ids_put(out, (int32_t)id, err);
}

pare_status pare_tokenize(const pare_tokenizer *t, const char *text, size_t len, unsigned flags, pare_ids *out,
                          pare_error *err)
{
    pare_tokenize_work w;
    bool edges = (flags & PARE_TOKENIZE_BOS) != 0;
    pare_status st = open_work(&w, t, out, err);
    if (st == PARE_OK)
        st = put_edge(t, edges && t->add_bos, t->v->bos, "BOS", out, err);
    size_t done = 0;
    for (hit h = {.id = 0}; len > 0 && h.id >= 0 && st == PARE_OK; done = h.end) {
        h = next_added(t, &t->raw, text, len, h, (flags & PARE_TOKENIZE_SPECIAL) != 0);
        if (h.start > done)
            st = encode_stretch(&w, text + done, h.start - done, done == 0, flags, err);
        if (st == PARE_OK && h.id >= 0)
            st = pare_ids_put(out, h.id, err);
    }
    if (st == PARE_OK)
        st = put_edge(t, edges && t->add_eos, t->v->eos, "EOS", out, err);
    close_work(&w);
    return st;
}

static pare_status put_alphabet(const pare_tokenizer *t, pare_str s, pare_buf *out, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0, n; i < s.len && st == PARE_OK; i += n) {
        uint32_t cp = UINT32_MAX;
        n = pare_utf8_next(s.data + i, s.len - i, &cp);
        n = n == 0 ? 1 : n;
        int byte = cp < 512 ? t->byte_of[cp] : -1;
        uint8_t one = (uint8_t)byte;
        st = byte >= 0 ? pare_buf_put(out, &one, 1, err) : pare_buf_put(out, s.data + i, n, err);
    }
    return st;
}

static pare_status put_spaces(pare_str s, pare_buf *out, pare_error *err)
{
    static const char mark[] = "\xe2\x96\x81";
    pare_status st = PARE_OK;
    for (size_t i = 0; i < s.len && st == PARE_OK;) {
        bool space = s.len - i >= 3 && memcmp(s.data + i, mark, 3) == 0;
        st = pare_buf_put(out, space ? " " : s.data + i, 1, err);
        i += space ? 3 : 1;
    }
    return st;
}

pare_status pare_detokenize(const pare_tokenizer *t, int32_t id, bool special, pare_buf *out, pare_error *err)
{
    if (id < 0 || (uint32_t)id >= t->v->n_tokens)
        return pare_fail(err, PARE_ERR_RANGE, "token id %" PRId32 " is outside of the %" PRIu32 " tokens", id,
                         t->v->n_tokens);
    pare_str s = t->v->tokens[id];
    pare_token_type type = pare_vocab_type(t->v, (uint32_t)id);
    if (type == PARE_TOKEN_BYTE && t->v->kind != PARE_VOCAB_BPE) {
        uint8_t byte = (uint8_t)pare_byte_token_value(s);
        return pare_buf_put(out, &byte, 1, err);
    }
    if (type == PARE_TOKEN_CONTROL || type == PARE_TOKEN_UNKNOWN || type == PARE_TOKEN_UNUSED)
        return special ? pare_buf_put(out, s.data, s.len, err) : PARE_OK;
    if (t->v->kind != PARE_VOCAB_BPE)
        return put_spaces(s, out, err);
    return type == PARE_TOKEN_USER_DEFINED ? pare_buf_put(out, s.data, s.len, err) : put_alphabet(t, s, out, err);
}
