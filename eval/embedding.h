/* eval/embedding.h - one vector a text: the states that the last layer gives its tokens, pooled
 *
 * Method: docs/methods/EMBEDDING.md. */
#ifndef PARE_EVAL_EMBEDDING_H
#define PARE_EVAL_EMBEDDING_H

#include "eval/forward.h"

/* The tokens of texts, one behind the other. Zeroed is empty. */
typedef struct pare_text_ids {
    int32_t *ids;
    uint32_t *n; /* [n_texts] tokens of each, at least one */
    size_t n_texts, n_ids, cap_texts, cap_ids;
    size_t n_cut; /* texts that were longer than there is room for */
} pare_text_ids;

/* Append a text of n tokens. One of more than `most` keeps its first tokens and its last one where that closes every
 * text (closed: an EOS or SEP of the vocabulary), as the Hub's tokenizers cut. Errors: PARE_ERR_MEMORY */
pare_status pare_text_ids_add(pare_text_ids *t, const int32_t *ids, size_t n, uint32_t most, bool closed,
                              pare_error *err);
void pare_text_ids_close(pare_text_ids *t);

/* How texts are pooled: as wanted, unless that is NONE; as the model says; by the mean. */
pare_pooling pare_pooling_of(const pare_model *m, pare_pooling wanted);

/* Called between batches; n of n_texts are done. */
typedef void (*pare_embed_progress)(size_t n, size_t n_texts, void *user);

/* Vectors of all texts: out [n_texts, n_embd], as long as they come. Sums in double.
 * Errors: PARE_ERR_UNSUPPORTED (a reranker's pooling, and those of pare_forward_open), PARE_ERR_NUMBER (a value that is
 * not finite), and those of a forward pass. */
pare_status pare_embed(const pare_model *m, pare_backend *b, pare_pooling pooling, const pare_text_ids *texts,
                       float *out, pare_embed_progress progress, void *user, pare_error *err);

#endif
