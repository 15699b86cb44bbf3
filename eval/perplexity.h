/* eval/perplexity.h - perplexity with llama-perplexity's definition, and divergence from a reference model
 *
 * Windows of n_ctx tokens without overlap, the tail dropped; token 0 of each window is replaced by BOS when the
 * vocabulary adds one; positions n_ctx/2 .. n_ctx-2 are scored against the next token. Both models run side by side and
 * are compared position by position: nothing of the reference's distribution is stored or rounded. The same input gives
 * the same numbers with any number of threads. Formulas: docs/methods/EVALUATION.md. */
#ifndef PARE_EVAL_PERPLEXITY_H
#define PARE_EVAL_PERPLEXITY_H

#include "eval/forward.h"
#include "eval/stats.h"
#include "eval/tokenizer.h"

typedef struct pare_eval_options {
    uint32_t n_ctx;    /* 0: 512 */
    uint32_t n_chunks; /* at most so many windows; 0: all */
} pare_eval_options;

typedef struct pare_eval_result {
    uint32_t n_ctx, n_chunks; /* n_chunks: windows scored so far */
    uint64_t n_tokens_scored;
    pare_estimate perplexity;
    bool has_reference; /* what follows is 0 without one */
    pare_estimate reference_perplexity;
    pare_estimate ln_ratio; /* mean of ln p_ref - ln p = ln(perplexity / reference); error with the covariance */
    pare_estimate kld_mean; /* nat per token, KL(reference || model) */
    pare_estimate kld_median, kld_p99, kld_p999, kld_max; /* NAN until the last window; error of max: NAN */
    pare_estimate same_top1;                              /* fraction */
    pare_estimate delta_p_mean, delta_p_rms;              /* change of the true token's probability, fraction */
    double seconds, tokens_per_second;                    /* of the passes; a token counts once for each model */
    uint64_t activation_bytes;                            /* memory for activations and logits, both models */
} pare_eval_result;

/* Called after each window with the running result. */
typedef void (*pare_eval_fn)(const pare_eval_result *so_far, uint32_t chunk, uint32_t n_chunks, void *user);

/* Evaluate model (and reference, may be NULL) on ids [n]. bos: the id that replaces token 0 of each window, or
 * PARE_TOKEN_NONE when the vocabulary adds none. Memory: activations of about 2048 tokens (one window, when that is
 * longer), a tile of logits of at most 64 MiB or 16 positions for each model, and 8 bytes a scored position.
 * Errors: PARE_ERR_USAGE (fewer than 2 * n_ctx tokens; n_ctx below 4; vocabularies of different size), PARE_ERR_NUMBER
 * (a logit is not finite: model, window and position), and those of the passes. */
pare_status pare_evaluate(const pare_model *model, const pare_model *reference, pare_backend *b, const int32_t *ids,
                          size_t n, int64_t bos, const pare_eval_options *options, pare_eval_fn each, void *user,
                          pare_eval_result *out, pare_error *err);

#endif
