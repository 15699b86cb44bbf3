/* formats/tokenizer_json.c - tokenizer.json of the `tokenizers` library: tokens, merges, added tokens */
#include "formats/tokenizer_files.h"
#include "formats/tokenizer_parts.h"
#include "model/merges.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_CLASHES = 4 };

/* Ids that clash are collected, so that the message names the first few and not only one. */
typedef struct clashes {
    pare_buf text;
    size_t n;
    size_t n_tokens; /* entries of the file: without holes every id is below */
} clashes;

static pare_status note_clash(clashes *c, uint64_t id, const char *what, pare_str a, pare_str b, pare_error *err)
{
    if (c->n++ >= SHOWN_CLASHES)
        return PARE_OK;
    return pare_buf_printf(&c->text, err, "%sid %" PRIu64 " %s '%.*s'%s%.*s%s", c->n > 1 ? "; " : "", id, what,
                           a.len > 40 ? 40 : (int)a.len, a.data, b.data == NULL ? "" : " and '",
                           b.data == NULL ? 0 : (b.len > 40 ? 40 : (int)b.len), b.data == NULL ? "" : b.data,
                           b.data == NULL ? "" : "'");
}

/* The row of id, or NULL when there are fewer tokens than that: then ids are missing below, which is noted, and no
 * memory is spent on them. */
static pare_status row_of(pare_token_rows *rows, uint64_t id, pare_str text, const char *path, clashes *c,
                          pare_token_row **row, pare_error *err)
{
    *row = NULL;
    if (id >= c->n_tokens && id < PARE_MAX_VOCAB)
        return note_clash(c, id, "has missing ids below it:", text, (pare_str){0}, err);
    return pare_token_row_at(rows, id, path, row, err);
}

static pare_status read_base(pare_vocab *v, pare_token_rows *rows, const json_t *vocab, const char *path,
                             clashes *clash, pare_error *err)
{
    const char *key;
    size_t len;
    json_t *value;
    if (!json_is_object(vocab))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: model.vocab is no object", path);
    pare_status st = PARE_OK;
    json_object_keylen_foreach((json_t *)vocab, key, len, value)
    {
        pare_str text = {key, len};
        int shown = len > 40 ? 40 : (int)len;
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: model.vocab: the id of '%.*s' is no integer >= 0", path, shown,
                             key);
        pare_token_row *row = NULL;
        st = row_of(rows, (uint64_t)json_integer_value(value), text, path, clash, &row, err);
        if (st == PARE_OK && row != NULL && row->text.data != NULL)
            st = note_clash(clash, (uint64_t)json_integer_value(value), "is of", row->text, text, err);
        if (st == PARE_OK && row != NULL) {
            row->type = PARE_TOKEN_NORMAL;
            row->text = pare_vocab_text(v, text, false, err);
            st = row->text.data == NULL ? PARE_ERR_MEMORY : PARE_OK;
        }
        if (st != PARE_OK)
            return st;
    }
    return PARE_OK;
}

static bool has_mark(pare_str s)
{
    for (size_t i = 0; i + 3 <= s.len; i++)
        if (memcmp(s.data + i, "\xe2\x96\x81", 3) == 0)
            return true;
    return false;
}

/* [piece, score] one behind the other: the place is the id. */
static pare_status read_pieces(pare_vocab *v, pare_token_rows *rows, const json_t *vocab, bool bytes, const char *path,
                               pare_error *err)
{
    pare_status st = PARE_OK;
    if (!json_is_array(vocab))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: model.vocab is no array", path);
    for (size_t i = 0; i < json_array_size(vocab) && st == PARE_OK; i++) {
        const json_t *entry = json_array_get(vocab, i), *text = json_array_get(entry, 0),
                     *score = json_array_get(entry, 1);
        pare_token_row *row = NULL;
        if (!json_is_string(text) || !json_is_number(score))
            return pare_fail(err, PARE_ERR_FORMAT, "%s: model.vocab: entry %zu is no [piece, score]", path, i);
        if ((st = pare_token_row_at(rows, i, path, &row, err)) != PARE_OK)
            return st;
        row->text = pare_vocab_text(v, (pare_str){json_string_value(text), json_string_length(text)}, false, err);
        if (row->text.data == NULL)
            return PARE_ERR_MEMORY;
        row->score = (float)json_number_value(score);
        row->type = bytes && pare_byte_token_value(row->text) >= 0 ? PARE_TOKEN_BYTE : PARE_TOKEN_NORMAL;
        if (!isfinite(row->score))
            return pare_fail(err, PARE_ERR_NUMBER, "%s: model.vocab: the score of entry %zu is not finite", path, i);
    }
    return st;
}

/* The piece for what is no piece. */
static pare_status read_unknown(pare_token_rows *rows, const json_t *model, const char *path, pare_error *err)
{
    const json_t *id = json_object_get(model, "unk_id");
    if (id == NULL || json_is_null(id))
        return PARE_OK;
    if (!json_is_integer(id) || json_integer_value(id) < 0 || (uint64_t)json_integer_value(id) >= rows->n)
        return pare_fail(err, PARE_ERR_RANGE, "%s: model.unk_id is no id of the %zu pieces", path, rows->n);
    rows->rows[json_integer_value(id)].type = PARE_TOKEN_UNKNOWN;
    return PARE_OK;
}

/* An added token of the vocabulary keeps its id there; a second id, there or among the added ones, or another text at
 * its id, is a clash. known: text -> id of the tokens before it, to which it comes. */
static pare_status read_added(pare_vocab *v, pare_token_rows *rows, pare_index *known, const json_t *entry,
                              const char *path, clashes *clash, pare_error *err)
{
    pare_added_token added = {0};
    pare_status st = pare_added_token_read(entry, path, &added, err);
    if (st == PARE_OK)
        st = pare_json_u64(entry, path, "id", 0, PARE_MAX_VOCAB - 1, &added.id, NULL, err);
    int64_t old = PARE_INDEX_NONE;
    if (st == PARE_OK)
        st = pare_index_add(known, added.content, (int64_t)added.id, &old, err);
    if (st != PARE_OK)
        return st;
    if (old != PARE_INDEX_NONE && (uint64_t)old != added.id)
        st = note_clash(clash, added.id, "of an added token has the text of another id:", added.content, (pare_str){0},
                        err);
    pare_token_row *row = NULL;
    if (st == PARE_OK)
        st = row_of(rows, added.id, added.content, path, clash, &row, err);
    if (st != PARE_OK || row == NULL)
        return st;
    bool same = row->text.len == added.content.len && row->text.data != NULL &&
                memcmp(row->text.data, added.content.data, row->text.len) == 0;
    if (row->text.data != NULL && !same)
        return note_clash(clash, added.id, "is of", row->text, added.content, err);
    bool control = added.special || pare_token_looks_special(added.content);
    bool byte = v->kind == PARE_VOCAB_SPM && pare_byte_token_value(added.content) >= 0;
    row->type = byte ? PARE_TOKEN_BYTE : control ? PARE_TOKEN_CONTROL : PARE_TOKEN_USER_DEFINED;
    row->attrs = added.attrs;
    if (!control && v->kind == PARE_VOCAB_BPE && has_mark(added.content))
        row->attrs |= PARE_TOKEN_MARKED;
    if (v->kind != PARE_VOCAB_UGM || row->text.data == NULL)
        row->score = v->kind == PARE_VOCAB_UGM ? 0 : -1000.0F;
    row->text = pare_vocab_text(v, added.content, false, err);
    return row->text.data == NULL ? PARE_ERR_MEMORY : PARE_OK;
}

static pare_status read_all_added(pare_vocab *v, pare_token_rows *rows, const json_t *root, const char *path,
                                  clashes *clash, pare_error *err)
{
    const json_t *added = json_object_get(root, "added_tokens");
    pare_index known = {0};
    pare_status st = PARE_OK;
    if (added == NULL || json_is_null(added))
        return PARE_OK;
    if (!json_is_array(added))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: added_tokens is no array", path);
    for (size_t i = 0; i < rows->n && st == PARE_OK; i++)
        if (rows->rows[i].text.data != NULL)
            st = pare_index_add(&known, rows->rows[i].text, (int64_t)i, NULL, err);
    for (size_t i = 0; i < json_array_size(added) && st == PARE_OK; i++)
        st = read_added(v, rows, &known, json_array_get(added, i), path, clash, err);
    pare_index_close(&known);
    return st;
}

/* "a b", or ["a", "b"] since tokenizers 0.20. A space inside a piece is written in the byte alphabet, as stock does. */
static pare_status read_merge(pare_vocab *v, const json_t *entry, size_t i, const char *path, pare_str *out,
                              pare_error *err)
{
    if (json_is_string(entry)) {
        *out = pare_vocab_text(v, (pare_str){json_string_value(entry), json_string_length(entry)}, false, err);
        return out->data == NULL ? PARE_ERR_MEMORY : PARE_OK;
    }
    pare_buf text = {0};
    pare_status st = PARE_OK;
    for (size_t k = 0; k < 2 && st == PARE_OK; k++) {
        const json_t *piece = json_array_get(entry, k);
        if (!json_is_string(piece) || json_array_size(entry) != 2)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: model.merges: entry %zu is neither \"a b\" nor [\"a\", \"b\"]",
                           path, i);
        const char *s = json_string_value(piece);
        for (size_t b = 0; st == PARE_OK && b < json_string_length(piece); b++)
            st = s[b] == ' ' ? pare_buf_puts(&text, "\xc4\xa0", err) : pare_buf_put(&text, s + b, 1, err);
        if (st == PARE_OK && k == 0)
            st = pare_buf_puts(&text, " ", err);
    }
    if (st == PARE_OK) {
        *out = pare_vocab_text(v, (pare_str){text.data, text.len}, false, err);
        st = out->data == NULL ? PARE_ERR_MEMORY : PARE_OK;
    }
    pare_buf_close(&text);
    return st;
}

static pare_status read_merges(pare_vocab *v, const json_t *model, const char *path, pare_error *err)
{
    const json_t *list = json_object_get(model, "merges");
    size_t n = json_array_size(list);
    if (!json_is_array(list))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: model.merges is no array", path);
    if (n > PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE, "%s: model.merges: %zu entries, at most %d", path, n, PARE_MAX_VOCAB);
    pare_str *merges = pare_arena_alloc(&v->arena, n * sizeof *merges, err);
    if (merges == NULL)
        return PARE_ERR_MEMORY;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = read_merge(v, json_array_get(list, i), i, path, &merges[i], err);
    v->merges = merges;
    v->n_merges = (uint32_t)n;
    return st;
}

static pare_status refuse_member(const json_t *model, const char *path, const char *key, pare_error *err)
{
    const json_t *m = json_object_get(model, key);
    bool empty = m == NULL || json_is_null(m) || (json_is_string(m) && json_string_length(m) == 0) ||
                 (json_is_number(m) && json_number_value(m) == 0);
    return empty ? PARE_OK : pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: model.%s is not supported", path, key);
}

static pare_status wrong_parts(const char *path, const char *type, const char *wanted, pare_error *err)
{
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: a %s model without %s is not supported", path, type, wanted);
}

static pare_status read_word_piece(pare_vocab *v, const json_t *model, const char *path, pare_tokenizer_rules *rules,
                                   pare_error *err)
{
    pare_str prefix = {"##", 2};
    uint64_t most = PARE_WORD_CHARS;
    bool found = false;
    v->kind = PARE_VOCAB_WPM;
    pare_status st = pare_json_str(model, path, "continuing_subword_prefix", &prefix, &found, err);
    if (st == PARE_OK && !pare_str_equal(prefix, "##"))
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: model.continuing_subword_prefix is '%.*s', supported is '##'",
                       path, (int)(prefix.len < 64 ? prefix.len : 64), prefix.data);
    if (st == PARE_OK)
        st = pare_json_u64(model, path, "max_input_chars_per_word", 1, UINT32_MAX, &most, &found, err);
    if (st == PARE_OK && !rules->bert_words)
        st = wrong_parts(path, "WordPiece", "BertPreTokenizer", err);
    v->max_word_chars = most == PARE_WORD_CHARS ? 0 : (uint32_t)most;
    return st;
}

static pare_status read_unigram(pare_vocab *v, const char *path, const pare_tokenizer_rules *rules, pare_error *err)
{
    v->kind = PARE_VOCAB_UGM;
    if (rules->normalizer != PARE_NORMALIZE_NONE || rules->n_steps > 0 || rules->bert_normalizer || rules->bert_words)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: a Unigram model with %s is not supported", path,
                         rules->normalizer != PARE_NORMALIZE_NONE ? "a Unicode form"
                                                                  : "a pre_tokenizer beside Metaspace");
    return rules->metaspace || rules->replace_spaces ? PARE_OK : wrong_parts(path, "Unigram", "U+2581 for spaces", err);
}

static pare_status read_kind(pare_vocab *v, const json_t *model, const char *path, pare_tokenizer_rules *rules,
                             pare_error *err)
{
    const json_t *type = json_object_get(model, "type");
    static const char *const refused[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    if (!json_is_object(model))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: there is no model", path);
    const json_t *unk = json_object_get(model, "unk_token");
    rules->unk = (pare_str){json_string_value(unk), json_string_length(unk)};
    rules->fuse_unk = json_is_true(json_object_get(model, "fuse_unk"));
    rules->byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    if (pare_json_is(type, "WordPiece"))
        return read_word_piece(v, model, path, rules, err);
    if (pare_json_is(type, "Unigram"))
        return read_unigram(v, path, rules, err);
    /* Files of before 2020 have no type: merges tell. */
    if (json_is_string(type) ? !pare_json_is(type, "BPE") : !json_is_array(json_object_get(model, "merges"))) {
        const pare_str name = json_is_string(type) ? pare_text_of(type) : (pare_str){"?", 1};
        char safe[160];
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: model type '%s' is not supported", path,
                         pare_escape_text(safe, sizeof safe, name.data, name.len));
    }
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0] && st == PARE_OK; i++)
        st = refuse_member(model, path, refused[i], err);
    if (st != PARE_OK)
        return st;
    rules->ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
    bool marks = rules->metaspace || rules->replace_spaces;
    const struct {
        bool there;
        const char *what;
    } others[] = {{rules->charsmap.data != NULL, "a precompiled character map"},
                  {rules->squeeze_spaces, "spaces taken together"},
                  {rules->trim_whites, "normalizer Strip"},
                  {rules->split_whites, "pre_tokenizer WhitespaceSplit"},
                  {rules->bert_normalizer, "BertNormalizer"},
                  {rules->bert_words, "BertPreTokenizer"},
                  {rules->prepend && rules->byte_level, "Prepend in front of ByteLevel"},
                  {rules->prepend && rules->metaspace, "Prepend in front of Metaspace"}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i].there)
            return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: a BPE model with %s is not supported", path,
                             others[i].what);
    if (rules->byte_level == marks)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: BPE that is neither byte-level nor with U+2581 for spaces",
                         path);
    if (marks && (rules->n_steps > 0 || rules->ignore_merges))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %s beside U+2581 for spaces is not supported", path,
                         rules->n_steps > 0 ? "a pre_tokenizer" : "ignore_merges");
    v->kind = marks ? PARE_VOCAB_SPM : PARE_VOCAB_BPE;
    return PARE_OK;
}

/* Holes below the last id, and ids given twice. */
static pare_status check_ids(const pare_token_rows *rows, clashes *clash, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < rows->n && st == PARE_OK; i++)
        if (rows->rows[i].text.data == NULL)
            st = note_clash(clash, i, "is missing below", rows->rows[rows->n - 1].text, (pare_str){0}, err);
    if (st != PARE_OK || clash->n == 0)
        return st;
    return pare_fail(err, PARE_ERR_FORMAT, "%s: %zu clashes of token ids: %s%s", path, clash->n, clash->text.data,
                     clash->n > SHOWN_CLASHES ? "; ..." : "");
}

pare_status pare_tokenizer_json_fill(pare_vocab *v, pare_token_rows *rows, const json_t *root, const char *path,
                                     pare_tokenizer_rules *rules, pare_error *err)
{
    const json_t *model = json_object_get(root, "model");
    clashes clash = {.n_tokens = json_object_size(json_object_get(model, "vocab")) +
                                 json_array_size(json_object_get(model, "vocab")) +
                                 json_array_size(json_object_get(root, "added_tokens"))};
    if (!json_is_object(root))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: no JSON object", path);
    pare_status st = pare_tokenizer_rules_read(root, path, rules, err);
    if (st == PARE_OK)
        st = read_kind(v, model, path, rules, err);
    const json_t *vocab = json_object_get(model, "vocab");
    if (st == PARE_OK)
        st = v->kind == PARE_VOCAB_UGM ? read_pieces(v, rows, vocab, rules->byte_fallback, path, err)
                                       : read_base(v, rows, vocab, path, &clash, err);
    for (size_t i = 0; i < rows->n && st == PARE_OK && v->kind == PARE_VOCAB_SPM && rules->byte_fallback; i++)
        if (rows->rows[i].text.data != NULL && pare_byte_token_value(rows->rows[i].text) >= 0)
            rows->rows[i].type = PARE_TOKEN_BYTE;
    if (st == PARE_OK)
        st = read_all_added(v, rows, root, path, &clash, err);
    if (st == PARE_OK)
        st = check_ids(rows, &clash, path, err);
    if (st == PARE_OK && v->kind == PARE_VOCAB_UGM)
        st = read_unknown(rows, model, path, err);
    else if (st == PARE_OK && v->kind != PARE_VOCAB_WPM)
        st = read_merges(v, model, path, err);
    pare_buf_close(&clash.text);
    return st;
}
