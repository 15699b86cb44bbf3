/* eval/cache.h - keys and values of tokens that went through the layers already, so that a sequence is extended without
 * running it again
 *
 * Extending a sequence token by token, or in pieces of any size, gives the logits of running it whole, up to the order
 * of sums. Tokens of many sequences go through the layers together, so that each weight is decoded once for all. */
#ifndef PARE_EVAL_CACHE_H
#define PARE_EVAL_CACHE_H

#include "eval/forward.h"

typedef struct pare_cache {
    pare_forward *f; /* borrowed; it must outlive the cache */
    uint32_t n_seq, n_ctx;
    uint32_t *n;    /* [n_seq] tokens that each sequence has */
    void **k, **v;  /* [n_layer], device memory: [n_seq, n_ctx, n_head_kv * head_dim] floats, or what a form keeps of
                     * them (pare_forward_keep): units, and rows of F16 (kept_cache.c); of a layer of linear attention
                     * the last inputs of its convolution, and its state: a row of floats a sequence. v: NULL where
                     * attention is latent, whose values are a part of the keys */
    float *view[2]; /* [n_seq, n_ctx, the widest] keys, values of the layer that is run, where attention cannot read
                     * what is stored; or NULL */
    int32_t *positions; /* 0, 1, 2, ... n_ctx - 1, where keys are kept before RoPE; or NULL */
    uint32_t *last;     /* [n_last] rows of the last tokens of the last extension, ascending */
    uint32_t n_last;
    uint64_t n_bytes; /* of keys and values */
} pare_cache;

/* Room for n_seq sequences of up to as many tokens as f is prepared for; all are empty. The form that f keeps stays.
 * Its bytes are those of pare_kv_bytes for so many tokens; where recent tokens stay in F16 up to step + 2 (group - 1)
 * more of each sequence do. Errors: PARE_ERR_MEMORY, PARE_ERR_USAGE (n_seq 0), PARE_ERR_UNSUPPORTED (attention that
 * looks both ways) */
pare_status pare_cache_open(pare_cache *c, pare_forward *f, uint32_t n_seq, pare_error *err);
void pare_cache_close(pare_cache *c); /* zeroed is closed */

/* A model with linear attention has a state behind the last token in place of what tokens leave behind, and of a form
 * that keeps recent tokens in F16 those are gone when they are coded: such sequences can be emptied and copied as a
 * whole, not in part. */
bool pare_cache_keeps_states(const pare_cache *c);

/* Forget all tokens of sequence seq behind the first n; n is at most what it has. Errors: PARE_ERR_UNSUPPORTED (see
 * above) */
pare_status pare_cache_cut(pare_cache *c, uint32_t seq, uint32_t n, pare_error *err);

/* Make the first n tokens of sequence `from`, which has so many, all that sequence `to` has. Errors: PARE_ERR_USAGE */
pare_status pare_cache_copy(pare_cache *c, uint32_t from, uint32_t to, uint32_t n, pare_error *err);

/* The next n > 0 tokens of a sequence. */
typedef struct pare_extension {
    uint32_t seq, n;
    const int32_t *ids;
} pare_extension;

/* Run the tokens of n_list extensions, of sequences that are all different, through the layers. On error no sequence
 * has changed, but that those which keep states, see above, are empty if the pass itself fails. Errors: PARE_ERR_USAGE
 * (more tokens at once than f is prepared for, a sequence longer than n_ctx, a sequence that is not there or given
 * twice), those of pare_forward_run. */
pare_status pare_cache_extend(pare_cache *c, const pare_extension *list, uint32_t n_list, pare_error *err);

/* Logits behind the last token of each extension of the last call: out [n_list, n_vocab], host memory. Before this call
 * pare_forward_logits gives those of all tokens, in the order of the list as one sequence; behind it, of these alone.
 */
pare_status pare_cache_logits(pare_cache *c, float *out, pare_error *err);

#endif
