#include "model/vocab.h"

#include "core/bytes.h"
#include "core/checked.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define GGML "tokenizer.ggml."
#define PARE "tokenizer.pare."
static const char template_key[] = "tokenizer.chat_template";
static const char template_list_key[] = "tokenizer.chat_templates";
static const char space_mark[] = "\xe2\x96\x81"; /* U+2581 */

typedef struct key_row key_row;
typedef pare_status read_value(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                               pare_error *err);
typedef pare_status write_value(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err);

/* One metadata key: how it is read, whether v has it, how it is written. field is the offset in pare_vocab. */
struct key_row {
    const char *key;
    size_t field;
    read_value *read;
    write_value *write;
};

static const void *field_at(const pare_vocab *v, const key_row *row)
{
    return (const char *)v + row->field;
}

static pare_status wrong_type(const pare_meta_value *m, const char *path, const char *want, pare_error *err)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%.*s' at offset %" PRIu64 ": type %s%s%s, expected %s", path,
                     (int)m->key.len, m->key.data, m->offset, pare_meta_type_name(m->type),
                     m->type == PARE_META_ARRAY ? " of " : "",
                     m->type == PARE_META_ARRAY ? pare_meta_type_name(m->elem) : "", want);
}

/* A count of n that must be the vocabulary's. */
static pare_status same_count(const pare_vocab *v, const pare_meta_value *m, const char *path, pare_error *err)
{
    if (m->n == v->n_tokens)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT,
                     "%s: key '%.*s' at offset %" PRIu64 ": %" PRIu64 " elements for %" PRIu32 " tokens", path,
                     (int)m->key.len, m->key.data, m->offset, m->n, v->n_tokens);
}

static pare_status read_str(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                            pare_error *err)
{
    if (m->type != PARE_META_STRING)
        return wrong_type(m, path, "string", err);
    return pare_meta_check_name(m, path, (pare_str *)((char *)v + row->field), err);
}

static pare_status write_str(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    const pare_str *s = field_at(v, row);
    return s->data == NULL ? PARE_OK : pare_meta_set_str(meta, row->key, *s, err);
}

static pare_status read_template(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                                 pare_error *err)
{
    (void)row;
    size_t bad = 0;
    if (m->type != PARE_META_STRING)
        return wrong_type(m, path, "string", err);
    if (m->v.s.len > PARE_MAX_CHAT_TEMPLATE)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%.*s' at offset %" PRIu64 ": chat template of %zu bytes, at most %d", path,
                         (int)m->key.len, m->key.data, m->offset, m->v.s.len, PARE_MAX_CHAT_TEMPLATE);
    if (!pare_utf8_valid(m->v.s.data, m->v.s.len, &bad))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%.*s' at offset %" PRIu64 ": no UTF-8 at byte %zu", path,
                         (int)m->key.len, m->key.data, m->offset, bad);
    v->chat_template = m->v.s;
    return PARE_OK;
}

static pare_status read_tokens(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                               pare_error *err)
{
    (void)row;
    if (m->type != PARE_META_ARRAY || m->elem != PARE_META_STRING)
        return wrong_type(m, path, "array of string", err);
    if (m->n == 0 || m->n > PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%.*s' at offset %" PRIu64 ": %" PRIu64 " tokens, allowed 1 to %d", path,
                         (int)m->key.len, m->key.data, m->offset, m->n, PARE_MAX_VOCAB);
    v->tokens = m->v.strings;
    v->n_tokens = (uint32_t)m->n;
    return PARE_OK;
}

/* The tokens with those that have PARE_TOKEN_MARKED changed: each `from` in them becomes `to`. NULL: no memory. */
static const pare_str *swap_marks(const pare_vocab *v, const char *from, const char *to, pare_arena *arena,
                                  pare_error *err)
{
    size_t n_from = strlen(from), n_to = strlen(to);
    pare_str *tokens = pare_arena_alloc(arena, v->n_tokens * sizeof *tokens, err);
    for (uint32_t i = 0; tokens != NULL && i < v->n_tokens; i++) {
        pare_str s = tokens[i] = v->tokens[i];
        char *text = NULL;
        size_t n = 0;
        if ((v->attrs[i] & PARE_TOKEN_MARKED) == 0)
            continue;
        if (s.len > SIZE_MAX / 3 || (text = pare_arena_alloc(arena, 3 * s.len + 1, err)) == NULL)
            return NULL;
        for (size_t k = 0; k < s.len;) {
            bool match = s.len - k >= n_from && memcmp(s.data + k, from, n_from) == 0;
            memcpy(text + n, match ? to : s.data + k, match ? n_to : 1);
            n += match ? n_to : 1;
            k += match ? n_from : 1;
        }
        tokens[i] = (pare_str){text, n};
    }
    return tokens;
}

static bool has_marks(const pare_vocab *v)
{
    for (uint32_t i = 0; v->attrs != NULL && i < v->n_tokens; i++)
        if ((v->attrs[i] & PARE_TOKEN_MARKED) != 0)
            return true;
    return false;
}

static pare_status write_tokens(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    pare_arena arena = {0};
    if (v->n_tokens == 0)
        return PARE_OK;
    const pare_str *tokens = has_marks(v) ? swap_marks(v, space_mark, " ", &arena, err) : v->tokens;
    pare_status st = tokens == NULL ? PARE_ERR_MEMORY : pare_meta_set_strs(meta, row->key, tokens, v->n_tokens, err);
    pare_arena_close(&arena);
    return st;
}

static pare_status read_scores(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                               pare_error *err)
{
    (void)row;
    if (m->type != PARE_META_ARRAY || m->elem != PARE_META_F32)
        return wrong_type(m, path, "array of f32", err);
    pare_status st = same_count(v, m, path, err);
    if (st != PARE_OK)
        return st;
    float *scores = pare_arena_alloc(&v->arena, v->n_tokens * sizeof *scores, err);
    if (scores == NULL)
        return PARE_ERR_MEMORY;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        scores[i] = pare_load_f32le((const uint8_t *)m->v.data + 4 * (size_t)i);
        if (!isfinite(scores[i]))
            return pare_fail(err, PARE_ERR_NUMBER, "%s: key '%.*s' at offset %" PRIu64 ": element %" PRIu32 " is %s",
                             path, (int)m->key.len, m->key.data, m->offset, i, isnan(scores[i]) ? "NaN" : "infinite");
    }
    v->scores = scores;
    return PARE_OK;
}

static pare_status write_scores(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    if (v->scores == NULL)
        return PARE_OK;
    uint8_t *bytes = malloc(v->n_tokens * sizeof(float));
    if (bytes == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " scores", v->n_tokens);
    for (uint32_t i = 0; i < v->n_tokens; i++)
        pare_store_f32le(bytes + 4 * (size_t)i, v->scores[i]);
    pare_status st = pare_meta_set_array(meta, row->key, PARE_META_F32, bytes, v->n_tokens, err);
    free(bytes);
    return st;
}

static pare_status read_types(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                              pare_error *err)
{
    (void)row;
    if (m->type != PARE_META_ARRAY || m->elem != PARE_META_I32)
        return wrong_type(m, path, "array of i32", err);
    pare_status st = same_count(v, m, path, err);
    if (st != PARE_OK)
        return st;
    int32_t *types = pare_arena_alloc(&v->arena, v->n_tokens * sizeof *types, err);
    if (types == NULL)
        return PARE_ERR_MEMORY;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        types[i] = (int32_t)pare_load_u32le((const uint8_t *)m->v.data + 4 * (size_t)i);
        if (types[i] < 0 || types[i] > PARE_TOKEN_BYTE)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: key '%.*s' at offset %" PRIu64 ": element %" PRIu32 " is %" PRId32
                             ", allowed 0 to %d",
                             path, (int)m->key.len, m->key.data, m->offset, i, types[i], PARE_TOKEN_BYTE);
    }
    v->types = types;
    return PARE_OK;
}

/* An array of n numbers of 32 bits, elem I32 or U32. */
static pare_status set_i32s(pare_meta *meta, const char *key, pare_meta_type elem, const int32_t *values, uint32_t n,
                            pare_error *err)
{
    uint8_t *bytes = malloc(n * sizeof *values);
    if (bytes == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "key '%s': no memory for %" PRIu32 " numbers", key, n);
    for (uint32_t i = 0; i < n; i++)
        pare_store_u32le(bytes + 4 * (size_t)i, (uint32_t)values[i]);
    pare_status st = pare_meta_set_array(meta, key, elem, bytes, n, err);
    free(bytes);
    return st;
}

static pare_status write_types(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    return v->types == NULL ? PARE_OK : set_i32s(meta, row->key, PARE_META_I32, v->types, v->n_tokens, err);
}

static pare_status read_merges(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                               pare_error *err)
{
    (void)row;
    if (m->type != PARE_META_ARRAY || m->elem != PARE_META_STRING)
        return wrong_type(m, path, "array of string", err);
    if (m->n > PARE_MAX_VOCAB)
        return pare_fail(err, PARE_ERR_RANGE, "%s: key '%.*s' at offset %" PRIu64 ": %" PRIu64 " merges, at most %d",
                         path, (int)m->key.len, m->key.data, m->offset, m->n, PARE_MAX_VOCAB);
    v->merges = m->v.strings;
    v->n_merges = (uint32_t)m->n;
    return PARE_OK;
}

static pare_status write_merges(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    return v->n_merges == 0 ? PARE_OK : pare_meta_set_strs(meta, row->key, v->merges, v->n_merges, err);
}

/* The value of an integer; a negative one comes back as out of any range, with *text naming it. */
static bool integer_of(const pare_meta_value *m, uint64_t *value, char text[32])
{
    bool is_signed =
        m->type == PARE_META_I8 || m->type == PARE_META_I16 || m->type == PARE_META_I32 || m->type == PARE_META_I64;
    bool is_unsigned =
        m->type == PARE_META_U8 || m->type == PARE_META_U16 || m->type == PARE_META_U32 || m->type == PARE_META_U64;
    if (is_signed)
        snprintf(text, 32, "%" PRId64, m->v.i);
    else
        snprintf(text, 32, "%" PRIu64, m->v.u);
    *value = is_signed && m->v.i < 0 ? UINT64_MAX : m->v.u;
    return is_signed || is_unsigned;
}

/* An id of the vocabulary; row may be NULL: then it is only checked. */
static pare_status read_id(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                           pare_error *err)
{
    uint64_t id = 0;
    char text[32];
    if (!integer_of(m, &id, text))
        return wrong_type(m, path, "an integer", err);
    if (id >= v->n_tokens)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%.*s' at offset %" PRIu64 ": id %s is outside of the %" PRIu32 " tokens", path,
                         (int)m->key.len, m->key.data, m->offset, text, v->n_tokens);
    if (row != NULL)
        *(int64_t *)((char *)v + row->field) = (int64_t)id;
    return PARE_OK;
}

static pare_status write_id(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    int64_t id = *(const int64_t *)field_at(v, row);
    return id < 0 ? PARE_OK : pare_meta_set_u32(meta, row->key, (uint32_t)id, err);
}

static pare_status read_flag(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                             pare_error *err)
{
    if (m->type != PARE_META_BOOL)
        return wrong_type(m, path, "bool", err);
    *(int *)((char *)v + row->field) = m->v.u != 0;
    return PARE_OK;
}

static pare_status write_flag(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    int flag = *(const int *)field_at(v, row);
    return flag < 0 ? PARE_OK : pare_meta_set_bool(meta, row->key, flag != 0, err);
}

static pare_status read_charsmap(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                                 pare_error *err)
{
    (void)row;
    if (m->type != PARE_META_ARRAY || (m->elem != PARE_META_U8 && m->elem != PARE_META_I8))
        return wrong_type(m, path, "array of u8", err);
    if (m->n > UINT32_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "%s: key '%.*s' at offset %" PRIu64 ": %" PRIu64 " bytes", path,
                         (int)m->key.len, m->key.data, m->offset, m->n);
    v->charsmap = m->v.data;
    v->charsmap_bytes = (uint32_t)m->n;
    return PARE_OK;
}

static pare_status write_charsmap(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    return v->charsmap == NULL ? PARE_OK
                               : pare_meta_set_array(meta, row->key, PARE_META_U8, v->charsmap, v->charsmap_bytes, err);
}

static pare_status restore_marks(pare_vocab *v, pare_error *err)
{
    if (has_marks(v))
        v->tokens = swap_marks(v, " ", space_mark, &v->arena, err);
    return v->tokens == NULL ? PARE_ERR_MEMORY : PARE_OK;
}

static pare_status read_attrs(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                              pare_error *err)
{
    (void)row;
    const uint8_t *attrs = m->v.data;
    if (m->type != PARE_META_ARRAY || m->elem != PARE_META_U8)
        return wrong_type(m, path, "array of u8", err);
    pare_status st = same_count(v, m, path, err);
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++)
        if (attrs[i] > PARE_TOKEN_ATTR_MAX)
            st = pare_fail(err, PARE_ERR_RANGE,
                           "%s: key '%.*s' at offset %" PRIu64 ": element %" PRIu32 " is %u, allowed 0 to %d", path,
                           (int)m->key.len, m->key.data, m->offset, i, attrs[i], PARE_TOKEN_ATTR_MAX);
    v->attrs = attrs;
    return st == PARE_OK ? restore_marks(v, err) : st;
}

static pare_status write_attrs(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    for (uint32_t i = 0; v->attrs != NULL && i < v->n_tokens; i++)
        if (v->attrs[i] != 0)
            return pare_meta_set_array(meta, row->key, PARE_META_U8, v->attrs, v->n_tokens, err);
    return PARE_OK;
}

/* A u32 that chooses, 0 to max. */
static pare_status read_choice(const pare_meta_value *m, const char *path, int max, pare_error *err)
{
    if (m->type != PARE_META_U32)
        return wrong_type(m, path, "u32", err);
    if (m->v.u > (uint64_t)max)
        return pare_fail(err, PARE_ERR_RANGE, "%s: key '%.*s' at offset %" PRIu64 ": %" PRIu64 ", allowed 0 to %d",
                         path, (int)m->key.len, m->key.data, m->offset, m->v.u, max);
    return PARE_OK;
}

static bool is_text(const pare_vocab *v, int64_t id, const char *text)
{
    return id >= 0 && id < v->n_tokens && pare_str_equal(v->tokens[id], text);
}

/* Control tokens by whose texts stock's runtime knows the end of a text. */
static bool ends_by_text(const pare_vocab *v, int64_t id)
{
    static const char *const texts[] = {
        "<|eot_id|>",         "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>",
        "<|endoftext|>",      "<|eom_id|>", "<EOT>",   "[EOT]",      "[EOS]",    "<|end_of_text|>",
        "<end_of_utterance>", "<turn|>",    "[e~["};
    bool known = false;
    if (id < 0 || id >= v->n_tokens || pare_vocab_type(v, (uint32_t)id) != PARE_TOKEN_CONTROL)
        return false;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        known = known || is_text(v, id, texts[i]);
    return known;
}

static void find_ends(pare_vocab *v)
{
    bool returns = false;
    for (uint32_t i = 0; i < v->n_tokens && v->n_ends < PARE_MAX_ENDS; i++)
        if (ends_by_text(v, i)) {
            v->ends[v->n_ends++] = (int32_t)i;
            returns = returns || is_text(v, i, "<|return|>");
        }
    /* where an answer has parts, this one ends a part */
    for (uint32_t i = 0; i < v->n_ends && returns; i++)
        if (is_text(v, v->ends[i], "<|end|>"))
            v->ends[i] = v->ends[--v->n_ends];
}

static pare_status read_ends(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                             pare_error *err)
{
    (void)row;
    if (m->type != PARE_META_ARRAY || m->elem != PARE_META_U32)
        return wrong_type(m, path, "array of u32", err);
    if (m->n > PARE_MAX_ENDS)
        return pare_fail(err, PARE_ERR_RANGE, "%s: key '%.*s' at offset %" PRIu64 ": %" PRIu64 " ids, at most %d", path,
                         (int)m->key.len, m->key.data, m->offset, m->n, PARE_MAX_ENDS);
    for (uint32_t i = 0; i < m->n; i++) {
        uint32_t id = pare_load_u32le((const uint8_t *)m->v.data + 4 * (size_t)i);
        if (id >= v->n_tokens)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: key '%.*s' at offset %" PRIu64 ": id %" PRIu32 " is outside of the %" PRIu32
                             " tokens",
                             path, (int)m->key.len, m->key.data, m->offset, id, v->n_tokens);
        v->ends[i] = (int32_t)id;
    }
    v->n_ends = (uint32_t)m->n;
    v->ends_listed = true;
    return PARE_OK;
}

/* A list that says what its reader finds by itself needs no key. */
static pare_status write_ends(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    bool told = true;
    for (uint32_t i = 0; i < v->n_ends && v->ends_listed; i++)
        told = told &&
               (v->ends[i] == v->eos || v->ends[i] == v->eot || v->ends[i] == v->eom || ends_by_text(v, v->ends[i]));
    return told ? PARE_OK : set_i32s(meta, row->key, PARE_META_U32, v->ends, v->n_ends, err);
}

static pare_status read_prefix_rule(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                                    pare_error *err)
{
    (void)row;
    pare_status st = read_choice(m, path, PARE_PREFIX_FIRST, err);
    if (st == PARE_OK)
        v->prefix_rule = (pare_prefix_rule)m->v.u;
    return st;
}

static pare_status read_normalizer(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                                   pare_error *err)
{
    (void)row;
    pare_status st = read_choice(m, path, PARE_NORMALIZE_MAX, err);
    if (st == PARE_OK)
        v->normalizer = (int)m->v.u;
    return st;
}

static pare_status write_normalizer(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    return v->normalizer < 0 ? PARE_OK : pare_meta_set_u32(meta, row->key, (uint32_t)v->normalizer, err);
}

static pare_status write_prefix_rule(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    return v->prefix_rule == PARE_PREFIX_EACH ? PARE_OK
                                              : pare_meta_set_u32(meta, row->key, (uint32_t)v->prefix_rule, err);
}

static pare_status read_word_chars(pare_vocab *v, const key_row *row, const pare_meta_value *m, const char *path,
                                   pare_error *err)
{
    (void)row;
    if (m->type != PARE_META_U32)
        return wrong_type(m, path, "u32", err);
    v->max_word_chars = (uint32_t)m->v.u;
    return PARE_OK;
}

static pare_status write_word_chars(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    return v->max_word_chars == 0 ? PARE_OK : pare_meta_set_u32(meta, row->key, v->max_word_chars, err);
}

/* Named templates, then their list, then the default one, as stock's writer does. */
static pare_status write_templates(const pare_vocab *v, const key_row *row, pare_meta *meta, pare_error *err)
{
    pare_status st = PARE_OK;
    pare_str *names = v->n_named_templates == 0 ? NULL : calloc(v->n_named_templates, sizeof *names);
    pare_buf key = {0};
    if (v->n_named_templates > 0 && names == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %" PRIu32 " chat templates", v->n_named_templates);
    for (uint32_t i = 0; i < v->n_named_templates && st == PARE_OK; i++) {
        names[i] = v->named_templates[i].name;
        key.len = 0;
        st = pare_buf_printf(&key, err, "%s.%.*s", template_key, (int)names[i].len, names[i].data);
        if (st == PARE_OK)
            st = pare_meta_set_str(meta, key.data, v->named_templates[i].text, err);
    }
    if (st == PARE_OK && v->n_named_templates > 0)
        st = pare_meta_set_strs(meta, template_list_key, names, v->n_named_templates, err);
    if (st == PARE_OK)
        st = write_str(v, row, meta, err);
    pare_buf_close(&key);
    free(names);
    return st;
}

#define AT(field) offsetof(pare_vocab, field)
/* In the order in which stock's converter writes them where nothing else decides. tokens comes before all that is
 * checked against it: pare_vocab_from_meta reads in this order, whatever the order in the file. */
static const key_row rows[] = {
    {GGML "model", AT(model), read_str, write_str},
    {GGML "pre", AT(pre), read_str, write_str},
    {GGML "tokens", AT(tokens), read_tokens, write_tokens},
    {GGML "scores", AT(scores), read_scores, write_scores},
    {GGML "token_type", AT(types), read_types, write_types},
    {GGML "merges", AT(merges), read_merges, write_merges},
    {GGML "bos_token_id", AT(bos), read_id, write_id},
    {GGML "eos_token_id", AT(eos), read_id, write_id},
    {GGML "unknown_token_id", AT(unk), read_id, write_id},
    {GGML "seperator_token_id", AT(sep), read_id, write_id}, /* spelled so in the format */
    {GGML "padding_token_id", AT(pad), read_id, write_id},
    {GGML "cls_token_id", AT(cls), read_id, write_id},
    {GGML "mask_token_id", AT(mask), read_id, write_id},
    {GGML "eot_token_id", AT(eot), read_id, write_id},
    {GGML "eom_token_id", AT(eom), read_id, write_id},
    {GGML "fim_pre_token_id", AT(fim_pre), read_id, write_id},
    {GGML "fim_suf_token_id", AT(fim_suf), read_id, write_id},
    {GGML "fim_mid_token_id", AT(fim_mid), read_id, write_id},
    {GGML "add_bos_token", AT(add_bos), read_flag, write_flag},
    {GGML "add_eos_token", AT(add_eos), read_flag, write_flag},
    {GGML "add_sep_token", AT(add_sep), read_flag, write_flag},
    {GGML "normalizer.lowercase", AT(lowercase), read_flag, write_flag},
    {GGML "normalizer.strip_accents", AT(strip_accents), read_flag, write_flag},
    {template_key, AT(chat_template), read_template, write_templates},
    {GGML "add_space_prefix", AT(add_space_prefix), read_flag, write_flag},
    {GGML "remove_extra_whitespaces", AT(remove_extra_whitespaces), read_flag, write_flag},
    {GGML "precompiled_charsmap", AT(charsmap), read_charsmap, write_charsmap},
    {PARE "eos_token_ids", AT(ends), read_ends, write_ends},
    {PARE "token_attrs", AT(attrs), read_attrs, write_attrs},
    {PARE "prefix_rule", AT(prefix_rule), read_prefix_rule, write_prefix_rule},
    {PARE "ignore_merges", AT(ignore_merges), read_flag, write_flag},
    {PARE "normalizer", AT(normalizer), read_normalizer, write_normalizer},
    {PARE "split_spaces", AT(split_spaces), read_flag, write_flag},
    {PARE "unk_each", AT(unk_each), read_flag, write_flag},
    {PARE "byte_prefix", AT(byte_prefix), read_flag, write_flag},
    {PARE "missing_token_id", AT(missing), read_id, write_id},
    {PARE "map_graphemes", AT(map_graphemes), read_flag, write_flag},
    {PARE "split_whites", AT(split_whites), read_flag, write_flag},
    {PARE "trim_whites", AT(trim_whites), read_flag, write_flag},
    {PARE "clean_text", AT(clean_text), read_flag, write_flag},
    {PARE "split_ideographs", AT(split_ideographs), read_flag, write_flag},
    {PARE "max_word_chars", AT(max_word_chars), read_word_chars, write_word_chars},
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };
static_assert(sizeof rows / sizeof rows[0] <= PARE_VOCAB_KEY_ROOM, "key_order has room for every row");

static void note_row(pare_vocab *v, size_t row)
{
    for (uint32_t i = 0; i < v->n_keys; i++)
        if (v->key_order[i] == row)
            return;
    v->key_order[v->n_keys++] = (uint8_t)row;
}

void pare_vocab_note_key(pare_vocab *v, const char *key)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (strcmp(rows[i].key, key) == 0)
            note_row(v, i);
}

void pare_vocab_init(pare_vocab *v)
{
    *v = (pare_vocab){.kind = PARE_VOCAB_UNKNOWN, .normalizer = -1};
    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].read == read_id)
            *(int64_t *)((char *)v + rows[i].field) = PARE_TOKEN_NONE;
        if (rows[i].read == read_flag)
            *(int *)((char *)v + rows[i].field) = -1;
    }
}

void pare_vocab_close(pare_vocab *v)
{
    pare_arena_close(&v->arena);
    *v = (pare_vocab){0};
}

/* Pre-tokenizers that stock runs on text with U+2581 and not on bytes. */
static bool is_marked_pre(pare_str pre)
{
    return pare_str_equal(pre, "gemma4") || pare_str_equal(pre, "sarvam-moe") ||
           pare_str_equal(pre, "granite-embed-multi-311m");
}

bool pare_vocab_is_marked_bpe(const pare_vocab *v)
{
    return pare_str_equal(v->model, "gemma4") || (pare_str_equal(v->model, "gpt2") && is_marked_pre(v->pre));
}

static pare_vocab_kind kind_of(pare_str model)
{
    static const struct {
        const char *name;
        pare_vocab_kind kind;
    } kinds[] = {{"gpt2", PARE_VOCAB_BPE}, {"llama", PARE_VOCAB_SPM}, {"t5", PARE_VOCAB_UGM}, {"bert", PARE_VOCAB_WPM}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (pare_str_equal(model, kinds[i].name))
            return kinds[i].kind;
    return PARE_VOCAB_UNKNOWN;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int pare_byte_token_value(pare_str t)
{
    if (t.len != 6 || memcmp(t.data, "<0x", 3) != 0 || t.data[5] != '>')
        return -1;
    int high = hex_digit(t.data[3]), low = hex_digit(t.data[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Texts need not be UTF-8: the tokenizer works on bytes, and the readers warn. */
static pare_status check_tokens(const pare_vocab *v, const char *path, pare_error *err)
{
    uint32_t seen[256] = {0}; /* id + 1 of the token for a byte */
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        const pare_str *t = &v->tokens[i];
        int byte = pare_byte_token_value(*t);
        if (pare_vocab_type(v, i) != PARE_TOKEN_BYTE)
            continue;
        if (byte < 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: token %" PRIu32 " '%.*s' is of type byte, expected <0xHH>",
                             path, i, t->len > 64 ? 64 : (int)t->len, t->data);
        if (seen[byte] > 0)
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: tokens %" PRIu32 " and %" PRIu32 " stand for the same byte <0x%02X>", path,
                             seen[byte] - 1, i, (unsigned)byte);
        seen[byte] = i + 1;
    }
    return PARE_OK;
}

static pare_status check_merge(const pare_index *known, const pare_vocab *v, uint32_t i, const char *path,
                               pare_error *err)
{
    pare_str m = v->merges[i];
    int shown = m.len > 64 ? 64 : (int)m.len;
    const char *space = m.len > 0 ? memchr(m.data, ' ', m.len) : NULL;
    size_t left = space == NULL ? 0 : (size_t)(space - m.data);
    if (left == 0 || left + 1 == m.len || memchr(space + 1, ' ', m.len - left - 1) != NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: merge %" PRIu32 " '%.*s' is not two pieces with one space between",
                         path, i, shown, m.data);
    pare_str parts[2] = {{m.data, left}, {space + 1, m.len - left - 1}};
    for (int k = 0; k < 2; k++)
        if (pare_index_find(known, parts[k]) == PARE_INDEX_NONE)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: merge %" PRIu32 " '%.*s': its %s piece is no token", path, i,
                             shown, m.data, k == 0 ? "left" : "right");
    char joined[512], *text = m.len > sizeof joined ? malloc(m.len) : joined;
    if (text == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a merge of %zu bytes", m.len);
    memcpy(text, parts[0].data, left);
    memcpy(text + left, parts[1].data, parts[1].len);
    bool made = pare_index_find(known, (pare_str){text, m.len - 1}) != PARE_INDEX_NONE;
    if (text != joined)
        free(text);
    return made
               ? PARE_OK
               : pare_fail(err, PARE_ERR_FORMAT, "%s: merge %" PRIu32 " '%.*s' makes no token", path, i, shown, m.data);
}

static pare_status check_merges(const pare_vocab *v, const char *path, pare_error *err)
{
    pare_index known = {0};
    pare_status st = PARE_OK;
    if (v->n_merges == 0)
        return PARE_OK;
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++)
        st = pare_index_add(&known, v->tokens[i], i, NULL, err);
    for (uint32_t i = 0; i < v->n_merges && st == PARE_OK; i++)
        st = check_merge(&known, v, i, path, err);
    pare_index_close(&known);
    return st;
}

pare_status pare_vocab_check(const pare_vocab *v, const char *path, pare_error *err)
{
    pare_status st = check_tokens(v, path, err);
    return st == PARE_OK ? check_merges(v, path, err) : st;
}

static bool starts_with(pare_str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len > n && memcmp(s.data, prefix, n) == 0;
}

/* Keys that no row names: ids that pare has no field for, and named templates. */
static pare_status read_other(pare_vocab *v, const pare_meta_value *m, const char *path, pare_chat_template *named,
                              pare_error *err)
{
    static const char suffix[] = "_token_id";
    size_t n = sizeof suffix - 1;
    if (starts_with(m->key, GGML) && m->key.len > n && memcmp(m->key.data + m->key.len - n, suffix, n) == 0)
        return read_id(v, NULL, m, path, err);
    if (!starts_with(m->key, "tokenizer.chat_template."))
        return PARE_OK;
    pare_str keep = v->chat_template;
    pare_status st = read_template(v, NULL, m, path, err);
    named[v->n_named_templates].name = (pare_str){m->key.data + sizeof template_key, m->key.len - sizeof template_key};
    named[v->n_named_templates++].text = v->chat_template;
    v->chat_template = keep;
    return st;
}

static const key_row *row_of(pare_str key)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (pare_str_equal(key, rows[i].key))
            return &rows[i];
    return NULL;
}

static pare_status read_others(pare_vocab *v, const pare_meta *meta, const char *path, pare_error *err)
{
    size_t n_named = 0;
    for (size_t i = 0; i < meta->n; i++)
        n_named += starts_with(meta->values[i].key, "tokenizer.chat_template.");
    pare_chat_template *named = pare_arena_alloc(&v->arena, n_named * sizeof *named, err);
    if (named == NULL)
        return PARE_ERR_MEMORY;
    v->named_templates = n_named > 0 ? named : NULL;
    for (size_t i = 0; i < meta->n; i++) {
        const key_row *row = row_of(meta->values[i].key);
        if (row != NULL) {
            note_row(v, (size_t)(row - rows));
            continue;
        }
        pare_status st = read_other(v, &meta->values[i], path, named, err);
        if (st != PARE_OK)
            return st;
    }
    return PARE_OK;
}

static bool contains_nocase(pare_str s, const char *lower)
{
    size_t n = strlen(lower);
    for (size_t i = 0; i + n <= s.len; i++)
        if (strncasecmp(s.data + i, lower, n) == 0)
            return true;
    return false;
}

/* Stock strips white space behind the special tokens of Phi-3, which GGUF cannot say, by the model's name. */
static pare_status add_name_attrs(pare_vocab *v, const pare_meta *meta, pare_error *err)
{
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    const pare_meta_value *name = pare_meta_find(meta, "general.name");
    if (v->kind != PARE_VOCAB_SPM || v->attrs != NULL || name == NULL || name->type != PARE_META_STRING ||
        !(contains_nocase(name->v.s, "phi-3") || contains_nocase(name->v.s, "phi3")))
        return PARE_OK;
    uint8_t *attrs = pare_arena_alloc(&v->arena, v->n_tokens, err);
    if (attrs == NULL)
        return PARE_ERR_MEMORY;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        pare_token_type type = pare_vocab_type(v, i);
        bool strip = type == PARE_TOKEN_CONTROL || type == PARE_TOKEN_USER_DEFINED || type == PARE_TOKEN_UNKNOWN;
        for (size_t k = 0; k < sizeof kept / sizeof kept[0]; k++)
            strip = strip && !pare_str_equal(v->tokens[i], kept[k]);
        attrs[i] = strip ? PARE_TOKEN_RSTRIP : 0;
    }
    v->attrs = attrs;
    return PARE_OK;
}

/* What stock takes for granted. Its converter writes spaces for the marks of user-defined tokens under "gpt2", so that
 * merges do not know them: the marks come back. */
static pare_status fill_marked_bpe(pare_vocab *v, const char *path, pare_error *err)
{
    if (v->n_merges == 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: tokenizer '%.*s' without tokenizer.ggml.merges", path,
                         (int)v->model.len, v->model.data);
    v->add_space_prefix = v->add_space_prefix < 0 ? 0 : v->add_space_prefix;
    v->add_bos =
        pare_str_equal(v->pre, "sarvam-moe") ? v->add_bos > 0 : v->bos >= 0; /* of Gemma 4 whatever the key says */
    if (v->attrs != NULL || v->scores != NULL || !pare_str_equal(v->model, "gpt2")) /* pare writes scores, and marks */
        return PARE_OK;
    uint8_t *attrs = pare_arena_alloc(&v->arena, v->n_tokens, err);
    if (attrs == NULL)
        return PARE_ERR_MEMORY;
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (pare_vocab_type(v, i) == PARE_TOKEN_USER_DEFINED && memchr(v->tokens[i].data, ' ', v->tokens[i].len))
            attrs[i] = PARE_TOKEN_MARKED;
    v->attrs = attrs;
    return restore_marks(v, err);
}

static pare_status fill(pare_vocab *v, const pare_meta *meta, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < N_ROWS && st == PARE_OK; i++) {
        const pare_meta_value *m = pare_meta_find(meta, rows[i].key);
        if (m != NULL)
            st = rows[i].read(v, &rows[i], m, path, err);
        if (st == PARE_OK && rows[i].read == read_str)
            v->kind = pare_vocab_is_marked_bpe(v) ? PARE_VOCAB_SPM : kind_of(v->model);
        if (st == PARE_OK && rows[i].read == read_tokens && m == NULL && v->kind != PARE_VOCAB_UNKNOWN)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' is absent, but there is a tokenizer '%.*s'", path,
                           rows[i].key, (int)v->model.len, v->model.data);
    }
    if (st == PARE_OK)
        st = read_others(v, meta, path, err);
    if (st == PARE_OK && pare_vocab_is_marked_bpe(v))
        st = fill_marked_bpe(v, path, err);
    if (st == PARE_OK)
        st = pare_vocab_check(v, path, err);
    return st == PARE_OK ? add_name_attrs(v, meta, err) : st;
}

/* Templates of a file that has no tokenizer: carried on as they are. */
static pare_status check_templates(pare_vocab *v, const pare_meta *meta, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < meta->n && st == PARE_OK; i++) {
        pare_str key = meta->values[i].key;
        if (pare_str_equal(key, template_key) || starts_with(key, "tokenizer.chat_template."))
            st = read_template(v, NULL, &meta->values[i], path, err);
    }
    return st;
}

pare_status pare_vocab_from_meta(pare_vocab *v, const pare_meta *meta, const char *path, bool *found, pare_error *err)
{
    *v = (pare_vocab){0};
    *found = pare_meta_find(meta, rows[0].key) != NULL;
    pare_vocab_init(v);
    pare_status st = *found ? fill(v, meta, path, err) : check_templates(v, meta, path, err);
    if (st != PARE_OK || !*found)
        pare_vocab_close(v);
    else
        pare_vocab_complete(v);
    return st;
}

static int64_t control_at(const pare_vocab *v, uint32_t id)
{
    return id < v->n_tokens && pare_vocab_type(v, id) == PARE_TOKEN_CONTROL ? (int64_t)id : PARE_TOKEN_NONE;
}

void pare_vocab_complete(pare_vocab *v)
{
    if (!v->ends_listed)
        find_ends(v);
    if (pare_vocab_is_marked_bpe(v))
        return;
    if (v->kind == PARE_VOCAB_SPM && v->bos == PARE_TOKEN_NONE)
        v->bos = control_at(v, 1);
    if (v->kind == PARE_VOCAB_SPM && v->eos == PARE_TOKEN_NONE)
        v->eos = control_at(v, 2);
}

pare_status pare_vocab_to_meta(const pare_vocab *v, pare_meta *meta, pare_error *err)
{
    bool written[N_ROWS] = {false};
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < v->n_keys && st == PARE_OK; i++) {
        const key_row *row = &rows[v->key_order[i]];
        written[v->key_order[i]] = true;
        st = row->write(v, row, meta, err);
    }
    for (size_t i = 0; i < N_ROWS && st == PARE_OK; i++)
        if (!written[i])
            st = rows[i].write(v, &rows[i], meta, err);
    return st;
}
