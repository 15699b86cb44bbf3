#include "eval/worst.h"

#include <stdlib.h>
#include <string.h>

/* Whether a is worse than b; of equals the one that comes first. */
static bool is_worse(const pare_worst_token *a, const pare_worst_token *b)
{
    if (a->value != b->value)
        return a->value > b->value;
    if (a->text != b->text)
        return a->text < b->text;
    return a->window != b->window ? a->window < b->window : a->pos < b->pos;
}

/* tokens is a heap with the least bad one on top: parent i is not worse than its children 2 i + 1 and 2 i + 2. */
static void sift_down(pare_worst *w, size_t i)
{
    for (;;) {
        size_t least = i, left = 2 * i + 1;
        for (size_t child = left; child < left + 2 && child < w->n; child++)
            if (is_worse(&w->tokens[least], &w->tokens[child]))
                least = child;
        if (least == i)
            return;
        pare_worst_token t = w->tokens[i];
        w->tokens[i] = w->tokens[least];
        w->tokens[least] = t;
        i = least;
    }
}

static void sift_up(pare_worst *w, size_t i)
{
    while (i > 0 && is_worse(&w->tokens[(i - 1) / 2], &w->tokens[i])) {
        pare_worst_token t = w->tokens[i];
        w->tokens[i] = w->tokens[(i - 1) / 2];
        w->tokens[(i - 1) / 2] = t;
        i = (i - 1) / 2;
    }
}

static void add(pare_worst *w, const pare_worst_token *t)
{
    if (w->n < w->n_max) {
        w->tokens[w->n] = *t;
        sift_up(w, w->n++);
    } else if (is_worse(t, &w->tokens[0])) {
        w->tokens[0] = *t;
        sift_down(w, 0);
    }
}

static pare_worst_token describe(size_t text, const pare_scores *s, uint32_t i)
{
    pare_worst_token t = {.text = text, .window = s->window, .pos = s->first + i, .nll = s->nll[i], .target = -1};
    t.value = s->has_reference ? s->kld[i] : s->nll[i];
    t.ref_nll = s->has_reference ? s->ref_nll[i] : 0;
    t.same_top1 = s->has_reference && s->same_top1[i] != 0;
    if (s->ids != NULL) {
        t.n_context = t.pos + 1 < PARE_WORST_CONTEXT ? t.pos + 1 : PARE_WORST_CONTEXT;
        memcpy(t.context, s->ids + t.pos + 1 - t.n_context, t.n_context * sizeof *t.context);
        t.target = s->ids[t.pos + 1];
    }
    return t;
}

pare_status pare_worst_add(pare_worst *w, const pare_scores *s, pare_error *err)
{
    if (w->n_max == 0)
        return PARE_OK;
    if (w->tokens == NULL && (w->tokens = calloc(w->n_max, sizeof *w->tokens)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tokens", w->n_max);
    w->has_reference = s->has_reference;
    for (uint32_t i = 0; i < s->n; i++) {
        double value = s->has_reference ? s->kld[i] : s->nll[i];
        if (w->n == w->n_max && value < w->tokens[0].value)
            continue;
        pare_worst_token t = describe(w->text, s, i);
        add(w, &t);
    }
    return PARE_OK;
}

static int worse_first(const void *a, const void *b)
{
    return is_worse(a, b) ? -1 : is_worse(b, a);
}

void pare_worst_sort(pare_worst *w)
{
    if (w->n > 0)
        qsort(w->tokens, w->n, sizeof *w->tokens, worse_first);
}

void pare_worst_close(pare_worst *w)
{
    free(w->tokens);
    *w = (pare_worst){0};
}
