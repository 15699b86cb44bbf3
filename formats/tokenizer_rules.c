/* formats/tokenizer_rules.c - the parts of tokenizer.json that say how text is treated: only what pare runs is accepted
 * The parts and their fields: huggingface/tokenizers, src/normalizers, pre_tokenizers, decoders, processors. */
#include "formats/tokenizer_parts.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <openssl/evp.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

static const char mark[] = "\xe2\x96\x81"; /* U+2581 */

static bool is_text(const json_t *obj, const char *key, const char *text)
{
    return pare_json_is(json_object_get(obj, key), text);
}

pare_status pare_check_regex(const char *pattern, size_t len, const char *path, const char *what, pare_error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    PCRE2_UCHAR why[160] = {0};
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, len, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    bool good = compiled != NULL;
    pcre2_code_free(compiled);
    if (good)
        return PARE_OK;
    pcre2_get_error_message(code, why, sizeof why);
    return pare_fail(err, code == PCRE2_ERROR_HEAP_FAILED ? PARE_ERR_MEMORY : PARE_ERR_FORMAT,
                     "%s: %s: the pattern '%.*s' does not compile: at byte %zu of %zu: %s", path, what,
                     (int)(len < 300 ? len : 300), pattern, (size_t)at, len, (const char *)why);
}

/* A part that pare does not run: its pattern, if it has one, is looked at all the same, because what does not compile
 * is damaged and not merely unknown. */
static pare_status unsupported(const json_t *part, const char *path, const char *what, pare_error *err)
{
    const json_t *regex = json_object_get(json_object_get(part, "pattern"), "Regex");
    pare_status st = json_is_string(regex)
                         ? pare_check_regex(json_string_value(regex), json_string_length(regex), path, what, err)
                         : PARE_OK;
    if (st != PARE_OK)
        return st;
    char *text = json_dumps(part, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: %s is not supported: %.600s", path, what, text == NULL ? "?" : text);
    free(text);
    return st;
}

typedef pare_status read_part(const json_t *part, const char *path, pare_tokenizer_rules *out, pare_error *err);

/* Apply read to a part, or to each part inside when it is a Sequence. One level: nobody nests deeper. */
static pare_status each_part(const json_t *part, const char *path, const char *what, const char *list, read_part *read,
                             pare_tokenizer_rules *out, pare_error *err)
{
    pare_status st = PARE_OK;
    if (part == NULL || json_is_null(part))
        return PARE_OK;
    if (!json_is_string(json_object_get(part, "type")))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %s without a type", path, what);
    if (!is_text(part, "type", "Sequence"))
        return read(part, path, out, err);
    const json_t *parts = json_object_get(part, list);
    if (!json_is_array(parts))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %s: Sequence without '%s'", path, what, list);
    for (size_t i = 0; i < json_array_size(parts) && st == PARE_OK; i++)
        st = read(json_array_get(parts, i), path, out, err);
    return st;
}

static bool flag(const json_t *part, const char *key, bool absent)
{
    const json_t *v = json_object_get(part, key);
    return json_is_boolean(v) ? json_is_true(v) : absent;
}

static void read_bert_normalizer(const json_t *part, pare_tokenizer_rules *out)
{
    out->bert_normalizer = true;
    out->clean_text = flag(part, "clean_text", true);
    out->split_ideographs = flag(part, "handle_chinese_chars", true);
    out->lowercase = flag(part, "lowercase", true);
    out->strip_accents =
        json_is_boolean(json_object_get(part, "strip_accents")) ? flag(part, "strip_accents", false) : -1;
}

/* What a SentencePiece model's own normalizer is taken apart into. */
static bool read_spm_normalizer(const json_t *part, pare_tokenizer_rules *out)
{
    const json_t *pattern = json_object_get(part, "pattern");
    if (is_text(part, "type", "Precompiled")) {
        out->charsmap = pare_text_of(json_object_get(part, "precompiled_charsmap"));
        return out->charsmap.data != NULL;
    }
    if (is_text(part, "type", "Strip"))
        return out->trim_whites = flag(part, "strip_right", true);
    if (is_text(part, "type", "Replace") && is_text(pattern, "Regex", "^ +| +$") && is_text(part, "content", ""))
        return out->squeeze_spaces = true;
    if (is_text(part, "type", "Replace") && (is_text(pattern, "Regex", " {2,}") || is_text(pattern, "String", "  ")) &&
        (is_text(part, "content", mark) || is_text(part, "content", " "))) {
        out->squeeze_spaces = true;
        return true;
    }
    return false;
}

static pare_status read_normalizer(const json_t *part, const char *path, pare_tokenizer_rules *out, pare_error *err)
{
    /* One form, and in front: NFKC behind Replace would make spaces that are no marks. */
    for (int form = PARE_NORMALIZE_NFC; form <= PARE_NORMALIZE_MAX; form++)
        if (is_text(part, "type", pare_normalizer_name((pare_normalizer)form)) &&
            out->normalizer == PARE_NORMALIZE_NONE && !out->replace_spaces) {
            out->normalizer = (pare_normalizer)form;
            return PARE_OK;
        }
    if (is_text(part, "type", "Prepend") && is_text(part, "prepend", mark)) {
        out->prepend = true;
        return PARE_OK;
    }
    if (is_text(part, "type", "Replace") && is_text(json_object_get(part, "pattern"), "String", " ") &&
        is_text(part, "content", mark)) {
        out->replace_spaces = true;
        return PARE_OK;
    }
    if (is_text(part, "type", "BertNormalizer")) {
        read_bert_normalizer(part, out);
        return PARE_OK;
    }
    return read_spm_normalizer(part, out) ? PARE_OK : unsupported(part, path, "normalizer", err);
}

static pare_status add_step(pare_tokenizer_rules *out, const json_t *part, pare_pre_step step, const char *path,
                            pare_error *err)
{
    if (out->n_steps == PARE_PRE_MAX_STEPS)
        return unsupported(part, path, "pre_tokenizer of more than 8 steps", err);
    out->steps[out->n_steps++] = step;
    return PARE_OK;
}

/* "Split": isolated matches. The inverted form that removes what does not match is the same where all text matches. */
static pare_status read_split(const json_t *part, const char *path, pare_tokenizer_rules *out, pare_error *err)
{
    const json_t *pattern = json_object_get(part, "pattern");
    const pare_str text = pare_text_of(json_object_get(pattern, "Regex"));
    const char *regex = text.data != NULL && memchr(text.data, 0, text.len) == NULL ? text.data : NULL;
    bool invert = json_is_true(json_object_get(part, "invert"));
    if (is_text(pattern, "String", " ") && out->replace_spaces)
        return PARE_OK; /* no space is left */
    static const char rest[] = "|\\s+";
    bool covers = regex != NULL && text.len >= sizeof rest && strcmp(regex + text.len - (sizeof rest - 1), rest) == 0;
    if (regex == NULL || !((is_text(part, "behavior", "Isolated") && !invert) ||
                           (is_text(part, "behavior", "Removed") && invert && covers)))
        return unsupported(part, path, "pre_tokenizer", err);
    return add_step(out, part, (pare_pre_step){PARE_PRE_SPLIT, false, regex}, path, err);
}

/* Old form: add_prefix_space; new form: prepend_scheme and split. */
static pare_status read_metaspace(const json_t *part, const char *path, pare_tokenizer_rules *out, pare_error *err)
{
    const json_t *split = json_object_get(part, "split"), *scheme = json_object_get(part, "prepend_scheme");
    bool prefix = !json_is_false(json_object_get(part, "add_prefix_space"));
    if (!is_text(part, "replacement", mark))
        return unsupported(part, path, "pre_tokenizer", err);
    out->metaspace = true;
    out->split_spaces = !json_is_false(split);
    out->prefix_rule = is_text(part, "prepend_scheme", "first") ? PARE_PREFIX_FIRST : PARE_PREFIX_MISSING;
    out->prefix = (scheme == NULL || json_is_null(scheme)) ? prefix : !is_text(part, "prepend_scheme", "never");
    return PARE_OK;
}

static pare_status read_pre_tokenizer(const json_t *part, const char *path, pare_tokenizer_rules *out, pare_error *err)
{
    if (is_text(part, "type", "Split"))
        return read_split(part, path, out, err);
    if (is_text(part, "type", "Metaspace"))
        return read_metaspace(part, path, out, err);
    if (is_text(part, "type", "BertPreTokenizer")) {
        out->bert_words = true;
        return PARE_OK;
    }
    if (is_text(part, "type", "WhitespaceSplit")) {
        out->squeeze_spaces = out->split_whites = true;
        return PARE_OK;
    }
    if (is_text(part, "type", "Digits"))
        return add_step(
            out, part, (pare_pre_step){PARE_PRE_DIGITS, json_is_true(json_object_get(part, "individual_digits")), NULL},
            path, err);
    if (is_text(part, "type", "Punctuation") && is_text(part, "behavior", "Contiguous"))
        return add_step(out, part, (pare_pre_step){PARE_PRE_PUNCTUATION, true, NULL}, path, err);
    if (is_text(part, "type", "Punctuation") &&
        (json_object_get(part, "behavior") == NULL || is_text(part, "behavior", "Isolated")))
        return add_step(out, part, (pare_pre_step){PARE_PRE_PUNCTUATION, false, NULL}, path, err);
    if (is_text(part, "type", "ByteLevel") && !out->byte_level) {
        out->byte_level = true;
        out->byte_prefix = !json_is_false(json_object_get(part, "add_prefix_space"));
        return add_step(out, part,
                        (pare_pre_step){PARE_PRE_BYTE_LEVEL, !json_is_false(json_object_get(part, "use_regex")), NULL},
                        path, err);
    }
    return unsupported(part, path, "pre_tokenizer", err);
}

static pare_status known_type(const json_t *part, const char *path, const char *what, const char *const *known,
                              pare_error *err)
{
    for (; *known != NULL; known++)
        if (is_text(part, "type", *known))
            return PARE_OK;
    return unsupported(part, path, what, err);
}

static pare_status read_decoder(const json_t *part, const char *path, pare_tokenizer_rules *out, pare_error *err)
{
    static const char *const known[] = {"ByteLevel", "Replace",   "ByteFallback", "Fuse",
                                        "Strip",     "Metaspace", "WordPiece",    NULL};
    (void)out;
    return known_type(part, path, "decoder", known, err);
}

static pare_status read_processor(const json_t *part, const char *path, pare_tokenizer_rules *out, pare_error *err)
{
    static const char *const known[] = {"ByteLevel", "TemplateProcessing", "BertProcessing", "RobertaProcessing", NULL};
    (void)out;
    return known_type(part, path, "post_processor", known, err);
}

pare_status pare_tokenizer_rules_read(const json_t *root, const char *path, pare_tokenizer_rules *out, pare_error *err)
{
    static const struct {
        const char *key, *list;
        read_part *read;
    } parts[] = {{"normalizer", "normalizers", read_normalizer},
                 {"pre_tokenizer", "pretokenizers", read_pre_tokenizer},
                 {"decoder", "decoders", read_decoder},
                 {"post_processor", "processors", read_processor}};
    pare_status st = PARE_OK;
    *out = (pare_tokenizer_rules){0};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && st == PARE_OK; i++)
        st = each_part(json_object_get(root, parts[i].key), path, parts[i].key, parts[i].list, parts[i].read, out, err);
    return st;
}

static pare_status decode_map(pare_str text, pare_vocab *v, const char *path, pare_error *err)
{
    size_t n = text.len, n_pad = n > 1 ? (size_t)(text.data[n - 1] == '=') + (text.data[n - 2] == '=') : 0;
    if (n == 0)
        return PARE_OK;
    uint8_t *bytes = n < INT32_MAX ? pare_arena_alloc(&v->arena, n, err) : NULL;
    if (bytes == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a character map of %zu bytes", path, n);
    int decoded = EVP_DecodeBlock(bytes, (const unsigned char *)text.data, (int)n);
    if (decoded < (int)n_pad)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: normalizer: precompiled_charsmap is no base64", path);
    v->charsmap = bytes;
    v->charsmap_bytes = (uint32_t)decoded - (uint32_t)n_pad;
    return PARE_OK;
}

pare_status pare_tokenizer_rules_apply(const pare_tokenizer_rules *rules, pare_vocab *v, const char *path,
                                       pare_error *err)
{
    if (v->kind == PARE_VOCAB_WPM) {
        v->lowercase = rules->lowercase;
        v->strip_accents = rules->strip_accents;
        v->clean_text = rules->clean_text ? -1 : 0;
        v->split_ideographs = rules->split_ideographs ? -1 : 0;
        return PARE_OK;
    }
    v->split_spaces = rules->split_spaces ? 1 : -1;
    v->normalizer = (int)rules->normalizer;
    if (v->kind == PARE_VOCAB_BPE) {
        v->ignore_merges = rules->ignore_merges;
        v->byte_prefix = rules->byte_prefix ? 1 : -1;
        return PARE_OK;
    }
    v->normalizer = rules->normalizer == PARE_NORMALIZE_NONE ? -1 : v->normalizer;
    bool prefix = rules->metaspace ? rules->prefix != 0 : rules->prepend;
    v->prefix_rule = rules->metaspace ? rules->prefix_rule : PARE_PREFIX_EACH;
    v->add_space_prefix = prefix ? -1 : 0;
    if (v->kind != PARE_VOCAB_UGM)
        return PARE_OK;
    v->add_space_prefix = prefix;
    v->remove_extra_whitespaces = rules->squeeze_spaces;
    v->split_whites = rules->split_whites ? 1 : -1;
    v->trim_whites = rules->trim_whites ? 1 : -1;
    v->map_graphemes = rules->charsmap.data != NULL ? 1 : -1;
    return rules->charsmap.data != NULL ? decode_map(rules->charsmap, v, path, err) : PARE_OK;
}
