/* eval/needle.h - does a model still find what stood far back: a pass key hidden in the user's text
 *
 *   | BOS | text ........ | a sentence with the key | ........ text | the question | the key |     n_ctx tokens
 *          |<- depth 0 %                            depth 100 % ->|
 *
 * (Mohtashami and Jaggi, Landmark Attention, arXiv 2305.16300, section 4.2; needles at depths: Kamradt 2023.) A key of
 * five digits is found when each of its tokens is the most likely one behind those before it, which is when greedy
 * decoding writes it. Texts, keys and places come from the seed alone: floats and all forms get the same ones. Keys of
 * a depth stand up to 32 tokens apart, and up to a quarter of the step between depths. */
#ifndef PARE_EVAL_NEEDLE_H
#define PARE_EVAL_NEEDLE_H

#include "eval/backend.h"
#include "eval/kv.h"
#include "eval/tokenizer.h"

/* All borrowed. */
typedef struct pare_needle_job {
    const pare_model *m;
    pare_backend *b;
    const pare_tokenizer *tokenizer;
    int64_t bos;        /* id, or PARE_TOKEN_NONE */
    const int32_t *ids; /* [n] the text; each haystack is a stretch of it, from a place drawn by the seed */
    size_t n;
    uint32_t n_ctx;    /* tokens of a haystack, all counted */
    uint32_t n_depths; /* 0 % to 100 % in equal steps; one: 0 % */
    uint32_t n_keys;   /* at each depth */
    uint64_t seed;
    const pare_kv_form *forms; /* [n_forms] may be none */
    size_t n_forms;
    void (*each)(uint32_t n_done, uint32_t n_all, void *user); /* behind each pass; may be NULL */
    void *user;
} pare_needle_job;

typedef struct pare_needle_cell {
    uint32_t n_found; /* of n_keys */
    double ln_p;      /* of a whole key, the mean over the keys */
} pare_needle_cell;

/* out [1 + n_forms, n_depths], floats first. As many haystacks go through the layers together as pare_backend's
 * batch_tokens has room for, and at least one. Memory: their activations. Errors: PARE_ERR_USAGE (n_ctx too small for
 * sentence and question; a text shorter than a haystack; n_depths or n_keys 0), PARE_ERR_MEMORY, those of the tokenizer
 * and of passes, PARE_ERR_NUMBER (a logit is not finite), PARE_ERR_UNSUPPORTED (digits have no tokens) */
pare_status pare_needle(const pare_needle_job *job, pare_needle_cell *out, pare_error *err);

/* Tokens of the smallest haystack that has room for a token of text, whichever the key: n_ctx and n are not looked at.
 * Errors: PARE_ERR_MEMORY, those of the tokenizer */
pare_status pare_needle_least(const pare_needle_job *job, uint32_t *least, pare_error *err);

/* One haystack, for tests: the sequence [n_ctx] of key number `key` at a depth, owned by the caller, and how many
 * tokens at its end are the key. Errors: as above */
pare_status pare_needle_make(const pare_needle_job *job, uint32_t depth, uint32_t key, int32_t **out, uint32_t *n_key,
                             pare_error *err);

#endif
