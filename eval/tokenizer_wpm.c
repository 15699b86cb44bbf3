/* eval/tokenizer_wpm.c - WordPiece: clean, fold and cut the text into words, then the longest pieces from left to right
 * Method: docs/formats/TOKENIZER.md */
#include "eval/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* A piece that begins a word has this in front in GGUF; the Hub has "##" before all others instead. */
static const char word_mark[] = "\xe2\x96\x81"; /* U+2581 */
enum { MARK = sizeof word_mark - 1 };

pare_str pare_wpm_text(pare_str s)
{
    bool marked = s.len >= MARK && memcmp(s.data, word_mark, MARK) == 0;
    return marked ? (pare_str){s.data + MARK, s.len - MARK} : s;
}

pare_status pare_wpm_open(pare_tokenizer *t, pare_error *err)
{
    const pare_vocab *v = t->v;
    (void)err;
    t->add_bos = v->add_bos < 0 ? v->bos >= 0 : v->add_bos != 0;
    t->add_eos = v->add_eos < 0 ? v->eos >= 0 : v->add_eos != 0;
    t->unk = (int32_t)v->unk;
    t->lowercase = v->lowercase != 0;
    t->strip_accents = v->strip_accents < 0 ? t->lowercase : v->strip_accents != 0;
    t->max_word = v->max_word_chars > 0 ? v->max_word_chars : PARE_WORD_CHARS;
    return PARE_OK;
}

/* Ideographs that stand as words of their own; the blocks as huggingface/tokenizers has them, src/normalizers/bert.rs
 * (its second extension ends where the third of Unicode begins). */
static bool is_ideograph(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } blocks[] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
                  {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        if (c >= blocks[i].first && c <= blocks[i].last)
            return true;
    return false;
}

/* The category of Unicode 8, whose tables `tokenizers` uses for words (crate unicode_categories): marks, punctuation
 * and format characters of later versions are none yet, and three characters were of another kind. The ranges also hold
 * letters and unassigned places, for which that is no difference. Found by asking version 0.23.3 for every character.
 */
static utf8proc_category_t category(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } newer[] = {{0x61d, 0x61d},     {0x7fd, 0x7fd},     {0x890, 0x8e2},     {0x9fd, 0x9fe},     {0xa76, 0xa76},
                 {0xafa, 0xaff},     {0xb55, 0xb55},     {0xc04, 0xc3c},     {0xc77, 0xc77},     {0xc84, 0xc84},
                 {0xd00, 0xd00},     {0xd3b, 0xd3c},     {0xd81, 0xd81},     {0xeba, 0xeba},     {0xece, 0xece},
                 {0x180f, 0x1886},   {0x1abf, 0x1ace},   {0x1b7d, 0x1b7e},   {0x1df6, 0x1dfb},   {0x2e43, 0x2e5d},
                 {0xa82c, 0xa82c},   {0xa8c5, 0xa8c5},   {0xa8ff, 0xa8ff},   {0xa9bd, 0xa9bd},   {0x10d24, 0x10f89},
                 {0x11070, 0x11074}, {0x110c2, 0x110cd}, {0x111cf, 0x111cf}, {0x1123e, 0x11241}, {0x1133b, 0x1133b},
                 {0x11438, 0x1145e}, {0x11660, 0x1166c}, {0x116b9, 0x116b9}, {0x1182f, 0x11fff}, {0x12ff1, 0x13455},
                 {0x16e97, 0x16f4f}, {0x16fe2, 0x16fe4}, {0x1cf00, 0x1cf46}, {0x1e000, 0x1e4ef}, {0x1e944, 0x1e95f}};
    if (c == 0x166d || c == 0x111c9)
        return UTF8PROC_CATEGORY_PO;
    if (c == 0x1734)
        return UTF8PROC_CATEGORY_MN;
    for (size_t i = 0; i < sizeof newer / sizeof newer[0] && c >= newer[i].first; i++)
        if (c <= newer[i].last)
            return UTF8PROC_CATEGORY_CN;
    return utf8proc_category((utf8proc_int32_t)c);
}

/* Control, format and private characters, but for the three that are white space. */
static bool is_dropped(uint32_t c)
{
    utf8proc_category_t k = category(c);
    if (c == '\t' || c == '\n' || c == '\r')
        return false;
    return c == 0 || c == 0xfffd || k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

static bool is_punctuation(uint32_t c)
{
    utf8proc_category_t k = category(c);
    if (c < 0x80)
        return (c >= 0x21 && c <= 0x2f) || (c >= 0x3a && c <= 0x40) || (c >= 0x5b && c <= 0x60) ||
               (c >= 0x7b && c <= 0x7e);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static pare_status put_char(pare_buf *out, uint32_t c, pare_error *err)
{
    char text[4];
    return pare_buf_put(out, text, pare_utf8_put(text, c), err);
}

/* In the order of the reference: dropped characters, white space, ideographs. Bytes that are not UTF-8 are dropped. */
static pare_status clean(const pare_tokenizer *t, pare_buf *out, const char *text, size_t len, pare_error *err)
{
    bool drop = t->v->clean_text != 0, split = t->v->split_ideographs != 0;
    pare_status st = PARE_OK;
    for (size_t i = 0, n; i < len && st == PARE_OK; i += n) {
        uint32_t c = 0xfffd;
        n = pare_utf8_next(text + i, len - i, &c);
        bool bad = n == 0, apart = split && is_ideograph(c);
        n = bad ? 1 : n;
        if (bad || (drop && is_dropped(c)))
            continue;
        if (drop && pare_is_white_space(c))
            c = ' ';
        if (apart)
            st = pare_buf_puts(out, " ", err);
        if (st == PARE_OK)
            st = put_char(out, c, err);
        if (st == PARE_OK && apart)
            st = pare_buf_puts(out, " ", err);
    }
    return st;
}

/* Decomposed, without marks that take no room of their own. */
static pare_status strip_accents(pare_buf *out, const char *text, size_t len, pare_error *err)
{
    utf8proc_uint8_t *apart = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &apart,
                                      UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    if (n < 0)
        return pare_fail(err, n == UTF8PROC_ERROR_NOMEM ? PARE_ERR_MEMORY : PARE_ERR_FORMAT, "NFD of %zu bytes: %s",
                         len, utf8proc_errmsg(n));
    pare_status st = PARE_OK;
    for (size_t i = 0, k; i < (size_t)n && st == PARE_OK; i += k) {
        uint32_t c = 0;
        k = pare_utf8_next((const char *)apart + i, (size_t)n - i, &c);
        if (category(c) != UTF8PROC_CATEGORY_MN)
            st = pare_buf_put(out, apart + i, k, err);
    }
    free(apart);
    return st;
}

/* U+0130 is the one letter whose lower case is two characters whatever stands beside it. */
static pare_status lower(pare_buf *out, const char *text, size_t len, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0, n; i < len && st == PARE_OK; i += n) {
        uint32_t c = 0;
        n = pare_utf8_next(text + i, len - i, &c);
        st = put_char(out, c == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c), err);
        if (st == PARE_OK && c == 0x130)
            st = put_char(out, 0x307, err);
    }
    return st;
}

pare_status pare_wpm_normalize(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    (void)at_start;
    const pare_tokenizer *t = w->t;
    pare_buf *from = &w->mapped, *to = &w->text, *other;
    to->len = 0;
    pare_status st = clean(t, to, text, len, err);
    if (st == PARE_OK && t->strip_accents) {
        other = from, from = to, to = other;
        to->len = 0;
        st = strip_accents(to, from->data, from->len, err);
    }
    if (st == PARE_OK && t->lowercase) {
        other = from, from = to, to = other;
        to->len = 0;
        st = lower(to, from->data, from->len, err);
    }
    if (to != &w->text) {
        pare_buf swap = w->text;
        w->text = w->mapped;
        w->mapped = swap;
    }
    return st;
}

/* The id of the longest piece that word[from, len) begins with; *end is behind it. The word mark is a part of word, and
 * of a word's first piece. */
static int32_t longest_piece(const pare_tokenizer *t, const char *word, size_t len, size_t from, size_t *end)
{
    *end = from;
    if (from > 0 && len - from >= MARK && memcmp(word + from, word_mark, MARK) == 0)
        return PARE_TOKEN_NONE; /* a mark of the text's own begins no word */
    size_t last = len - from > t->longest ? from + t->longest : len;
    for (*end = last; *end > from + (from == 0 ? MARK : 0); --*end) {
        if (*end < len && ((unsigned char)word[*end] & 0xc0) == 0x80)
            continue;
        int64_t id = pare_index_find(&t->ids, (pare_str){word + from, *end - from});
        if (id >= 0)
            return (int32_t)id;
    }
    return PARE_TOKEN_NONE;
}

/* The pieces of a word; one unknown token for a word that is not made of pieces, or is too long. */
static pare_status put_word(pare_tokenize_work *w, const char *text, size_t len, pare_error *err)
{
    const pare_tokenizer *t = w->t;
    size_t n_chars = 0, before = w->out->n;
    for (size_t i = 0; i < len; i++)
        n_chars += ((unsigned char)text[i] & 0xc0) != 0x80;
    bool whole = n_chars <= t->max_word;
    w->mapped.len = 0;
    pare_status st = pare_buf_put(&w->mapped, word_mark, MARK, err);
    if (st == PARE_OK)
        st = pare_buf_put(&w->mapped, text, len, err);
    for (size_t at = 0, end; whole && at < w->mapped.len && st == PARE_OK; at = end) {
        int32_t id = longest_piece(t, w->mapped.data, w->mapped.len, at, &end);
        if ((whole = id >= 0))
            st = pare_ids_put(w->out, id, err);
    }
    if (whole || st != PARE_OK)
        return st;
    w->out->n = before;
    return t->unk >= 0 ? pare_ids_put(w->out, t->unk, err) : PARE_OK;
}

pare_status pare_wpm_encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err)
{
    (void)at_start;
    pare_status st = PARE_OK;
    size_t from = 0;
    for (size_t i = 0, n; i < len && st == PARE_OK; i += n) {
        uint32_t c = 0;
        n = pare_utf8_next(text + i, len - i, &c);
        bool space = pare_is_white_space(c), alone = is_punctuation(c);
        if (!space && !alone)
            continue;
        if (i > from)
            st = put_word(w, text + from, i - from, err);
        if (st == PARE_OK && alone)
            st = put_word(w, text + i, n, err);
        from = i + n;
    }
    return st == PARE_OK && len > from ? put_word(w, text + from, len - from, err) : st;
}
