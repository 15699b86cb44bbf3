/* eval/worst.h - the positions that differ most, with the tokens before them */
#ifndef PARE_EVAL_WORST_H
#define PARE_EVAL_WORST_H

#include "eval/scores.h"

#include <stddef.h>

enum { PARE_WORST_CONTEXT = 16 };

typedef struct pare_worst_token {
    size_t text;          /* number of the text */
    uint32_t window, pos; /* the token at pos + 1 of the window is what was predicted */
    double value;         /* KL(reference || model), or -ln q(t) without a reference */
    double nll, ref_nll;  /* of the true token; ref_nll 0 without a reference */
    bool same_top1;
    uint32_t n_context;
    int32_t context[PARE_WORST_CONTEXT]; /* tokens up to and with position pos; n_context 0 where they are not known */
    int32_t target;                      /* -1 where it is not known */
} pare_worst_token;

/* Zeroed with n_max set is empty. */
typedef struct pare_worst {
    size_t text; /* number of the text that is being added */
    size_t n_max, n;
    bool has_reference;
    pare_worst_token *tokens; /* [n_max], owned */
} pare_worst;

/* Errors: PARE_ERR_MEMORY */
pare_status pare_worst_add(pare_worst *w, const pare_scores *s, pare_error *err);
/* The largest first, of equals the earlier. */
void pare_worst_sort(pare_worst *w);
void pare_worst_close(pare_worst *w);

#endif
