/* model/vocab.h - a vocabulary: tokens, scores, kinds, merges, special ids; as GGUF metadata carries it
 *
 * formats/ fills one from tokenizer.json or tokenizer.model, the GGUF reader from metadata; eval/tokenizer.h runs it. */
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

enum { PARE_TOKEN_NONE = -1, PARE_MAX_VOCAB = 1 << 24 };

typedef struct pare_vocab {
    pare_vocab_kind kind;
    pare_str model;    /* tokenizer.ggml.model as written */
    pare_str pre;      /* tokenizer.ggml.pre, empty when absent */
    uint32_t n_tokens;
    const pare_str *tokens;  /* [n_tokens], raw bytes as stored (byte-level BPE: in its printable alphabet) */
    const float *scores;     /* [n_tokens] or NULL */
    const int32_t *types;    /* [n_tokens] pare_token_type or NULL: all normal */
    const pare_str *merges;  /* [n_merges] "left right", best first */
    uint32_t n_merges;
    int64_t bos, eos, unk, sep, pad, cls, mask, eot, eom, fim_pre, fim_suf, fim_mid; /* ids or PARE_TOKEN_NONE */
    int add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces; /* -1: not said, 0, 1 */
    const uint8_t *charsmap; /* precompiled_charsmap or NULL */
    uint32_t charsmap_bytes;
    pare_str chat_template;  /* data NULL: none */
    pare_arena arena;        /* owns what is not a view into the metadata */
} pare_vocab;

void pare_vocab_close(pare_vocab *v);

/* Fill from tokenizer.ggml.* and check it: counts equal, element types right (scores f32, token_type i32), ids inside
 * the vocabulary, byte tokens "<0xHH>" with two hexadecimal digits, merges "left right" of known tokens. The strings
 * are views into meta, which must outlive v. No tokenizer.ggml.model: *found is false and v stays zeroed.
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE with key, index, value and limit. */
pare_status pare_vocab_from_meta(pare_vocab *v, const pare_meta *meta, const char *path, bool *found, pare_error *err);

/* Write tokenizer.ggml.* (copies) with the keys and in the order in which stock's converter writes them. */
pare_status pare_vocab_to_meta(const pare_vocab *v, pare_meta *meta, pare_error *err);

#endif
