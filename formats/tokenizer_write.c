/* formats/tokenizer_write.c - a vocabulary as tokenizer.json and tokenizer_config.json of the `tokenizers` library */
#include "core/output.h"
#include "formats/tokenizer_files.h"
#include "formats/tokenizer_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char mark[] = "\xe2\x96\x81"; /* U+2581 */

/* jansson says NULL or -1 when memory is short and takes NULL values for a failure of their own: one check at the end
 * of a document is enough. */
static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for tokenizer.json");
}

static json_t *text(pare_str s)
{
    return json_stringn(s.data, s.len);
}

/* list += item; a failure closes the list and gives NULL. */
static json_t *with(json_t *list, json_t *item)
{
    if (list != NULL && json_array_append_new(list, item) == 0)
        return list;
    json_decref(list);
    return NULL;
}

/* The rows that pad the embedding behind the last token are no tokens of the file: reading it makes them again. */
static uint32_t n_real_tokens(const pare_vocab *v)
{
    uint32_t n = v->n_tokens;
    while (n > 0 && pare_vocab_type(v, n - 1) == PARE_TOKEN_UNUSED)
        n--;
    return n;
}

static bool is_added(pare_token_type type)
{
    return type == PARE_TOKEN_CONTROL || type == PARE_TOKEN_USER_DEFINED || type == PARE_TOKEN_UNKNOWN;
}

/* in[id] for tokens that are a piece of a merge or made by one. */
static pare_status mark_merged(const pare_vocab *v, bool *in, pare_error *err)
{
    pare_index ids = {0};
    pare_buf joined = {0};
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++)
        st = pare_index_add(&ids, v->tokens[i], i, NULL, err);
    for (uint32_t i = 0; i < v->n_merges && st == PARE_OK; i++) {
        pare_str m = v->merges[i];
        size_t left = (size_t)((const char *)memchr(m.data, ' ', m.len) - m.data); /* checked when it was read */
        joined.len = 0;
        st = pare_buf_put(&joined, m.data, left, err);
        if (st == PARE_OK)
            st = pare_buf_put(&joined, m.data + left + 1, m.len - left - 1, err);
        if (st != PARE_OK)
            break;
        const pare_str texts[] = {{m.data, left}, {m.data + left + 1, m.len - left - 1}, {joined.data, joined.len}};
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
            int64_t id = pare_index_find(&ids, texts[k]);
            if (id >= 0)
                in[id] = true;
        }
    }
    pare_buf_close(&joined);
    pare_index_close(&ids);
    return st;
}

/* Added tokens behind all others that no merge knows stand outside of a byte-level model, as in published files: with
 * ignore_merges a pre-token would become one of them otherwise. */
static pare_status n_model_tokens(const pare_vocab *v, uint32_t *n, pare_error *err)
{
    *n = n_real_tokens(v);
    if (v->kind != PARE_VOCAB_BPE)
        return PARE_OK;
    bool *merged = calloc(v->n_tokens, sizeof *merged);
    if (merged == NULL)
        return no_memory(err);
    pare_status st = mark_merged(v, merged, err);
    while (st == PARE_OK && *n > 1 && is_added(pare_vocab_type(v, *n - 1)) && !merged[*n - 1])
        --*n;
    free(merged);
    return st;
}

static pare_status put_vocab(const pare_vocab *v, json_t *vocab, pare_error *err)
{
    uint32_t n = 0;
    pare_status st = n_model_tokens(v, &n, err);
    if (st != PARE_OK)
        return st;
    for (uint32_t i = 0; i < n; i++) {
        pare_str s = v->tokens[i];
        size_t bad = 0;
        if (!pare_utf8_valid(s.data, s.len, &bad))
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "token %" PRIu32 " is not UTF-8, which tokenizer.json cannot hold", i);
        if (json_object_getn(vocab, s.data, s.len) != NULL)
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "token %" PRIu32 " '%.*s' is there twice, which tokenizer.json cannot hold", i,
                             s.len > 64 ? 64 : (int)s.len, s.data);
        if (json_object_setn_new(vocab, s.data, s.len, json_integer(i)) != 0)
            return no_memory(err);
    }
    return PARE_OK;
}

static json_t *added_token(const pare_vocab *v, uint32_t id, bool with_id)
{
    unsigned attrs = v->attrs == NULL ? 0 : v->attrs[id];
    json_t *t = json_pack("{s:o, s:b, s:b, s:b, s:b, s:b}", "content", text(v->tokens[id]), "special",
                          pare_vocab_type(v, id) != PARE_TOKEN_USER_DEFINED, "lstrip", (attrs & PARE_TOKEN_LSTRIP) != 0,
                          "rstrip", (attrs & PARE_TOKEN_RSTRIP) != 0, "normalized",
                          (attrs & PARE_TOKEN_NORMALIZED) != 0, "single_word", (attrs & PARE_TOKEN_SINGLE_WORD) != 0);
    if (t != NULL && with_id && json_object_set_new(t, "id", json_integer(id)) != 0) {
        json_decref(t);
        return NULL;
    }
    return t;
}

static json_t *added_tokens(const pare_vocab *v)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < v->n_tokens && list != NULL; i++)
        if (is_added(pare_vocab_type(v, i)))
            list = with(list, added_token(v, i, true));
    return list;
}

static json_t *listed_merges(const pare_vocab *v)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < v->n_merges && list != NULL; i++)
        list = with(list, text(v->merges[i]));
    return list;
}

enum { MAX_CUT_TOKEN = 4096 }; /* bytes; the work is quadratic in them */

/* A way to make a token out of two pieces. */
typedef struct cut {
    float score;
    uint32_t id, left, right;
    uint32_t at; /* bytes of the left piece */
} cut;

static int by_score(const void *a, const void *b)
{
    const cut *x = a, *y = b;
    if (x->score != y->score)
        return (x->score < y->score) - (x->score > y->score);
    if (x->id != y->id)
        return (x->id > y->id) - (x->id < y->id);
    return x->left != y->left ? (x->left > y->left) - (x->left < y->left)
                              : (x->right > y->right) - (x->right < y->right);
}

static bool is_piece(const pare_vocab *v, int64_t id)
{
    pare_token_type type = id < 0 ? PARE_TOKEN_UNUSED : pare_vocab_type(v, (uint32_t)id);
    return type == PARE_TOKEN_NORMAL || type == PARE_TOKEN_USER_DEFINED;
}

typedef struct cuts {
    cut *list;
    size_t n, cap;
} cuts;

static pare_status cut_token(const pare_vocab *v, const pare_index *ids, uint32_t id, cuts *c, pare_error *err)
{
    pare_str s = v->tokens[id];
    if (s.len > MAX_CUT_TOKEN)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "token %" PRIu32 " of %zu bytes, at most %d can be given merges",
                         id, s.len, MAX_CUT_TOKEN);
    for (size_t i = 1; i < s.len; i++) {
        if (((unsigned char)s.data[i] & 0xc0) == 0x80)
            continue;
        int64_t left = pare_index_find(ids, (pare_str){s.data, i});
        int64_t right = pare_index_find(ids, (pare_str){s.data + i, s.len - i});
        if (!is_piece(v, left) || !is_piece(v, right))
            continue;
        if (c->n == c->cap) {
            size_t cap = c->cap < 4096 ? 4096 : c->cap * 2;
            cut *list = realloc(c->list, cap * sizeof *list);
            if (list == NULL)
                return no_memory(err);
            c->list = list;
            c->cap = cap;
        }
        c->list[c->n++] =
            (cut){v->scores == NULL ? 0 : v->scores[id], id, (uint32_t)left, (uint32_t)right, (uint32_t)i};
    }
    return PARE_OK;
}

/* Scores as merges: every way to cut a piece in two pieces, the best score first. */
static pare_status scored_merges(const pare_vocab *v, json_t **out, pare_error *err)
{
    pare_index ids = {0};
    cuts c = {0};
    pare_buf line = {0};
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++)
        st = pare_index_add(&ids, v->tokens[i], i, NULL, err);
    for (uint32_t i = 0; i < v->n_tokens && st == PARE_OK; i++)
        if (is_piece(v, i))
            st = cut_token(v, &ids, i, &c, err);
    if (c.n > 0)
        qsort(c.list, c.n, sizeof *c.list, by_score);
    *out = json_array();
    for (size_t i = 0; i < c.n && st == PARE_OK && *out != NULL; i++) {
        pare_str s = v->tokens[c.list[i].id];
        line.len = 0;
        st = pare_buf_put(&line, s.data, c.list[i].at, err);
        if (st == PARE_OK)
            st = pare_buf_puts(&line, " ", err);
        if (st == PARE_OK)
            st = pare_buf_put(&line, s.data + c.list[i].at, s.len - c.list[i].at, err);
        if (st == PARE_OK && memchr(s.data, ' ', s.len) == NULL)
            *out = with(*out, text((pare_str){line.data, line.len}));
    }
    if (st == PARE_OK && *out == NULL)
        st = no_memory(err);
    pare_buf_close(&line);
    free(c.list);
    pare_index_close(&ids);
    return st;
}

static json_t *form_json(pare_normalizer form)
{
    return form == PARE_NORMALIZE_NONE ? json_null() : json_pack("{s:s}", "type", pare_normalizer_name(form));
}

static json_t *byte_level(bool prefix, bool use_regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix, "trim_offsets", 1,
                     "use_regex", use_regex);
}

static json_t *step_json(const pare_vocab *v, const pare_pre_step *s)
{
    switch (s->kind) {
    case PARE_PRE_SPLIT:
        return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", s->pattern, "behavior",
                         "Isolated", "invert", 0);
    case PARE_PRE_DIGITS:
        return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", s->flag);
    case PARE_PRE_PUNCTUATION:
        return json_pack("{s:s, s:s}", "type", "Punctuation", "behavior", s->flag ? "Contiguous" : "Isolated");
    case PARE_PRE_BYTE_LEVEL:
        return byte_level(v->byte_prefix == 1, s->flag);
    case PARE_PRE_END:
        break;
    }
    return NULL;
}

static json_t *steps_json(const pare_vocab *v, const pare_pretokenizer *row)
{
    json_t *list = json_array();
    for (const pare_pre_step *s = row->steps; s->kind != PARE_PRE_END && list != NULL; s++)
        list = with(list, step_json(v, s));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}

static json_t *replace_spaces(bool back)
{
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", back ? mark : " ", "content",
                     back ? " " : mark);
}

/* One part as it is, several as a Sequence, none as null. */
static json_t *sequence(const char *name, json_t *parts)
{
    size_t n = json_array_size(parts);
    json_t *one = n == 1 ? json_incref(json_array_get(parts, 0)) : NULL;
    if (parts != NULL && n > 1)
        return json_pack("{s:s, s:o}", "type", "Sequence", name, parts);
    json_decref(parts);
    return parts == NULL ? NULL : n == 0 ? json_null() : one;
}

/* normalizer, pre_tokenizer and decoder of a SentencePiece vocabulary into doc. */
static int put_spm_rules(const pare_vocab *v, json_t *doc)
{
    static const char *const schemes[] = {
        [PARE_PREFIX_EACH] = "always", [PARE_PREFIX_MISSING] = "always", [PARE_PREFIX_FIRST] = "first"};
    bool prefix = v->add_space_prefix != 0, late = v->prefix_rule != PARE_PREFIX_EACH;
    json_t *normalizers = json_array(), *pre = json_null(), *decoders;
    if (v->normalizer > PARE_NORMALIZE_NONE)
        normalizers = with(normalizers, form_json((pare_normalizer)v->normalizer));
    if (late || v->split_spaces == 1)
        pre = json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", mark, "prepend_scheme",
                        prefix ? schemes[v->prefix_rule] : "never", "split", v->split_spaces == 1);
    else if (prefix)
        normalizers = with(normalizers, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", mark));
    if (json_is_null(pre))
        normalizers = with(normalizers, replace_spaces(false));
    decoders = json_pack("[o, {s:s}, {s:s}]", replace_spaces(true), "type", "ByteFallback", "type", "Fuse");
    if (prefix)
        decoders =
            with(decoders, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    return json_object_set_new(doc, "normalizer", sequence("normalizers", normalizers)) |
           json_object_set_new(doc, "pre_tokenizer", pre) |
           json_object_set_new(doc, "decoder", json_pack("{s:s, s:o}", "type", "Sequence", "decoders", decoders));
}

int pare_bytelevel_rules(const pare_vocab *v, const pare_pretokenizer *row, json_t *doc)
{
    pare_normalizer form = v->normalizer < 0 ? row->normalizer : (pare_normalizer)v->normalizer;
    return json_object_set_new(doc, "normalizer", form_json(form)) |
           json_object_set_new(doc, "pre_tokenizer", steps_json(v, row)) |
           json_object_set_new(doc, "decoder", byte_level(true, true));
}

/* BOS and EOS around one text. */
static json_t *template_json(const pare_vocab *v, bool bos, bool eos)
{
    json_t *single = json_array(), *pair = json_array(), *tokens = json_object();
    const char *const names[] = {"A", "B"};
    for (int t = 0; t < 2; t++) {
        for (int edge = 0; edge < 3; edge++) {
            int64_t id = edge == 0 ? v->bos : v->eos;
            if ((edge == 0 && !bos) || (edge == 2 && !eos))
                continue;
            for (int both = t; both < 2; both++) {
                json_t *item =
                    edge == 1 ? json_pack("{s:{s:s, s:i}}", "Sequence", "id", names[t], "type_id", t)
                              : json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", text(v->tokens[id]), "type_id", t);
                if (both == 0)
                    single = with(single, item);
                else
                    pair = with(pair, item);
            }
            if (edge != 1)
                json_object_setn_new(tokens, v->tokens[id].data, v->tokens[id].len,
                                     json_pack("{s:o, s:[I], s:[o]}", "id", text(v->tokens[id]), "ids", (json_int_t)id,
                                               "tokens", text(v->tokens[id])));
        }
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", tokens);
}

static json_t *processor_json(const pare_vocab *v, bool add_bos)
{
    bool bos = add_bos && v->bos >= 0, eos = v->add_eos > 0 && v->eos >= 0;
    json_t *edges = bos || eos ? template_json(v, bos, eos) : NULL;
    if (v->kind != PARE_VOCAB_BPE)
        return edges == NULL ? json_null() : edges;
    json_t *bytes = byte_level(true, true);
    return edges == NULL ? bytes : json_pack("{s:s, s:[o, o]}", "type", "Sequence", "processors", bytes, edges);
}

/* The text of a special token, or null. */
static json_t *special(const pare_vocab *v, int64_t id)
{
    return id < 0 || id >= v->n_tokens ? json_null() : text(v->tokens[id]);
}

static pare_status model_json(const pare_vocab *v, const pare_pretokenizer *row, json_t **out, pare_error *err)
{
    bool spm = v->kind == PARE_VOCAB_SPM, bytes = false;
    if (v->kind == PARE_VOCAB_UGM)
        return pare_unigram_model(v, n_real_tokens(v), out, err);
    json_t *vocab = json_object(), *merges = NULL;
    pare_status st = vocab == NULL ? no_memory(err) : put_vocab(v, vocab, err);
    if (st == PARE_OK && v->kind == PARE_VOCAB_WPM)
        return (*out = pare_wordpiece_model(v, vocab)) != NULL ? PARE_OK : no_memory(err);
    for (uint32_t i = 0; i < v->n_tokens && spm && !bytes; i++)
        bytes = pare_vocab_type(v, i) == PARE_TOKEN_BYTE;
    if (st == PARE_OK && spm && v->n_merges == 0)
        st = scored_merges(v, &merges, err);
    else if (st == PARE_OK)
        merges = listed_merges(v);
    bool ignore = !spm && (v->ignore_merges < 0 ? row->ignore_merges : v->ignore_merges != 0);
    if (st != PARE_OK) {
        json_decref(vocab);
        return st;
    }
    *out = json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     special(v, spm ? v->unk : v->missing), "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", spm && v->unk_each != 1, "byte_fallback", bytes, "ignore_merges", ignore, "vocab",
                     vocab, "merges", merges);
    return *out == NULL ? no_memory(err) : PARE_OK;
}

static pare_status write_json(const char *dir, const char *name, const json_t *doc, pare_error *err)
{
    pare_buf path = {0}, bytes = {0};
    pare_status st = pare_buf_printf(&path, err, "%s/%s", dir, name);
    if (st == PARE_OK)
        st = pare_json_dump(doc, &bytes, err);
    if (st == PARE_OK)
        st = pare_output_file(path.data, bytes.data, bytes.len, 0, err);
    pare_buf_close(&path);
    pare_buf_close(&bytes);
    return st;
}

static int put_rules(const pare_vocab *v, const pare_pretokenizer *row, json_t *doc)
{
    if (v->kind == PARE_VOCAB_BPE)
        return pare_bytelevel_rules(v, row, doc);
    return v->kind == PARE_VOCAB_SPM   ? put_spm_rules(v, doc)
           : v->kind == PARE_VOCAB_UGM ? pare_unigram_rules(v, doc)
                                       : pare_wordpiece_rules(v, doc);
}

static pare_status write_tokenizer(const pare_vocab *v, const pare_pretokenizer *row, const char *dir, pare_error *err)
{
    bool usual_bos = v->kind == PARE_VOCAB_SPM || (row != NULL && row->add_bos);
    bool add_bos = v->add_bos < 0 ? usual_bos : v->add_bos != 0;
    json_t *model = NULL, *doc = NULL;
    pare_status st = model_json(v, row, &model, err);
    if (st != PARE_OK)
        return st;
    doc = json_pack("{s:s, s:n, s:n, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding", "added_tokens",
                    added_tokens(v), "post_processor", processor_json(v, add_bos), "model", model);
    if (doc == NULL || put_rules(v, row, doc) != 0)
        st = no_memory(err);
    if (st == PARE_OK)
        st = write_json(dir, "tokenizer.json", doc, err);
    json_decref(doc);
    return st;
}

static json_t *templates_json(const pare_vocab *v)
{
    if (v->n_named_templates == 0)
        return text(v->chat_template);
    json_t *list = json_array();
    if (v->chat_template.data != NULL)
        list = with(list, json_pack("{s:s, s:o}", "name", "default", "template", text(v->chat_template)));
    for (uint32_t i = 0; i < v->n_named_templates; i++)
        list = with(list, json_pack("{s:o, s:o}", "name", text(v->named_templates[i].name), "template",
                                    text(v->named_templates[i].text)));
    return list;
}

static pare_status write_config(const pare_vocab *v, const char *dir, pare_error *err)
{
    const struct {
        const char *key;
        int64_t id;
    } ids[] = {{"bos_token", v->bos}, {"eos_token", v->eos}, {"unk_token", v->unk},  {"sep_token", v->sep},
               {"pad_token", v->pad}, {"cls_token", v->cls}, {"mask_token", v->mask}};
    const struct {
        const char *key;
        int value;
    } flags[] = {{"add_bos_token", v->add_bos}, {"add_eos_token", v->add_eos}};
    json_t *added = json_object();
    int bad = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        char key[16];
        if (!is_added(pare_vocab_type(v, i)))
            continue;
        snprintf(key, sizeof key, "%" PRIu32, i);
        bad |= json_object_set_new(added, key, added_token(v, i, false));
    }
    json_t *doc = json_pack("{s:s, s:b, s:o}", "tokenizer_class", "PreTrainedTokenizerFast",
                            "clean_up_tokenization_spaces", 0, "added_tokens_decoder", added);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i].id >= 0 && ids[i].id < v->n_tokens)
            bad |= json_object_set_new(doc, ids[i].key, text(v->tokens[ids[i].id]));
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (flags[i].value >= 0)
            bad |= json_object_set_new(doc, flags[i].key, json_boolean(flags[i].value));
    if (v->chat_template.data != NULL || v->n_named_templates > 0)
        bad |= json_object_set_new(doc, "chat_template", templates_json(v));
    pare_status st = doc == NULL || bad != 0 ? no_memory(err) : write_json(dir, "tokenizer_config.json", doc, err);
    json_decref(doc);
    return st;
}

pare_status pare_tokenizer_files_write(const pare_vocab *v, const char *dir, pare_error *err)
{
    const pare_pretokenizer *row = v->kind == PARE_VOCAB_BPE ? pare_pretokenizer_find(v->pre) : NULL;
    pare_vocab hub = *v; /* with the Hub's spelling of tokens */
    pare_arena spelled = {0};
    if (v->kind == PARE_VOCAB_UNKNOWN || (v->kind == PARE_VOCAB_UGM && v->scores == NULL))
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "tokenizer '%.*s' cannot be written as tokenizer.json",
                         (int)v->model.len, v->model.len > 0 ? v->model.data : "");
    if (v->kind == PARE_VOCAB_BPE && row == NULL)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "pre-tokenizer '%.*s' cannot be written as tokenizer.json",
                         (int)v->pre.len, v->pre.len > 0 ? v->pre.data : "");
    if (v->kind == PARE_VOCAB_SPM && v->remove_extra_whitespaces == 1)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "remove_extra_whitespaces cannot be written as tokenizer.json");
    pare_status st = v->kind == PARE_VOCAB_WPM ? pare_wordpiece_hub_tokens(&hub, &spelled, err) : PARE_OK;
    if (st == PARE_OK)
        st = write_tokenizer(&hub, row, dir, err);
    if (st == PARE_OK)
        st = write_config(&hub, dir, err);
    pare_arena_close(&spelled);
    return st;
}
