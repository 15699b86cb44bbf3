/* formats/tokenizer_specials.c - special ids, add_bos and its kin, ends of text: which file says what, and in which
 * order. The rules are those by which stock llama.cpp's converter reads a Hub folder (gguf-py/gguf/vocab.py), so that
 * the metadata agree: tokenizer_config.json names the tokens, tokenizer.json's added_tokens give their ids, its
 * post_processor says what is put around a text, config.json fills what is left. */
#include "formats/hf_files.h"
#include "formats/safe_path.h"
#include "formats/tokenizer_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BOS, EOS, UNK, SEP, PAD, CLS, MASK, EOT, EOM, N_SPECIALS, N_PLAIN = EOT };

static const struct {
    const char *name, *id_key, *add_key; /* add_key NULL: GGUF has no such flag */
} specials[N_SPECIALS] = {
    [BOS] = {"bos", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.add_bos_token"},
    [EOS] = {"eos", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.add_eos_token"},
    [UNK] = {"unk", "tokenizer.ggml.unknown_token_id", NULL},
    [SEP] = {"sep", "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.add_sep_token"},
    [PAD] = {"pad", "tokenizer.ggml.padding_token_id", NULL},
    [CLS] = {"cls", "tokenizer.ggml.cls_token_id", NULL},
    [MASK] = {"mask", "tokenizer.ggml.mask_token_id", NULL},
    [EOT] = {"eot", "tokenizer.ggml.eot_token_id", NULL},
    [EOM] = {"eom", "tokenizer.ggml.eom_token_id", NULL},
};

/* A token as tokenizer_config.json names it. One that is given as an object equals no name, as in stock. */
typedef struct named {
    pare_str text; /* data NULL: absent */
    bool plain;
} named;

typedef struct state {
    pare_vocab *v;
    const json_t *added, *config; /* added_tokens; tokenizer_config.json or NULL */
    named token[N_SPECIALS];
    int types[N_SPECIALS], n_types; /* the specials that are looked for */
    int add[N_SPECIALS];            /* -1: not said */
    int add_order[N_SPECIALS], n_add;
} state;

static int64_t *id_field(pare_vocab *v, int type)
{
    int64_t *fields[N_SPECIALS] = {&v->bos, &v->eos, &v->unk, &v->sep, &v->pad, &v->cls, &v->mask, &v->eot, &v->eom};
    return fields[type];
}

static int *add_field(pare_vocab *v, int type)
{
    return type == BOS ? &v->add_bos : type == EOS ? &v->add_eos : &v->add_sep;
}

static bool there(const named *n)
{
    return n->text.data != NULL && (!n->plain || n->text.len > 0);
}

static bool is(const named *n, pare_str text)
{
    return n->plain && n->text.data != NULL && n->text.len == text.len &&
           memcmp(n->text.data, text.data, text.len) == 0;
}

static void set_add(state *s, int type, bool value)
{
    if (s->add[type] < 0)
        s->add_order[s->n_add++] = type;
    s->add[type] = value;
}

static void read_names(state *s)
{
    for (int i = 0; i < N_PLAIN; i++) {
        char key[32];
        snprintf(key, sizeof key, "%s_token", specials[i].name);
        const json_t *entry = json_object_get(s->config, key);
        s->token[i].plain = json_is_string(entry);
        s->token[i].text = pare_text_of(json_is_object(entry) ? json_object_get(entry, "content") : entry);
        s->types[s->n_types++] = i;
    }
    if (s->config == NULL)
        return;
    if (!there(&s->token[BOS]) && there(&s->token[CLS]))
        s->token[BOS] = s->token[CLS];
    if (!there(&s->token[EOS]) && there(&s->token[SEP]))
        s->token[EOS] = s->token[SEP];
}

static pare_str special_of(const json_t *item)
{
    return pare_text_of(json_object_get(json_object_get(item, "SpecialToken"), "id"));
}

static bool is_sequence(const json_t *item, const char *id)
{
    return pare_json_is(json_object_get(json_object_get(item, "Sequence"), "id"), id);
}

static void read_first(state *s, pare_str first)
{
    named name = {first, true};
    if (s->config == NULL) {
        s->token[BOS] = name;
    } else if (!is(&s->token[BOS], first) && !is(&s->token[CLS], first)) {
        if (!there(&s->token[BOS]))
            s->token[BOS] = name;
        if (!there(&s->token[CLS]))
            s->token[CLS] = name;
    }
    set_add(s, BOS, is(&s->token[BOS], first) || is(&s->token[CLS], first));
}

/* A template that ends in another token than EOS: that one is EOS then, and the old one the end of a turn. */
static void read_last(state *s, pare_str last)
{
    if (s->config != NULL && !is(&s->token[EOS], last) && s->n_types < N_SPECIALS) {
        int type = s->n_types == N_PLAIN ? EOT : EOM;
        s->types[s->n_types++] = type;
        s->token[type] = s->token[EOS];
    }
    s->token[EOS] = (named){last, true};
    set_add(s, EOS, true);
}

/* What stands between two texts: A [sep] [eos] B. */
static void read_pair(state *s, const json_t *pair, pare_str first, pare_str last)
{
    size_t from = 0, to = json_array_size(pair);
    if (to > 0 && first.data != NULL && is(&(named){first, true}, special_of(json_array_get(pair, 0))))
        from++;
    if (to > from && last.data != NULL && is(&(named){last, true}, special_of(json_array_get(pair, to - 1))))
        to--;
    if (to - from < 3 || !is_sequence(json_array_get(pair, from), "A") ||
        !is_sequence(json_array_get(pair, to - 1), "B"))
        return;
    bool sep = false;
    for (size_t i = from + 1; i + 1 < to && to - from <= 4; i++) {
        pare_str entry = special_of(json_array_get(pair, i));
        bool known = entry.data != NULL && (is(&s->token[SEP], entry) || is(&s->token[EOS], entry));
        sep = sep || (known && (i > from + 1 || last.data == NULL));
    }
    if (to - from > 4) {
        pare_str entry = special_of(json_array_get(pair, from + 1));
        sep = entry.data != NULL && (is(&s->token[SEP], entry) || is(&s->token[EOS], entry)) && last.data == NULL;
    }
    set_add(s, SEP, sep);
    if (sep && !there(&s->token[SEP]) && s->config != NULL)
        s->token[SEP] = s->token[EOS];
}

/* Tokens in the template of one text that are neither the first nor the last: GGUF has no place for them. */
static pare_status check_single(const json_t *single, const char *path, pare_error *err)
{
    size_t n = json_array_size(single), texts = 0;
    for (size_t i = 0; i < n; i++)
        texts += json_object_get(json_array_get(single, i), "Sequence") != NULL;
    bool plain = texts == 1 && (n == 1 || (n == 2) ||
                                (n == 3 && special_of(json_array_get(single, 0)).data != NULL &&
                                 special_of(json_array_get(single, 2)).data != NULL));
    return plain ? PARE_OK
                 : pare_warn(err, "%s: post_processor: only one token before and one behind a text can be kept", path);
}

/* The older form of a template with one token before and one behind: "cls" and "sep" are [text, id]. */
static void read_edges(state *s, const json_t *p)
{
    pare_str first = pare_text_of(json_array_get(json_object_get(p, "cls"), 0));
    pare_str last = pare_text_of(json_array_get(json_object_get(p, "sep"), 0));
    if (first.len > 0)
        read_first(s, first);
    if (last.len > 0)
        read_last(s, last);
    if (pare_json_is(json_object_get(p, "type"), "RobertaProcessing"))
        set_add(s, SEP, true);
}

static pare_status read_processor(state *s, const json_t *p, const char *path, pare_error *err)
{
    const json_t *type = json_object_get(p, "type");
    if (pare_json_is(type, "ByteLevel")) {
        for (int i = BOS; i <= EOS; i++)
            if (s->add[i] < 0)
                set_add(s, i, false);
        return PARE_OK;
    }
    if (pare_json_is(type, "BertProcessing") || pare_json_is(type, "RobertaProcessing")) {
        read_edges(s, p);
        return PARE_OK;
    }
    if (!pare_json_is(type, "TemplateProcessing"))
        return PARE_OK;
    const json_t *single = json_object_get(p, "single"), *pair = json_object_get(p, "pair");
    size_t n = json_array_size(single);
    pare_str first = {0}, last = {0};
    if (n > 1) {
        first = special_of(json_array_get(single, 0));
        last = special_of(json_array_get(single, n - 1));
    }
    if (first.data != NULL && first.len > 0)
        read_first(s, first);
    if (last.data != NULL && last.len > 0)
        read_last(s, last);
    read_pair(s, pair, first, last);
    return check_single(single, path, err);
}

static pare_status read_processors(state *s, const json_t *post, const char *path, pare_error *err)
{
    const json_t *list = json_object_get(post, "processors");
    pare_status st = PARE_OK;
    if (!json_is_array(list))
        return json_is_object(post) ? read_processor(s, post, path, err) : PARE_OK;
    for (size_t i = 0; i < json_array_size(list) && st == PARE_OK; i++)
        st = read_processor(s, json_array_get(list, i), path, err);
    return st;
}

/* The first source of an id wins. */
static pare_status set_id(state *s, int type, const json_t *id, const char *dir, pare_error *err)
{
    int64_t *field = id_field(s->v, type);
    if (!json_is_integer(id))
        return PARE_OK; /* a list of several, or null */
    json_int_t value = json_integer_value(id);
    if (value < 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %s token id %" PRId64 " is negative", dir, specials[type].name,
                         (int64_t)value);
    if ((uint64_t)value >= s->v->n_tokens)
        return pare_warn(err, "%s: %s token id %" PRId64 " is outside of the %" PRIu32 " tokens and left out", dir,
                         specials[type].name, (int64_t)value, s->v->n_tokens);
    if (*field >= 0 || (type == CLS && value == s->v->bos)) /* the same by another name: stock's converter writes one */
        return PARE_OK;
    *field = value;
    pare_vocab_note_key(s->v, specials[type].id_key);
    return PARE_OK;
}

static const json_t *added_id(const state *s, pare_str content)
{
    for (size_t i = 0; i < json_array_size(s->added); i++) {
        const json_t *entry = json_array_get(s->added, i);
        pare_str text = pare_text_of(json_object_get(entry, "content"));
        if (text.data != NULL && text.len == content.len && memcmp(text.data, content.data, text.len) == 0)
            return json_object_get(entry, "id");
    }
    return NULL;
}

static pare_status read_ids(state *s, const pare_special_sources *from, pare_error *err)
{
    pare_status st = PARE_OK;
    for (int k = 0; k < s->n_types && st == PARE_OK && s->config != NULL; k++) {
        int type = s->types[k];
        char key[32];
        snprintf(key, sizeof key, "add_%s_token", specials[type].name);
        const json_t *add = json_object_get(s->config, key);
        if (json_is_boolean(add) && s->add[type] < 0 && specials[type].add_key != NULL)
            set_add(s, type, json_is_true(add));
        if (s->token[type].text.data != NULL)
            st = set_id(s, type, added_id(s, s->token[type].text), from->dir, err);
    }
    for (int k = 0; k < s->n_types && st == PARE_OK; k++) {
        char key[32];
        snprintf(key, sizeof key, "%s_token_id", specials[s->types[k]].name);
        const json_t *id = json_object_get(from->config, key);
        if (id == NULL || json_is_null(id))
            id = json_object_get(json_object_get(from->config, "text_config"), key);
        st = set_id(s, s->types[k], id, from->dir, err);
    }
    return st;
}

/* A token that is put around texts and whose id nobody gave: the template's own name finds it. */
static pare_status read_template_ids(state *s, const char *dir, pare_error *err)
{
    pare_status st = PARE_OK;
    for (int type = BOS; type <= EOS && st == PARE_OK; type++)
        if (s->add[type] > 0 && *id_field(s->v, type) < 0 && s->token[type].text.data != NULL)
            st = set_id(s, type, added_id(s, s->token[type].text), dir, err);
    return st;
}

/* Every id that ends a text, where generation_config.json, else config.json, lists several. */
static pare_status read_ends(state *s, const json_t *list, const char *dir, pare_error *err)
{
    size_t n = json_array_size(list);
    if (n > PARE_MAX_ENDS)
        return pare_fail(err, PARE_ERR_RANGE, "%s: eos_token_id lists %zu ids, at most %d", dir, n, PARE_MAX_ENDS);
    pare_status st = PARE_OK;
    uint32_t n_ends = 0;
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        const json_t *id = json_array_get(list, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: element %zu of eos_token_id is no id", dir, i);
        else if (value >= (json_int_t)s->v->n_tokens)
            st = pare_warn(err, "%s: EOS token id %" PRId64 " is outside of the %" PRIu32 " tokens and left out", dir,
                           (int64_t)value, s->v->n_tokens);
        else
            s->v->ends[n_ends++] = (int32_t)value;
    }
    if (st == PARE_OK && n_ends > 0 && s->v->eos < 0)
        s->v->eos = s->v->ends[0];
    s->v->ends_listed = n_ends > 1;
    s->v->n_ends = n_ends > 1 ? n_ends : 0;
    return st;
}

static pare_status read_all_ends(state *s, const pare_special_sources *from, pare_error *err)
{
    json_t *doc = NULL;
    char *path = from->config == NULL ? NULL : pare_path_join(from->dir, "generation_config.json", err);
    pare_error absent = {0};
    if (from->config == NULL)
        return PARE_OK;
    if (path == NULL)
        return PARE_ERR_MEMORY;
    (void)pare_json_load(&doc, path, PARE_HF_CONFIG_BYTES, PARE_JSON_BIG_AS_REAL,
                         &absent); /* its reader says what is wrong with it */
    const json_t *list = json_object_get(doc, "eos_token_id");
    if (!json_is_array(list))
        list = json_object_get(from->config, "eos_token_id");
    if (!json_is_array(list))
        list = json_object_get(json_object_get(from->config, "text_config"), "eos_token_id");
    pare_status st = json_is_array(list) ? read_ends(s, list, from->dir, err) : PARE_OK;
    json_decref(doc);
    free(path);
    return st;
}

pare_status pare_tokenizer_specials(pare_vocab *v, const pare_special_sources *from, pare_error *err)
{
    state s = {.v = v, .config = from->tokenizer_config};
    for (int i = 0; i < N_SPECIALS; i++)
        s.add[i] = -1;
    s.added = json_object_get(from->tokenizer, "added_tokens");
    read_names(&s);
    pare_status st = read_processors(&s, json_object_get(from->tokenizer, "post_processor"), from->path, err);
    if (st == PARE_OK)
        st = read_ids(&s, from, err);
    if (st == PARE_OK)
        st = read_template_ids(&s, from->dir, err);
    if (st == PARE_OK)
        st = read_all_ends(&s, from, err);
    for (int i = 0; i < s.n_add; i++) {
        *add_field(v, s.add_order[i]) = s.add[s.add_order[i]];
        pare_vocab_note_key(v, specials[s.add_order[i]].add_key);
    }
    if (st == PARE_OK)
        st = pare_tokenizer_templates(v, from->dir, from->tokenizer_config, err);
    pare_vocab_note_key(v, "tokenizer.ggml.normalizer.lowercase");
    pare_vocab_note_key(v, "tokenizer.ggml.normalizer.strip_accents");
    pare_vocab_note_key(v, "tokenizer.chat_template");
    return st;
}
