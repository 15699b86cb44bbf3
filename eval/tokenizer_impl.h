/* eval/tokenizer_impl.h - what the parts of the tokenizer share: added tokens, byte-level BPE, SentencePiece BPE */
#ifndef PARE_EVAL_TOKENIZER_IMPL_H
#define PARE_EVAL_TOKENIZER_IMPL_H

#define PCRE2_CODE_UNIT_WIDTH 8

#include "eval/tokenizer.h"
#include "model/merges.h"
#include "model/pretokenizer.h"

#include <pcre2.h>

/* Added tokens as a tree of bytes: the longest one at a position is found in one walk. */
typedef struct pare_added_node {
    uint8_t byte;
    int32_t child, sibling; /* node or -1 */
    int32_t id;             /* token that ends here or PARE_TOKEN_NONE */
} pare_added_node;

typedef struct pare_added {
    pare_added_node *nodes;
    size_t n, cap;
    int32_t first[256]; /* node of a first byte or -1 */
} pare_added;

typedef struct pare_pattern {
    pcre2_code *code; /* NULL: this step does not split */
    bool jit;
} pare_pattern;

struct pare_tokenizer {
    const pare_vocab *v;
    pare_index ids; /* text -> id of the tokens that merging may give */
    size_t longest; /* bytes of the longest of them */
    pare_added raw, normalized;
    int32_t byte_id[256];
    bool has_merges;
    pare_merge_table merges;
    bool add_bos, add_eos;
    pare_normalizer normalizer;

    /* byte-level BPE */
    const pare_pretokenizer *pre;
    pare_pattern patterns[PARE_PRE_MAX_STEPS];
    uint32_t alphabet[256];
    int16_t byte_of[512]; /* code point of the alphabet -> byte or -1 */
    bool ignore_merges;

    /* SentencePiece */
    uint32_t *rank; /* [n_tokens] order of the scores, 0 the best; equal scores share a rank */
    bool add_prefix, words_apart;
    bool late_marks; /* spaces become marks behind the search for normalized added tokens */
    int32_t unk;     /* for what has no bytes, or PARE_TOKEN_NONE */
    bool drops;      /* neither unknown token nor bytes: what is no token vanishes before merging */

    /* SentencePiece unigram: the character map, and the score of a character that is no piece */
    size_t n_units, replacement_bytes;
    const char *replacements;
    double unknown_score;

    /* WordPiece */
    bool lowercase, strip_accents;
    size_t max_word; /* characters */
};

/* The best way from the start of a text to one of its bytes. */
typedef struct pare_path_cell {
    double score;
    size_t from; /* where the last piece begins */
    int32_t id;  /* of it; PARE_TOKEN_NONE: an unknown character */
} pare_path_cell;
enum { PARE_PATH_OPEN = -2 }; /* id of a byte that no piece has reached */

/* What one call of pare_tokenize needs; the tokenizer itself stays as it is. */
typedef struct pare_tokenize_work {
    const pare_tokenizer *t;
    pare_ids *out;
    pare_merge_work merge;
    pare_buf text, mapped, prefixed;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    bool last_unk;         /* SentencePiece: the last id is a fused unknown */
    pare_path_cell *cells; /* [n_cells] */
    size_t n_cells;
} pare_tokenize_work;

/* Found in text as it is written, before any merging. */
bool pare_token_is_added(pare_token_type type);

pare_status pare_ids_put(pare_ids *out, int32_t id, pare_error *err);

pare_status pare_bpe_open(pare_tokenizer *t, pare_error *err);
/* Append the ids of normalized text. */
pare_status pare_bpe_encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err);

pare_status pare_spm_open(pare_tokenizer *t, pare_error *err);
/* Spaces to marks, and one in front where the vocabulary wants it, appended to out. at_start: nothing of the text lies
 * before this stretch. */
pare_status pare_spm_mark(const pare_tokenizer *t, const char *text, size_t len, bool at_start, pare_buf *out,
                          pare_error *err);
pare_status pare_spm_encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err);

/* True when a mark behind another character is inside a piece. */
bool pare_spm_mark_inside(pare_str piece);
/* A symbol that is no token: its bytes, or an unknown (one for all such neighbours, unless the vocabulary wants one
 * each), or nothing when there is none. */
pare_status pare_spm_put_unknown(pare_tokenize_work *w, const char *text, size_t len, pare_error *err);

pare_status pare_ugm_open(pare_tokenizer *t, pare_error *err);
pare_status pare_ugm_normalize(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err);
pare_status pare_ugm_encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err);

pare_status pare_wpm_open(pare_tokenizer *t, pare_error *err);
pare_status pare_wpm_normalize(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err);
pare_status pare_wpm_encode(pare_tokenize_work *w, const char *text, size_t len, bool at_start, pare_error *err);

/* A token without the mark of a word's start. */
pare_str pare_wpm_text(pare_str token);

/* The property White_Space. */
bool pare_is_white_space(uint32_t c);

#endif
