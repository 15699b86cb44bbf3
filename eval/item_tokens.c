#include "eval/item_tokens.h"

#include "core/checked.h"
#include "tasks/python_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

pare_status pare_text_rule_of(pare_text_rule *out, const pare_tokenizer *tokenizer, const pare_vocab *vocab,
                              pare_error *err)
{
    pare_ids ids = {0};
    /* The vocabulary may leave open whether a text starts with BOS; what becomes of an empty text tells. */
    pare_status st = pare_tokenize(tokenizer, "", 0, PARE_TOKENIZE_BOS, &ids, err);
    bool has_bos = st == PARE_OK && ids.n > 0 && ids.ids[0] == vocab->bos;
    *out = (pare_text_rule){.tokenizer = tokenizer,
                            .bos = has_bos ? vocab->bos : PARE_TOKEN_NONE,
                            .prefix = vocab->bos != PARE_TOKEN_NONE ? vocab->bos : vocab->eos};
    free(ids.ids);
    return st;
}

static pare_status put_id(pare_ids *ids, size_t at, int64_t id, pare_error *err)
{
    if (id == PARE_TOKEN_NONE || (ids->n > at && ids->ids[at] == id))
        return PARE_OK;
    if (ids->n == ids->cap) {
        size_t cap = ids->cap + 1;
        int32_t *grown = realloc(ids->ids, cap * sizeof *grown);
        if (grown == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu token ids", cap);
        ids->ids = grown;
        ids->cap = cap;
    }
    memmove(ids->ids + at + 1, ids->ids + at, (ids->n - at) * sizeof *ids->ids);
    ids->ids[at] = (int32_t)id;
    ids->n++;
    return PARE_OK;
}

/* front: what the tokens begin with, unless they do already; PARE_TOKEN_NONE: nothing */
static pare_status tokenize(const pare_text_rule *rule, pare_str text, int64_t front, pare_ids *out, pare_error *err)
{
    out->n = 0;
    pare_status st = pare_tokenize(rule->tokenizer, text.data, text.len, PARE_TOKENIZE_SPECIAL, out, err);
    return st == PARE_OK ? put_id(out, 0, front, err) : st;
}

/* What is being made of an item. */
typedef struct making {
    const pare_item *item;
    const pare_text_rule *rule;
    pare_ids *wholes; /* [n_choices] */
    pare_ids context; /* of the choice before, good for the next one when the text is the same */
    pare_buf text;
    uint32_t n_ctx;
    bool too_long;
} making;

static bool same_text(pare_str a, pare_str b)
{
    return a.len == b.len && (a.data == b.data || memcmp(a.data, b.data, a.len) == 0);
}

static pare_status tokenize_choice(making *m, size_t i, pare_choice_tokens *out, pare_error *err)
{
    const pare_choice *c = &m->item->choices[i];
    pare_str context = pare_strip_end(c->context);
    int64_t front = context.len > 0 ? m->rule->bos : m->rule->prefix;
    pare_ids *whole = &m->wholes[i];
    if (context.len == 0 && front == PARE_TOKEN_NONE)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "item '%.*s': choice %zu has an empty context, and the model has no token to begin with",
                         (int)m->item->id.len, m->item->id.data, i);
    m->text.len = 0;
    pare_status st = pare_buf_put(&m->text, c->context.data, c->context.len, err);
    if (st == PARE_OK)
        st = pare_buf_put(&m->text, c->continuation.data, c->continuation.len, err);
    if (st == PARE_OK)
        st = tokenize(m->rule, (pare_str){m->text.data, m->text.len}, front, whole, err);
    if (st == PARE_OK && (i == 0 || !same_text(c->context, m->item->choices[i - 1].context)))
        st = tokenize(m->rule, context, front, &m->context, err);
    if (st != PARE_OK)
        return st;
    if (whole->n < 2)
        return pare_fail(err, PARE_ERR_FORMAT, "item '%.*s': choice %zu has no tokens", (int)m->item->id.len,
                         m->item->id.data, i);
    m->too_long = whole->n - 1 > m->n_ctx;
    if (m->too_long)
        return PARE_OK;
    out->n = (uint32_t)whole->n;
    out->n_context = m->context.n < whole->n ? (uint32_t)m->context.n : out->n - 1;
    out->n_context = out->n_context > 0 ? out->n_context : 1; /* a first token has nothing to be told from */
    out->last = whole->ids[whole->n - 1];
    return PARE_OK;
}

static uint32_t common(const pare_ids *a, const pare_ids *b, uint32_t most)
{
    uint32_t n = 0;
    while (n < most && n < a->n && n < b->n && a->ids[n] == b->ids[n])
        n++;
    return n;
}

/* Fill `own` of every choice. */
static void find_own(const making *m, pare_choice_tokens *choices)
{
    size_t n = m->item->n_choices;
    uint32_t shared = choices[0].n - 1;
    bool one_context = n > 1;
    for (size_t i = 1; i < n; i++) {
        one_context = one_context && same_text(m->item->choices[0].context, m->item->choices[i].context);
        shared = common(&m->wholes[0], &m->wholes[i], shared < choices[i].n - 1 ? shared : choices[i].n - 1);
    }
    for (size_t i = 0; i < n; i++)
        choices[i].own = one_context && shared > 0 ? shared : choices[i].n_context;
}

/* Give each choice an input: the first one that it is the beginning of, or that is its beginning and grows to it.
 * source[k]: the choice whose tokens input k takes. */
static uint32_t share_inputs(const making *m, pare_choice_tokens *choices, size_t *source)
{
    uint32_t n_inputs = 0;
    for (size_t i = 0; i < m->item->n_choices; i++) {
        uint32_t n = choices[i].n - 1, k = 0;
        for (; k < n_inputs; k++) {
            uint32_t other = choices[source[k]].n - 1, least = n < other ? n : other;
            if (common(&m->wholes[i], &m->wholes[source[k]], least) == least)
                break;
        }
        if (k == n_inputs)
            source[n_inputs++] = i;
        else if (choices[source[k]].n - 1 < n)
            source[k] = i;
        choices[i].input = k;
    }
    return n_inputs;
}

static pare_status copy_inputs(pare_item_tokens *out, const making *m, const size_t *source, pare_error *err)
{
    size_t total = 0, bytes = 0;
    bool fits = true;
    for (uint32_t k = 0; k < out->n_inputs; k++)
        fits = fits && pare_add_size(total, out->choices[source[k]].n - 1, &total);
    if (fits && pare_mul_size(total, sizeof *out->ids, &bytes))
        out->ids = malloc(bytes);
    out->inputs = calloc(out->n_inputs, sizeof *out->inputs);
    if (out->ids == NULL || out->inputs == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "item '%.*s': no memory for %zu tokens", (int)m->item->id.len,
                         m->item->id.data, total);
    size_t at = 0;
    for (uint32_t k = 0; k < out->n_inputs; k++) {
        out->inputs[k] = (pare_item_input){at, out->choices[source[k]].n - 1};
        memcpy(out->ids + at, m->wholes[source[k]].ids, out->inputs[k].n * sizeof *out->ids);
        at += out->inputs[k].n;
    }
    return PARE_OK;
}

pare_status pare_item_tokenize(pare_item_tokens *out, const pare_item *item, const pare_text_rule *rule, uint32_t n_ctx,
                               pare_error *err)
{
    making m = {.item = item, .rule = rule, .n_ctx = n_ctx, .wholes = calloc(item->n_choices, sizeof *m.wholes)};
    size_t *source = calloc(item->n_choices, sizeof *source);
    pare_status st = PARE_OK;
    *out = (pare_item_tokens){.choices = calloc(item->n_choices, sizeof *out->choices)};
    if (m.wholes == NULL || source == NULL || out->choices == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "item '%.*s': no memory for %zu choices", (int)item->id.len, item->id.data,
                       item->n_choices);
    for (size_t i = 0; i < item->n_choices && st == PARE_OK && !m.too_long; i++)
        st = tokenize_choice(&m, i, &out->choices[i], err);
    out->too_long = m.too_long;
    if (st == PARE_OK && !m.too_long) {
        find_own(&m, out->choices);
        out->n_inputs = share_inputs(&m, out->choices, source);
        st = copy_inputs(out, &m, source, err);
    }
    for (size_t i = 0; m.wholes != NULL && i < item->n_choices; i++)
        free(m.wholes[i].ids);
    free(m.wholes);
    free(m.context.ids);
    pare_buf_close(&m.text);
    free(source);
    if (st != PARE_OK)
        pare_item_tokens_close(out);
    return st;
}

void pare_item_tokens_close(pare_item_tokens *t)
{
    free(t->ids);
    free(t->inputs);
    free(t->choices);
    *t = (pare_item_tokens){0};
}
