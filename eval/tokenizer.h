/* eval/tokenizer.h - text to token ids and back, as the model's own tokenizer does */
#ifndef PARE_EVAL_TOKENIZER_H
#define PARE_EVAL_TOKENIZER_H

#include "model/vocab.h"

typedef struct pare_tokenizer pare_tokenizer;

/* Build from a vocabulary, which must outlive it. Errors: PARE_ERR_UNSUPPORTED (vocabulary kind or pre-tokenizer that
 * pare does not run; the message names it), PARE_ERR_FORMAT (a pattern that does not compile), PARE_ERR_MEMORY. */
pare_status pare_tokenizer_open(pare_tokenizer **out, const pare_vocab *vocab, pare_error *err);
void pare_tokenizer_close(pare_tokenizer *t); /* NULL is allowed */

typedef enum pare_tokenize_flags {
    PARE_TOKENIZE_SPECIAL = 1, /* text of control tokens becomes their id; user-defined tokens always do */
    PARE_TOKENIZE_BOS = 2,     /* BOS in front (and EOS, SEP behind) when the vocabulary says so */
} pare_tokenize_flags;

typedef struct pare_ids {
    int32_t *ids; /* owned: free(ids) */
    size_t n, cap;
} pare_ids;

/* Append the ids of len bytes of text to out. Bytes that are not UTF-8 go through byte tokens. Linear in len up to a
 * logarithm; a run of one million equal letters takes well under a second per megabyte. Reentrant.
 * Errors: PARE_ERR_FORMAT (match limit reached), PARE_ERR_MEMORY. */
pare_status pare_tokenize(const pare_tokenizer *t, const char *text, size_t len, unsigned flags, pare_ids *out,
                          pare_error *err);

/* Append the bytes that id stands for; control tokens give nothing unless special is set. */
pare_status pare_detokenize(const pare_tokenizer *t, int32_t id, bool special, pare_buf *out, pare_error *err);

#endif
