/* formats/tokenizer_parts.h - what the readers of tokenizer.json, tokenizer.model and their companions share */
#ifndef PARE_FORMATS_TOKENIZER_PARTS_H
#define PARE_FORMATS_TOKENIZER_PARTS_H

#include "core/json.h"
#include "model/pretokenizer.h"
#include "model/vocab.h"

/* A vocabulary while it grows: one row an id, holes allowed. Strings live in the arena of the vocabulary to be. */
typedef struct pare_token_row {
    pare_str text; /* data NULL: a hole */
    float score;
    int32_t type;  /* pare_token_type */
    uint8_t attrs; /* pare_token_attr */
} pare_token_row;

typedef struct pare_token_rows {
    pare_token_row *rows;
    size_t n, cap;
} pare_token_rows;

void pare_token_rows_close(pare_token_rows *t);

/* *row is the row of id, with holes made up to it. Errors: PARE_ERR_RANGE (id not below PARE_MAX_VOCAB),
 * PARE_ERR_MEMORY. */
pare_status pare_token_row_at(pare_token_rows *t, uint64_t id, const char *path, pare_token_row **row, pare_error *err);

/* Holes below t->n become "[PAD<id>]" tokens of type unused, then rows up to n_vocab; tokens, types and attrs of v are
 * set, and scores when v is SentencePiece. Errors: PARE_ERR_RANGE when there are more tokens than n_vocab > 0. */
pare_status pare_token_rows_finish(pare_token_rows *t, pare_vocab *v, uint32_t n_vocab, const char *path,
                                   pare_error *err);

/* One entry of added_tokens (tokenizer.json) or added_tokens_decoder (tokenizer_config.json). */
typedef struct pare_added_token {
    uint64_t id;
    pare_str content;
    bool special;
    uint8_t attrs;
} pare_added_token;

pare_status pare_added_token_read(const json_t *entry, const char *path, pare_added_token *out, pare_error *err);

/* The id that a key of added_tokens_decoder is. Errors: PARE_ERR_RANGE. */
pare_status pare_added_token_id(const char *key, const char *dir, uint64_t *id, pare_error *err);

/* True for texts that stock's converter takes for control tokens even when they are not marked special. */
bool pare_token_looks_special(pare_str text);

/* A copy of s in v's arena; spaces for U+2581 when plain_spaces. data NULL: no memory. */
pare_str pare_vocab_text(pare_vocab *v, pare_str s, bool plain_spaces, pare_error *err);

/* A view of a JSON text; data NULL when it is none. */
static inline pare_str pare_text_of(const json_t *j)
{
    return json_is_string(j) ? (pare_str){json_string_value(j), json_string_length(j)} : (pare_str){0};
}

/* What tokenizer.json says besides its tokens. Patterns are views into the JSON document. */
typedef struct pare_tokenizer_rules {
    pare_pre_step steps[PARE_PRE_MAX_STEPS + 1];
    size_t n_steps;
    pare_normalizer normalizer;
    bool replace_spaces, prepend; /* normalizers too */
    bool metaspace;               /* the spaces are replaced by the pre-tokenizer */
    int prefix;                   /* metaspace: -1 nothing in front */
    pare_prefix_rule prefix_rule;
    bool split_spaces;
    bool byte_level, byte_prefix; /* byte_prefix: ByteLevel puts a space in front */
    bool byte_fallback, ignore_merges, fuse_unk;
    pare_str unk;                     /* model.unk_token, data NULL: none */
    pare_str charsmap;                /* base64, data NULL: none */
    bool trim_whites;                 /* white space of every kind is left out at the end */
    bool split_whites;                /* white space of every kind stands between words */
    bool squeeze_spaces;              /* no spaces at the edges of text, one where there are several */
    bool bert_normalizer, bert_words; /* BertNormalizer with the next four; BertPreTokenizer */
    int lowercase, strip_accents;     /* -1: as lowercase */
    bool clean_text, split_ideographs;
} pare_tokenizer_rules;

/* PARE_ERR_FORMAT with the place when the pattern of a part, `what`, does not compile (by PCRE2, which takes what
 * published patterns are made of). */
pare_status pare_check_regex(const char *pattern, size_t len, const char *path, const char *what, pare_error *err);

/* Check normalizer, pre_tokenizer, decoder, post_processor. Errors: PARE_ERR_UNSUPPORTED naming the part;
 * PARE_ERR_FORMAT (no type, a pattern that does not compile). */
pare_status pare_tokenizer_rules_read(const json_t *root, const char *path, pare_tokenizer_rules *out, pare_error *err);

/* Set how v is run from the rules (not the pre-tokenizer's name). Errors: PARE_ERR_FORMAT (the character map is no
 * base64), PARE_ERR_MEMORY. */
pare_status pare_tokenizer_rules_apply(const pare_tokenizer_rules *rules, pare_vocab *v, const char *path,
                                       pare_error *err);

/* tokenizer.json, parsed, to rows, merges and rules of v. */
pare_status pare_tokenizer_json_fill(pare_vocab *v, pare_token_rows *rows, const json_t *root, const char *path,
                                     pare_tokenizer_rules *rules, pare_error *err);

/* Set v->pre from the rules and v->add_bos. Warns where the row of that name runs otherwise than the rules say.
 * Errors: PARE_ERR_UNSUPPORTED naming steps that no row has. */
pare_status pare_tokenizer_json_name(pare_vocab *v, const pare_tokenizer_rules *rules, const char *path,
                                     pare_error *err);

/* Scores of a SentencePiece vocabulary that has only merges: the order of the merges. Where scores alone would join
 * otherwise than the merges do, the merges stay beside them; else v->n_merges becomes 0. */
pare_status pare_tokenizer_json_scores(pare_vocab *v, pare_error *err);

/* A SentencePiece model to rows of v. */
pare_status pare_sentencepiece_fill(pare_vocab *v, pare_token_rows *rows, const void *bytes, size_t n, const char *path,
                                    pare_error *err);

/* The files of a folder without tokenizer.json. Documents and texts are borrowed, any but dir may be absent. */
typedef struct pare_token_lists {
    const char *dir;        /* for messages */
    const json_t *vocab;    /* vocab.json, an object, with merges */
    pare_str merges;        /* merges.txt */
    pare_str pieces;        /* vocab.txt, data NULL: none, vocab counts */
    const json_t *specials; /* special_tokens_map.json */
    const json_t *added;    /* added_tokens.json */
    const json_t *tokenizer_config, *config;
    uint32_t n_vocab; /* rows of the embedding, 0: not known */
} pare_token_lists;

/* *tokenizer is the tokenizer.json that the published class of these files stands for, *config tokenizer_config.json
 * with the special tokens that other files and the class name; both are new references. Errors: PARE_ERR_UNSUPPORTED
 * (naming the class), PARE_ERR_FORMAT and PARE_ERR_RANGE with file and line, PARE_ERR_MEMORY. */
pare_status pare_token_lists_document(const pare_token_lists *in, json_t **tokenizer, json_t **config, pare_error *err);

/* The same of tekken.json, parsed, and of the lines of a tiktoken.model. path names the file in messages. */
pare_status pare_tekken_document(const json_t *tekken, const char *path, json_t **tokenizer, pare_error *err);
pare_status pare_tiktoken_document(pare_str lines, const pare_token_lists *around, const char *path, json_t **tokenizer,
                                   pare_error *err);

/* Special ids, flags, scores and the order of keys that stock's converter gives a vocabulary of tekken.json.
 * Errors: PARE_ERR_FORMAT (a special token is missing), PARE_ERR_MEMORY. */
pare_status pare_tekken_specials(pare_vocab *v, const char *path, pare_error *err);

/* *line is the next line of *rest, without its end; false: there is none. */
bool pare_next_line(pare_str *rest, pare_str *line);

/* Normalizer, pre_tokenizer and decoder of byte-level BPE into doc; not 0: no memory. */
int pare_bytelevel_rules(const pare_vocab *v, const pare_pretokenizer *row, json_t *doc);

/* What tokenizer.json says of a WordPiece vocabulary, and of a unigram one. NULL or not 0: no memory.
 *   hub_tokens  give v (a copy) the Hub's spelling of tokens, "##" before those that do not begin a word
 *   model       takes vocab, an object text -> id;  of a unigram vocabulary of the first n tokens
 *   rules       normalizer, pre_tokenizer and decoder into doc */
pare_status pare_wordpiece_hub_tokens(pare_vocab *v, pare_arena *arena, pare_error *err);
json_t *pare_wordpiece_model(const pare_vocab *v, json_t *vocab);
int pare_wordpiece_rules(const pare_vocab *v, json_t *doc);
pare_status pare_unigram_model(const pare_vocab *v, uint32_t n, json_t **out, pare_error *err);
int pare_unigram_rules(const pare_vocab *v, json_t *doc);

/* Special ids, add_* flags, ends of text and chat templates, from the documents of a folder (any may be NULL), with the
 * keys in the order in which stock's converter writes them. */
typedef struct pare_special_sources {
    const char *dir, *path; /* the folder; the tokenizer file, for messages */
    const json_t *tokenizer, *tokenizer_config, *config;
} pare_special_sources;

/* Chat templates of the folder dir. Errors: PARE_ERR_FORMAT (no UTF-8, a name twice), PARE_ERR_RANGE (more than
 * PARE_MAX_CHAT_TEMPLATE bytes). */
pare_status pare_tokenizer_templates(pare_vocab *v, const char *dir, const json_t *tokenizer_config, pare_error *err);

pare_status pare_tokenizer_specials(pare_vocab *v, const pare_special_sources *from, pare_error *err);

#endif
