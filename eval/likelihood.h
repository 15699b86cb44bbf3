/* eval/likelihood.h - likelihoods of given answers: multiple choice and last-word tasks
 *
 * Tokens are made as lm-eval makes them, so that item by item the same numbers come out: white space at the end of the
 * context belongs to the continuation, context and continuation are tokenized as one text, and the continuation's
 * tokens are those behind as many as the context alone has. Method: docs/methods/TASKS.md. */
#ifndef PARE_EVAL_LIKELIHOOD_H
#define PARE_EVAL_LIKELIHOOD_H

#include "eval/forward.h"
#include "eval/tokenizer.h"
#include "tasks/task.h"

/* How the choice is taken. */
typedef enum pare_rule {
    PARE_BY_SUM,    /* largest ln p: lm-eval's acc */
    PARE_BY_CHARS,  /* largest ln p / characters of the answer: lm-eval's acc_norm */
    PARE_BY_TOKENS, /* largest mean ln p over the tokens behind those that all choices share: llama.cpp's */
    PARE_N_RULES
} pare_rule;

/* What one choice of an item scored. */
typedef struct pare_choice_score {
    double loglik;     /* sum of ln p over the continuation's tokens */
    double own_loglik; /* ... over the tokens behind those that all choices share */
    uint32_t n_tokens, n_own_tokens;
    uint32_t n_chars, n_bytes; /* of the answer; characters: code points */
    bool greedy;               /* every token of the continuation was the most likely one */
} pare_choice_score;

typedef struct pare_written pare_written; /* eval/written.h */

typedef struct pare_item_score {
    pare_choice_score *choices;  /* [item.n_choices] */
    bool too_long;               /* does not fit in the context: not scored, and in no figure */
    size_t pick[PARE_N_RULES];   /* index of the choice that each rule takes, the first of equals */
    double mass;                 /* share of the right choices in sum e^loglik */
    const pare_written *written; /* PARE_TASK_GENERATE, else NULL: its text; nothing above is set but too_long */
} pare_item_score;

typedef void (*pare_task_fn)(size_t n_done, size_t n_items, void *user);

/* What scores: model, backend and tokenizer are borrowed. */
typedef struct pare_scorer {
    const pare_model *m;
    pare_backend *b;
    const pare_tokenizer *tokenizer;
    const pare_kv_form *form; /* of keys and values; NULL: floats */
    uint32_t n_ctx;           /* most tokens that the model reads of an item; 0: what it was trained for */
    pare_task_fn each;        /* NULL: nobody is told */
    void *user;
} pare_scorer;

typedef struct pare_task_scores {
    const pare_task *task;  /* borrowed */
    pare_item_score *items; /* [task->n_items] */
    uint32_t n_ctx;
    uint64_t n_too_long, n_tokens; /* n_tokens: that went through the model */
    double seconds;
    pare_arena memory;
} pare_task_scores;

/* Score every item; PARE_TASK_GENERATE: have the model write (eval/written.h). Sequences are sorted by length and run
 * in batches; the same input gives the same numbers for any number of threads. Errors: those of the passes;
 * PARE_ERR_NUMBER (a logit is not finite: item, choice, position and token); PARE_ERR_FORMAT (no token to begin an
 * empty context with). */
pare_status pare_score_task(pare_task_scores *out, const pare_task *task, const pare_scorer *with, pare_error *err);
/* All choices of item are scored: what the rules take of them. Sets pick and mass. */
void pare_item_decide(pare_item_score *score, const pare_item *item);
void pare_task_scores_close(pare_task_scores *s);

#endif
