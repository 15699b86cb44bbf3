/* eval/first_token.h - divergence at the first token of an answer alone
 *
 * Some programs publish this one as "the" KL divergence of a modified model. It says nothing of what follows: it is
 * measured so that such a claim can be checked, beside the divergence over whole texts. Method: docs/methods/DRIFT.md.
 */
#ifndef PARE_EVAL_FIRST_TOKEN_H
#define PARE_EVAL_FIRST_TOKEN_H

#include "eval/forward.h"
#include "eval/stats.h"
#include "eval/tokenizer.h"
#include "tasks/task.h"

/* Token ids of a prompt, n >= 1. */
typedef struct pare_prompt {
    const int32_t *ids;
    uint32_t n;
} pare_prompt;

/* Called after each batch of prompts. */
typedef void (*pare_first_token_fn)(size_t n_done, size_t n_prompts, void *user);

typedef struct pare_first_token_job {
    const pare_model *reference;
    const pare_model *const *models; /* [n_models], with as large a vocabulary */
    size_t n_models;
    pare_backend *b;
    uint32_t n_ctx;           /* longest prompt of a task; 0: what the models were trained for */
    pare_first_token_fn each; /* may be NULL */
    void *user;
} pare_first_token_job;

/* KL(reference || model) of the token behind each prompt, nat: kld [n_models, n_prompts]. Prompts of about the same
 * length run together; the same input gives the same numbers for any number of threads. Memory: activations of 2048
 * tokens, or of the longest prompt, for each model. Errors: PARE_ERR_USAGE (vocabularies of different size, an empty
 * prompt), PARE_ERR_NUMBER (a logit is not finite), those of the passes */
pare_status pare_first_token_prompts(const pare_first_token_job *job, const pare_prompt *prompts, size_t n_prompts,
                                     double *kld, pare_error *err);

/* Over the items of a task. */
typedef struct pare_first_token {
    uint64_t n, n_too_long; /* prompts measured; prompts longer than n_ctx */
    pare_estimate kld;      /* mean; NAN without prompts */
    double kld_max;
} pare_first_token;

/* The tokens in front of the answer of each item, as its likelihood is scored (eval/item_tokens.h): out [n_models].
 * Items whose choices have contexts of their own count with the first one's. The reference has a vocabulary. Errors as
 * above, and those of the tokenizer */
pare_status pare_first_token_task(const pare_first_token_job *job, const pare_task *task,
                                  const pare_tokenizer *tokenizer, pare_first_token *out, pare_error *err);

#endif
