/* formats/tokenizer_lists.c - folders of before tokenizer.json: vocab.json with merges.txt (byte-level BPE), vocab.txt
 * (WordPiece), and what stands around them, as the tokenizer.json that the Hub's library would make of them
 *
 * These files say which pieces there are. How text is treated was code, chosen by tokenizer_class: the published
 * classes are the rows below. Source: huggingface/transformers 5.23, models/NAME/tokenization_NAME.py,
 * tokenization_utils_base.py (which file names the special tokens). */
#include "core/map.h"
#include "formats/safe_path.h"
#include "formats/tokenizer_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BOS, EOS, UNK, SEP, PAD, CLS, MASK, N_NAMES };

static const char *const names[N_NAMES] = {
    [BOS] = "bos_token", [EOS] = "eos_token", [UNK] = "unk_token",  [SEP] = "sep_token",
    [PAD] = "pad_token", [CLS] = "cls_token", [MASK] = "mask_token"};

typedef enum edges {
    EDGES_FLAGS, /* what add_bos_token and add_eos_token say */
    EDGES_ROBERTA,
    EDGES_BERT
} edges;

typedef struct token_class {
    const char *name;               /* tokenizer_class, without "Fast" */
    const char *row;                /* how text is cut (model/pretokenizer.h); NULL: words and WordPiece */
    edges edges;                    /* what is put around a text */
    const char *defaults[N_NAMES];  /* special tokens where no file names them */
    const char *const *model_types; /* of config.json, where no tokenizer_class is given */
} token_class;

#define TYPES (const char *const[])
#define END_OF_TEXT "<|endoftext|>"
#define OF_GPT2                                                                                                        \
    {                                                                                                                  \
        [BOS] = END_OF_TEXT, [EOS] = END_OF_TEXT, [UNK] = END_OF_TEXT                                                  \
    }
#define OF_QWEN                                                                                                        \
    {                                                                                                                  \
        [EOS] = END_OF_TEXT, [UNK] = END_OF_TEXT, [PAD] = END_OF_TEXT                                                  \
    }
#define OF_ROBERTA                                                                                                     \
    {                                                                                                                  \
        [BOS] = "<s>", [EOS] = "</s>", [UNK] = "<unk>", [SEP] = "</s>", [PAD] = "<pad>", [CLS] = "<s>",                \
        [MASK] = "<mask>"                                                                                              \
    }
#define OF_BERT                                                                                                        \
    {                                                                                                                  \
        [UNK] = "[UNK]", [SEP] = "[SEP]", [PAD] = "[PAD]", [CLS] = "[CLS]", [MASK] = "[MASK]"                          \
    }

static const token_class classes[] = {
    {"GPT2Tokenizer", "gpt-2", EDGES_FLAGS, OF_GPT2,
     TYPES{"gpt2", "gptj", "gpt_neo", "gpt_bigcode", "starcoder2", "opt", "phi", NULL}},
    {"CodeGenTokenizer", "gpt-2", EDGES_FLAGS, OF_GPT2, TYPES{"codegen", NULL}},
    {"GPTNeoXTokenizer",
     "olmo",
     EDGES_FLAGS,
     {[BOS] = END_OF_TEXT, [EOS] = END_OF_TEXT, [UNK] = END_OF_TEXT, [PAD] = "<|padding|>"},
     TYPES{"gpt_neox", "mpt", "olmo", "olmoe", NULL}},
    {"Qwen2Tokenizer", "qwen2", EDGES_FLAGS, OF_QWEN,
     TYPES{"qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next", NULL}},
    {"Qwen3_5Tokenizer", "qwen35", EDGES_FLAGS, OF_QWEN,
     TYPES{"qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", NULL}},
    {"CohereTokenizer",
     "command-r",
     EDGES_FLAGS,
     {[BOS] = "<BOS_TOKEN>",
      [EOS] = "<|END_OF_TURN_TOKEN|>",
      [UNK] = "<UNK>",
      [SEP] = "<SEP>",
      [PAD] = "<PAD>",
      [CLS] = "<CLS>",
      [MASK] = "<MASK_TOKEN>"},
     TYPES{"cohere", "cohere2", NULL}},
    {"RobertaTokenizer", "gpt-2", EDGES_ROBERTA, OF_ROBERTA, TYPES{"roberta", "longformer", "bart", NULL}},
    {"LongformerTokenizer", "gpt-2", EDGES_ROBERTA, OF_ROBERTA, NULL},
    {"BartTokenizer", "gpt-2", EDGES_ROBERTA, OF_ROBERTA, NULL},
    {"BertTokenizer", NULL, EDGES_BERT, OF_BERT, TYPES{"bert", "nomic_bert", "distilbert", "electra", NULL}},
    {"DistilBertTokenizer", NULL, EDGES_BERT, OF_BERT, NULL},
    {"ElectraTokenizer", NULL, EDGES_BERT, OF_BERT, NULL},
};

static pare_status no_memory(const char *dir, pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for its tokenizer", dir);
}

/* ---- which class ---- */

static pare_str class_name(const pare_token_lists *in)
{
    pare_str name = pare_text_of(json_object_get(in->tokenizer_config, "tokenizer_class"));
    if (name.data == NULL)
        name = pare_text_of(json_object_get(in->config, "tokenizer_class"));
    if (name.len > 4 && memcmp(name.data + name.len - 4, "Fast", 4) == 0)
        name.len -= 4;
    return name;
}

static pare_status find_class(const pare_token_lists *in, const token_class **out, pare_error *err)
{
    pare_str name = class_name(in), type = pare_text_of(json_object_get(in->config, "model_type"));
    const char *files = in->pieces.data != NULL ? "vocab.txt" : "vocab.json and merges.txt";
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        bool found = name.data != NULL && pare_str_equal(name, classes[i].name);
        const char *const *t = classes[i].model_types;
        for (; name.data == NULL && type.data != NULL && t != NULL && *t != NULL && !found; t++)
            found = pare_str_equal(type, *t);
        if (found && (classes[i].row == NULL) == (in->pieces.data != NULL)) {
            *out = &classes[i];
            return PARE_OK;
        }
    }
    pare_str shown = name.data != NULL ? name : type;
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "%s: %s without tokenizer.json: how text is cut is not known for %s '%.*s'", in->dir, files,
                     name.data != NULL ? "tokenizer_class" : "model_type", shown.len < 64 ? (int)shown.len : 64,
                     shown.data == NULL ? "" : shown.data);
}

/* ---- pieces and merges ---- */

bool pare_next_line(pare_str *rest, pare_str *line)
{
    if (rest->len == 0)
        return false;
    const char *end = memchr(rest->data, '\n', rest->len);
    size_t n = end == NULL ? rest->len : (size_t)(end - rest->data);
    *line = (pare_str){rest->data, n > 0 && rest->data[n - 1] == '\r' ? n - 1 : n};
    n += end != NULL;
    *rest = (pare_str){rest->data + n, rest->len - n};
    return true;
}

/* "left right", best first; "#version" lines say nothing. */
static pare_status read_merges(const pare_token_lists *in, json_t *merges, pare_error *err)
{
    static const char version[] = "#version";
    pare_str rest = in->merges, line;
    for (size_t n = 1; pare_next_line(&rest, &line); n++) {
        if (line.len == 0 || (line.len >= sizeof version - 1 && memcmp(line.data, version, sizeof version - 1) == 0))
            continue;
        const char *space = memchr(line.data, ' ', line.len), *end = line.data + line.len;
        if (space == NULL || space == line.data || space + 1 == end ||
            memchr(space + 1, ' ', (size_t)(end - space - 1)) != NULL)
            return pare_fail(err, PARE_ERR_FORMAT, "%s/merges.txt: line %zu: '%.*s' is not two pieces", in->dir, n,
                             line.len < 64 ? (int)line.len : 64, line.data);
        if (json_array_size(merges) >= PARE_MAX_VOCAB)
            return pare_fail(err, PARE_ERR_RANGE, "%s/merges.txt: more than %d merges", in->dir, PARE_MAX_VOCAB);
        if (json_array_append_new(merges, json_stringn(line.data, line.len)) != 0)
            return no_memory(in->dir, err);
    }
    return PARE_OK;
}

static bool is_space_end(pare_str s)
{
    return s.len > 0 && strchr(" \t\r\v\f", s.data[s.len - 1]) != NULL && s.data[s.len - 1] != 0;
}

/* One piece a line, its place is its id. */
static pare_status read_pieces(const pare_token_lists *in, json_t *vocab, pare_error *err)
{
    pare_str rest = in->pieces, line;
    for (size_t id = 0; pare_next_line(&rest, &line); id++) {
        while (is_space_end(line))
            line.len--;
        if (id >= PARE_MAX_VOCAB)
            return pare_fail(err, PARE_ERR_RANGE, "%s/vocab.txt: more than %d pieces", in->dir, PARE_MAX_VOCAB);
        const json_t *old = json_object_getn(vocab, line.data, line.len);
        if (old != NULL)
            return pare_fail(err, PARE_ERR_FORMAT, "%s/vocab.txt: lines %" PRIu64 " and %zu are both '%.*s'", in->dir,
                             (uint64_t)json_integer_value(old) + 1, id + 1, line.len < 64 ? (int)line.len : 64,
                             line.data);
        if (json_object_setn_new(vocab, line.data, line.len, json_integer((json_int_t)id)) != 0)
            return no_memory(in->dir, err);
    }
    return PARE_OK;
}

/* ---- added tokens ---- */

typedef struct state {
    const pare_token_lists *in;
    const token_class *class;
    json_t *vocab;  /* text -> id */
    json_t *added;  /* added_tokens to be */
    json_t *ids;    /* text -> its entry in added */
    json_t *config; /* tokenizer_config.json with what other files and the class say */
    uint64_t next;  /* behind the largest id */
} state;

static void count_id(state *s, const json_t *id)
{
    if (json_is_integer(id) && json_integer_value(id) >= (json_int_t)s->next && json_integer_value(id) < PARE_MAX_VOCAB)
        s->next = (uint64_t)json_integer_value(id) + 1;
}

/* entry, a new reference with its content, becomes an added token; id NULL: that of the piece, else the next. A text
 * that is added already stays as it is. */
static pare_status put_entry(state *s, json_t *entry, json_t *id, pare_error *err)
{
    pare_str text = pare_text_of(json_object_get(entry, "content"));
    pare_status st = PARE_OK;
    if (entry == NULL)
        st = no_memory(s->in->dir, err);
    else if (text.data == NULL)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: an added token has no text", s->in->dir);
    else if (json_object_getn(s->ids, text.data, text.len) == NULL) {
        const json_t *known = id != NULL ? id : json_object_getn(s->vocab, text.data, text.len);
        if (known == NULL && s->in->n_vocab > 0 && s->next >= s->in->n_vocab) {
            st = pare_warn(err, "%s: special token '%.*s' is no piece, and there is no row for it: it is left out",
                           s->in->dir, text.len < 64 ? (int)text.len : 64, text.data);
        } else {
            json_t *number = known != NULL ? json_deep_copy(known) : json_integer((json_int_t)s->next);
            count_id(s, number);
            if (json_object_set_new(entry, "id", number) != 0 || json_array_append(s->added, entry) != 0 ||
                json_object_setn(s->ids, text.data, text.len, entry) != 0)
                st = no_memory(s->in->dir, err);
        }
    }
    json_decref(entry);
    json_decref(id);
    return st;
}

static json_t *plain_entry(pare_str text, bool special)
{
    return json_pack("{s:o, s:b, s:b}", "content", json_stringn(text.data, text.len), "special", special, "normalized",
                     !special);
}

static pare_str token_text(const json_t *token)
{
    return pare_text_of(json_is_object(token) ? json_object_get(token, "content") : token);
}

/* A special token that a file names: its text, or an object with its flags. */
static pare_status put_named(state *s, const json_t *token, pare_error *err)
{
    json_t *entry = NULL;
    if (token_text(token).len == 0)
        return PARE_OK;
    if (json_is_string(token))
        return put_entry(s, plain_entry(pare_text_of(token), true), NULL, err);
    entry = json_deep_copy(token);
    if (entry != NULL && json_object_set_new(entry, "special", json_true()) != 0) {
        json_decref(entry);
        entry = NULL;
    }
    return put_entry(s, entry, NULL, err);
}

static pare_status put_decoder(state *s, const json_t *decoder, pare_error *err)
{
    const char *key;
    json_t *value;
    pare_status st = PARE_OK;
    json_object_foreach((json_t *)decoder, key, value)
    {
        uint64_t id = 0;
        st = pare_added_token_id(key, s->in->dir, &id, err);
        if (st == PARE_OK)
            st = put_entry(s, json_deep_copy(value), json_integer((json_int_t)id), err);
        if (st != PARE_OK)
            break;
    }
    return st;
}

static const json_t *extra_list(const state *s)
{
    const json_t *list = json_object_get(s->config, "extra_special_tokens");
    return json_is_array(list) ? list : json_object_get(s->config, "additional_special_tokens");
}

static bool same_text(const json_t *token, pare_str text)
{
    pare_str t = token_text(token);
    return t.data != NULL && t.len == text.len && memcmp(t.data, text.data, t.len) == 0;
}

static bool is_named(const state *s, pare_str text)
{
    const json_t *extra = extra_list(s);
    for (int i = 0; i < N_NAMES; i++)
        if (same_text(json_object_get(s->config, names[i]), text))
            return true;
    for (size_t i = 0; i < json_array_size(extra); i++)
        if (same_text(json_array_get(extra, i), text))
            return true;
    return false;
}

/* added_tokens.json: text -> id. */
static pare_status put_file(state *s, pare_error *err)
{
    const char *key;
    size_t len;
    json_t *id;
    pare_status st = PARE_OK;
    json_object_keylen_foreach((json_t *)s->in->added, key, len, id)
    {
        pare_str text = {key, len};
        if (st == PARE_OK)
            st = put_entry(s, plain_entry(text, is_named(s, text)), json_deep_copy(id), err);
    }
    return st;
}

/* special_tokens_map.json counts for files that have no added_tokens_decoder yet; the class fills what is left. */
static pare_status complete_config(state *s, bool legacy, pare_error *err)
{
    bool bad = legacy && s->in->specials != NULL && json_object_update(s->config, (json_t *)s->in->specials) != 0;
    for (int i = 0; i < N_NAMES && !bad; i++)
        if (s->class->defaults[i] != NULL && json_object_get(s->config, names[i]) == NULL)
            bad = json_object_set_new(s->config, names[i], json_string(s->class->defaults[i])) != 0;
    return bad ? no_memory(s->in->dir, err) : PARE_OK;
}

static bool ends_in_token(const char *key)
{
    size_t n = strlen(key);
    return n > 6 && strcmp(key + n - 6, "_token") == 0;
}

static pare_status put_all(state *s, pare_error *err)
{
    const json_t *decoder = json_object_get(s->config, "added_tokens_decoder");
    bool legacy = !json_is_object(decoder);
    const char *key;
    json_t *value;
    pare_status st = legacy ? complete_config(s, true, err) : put_decoder(s, decoder, err);
    if (st == PARE_OK)
        st = legacy ? put_file(s, err) : complete_config(s, false, err);
    for (int i = 0; i < N_NAMES && st == PARE_OK; i++)
        st = put_named(s, json_object_get(s->config, names[i]), err);
    json_object_foreach(s->config, key, value) /* "image_token" and its like */
    {
        if (st == PARE_OK && json_is_string(value) && ends_in_token(key))
            st = put_named(s, value, err);
    }
    const json_t *extra = extra_list(s);
    for (size_t i = 0; i < json_array_size(extra) && st == PARE_OK; i++)
        st = put_named(s, json_array_get(extra, i), err);
    for (int i = 0; i < N_NAMES && st == PARE_OK; i++) {
        pare_str text = token_text(json_object_get(s->config, names[i]));
        json_t *entry = text.data == NULL ? NULL : json_object_getn(s->ids, text.data, text.len);
        if (entry != NULL && json_object_set_new(entry, "special", json_true()) != 0)
            st = no_memory(s->in->dir, err);
    }
    return st;
}

/* ---- the document ---- */

static json_t *special_item(pare_str text)
{
    return json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", json_stringn(text.data, text.len), "type_id", 0);
}

/* What is put around a text; null where flags of tokenizer_config.json say it, or tokens are missing. */
static json_t *processor(const state *s)
{
    pare_str cls = token_text(json_object_get(s->config, names[CLS]));
    pare_str sep = token_text(json_object_get(s->config, names[SEP]));
    if (s->class->edges == EDGES_FLAGS || cls.data == NULL || sep.data == NULL)
        return json_null();
    if (s->class->edges == EDGES_ROBERTA)
        return json_pack("{s:s, s:[o], s:[o]}", "type", "RobertaProcessing", "cls", json_stringn(cls.data, cls.len),
                         "sep", json_stringn(sep.data, sep.len));
    json_t *a = json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0);
    json_t *b = json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1);
    json_t *single = json_pack("[o, O, o]", special_item(cls), a, special_item(sep));
    json_t *pair = json_pack("[o, o, o, o, o]", special_item(cls), a, special_item(sep), b, special_item(sep));
    return json_pack("{s:s, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair);
}

static bool config_flag(const state *s, const char *key, bool absent)
{
    const json_t *v = json_object_get(s->config, key);
    return json_is_boolean(v) ? json_is_true(v) : absent;
}

/* Normalizer, pre-tokenizer and model of the class into doc; merges NULL: WordPiece. */
static int put_rules(const state *s, json_t *merges, json_t *doc)
{
    pare_vocab v = {0};
    pare_vocab_init(&v);
    if (merges != NULL) {
        v.byte_prefix = config_flag(s, "add_prefix_space", false);
        return pare_bytelevel_rules(&v, pare_pretokenizer_find((pare_str){s->class->row, strlen(s->class->row)}), doc) |
               json_object_set_new(doc, "model",
                                   json_pack("{s:s, s:O, s:O}", "type", "BPE", "vocab", s->vocab, "merges", merges));
    }
    v.lowercase = config_flag(s, "do_lower_case", true);
    v.split_ideographs = config_flag(s, "tokenize_chinese_chars", true);
    v.strip_accents =
        json_is_boolean(json_object_get(s->config, "strip_accents")) ? config_flag(s, "strip_accents", false) : -1;
    json_t *model = pare_wordpiece_model(&v, json_incref(s->vocab));
    pare_str unknown = token_text(json_object_get(s->config, names[UNK]));
    int bad = model == NULL;
    if (!bad && unknown.data != NULL)
        bad = json_object_set_new(model, "unk_token", json_stringn(unknown.data, unknown.len));
    return bad | json_object_set_new(doc, "model", model) | pare_wordpiece_rules(&v, doc);
}

static pare_status check_text(const char *dir, const char *name, pare_str text, pare_error *err)
{
    size_t bad = 0;
    return pare_utf8_valid(text.data, text.len, &bad)
               ? PARE_OK
               : pare_fail(err, PARE_ERR_FORMAT, "%s/%s: offset %zu: not UTF-8", dir, name, bad);
}

static pare_status fill(state *s, json_t *merges, json_t **doc, pare_error *err)
{
    bool words = s->class->row == NULL;
    const char *key;
    json_t *id;
    pare_status st = words ? check_text(s->in->dir, "vocab.txt", s->in->pieces, err)
                           : check_text(s->in->dir, "merges.txt", s->in->merges, err);
    if (st == PARE_OK)
        st = words ? read_pieces(s->in, s->vocab, err) : read_merges(s->in, merges, err);
    json_object_foreach(s->vocab, key, id) count_id(s, id);
    if (st == PARE_OK)
        st = put_all(s, err);
    if (st != PARE_OK)
        return st;
    *doc = json_pack("{s:O, s:o}", "added_tokens", s->added, "post_processor", processor(s));
    return *doc == NULL || put_rules(s, words ? NULL : merges, *doc) != 0 ? no_memory(s->in->dir, err) : PARE_OK;
}

pare_status pare_token_lists_document(const pare_token_lists *in, json_t **tokenizer, json_t **config, pare_error *err)
{
    state s = {.in = in};
    json_t *merges = json_array();
    *tokenizer = NULL;
    *config = NULL;
    pare_status st = find_class(in, &s.class, err);
    s.vocab = in->vocab != NULL ? json_incref((json_t *)in->vocab) : json_object();
    s.added = json_array();
    s.ids = json_object();
    s.config = in->tokenizer_config != NULL ? json_deep_copy(in->tokenizer_config) : json_object();
    if (st == PARE_OK && (merges == NULL || s.vocab == NULL || s.added == NULL || s.ids == NULL || s.config == NULL))
        st = no_memory(in->dir, err);
    if (st == PARE_OK)
        st = fill(&s, merges, tokenizer, err);
    if (st == PARE_OK)
        *config = json_incref(s.config);
    if (st != PARE_OK) {
        json_decref(*tokenizer);
        *tokenizer = NULL;
    }
    json_decref(merges);
    json_decref(s.vocab);
    json_decref(s.added);
    json_decref(s.ids);
    json_decref(s.config);
    return st;
}
