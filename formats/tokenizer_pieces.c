/* formats/tokenizer_pieces.c - the parts of tokenizer.json of vocabularies without merges: WordPiece and unigram */
#include "core/json.h"
#include "formats/tokenizer_parts.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const char mark[] = "\xe2\x96\x81"; /* U+2581 */
enum { MARK = sizeof mark - 1 };

static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for tokenizer.json");
}

pare_status pare_wordpiece_hub_tokens(pare_vocab *v, pare_arena *arena, pare_error *err)
{
    pare_str *tokens = pare_arena_alloc(arena, v->n_tokens * sizeof *tokens, err);
    if (tokens == NULL)
        return PARE_ERR_MEMORY;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        pare_str s = v->tokens[i];
        tokens[i] = s;
        if (pare_vocab_type(v, i) == PARE_TOKEN_CONTROL)
            continue;
        if (s.len >= MARK && memcmp(s.data, mark, MARK) == 0) {
            tokens[i] = (pare_str){s.data + MARK, s.len - MARK};
            continue;
        }
        char *inside = pare_arena_alloc(arena, s.len + 2, err);
        if (inside == NULL)
            return PARE_ERR_MEMORY;
        memcpy(inside, "##", 2);
        memcpy(inside + 2, s.data, s.len);
        tokens[i] = (pare_str){inside, s.len + 2};
    }
    v->tokens = tokens;
    return PARE_OK;
}

json_t *pare_wordpiece_model(const pare_vocab *v, json_t *vocab)
{
    pare_str unknown = v->unk >= 0 && v->unk < v->n_tokens ? v->tokens[v->unk] : (pare_str){"[UNK]", 5};
    uint32_t most = v->max_word_chars > 0 ? v->max_word_chars : PARE_WORD_CHARS;
    return json_pack("{s:s, s:o, s:s, s:I, s:o}", "type", "WordPiece", "unk_token",
                     json_stringn(unknown.data, unknown.len), "continuing_subword_prefix", "##",
                     "max_input_chars_per_word", (json_int_t)most, "vocab", vocab);
}

int pare_wordpiece_rules(const pare_vocab *v, json_t *doc)
{
    json_t *accents = v->strip_accents < 0 ? json_null() : json_boolean(v->strip_accents);
    json_t *normalizer = json_pack("{s:s, s:b, s:b, s:o, s:b}", "type", "BertNormalizer", "clean_text",
                                   v->clean_text != 0, "handle_chinese_chars", v->split_ideographs != 0,
                                   "strip_accents", accents, "lowercase", v->lowercase != 0);
    json_t *decoder = json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", "##", "cleanup", 1);
    return json_object_set_new(doc, "normalizer", normalizer) |
           json_object_set_new(doc, "pre_tokenizer", json_pack("{s:s}", "type", "BertPreTokenizer")) |
           json_object_set_new(doc, "decoder", decoder);
}

pare_status pare_unigram_model(const pare_vocab *v, uint32_t n, json_t **out, pare_error *err)
{
    json_t *vocab = json_array();
    bool bytes = false, bad = vocab == NULL;
    for (uint32_t i = 0; i < n && !bad; i++) {
        pare_str s = v->tokens[i];
        bytes = bytes || pare_vocab_type(v, i) == PARE_TOKEN_BYTE;
        bad = json_array_append_new(
                  vocab, json_pack("[o, o]", json_stringn(s.data, s.len), json_real((double)v->scores[i]))) != 0;
    }
    json_t *unknown = v->unk >= 0 ? json_integer(v->unk) : json_null();
    *out = bad ? NULL
               : json_pack("{s:s, s:o, s:o, s:b}", "type", "Unigram", "unk_id", unknown, "vocab", vocab,
                           "byte_fallback", bytes);
    return *out != NULL ? PARE_OK : no_memory(err);
}

/* base64 of the character map */
static json_t *map_json(const pare_vocab *v)
{
    size_t n = (size_t)v->charsmap_bytes;
    unsigned char *encoded = n < INT32_MAX / 2 ? malloc(n / 3 * 4 + 8) : NULL;
    if (encoded == NULL)
        return NULL;
    int len = EVP_EncodeBlock(encoded, v->charsmap, (int)n);
    json_t *out = json_pack("{s:s, s:o}", "type", "Precompiled", "precompiled_charsmap",
                            json_stringn((const char *)encoded, (size_t)len));
    free(encoded);
    return out;
}

static json_t *replace_regex(const char *regex, const char *content)
{
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "Regex", regex, "content", content);
}

int pare_unigram_rules(const pare_vocab *v, json_t *doc)
{
    static const char *const schemes[] = {
        [PARE_PREFIX_EACH] = "always", [PARE_PREFIX_MISSING] = "always", [PARE_PREFIX_FIRST] = "first"};
    const char *scheme = v->add_space_prefix != 0 ? schemes[v->prefix_rule] : "never";
    json_t *steps = json_array();
    int bad = steps == NULL;
    if (v->charsmap != NULL && v->charsmap_bytes > 0)
        bad |= json_array_append_new(steps, map_json(v));
    if (v->trim_whites == 1)
        bad |= json_array_append_new(steps,
                                     json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", 0, "strip_right", 1));
    if (v->remove_extra_whitespaces == 1) {
        bad |= json_array_append_new(steps, replace_regex("^ +| +$", ""));
        bad |= json_array_append_new(steps, replace_regex(" {2,}", " "));
    }
    json_t *space = json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", mark, "prepend_scheme",
                              scheme, "split", v->split_spaces == 1);
    if (v->split_whites == 1)
        space = json_pack("{s:s, s:[{s:s}, o]}", "type", "Sequence", "pretokenizers", "type", "WhitespaceSplit", space);
    json_t *decoder = json_pack("{s:s, s:s, s:s, s:b}", "type", "Metaspace", "replacement", mark, "prepend_scheme",
                                scheme, "split", 1);
    return bad |
           json_object_set_new(doc, "normalizer", json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", steps)) |
           json_object_set_new(doc, "pre_tokenizer", space) | json_object_set_new(doc, "decoder", decoder);
}
