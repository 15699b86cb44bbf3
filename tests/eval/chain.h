/* tests/eval/chain.h - a model without layers whose next token depends on the last one alone, with its vocabulary */
#ifndef PARE_TESTS_EVAL_CHAIN_H
#define PARE_TESTS_EVAL_CHAIN_H

#include "eval/backend.h"
#include "eval/tokenizer.h"

enum { CHAIN_EVEN = -1, CHAIN_NAN = -2 };

/* Token i of the model: what it says, and what follows it: an id, CHAIN_EVEN (all are as likely), CHAIN_NAN. */
typedef struct chain_token {
    const char *text;
    pare_token_type type;
    int next;
} chain_token;

typedef struct chain {
    pare_model m;
    pare_tokenizer *tokenizer;
    pare_backend *b;
} chain;

/* n tokens, of which the vocabulary has the first n_vocab; id 0 stands for text that has no token. The likeliest
 * token's logit is 2 sqrt n, the others' 0. */
void chain_open(chain *c, const chain_token *tokens, int n, int n_vocab, uint32_t n_ctx);
void chain_close(chain *c);

#endif
