/* model/vocab.h - a vocabulary: tokens, scores, kinds, merges, special ids; as GGUF metadata carries it
 *
 * formats/ fills one from tokenizer.json or tokenizer.model, the GGUF reader from metadata; eval/tokenizer.h runs it.
 */
#ifndef PARE_MODEL_VOCAB_H
#define PARE_MODEL_VOCAB_H

#include "model/meta.h"

typedef enum pare_vocab_kind {
    PARE_VOCAB_BPE, /* "gpt2": byte-level BPE with merges */
    PARE_VOCAB_SPM, /* "llama": SentencePiece BPE by scores, byte fallback */
    PARE_VOCAB_UGM, /* "t5": SentencePiece unigram */
    PARE_VOCAB_WPM, /* "bert": WordPiece */
    PARE_VOCAB_UNKNOWN
} pare_vocab_kind;

/* tokenizer.ggml.token_type */
typedef enum pare_token_type {
    PARE_TOKEN_NORMAL = 1,
    PARE_TOKEN_UNKNOWN = 2,
    PARE_TOKEN_CONTROL = 3,
    PARE_TOKEN_USER_DEFINED = 4,
    PARE_TOKEN_UNUSED = 5,
    PARE_TOKEN_BYTE = 6
} pare_token_type;

/* How an added token is found in text: the flags of tokenizer.json's added_tokens. */
typedef enum pare_token_attr {
    PARE_TOKEN_LSTRIP = 1,      /* white space before it belongs to it */
    PARE_TOKEN_RSTRIP = 2,      /* white space behind it belongs to it */
    PARE_TOKEN_NORMALIZED = 4,  /* looked for in the normalized text */
    PARE_TOKEN_SINGLE_WORD = 8, /* only where no word character is beside it */
    PARE_TOKEN_MARKED = 16, /* GGUF has spaces in the place of the U+2581 in its text, as stock's converter writes */
    PARE_TOKEN_ATTR_MAX = 31
} pare_token_attr;

/* What is done to text first: a form of Unicode. */
typedef enum pare_normalizer {
    PARE_NORMALIZE_NONE,
    PARE_NORMALIZE_NFC,
    PARE_NORMALIZE_NFD,
    PARE_NORMALIZE_NFKC,
    PARE_NORMALIZE_NFKD,
    PARE_NORMALIZE_MAX = PARE_NORMALIZE_NFKD
} pare_normalizer;

/* Where a SentencePiece vocabulary puts its leading space, when add_space_prefix is not 0. The first rule is part of
 * normalization; the others come behind it, when added tokens have been cut out of the normalized text too. */
typedef enum pare_prefix_rule {
    PARE_PREFIX_EACH,    /* before each stretch of text between special tokens, whatever it starts with */
    PARE_PREFIX_MISSING, /* the same, unless the stretch starts with a space */
    PARE_PREFIX_FIRST    /* unless it starts with a space, and only at the very start of the text */
} pare_prefix_rule;

enum {
    PARE_TOKEN_NONE = -1,
    PARE_MAX_VOCAB = 1 << 24,
    PARE_MAX_CHAT_TEMPLATE = 1 << 20,
    PARE_WORD_CHARS = 100,
    PARE_VOCAB_KEY_ROOM = 64,
    PARE_MAX_ENDS = 32
};

typedef struct pare_chat_template {
    pare_str name, text;
} pare_chat_template;

typedef struct pare_vocab {
    pare_vocab_kind kind;
    pare_str model; /* tokenizer.ggml.model as written */
    pare_str pre;   /* tokenizer.ggml.pre, empty when absent */
    uint32_t n_tokens;
    const pare_str *tokens; /* [n_tokens], raw bytes as stored (byte-level BPE: in its printable alphabet) */
    const float *scores;    /* [n_tokens] or NULL */
    const int32_t *types;   /* [n_tokens] pare_token_type or NULL: all normal */
    const pare_str *merges; /* [n_merges] "left right", best first */
    uint32_t n_merges;
    int64_t bos, eos, unk, sep, pad, cls, mask, eot, eom, fim_pre, fim_suf, fim_mid; /* ids or PARE_TOKEN_NONE */
    int32_t
        ends[PARE_MAX_ENDS]; /* further ids that end a text, the first n_ends: as config.json lists them, else those */
    uint32_t n_ends;         /* that stock's runtime knows by their texts */
    bool ends_listed;        /* the former: a list with eos */
    int add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces; /* -1: not said, 0, 1 */
    const uint8_t *charsmap;                                                   /* precompiled_charsmap or NULL */
    uint32_t charsmap_bytes;
    pare_str chat_template;                    /* data NULL: none */
    const pare_chat_template *named_templates; /* tokenizer.chat_template.NAME */
    uint32_t n_named_templates;

    /* What tokenizer.json says and GGUF has no agreed key for. It makes the ids exact; where it differs from what a
     * GGUF reader takes for granted it is written as tokenizer.pare.*, which others ignore. */
    const uint8_t *attrs; /* [n_tokens] pare_token_attr flags or NULL: none */
    pare_prefix_rule prefix_rule;
    int ignore_merges; /* -1: as the row of the pre-tokenizer says, 0, 1 */
    int normalizer;    /* a pare_normalizer, or -1: as the row of the pre-tokenizer says, none for SentencePiece */
    int split_spaces;  /* 1: SentencePiece pieces do not reach across the start of a word */
    int unk_each;      /* 1: SentencePiece neighbours without tokens give an unknown token each, else one for all */
    int byte_prefix;   /* 1: byte-level text that does not start with a space gets one */
    int64_t missing;   /* byte-level: for a byte without a token, or PARE_TOKEN_NONE: left out */

    /* Unigram, as the Hub's library runs it: -1 counts as 0. */
    int map_graphemes; /* 1: the character map is asked for a grapheme of up to 5 bytes, else character by character; 0:
                        * for the longest piece of text that it knows */
    int split_whites;  /* 1: all white space stands between words, not only spaces */
    int trim_whites;   /* 1: all white space is left out at the end of text, not only spaces */

    /* WordPiece: what is done to text before it is cut into words. The first two are keys of GGUF; -1 counts as 1, for
     * strip_accents as lowercase. */
    int lowercase, strip_accents;
    int clean_text, split_ideographs; /* -1 counts as 1 */
    uint32_t max_word_chars;          /* longer words are unknown; 0 counts as PARE_WORD_CHARS */

    /* The keys present, in the order in which they stood or shall be written; indices into a table in vocab.c. */
    uint8_t key_order[PARE_VOCAB_KEY_ROOM];
    uint32_t n_keys;
    pare_arena arena; /* owns what is not a view into the metadata */
} pare_vocab;

/* Set every field to "not said". */
void pare_vocab_init(pare_vocab *v);
void pare_vocab_close(pare_vocab *v);

/* Note that the key is present (once): "tokenizer.ggml.bos_token_id", ... A key that the table lacks is ignored. */
void pare_vocab_note_key(pare_vocab *v, const char *key);

/* Fill from tokenizer.ggml.* and check it: counts equal, element types right (scores f32, token_type i32), ids inside
 * the vocabulary, byte tokens "<0xHH>" with two hexadecimal digits, merges "left right" of known tokens. The strings
 * are views into meta, which must outlive v. No tokenizer.ggml.model: *found is false and v stays zeroed.
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE with key, index, value and limit; PARE_ERR_NUMBER for a score. */
pare_status pare_vocab_from_meta(pare_vocab *v, const pare_meta *meta, const char *path, bool *found, pare_error *err);

/* Give a SentencePiece vocabulary that names no BOS or EOS Llama's, tokens 1 and 2, where those are control tokens, and
 * one without a list of ends those of known texts: what stock's runtime takes for granted. pare_vocab_from_meta does it
 * by itself. */
void pare_vocab_complete(pare_vocab *v);

/* True for BPE by merges on text whose spaces are U+2581 ("gemma4" and its kin): of the kind PARE_VOCAB_SPM, without
 * scores and without the prefix and BOS that readers take for granted of "llama". */
bool pare_vocab_is_marked_bpe(const pare_vocab *v);

/* The checks of pare_vocab_from_meta that concern content and not metadata, for readers of other files. */
pare_status pare_vocab_check(const pare_vocab *v, const char *path, pare_error *err);

/* Write tokenizer.ggml.* (copies) with the keys and in the order in which stock's converter writes them. */
pare_status pare_vocab_to_meta(const pare_vocab *v, pare_meta *meta, pare_error *err);

/* The byte that "<0xHH>" stands for, or -1 when the text is nothing of that form. */
int pare_byte_token_value(pare_str token);

/* Type of token id; normal when the vocabulary has no types. id < n_tokens. */
static inline pare_token_type pare_vocab_type(const pare_vocab *v, uint32_t id)
{
    return v->types == NULL || v->types[id] == 0 ? PARE_TOKEN_NORMAL : (pare_token_type)v->types[id];
}

#endif
