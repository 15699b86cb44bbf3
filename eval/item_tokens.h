/* eval/item_tokens.h - the tokens of an item's choices: what goes through the model, and which tokens are scored
 *
 *   whole    = tokens of context and continuation together          b c1 c2 c3 a1 a2
 *   context  = tokens of the context without white space at its end  b c1 c2 c3
 *   scored   = those of whole behind as many as context has                     a1 a2
 *   input    = whole without its last token                          b c1 c2 c3 a1
 *
 * b: BOS, where the tokenizer puts one. Choices whose inputs begin alike share the longest: the letters of MMLU are
 * four tokens behind one input. These are the rules of lm-eval 0.4 (api/model.py, models/huggingface.py). */
#ifndef PARE_EVAL_ITEM_TOKENS_H
#define PARE_EVAL_ITEM_TOKENS_H

#include "eval/tokenizer.h"
#include "tasks/task.h"

/* One sequence for the model: ids [first, first + n) of the item. */
typedef struct pare_item_input {
    size_t first;
    uint32_t n;
} pare_item_input;

typedef struct pare_choice_tokens {
    uint32_t input;     /* index of the item's input that this choice's is the beginning of */
    uint32_t n;         /* tokens of whole */
    uint32_t n_context; /* below n: the last token is always scored */
    uint32_t own;       /* tokens that all choices begin with, below n; n_context when their contexts differ */
    int32_t last;       /* the last token of whole */
} pare_choice_tokens;

/* Zeroed is closed. */
typedef struct pare_item_tokens {
    int32_t *ids;
    pare_item_input *inputs;
    uint32_t n_inputs;
    pare_choice_tokens *choices; /* [item.n_choices] */
    bool too_long;               /* an input has more tokens than asked for: nothing else is filled */
} pare_item_tokens;

/* How texts become tokens. */
typedef struct pare_text_rule {
    const pare_tokenizer *tokenizer;
    int64_t bos;    /* stands in front of a text; PARE_TOKEN_NONE: nothing does */
    int64_t prefix; /* what an empty context is replaced by: BOS, else EOS; PARE_TOKEN_NONE: the model has neither */
} pare_text_rule;

/* Errors: PARE_ERR_FORMAT */
pare_status pare_text_rule_of(pare_text_rule *out, const pare_tokenizer *tokenizer, const pare_vocab *vocab,
                              pare_error *err);

/* n_ctx: most tokens of an input; at the first choice that has more the rest is not looked at, so that memory stays
 * within the file's. Errors: PARE_ERR_FORMAT (an empty context and no prefix; a choice without tokens), PARE_ERR_MEMORY
 */
pare_status pare_item_tokenize(pare_item_tokens *out, const pare_item *item, const pare_text_rule *rule, uint32_t n_ctx,
                               pare_error *err);
void pare_item_tokens_close(pare_item_tokens *t);

#endif
