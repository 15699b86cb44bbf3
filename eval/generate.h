/* eval/generate.h - texts that a model writes behind prompts
 *
 * Prompts share a batch: each step runs the next token of every text that is being written, and the tokens of prompts
 * that are still being read, so a weight is decoded once a step. The start that all prompts have in common (examples)
 * is read once. Method and limits: docs/methods/GENERATION.md. */
#ifndef PARE_EVAL_GENERATE_H
#define PARE_EVAL_GENERATE_H

#include "eval/cache.h"
#include "eval/tokenizer.h"

/* Why a text ends. */
typedef enum pare_ending {
    PARE_ENDS_BY_TOKEN,   /* the model gave EOS, EOT or EOM */
    PARE_ENDS_BY_STOP,    /* a stop string came */
    PARE_ENDS_BY_COUNT,   /* max_tokens */
    PARE_ENDS_BY_CONTEXT, /* prompt and text fill the context: the model was cut off */
    PARE_ENDS_UNASKED,    /* the prompt alone does not leave room for a token; nothing was generated */
    PARE_N_ENDINGS
} pare_ending;

const char *pare_ending_name(pare_ending e); /* "token", "stop", "count", "context", "unasked" */

/* What was written behind one prompt. Zeroed is closed. */
typedef struct pare_completion {
    int32_t *ids; /* [n] chosen, without the one that ended the text; those of a stop string are here too */
    float
        *lead; /* [n] how far the logit of the largest was above the second: near 0, another program may well differ */
    uint32_t n;
    pare_buf text; /* their bytes, up to the stop string; control tokens give none; not always UTF-8 */
    pare_ending ending;
} pare_completion;

void pare_completion_close(pare_completion *c);

typedef struct pare_generate_job {
    const pare_model *m;
    pare_backend *b;
    const pare_tokenizer *tokenizer;
    const pare_vocab *vocab; /* the tokenizer's */
    const pare_ids *prompts; /* [n_prompts], none empty */
    size_t n_prompts;
    const pare_kv_form *form; /* of keys and values; NULL: floats */
    uint32_t n_ctx;           /* most tokens of prompt and text together; 0: what the model was trained for */
    uint32_t max_tokens;      /* of a text; 0: as many as fit */
    double temperature; /* 0: the largest logit, the first of equals; else tokens are drawn from softmax(logits / T) */
    uint64_t seed;      /* of the draws, which depend on it, the prompt's index and the token's */
    const pare_str *stops; /* [n_stops] none empty: a text ends in front of the first that appears in it */
    size_t n_stops;
    /* Both may be NULL. text: bytes that are sure to belong to the text of that prompt, as they come; all of them have
     * come when done is called. An error ends the run. */
    pare_status (*text)(size_t prompt, const char *bytes, size_t n, void *user, pare_error *err);
    pare_status (*done)(size_t prompt, const pare_completion *c, void *user, pare_error *err);
    void *user;
} pare_generate_job;

/* Write behind every prompt: out [n_prompts], zeroed by the caller, closed by it on success and on error. The same job
 * gives the same texts with any number of threads. Memory: besides the pass at most 1 GiB of keys and values, or one
 * sequence. Errors: PARE_ERR_USAGE (an empty prompt or stop, a temperature below 0), PARE_ERR_NUMBER (a logit is not
 * finite: prompt and token), those of the passes, of `text` and of `done`; PARE_ERR_UNSUPPORTED (an architecture that
 * pare does not know). */
pare_status pare_generate(const pare_generate_job *job, pare_completion *out, pare_error *err);

/* Ids of a prompt: BOS in front where the model wants it, once also when the text begins with it, and nothing behind.
 * flags: PARE_TOKENIZE_SPECIAL or 0. */
pare_status pare_prompt_ids(const pare_tokenizer *t, const pare_vocab *v, pare_str text, unsigned flags, pare_ids *out,
                            pare_error *err);

#endif
