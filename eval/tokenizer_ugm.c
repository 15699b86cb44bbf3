/* eval/tokenizer_ugm.c - SentencePiece unigram: normalise by a character map, then the most likely pieces
 * Method: docs/formats/TOKENIZER.md. Kudo, "Subword Regularization" (2018); the best path by Viterbi. */
#include "eval/tokenizer_impl.h"

#include "core/bytes.h"
#include "core/checked.h"

#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char space_mark[] = "\xe2\x96\x81"; /* U+2581 */
enum { MARK = sizeof space_mark - 1 };

static const double unknown_penalty = 10; /* an unknown character costs so much more than the worst piece */

static bool is_mark(const char *s, size_t len)
{
    return len >= MARK && memcmp(s, space_mark, MARK) == 0;
}

/* ---- the character map ----
 *
 * Bytes of the key precompiled_charsmap: u32 size of the trie, the trie, replacements that end in a zero byte. The trie
 * is a double array of u32 units (darts-clone):
 *
 *   31        30..10   9      8        7..0
 *   value?    offset   wide   leaf?    label        of a value: bits 30..0 are where the replacement starts
 *
 * From unit u the child for byte c is at u ^ offset(u) ^ c, if its label is c; a leaf's value is at u ^ offset(u). */
static uint32_t unit_at(const pare_tokenizer *t, size_t i)
{
    return pare_load_u32le(t->v->charsmap + 4 + 4 * i);
}

static size_t offset_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

static pare_status open_map(pare_tokenizer *t, pare_error *err)
{
    const pare_vocab *v = t->v;
    uint32_t bytes = v->charsmap_bytes >= 4 ? pare_load_u32le(v->charsmap) : 0;
    if (v->charsmap == NULL || v->charsmap_bytes == 0)
        return PARE_OK;
    if (v->charsmap_bytes < 4 || bytes > v->charsmap_bytes - 4 || bytes % 4 != 0 || bytes == 0)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "precompiled_charsmap of %" PRIu32 " bytes says that its trie has %" PRIu32, v->charsmap_bytes,
                         bytes);
    t->n_units = bytes / 4;
    t->replacements = (const char *)v->charsmap + 4 + bytes;
    t->replacement_bytes = v->charsmap_bytes - 4 - bytes;
    if (t->replacement_bytes == 0 || t->replacements[t->replacement_bytes - 1] != 0)
        return pare_fail(err, PARE_ERR_FORMAT, "precompiled_charsmap: the last replacement does not end");
    return PARE_OK;
}

/* The longest (or the shortest) beginning of text that the map replaces: its length, 0 for none. An index outside of
 * the trie, or a value outside of the replacements, ends the search: the file's fault, without effect. */
static size_t find_replacement(const pare_tokenizer *t, const char *text, size_t len, bool shortest, const char **out)
{
    size_t longest = 0;
    if (t->n_units == 0)
        return 0;
    size_t at = offset_of(unit_at(t, 0));
    for (size_t i = 0; i < len && text[i] != 0 && !(shortest && longest > 0); i++) {
        uint8_t c = (uint8_t)text[i];
        at ^= c;
        if (at >= t->n_units || (unit_at(t, at) & (1u << 31 | 0xff)) != c)
            break;
        uint32_t unit = unit_at(t, at);
        at ^= offset_of(unit);
        if ((unit & 1u << 8) == 0)
            continue;
        size_t value = at < t->n_units ? unit_at(t, at) & ~(1u << 31) : t->replacement_bytes;
        if (value >= t->replacement_bytes)
            break;
        longest = i + 1;
        *out = t->replacements + value;
    }
    return longest;
}

/* One character, or the byte that is none. */
static pare_status map_char(const pare_tokenizer *t, pare_buf *out, const char *text, size_t len, pare_error *err)
{
    const char *to = NULL;
    if (find_replacement(t, text, len, true, &to) > 0)
        return pare_buf_puts(out, to, err);
    bool good = pare_utf8_next(text, len, NULL) > 0;
    return good ? pare_buf_put(out, text, len, err) : pare_buf_puts(out, "\xef\xbf\xbd", err);
}

/* Bytes of the grapheme that text begins with. */
static size_t grapheme_at(const char *text, size_t len)
{
    utf8proc_int32_t state = 0;
    uint32_t last = 0, next = 0;
    size_t n = pare_utf8_next(text, len, &last), more;
    for (; n > 0 && n < len && (more = pare_utf8_next(text + n, len - n, &next)) > 0; n += more, last = next)
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)last, (utf8proc_int32_t)next, &state))
            break;
    return n > 0 ? n : 1;
}

/* As the Hub's library does it (spm_precompiled): a short grapheme becomes what its shortest known beginning stands
 * for, even where that is not all of it. */
static pare_status map_graphemes(const pare_tokenizer *t, pare_buf *out, const char *text, size_t len, pare_error *err)
{
    enum { SHORT = 5 };
    pare_status st = PARE_OK;
    for (size_t i = 0, n; i < len && st == PARE_OK; i += n) {
        const char *to = NULL;
        n = grapheme_at(text + i, len - i);
        if (n <= SHORT && find_replacement(t, text + i, n, true, &to) > 0) {
            st = pare_buf_puts(out, to, err);
            continue;
        }
        for (size_t k = 0, one; k < n && st == PARE_OK; k += one) {
            one = pare_utf8_next(text + i + k, n - k, NULL);
            one = one > 0 ? one : 1;
            st = map_char(t, out, text + i + k, one, err);
        }
    }
    return st;
}

/* As SentencePiece does it. */
static pare_status map_longest(const pare_tokenizer *t, pare_buf *out, const char *text, size_t len, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0, n; i < len && st == PARE_OK; i += n) {
        const char *to = NULL;
        if ((n = find_replacement(t, text + i, len - i, false, &to)) > 0) {
            st = pare_buf_puts(out, to, err);
            continue;
        }
        n = pare_utf8_next(text + i, len - i, NULL);
        n = n > 0 ? n : 1;
        st = map_char(t, out, text + i, n, err);
    }
    return st;
}

/* ---- the vocabulary ---- */

pare_status pare_ugm_open(pare_tokenizer *t, pare_error *err)
{
    const pare_vocab *v = t->v;
    double worst = DBL_MAX;
    t->add_bos = v->add_bos > 0;
    t->add_prefix = v->add_space_prefix != 0;
    t->words_apart = true;
    t->unk = (int32_t)v->unk;
    memset(t->byte_id, -1, sizeof t->byte_id);
    if (v->scores == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "a unigram vocabulary without scores (tokenizer.ggml.scores)");
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        pare_token_type type = pare_vocab_type(v, i);
        int byte = type == PARE_TOKEN_BYTE ? pare_byte_token_value(v->tokens[i]) : -1;
        if (type == PARE_TOKEN_NORMAL && (double)v->scores[i] < worst)
            worst = (double)v->scores[i];
        if (byte >= 0)
            t->byte_id[byte] = (int32_t)i;
        else if (type == PARE_TOKEN_UNKNOWN && t->unk < 0)
            t->unk = (int32_t)i;
        else if (type == PARE_TOKEN_NORMAL || type == PARE_TOKEN_USER_DEFINED)
            t->words_apart = t->words_apart && !pare_spm_mark_inside(v->tokens[i]);
    }
    t->unknown_score = (worst == DBL_MAX ? 0 : worst) - unknown_penalty;
    return open_map(t, err);
}

/* Bytes of the space that text begins with, 0: none. */
static size_t space_at(const pare_tokenizer *t, const char *text, size_t len)
{
    uint32_t c = 0;
    size_t n = len > 0 ? pare_utf8_next(text, len, &c) : 0;
    return n > 0 && (c == ' ' || (t->v->split_whites == 1 && pare_is_white_space(c))) ? n : 0;
}

/* The length of text without white space of any kind at its end. */
static size_t trimmed(const char *text, size_t len)
{
    for (size_t i = len; i > 0;) {
        uint32_t c = 0;
        for (i--; i > 0 && ((unsigned char)text[i] & 0xc0) == 0x80;)
            i--;
        if (pare_utf8_next(text + i, len - i, &c) != len - i || !pare_is_white_space(c))
            return len;
        len = i;
    }
    return len;
}

/* A mark in front of the text, and for each space, or for each run of them. */
static pare_status mark_words(const pare_tokenizer *t, pare_buf *out, const char *text, size_t len, bool at_start,
                              pare_error *err)
{
    const pare_vocab *v = t->v;
    bool squeeze = v->remove_extra_whitespaces == 1, behind_space = false;
    bool hub = v->trim_whites == 1 || v->split_whites == 1; /* the Hub's library, which keeps them */
    size_t n = 1;
    pare_status st = PARE_OK;
    if (hub)
        len = trimmed(text, len);
    for (n = 1; squeeze && n > 0; len -= n) /* marks of the text's own go with the spaces, as in SentencePiece */
        n = len > 0 && text[len - 1] == ' ' ? 1 : !hub && len >= MARK && is_mark(text + len - MARK, MARK) ? MARK : 0;
    for (; squeeze && (n = space_at(t, text, len)) > 0; len -= n)
        text += n;
    bool has_mark = len > 0 && (text[0] == ' ' || is_mark(text, len));
    if (len > 0 && t->add_prefix && (v->prefix_rule == PARE_PREFIX_EACH || !has_mark) &&
        (v->prefix_rule != PARE_PREFIX_FIRST || at_start))
        st = pare_buf_put(out, space_mark, MARK, err);
    for (size_t i = 0; i < len && st == PARE_OK; i += n > 0 ? n : 1) {
        n = space_at(t, text + i, len - i);
        bool marked = v->split_whites == 1 && is_mark(text + i, len - i); /* a word with a mark of its own */
        if (squeeze ? n == 0 && behind_space && !marked : n > 0)
            st = pare_buf_put(out, space_mark, MARK, err);
        if (st == PARE_OK && n == 0)
            st = pare_buf_put(out, text + i, 1, err);
        behind_space = n > 0;
    }
    return st;
}

pare_status pare_ugm_normalize(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    w->mapped.len = w->text.len = 0;
    bool graphemes = w->t->v->map_graphemes == 1;
    pare_status st = (graphemes ? map_graphemes : map_longest)(w->t, &w->mapped, text, len, err);
    return st == PARE_OK ? mark_words(w->t, &w->text, w->mapped.data, w->mapped.len, at_start, err) : st;
}

/* ---- the best path ---- */

static pare_status reserve_cells(pare_tokenize_work *w, size_t n, pare_error *err)
{
    size_t bytes = 0;
    if (n <= w->n_cells)
        return PARE_OK;
    pare_path_cell *cells = pare_mul_size(n, 2 * sizeof *cells, &bytes) ? realloc(w->cells, bytes) : NULL;
    if (cells == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for the paths through %zu bytes", n);
    w->cells = cells;
    w->n_cells = 2 * n;
    return PARE_OK;
}

static void offer(pare_path_cell *to, size_t from, int32_t id, double score)
{
    if (to->id == PARE_PATH_OPEN || score > to->score)
        *to = (pare_path_cell){score, from, id};
}

/* Pieces from byte `at` on, each to the cell where it ends; an unknown character where none is as short as one. */
static void extend_path(const pare_tokenizer *t, pare_path_cell *cells, const char *text, size_t len, size_t at)
{
    const size_t most = len - at < t->longest ? len - at : t->longest;
    const double score = cells[at].score;
    size_t one = pare_utf8_next(text + at, len - at, NULL);
    bool found = false;
    one = one == 0 ? 1 : one;
    for (size_t n = one; n <= most;) {
        int64_t id = pare_index_find(&t->ids, (pare_str){text + at, n});
        if (id >= 0) {
            bool user = pare_vocab_type(t->v, (uint32_t)id) == PARE_TOKEN_USER_DEFINED;
            offer(&cells[at + n], at, (int32_t)id, score + (user ? 0 : (double)t->v->scores[id]));
            found = found || n == one;
        }
        size_t next = at + n < len ? pare_utf8_next(text + at + n, len - at - n, NULL) : 1;
        n += next == 0 ? 1 : next;
    }
    if (!found)
        offer(&cells[at + one], at, PARE_TOKEN_NONE, score + t->unknown_score);
}

/* The pieces of a word, or of all of the text where pieces reach across words. */
static pare_status put_path(pare_tokenize_work *w, const char *text, size_t len, pare_error *err)
{
    pare_status st = reserve_cells(w, len + 1, err);
    pare_path_cell *cells = w->cells;
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; i <= len; i++)
        cells[i] = (pare_path_cell){0, 0, PARE_PATH_OPEN};
    cells[0].id = PARE_TOKEN_NONE;
    for (size_t at = 0; at < len; at++)
        if (cells[at].id != PARE_PATH_OPEN)
            extend_path(w->t, cells, text, len, at);
    for (size_t at = len, behind = len, from; behind > 0; at = from) { /* turn the links of the best path round */
        from = cells[at].from;
        cells[at].from = behind;
        behind = at;
    }
    for (size_t at = 0, end; at < len && st == PARE_OK; at = end) {
        end = cells[at].from;
        if (cells[end].id < 0) {
            st = pare_spm_put_unknown(w, text + at, end - at, err);
            continue;
        }
        w->last_unk = false;
        st = pare_ids_put(w->out, cells[end].id, err);
    }
    return st;
}

pare_status pare_ugm_encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    (void)at_start;
    const pare_tokenizer *t = w->t;
    pare_status st = PARE_OK;
    size_t from = 0;
    w->last_unk = false;
    for (size_t i = 1; i < len && st == PARE_OK; i++) {
        if (!is_mark(text + i, len - i))
            continue;
        bool start = i < from + MARK || !is_mark(text + i - MARK, MARK);
        if (t->v->split_spaces == 1 || (t->words_apart && start)) {
            st = put_path(w, text + from, i - from, err);
            from = i;
        }
    }
    return st == PARE_OK && len > 0 ? put_path(w, text + from, len - from, err) : st;
}
