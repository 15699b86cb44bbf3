/* eval/likelihood.h - likelihoods of given answers: multiple choice and last-word tasks */
#ifndef PARE_EVAL_LIKELIHOOD_H
#define PARE_EVAL_LIKELIHOOD_H

#include "eval/forward.h"
#include "eval/tokenizer.h"
#include "tasks/task.h"

/* What one choice of an item scored. */
typedef struct pare_choice_score {
    double loglik;              /* sum of ln p over the continuation's tokens */
    uint32_t n_tokens, n_chars; /* of the continuation; characters: code points, as lm-eval's acc_norm */
    uint32_t n_bytes;
    bool greedy; /* every token was the most likely one */
} pare_choice_score;

typedef struct pare_item_score {
    pare_choice_score *choices; /* [item.n_choices] */
    bool too_long;              /* does not fit in the context: not scored, counted as wrong by nobody */
    /* index of the choice each rule takes; the first of equals */
    size_t by_sum;       /* largest loglik: lm-eval's acc */
    size_t by_chars;     /* loglik / n_chars: lm-eval's acc_norm */
    size_t by_tokens;    /* loglik / n_tokens: llama.cpp's */
} pare_item_score;

typedef struct pare_likelihood_options {
    uint32_t n_ctx; /* longest context and continuation together; 0: what the model was trained for */
} pare_likelihood_options;

typedef struct pare_task_scores {
    const pare_task *task; /* borrowed */
    pare_item_score *items; /* [task->n_items] */
    uint64_t n_too_long;
    double seconds;
} pare_task_scores;

typedef void (*pare_task_fn)(size_t n_done, size_t n_items, void *user);

/* Score every item. Sequences are sorted by length and run in batches; the same input gives the same numbers for any
 * number of threads. Errors: those of the passes; PARE_ERR_NUMBER; PARE_ERR_UNSUPPORTED (kind GENERATE). */
pare_status pare_score_task(pare_task_scores *out, const pare_task *task, const pare_model *m, pare_backend *b,
                            const pare_tokenizer *tokenizer, const pare_likelihood_options *options, pare_task_fn each,
                            void *user, pare_error *err);
void pare_task_scores_close(pare_task_scores *s);

#endif
