#include "eval/embedding.h"

#include "core/checked.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static pare_status grow(void **data, size_t *cap, size_t n, size_t size, pare_error *err)
{
    size_t wanted = *cap < 64 ? 64 : *cap, bytes = 0;
    if (n <= *cap)
        return PARE_OK;
    while (wanted < n)
        wanted *= 2;
    void *more = pare_mul_size(wanted, size, &bytes) ? realloc(*data, bytes) : NULL;
    if (more == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tokens", n);
    *data = more;
    *cap = wanted;
    return PARE_OK;
}

pare_status pare_text_ids_add(pare_text_ids *t, const int32_t *ids, size_t n, uint32_t most, bool closed,
                              pare_error *err)
{
    size_t kept = n < most ? n : most;
    pare_status st = grow((void **)&t->ids, &t->cap_ids, t->n_ids + kept, sizeof *t->ids, err);
    if (st == PARE_OK)
        st = grow((void **)&t->n, &t->cap_texts, t->n_texts + 1, sizeof *t->n, err);
    if (st != PARE_OK)
        return st;
    memcpy(t->ids + t->n_ids, ids, kept * sizeof *ids);
    if (kept < n && closed)
        t->ids[t->n_ids + kept - 1] = ids[n - 1];
    t->n_cut += kept < n;
    t->n_ids += kept;
    t->n[t->n_texts++] = (uint32_t)kept;
    return PARE_OK;
}

void pare_text_ids_close(pare_text_ids *t)
{
    free(t->ids);
    free(t->n);
    *t = (pare_text_ids){0};
}

pare_pooling pare_pooling_of(const pare_model *m, pare_pooling wanted)
{
    if (wanted != PARE_POOLING_NONE)
        return wanted;
    return m->hp.has_pooling && m->hp.pooling != PARE_POOLING_NONE ? m->hp.pooling : PARE_POOLING_MEAN;
}

typedef struct embedder {
    const pare_model *m;
    pare_forward *f;
    pare_pooling pooling;
    float *states; /* of a batch */
    double *sum;   /* [n_embd] */
    uint32_t n_tokens;
} embedder;

static pare_status pool(embedder *e, const float *states, uint32_t n, size_t text, float *out, pare_error *err)
{
    uint32_t width = e->m->hp.n_embd, first = e->pooling == PARE_POOLING_LAST ? n - 1 : 0;
    uint32_t end = e->pooling == PARE_POOLING_CLS ? 1 : n;
    for (uint32_t i = 0; i < width; i++)
        e->sum[i] = 0;
    for (uint32_t t = first; t < end; t++)
        for (uint32_t i = 0; i < width; i++)
            e->sum[i] += (double)states[(size_t)t * width + i];
    for (uint32_t i = 0; i < width; i++) {
        out[i] = (float)(e->sum[i] / (double)(end - first));
        if (!isfinite(out[i]))
            return pare_fail(err, PARE_ERR_NUMBER, "%s: text %zu: element %" PRIu32 " of its vector is not finite",
                             e->m->path, text, i);
    }
    return PARE_OK;
}

/* Texts from `first` on that fit into a batch, and how many tokens that are. */
static size_t batch_of(const embedder *e, const pare_text_ids *texts, size_t first, uint32_t *n_tokens)
{
    size_t n = 0;
    for (*n_tokens = 0; first + n < texts->n_texts && texts->n[first + n] <= e->n_tokens - *n_tokens; n++)
        *n_tokens += texts->n[first + n];
    return n;
}

static pare_status run(embedder *e, const pare_text_ids *texts, float *out, pare_embed_progress progress, void *user,
                       pare_error *err)
{
    size_t width = e->m->hp.n_embd, n = 0, id = 0;
    pare_status st = PARE_OK;
    for (size_t first = 0; first < texts->n_texts && st == PARE_OK; first += n) {
        uint32_t n_tokens = 0, at = 0;
        n = batch_of(e, texts, first, &n_tokens);
        st = pare_forward_run_each(e->f, texts->ids + id, texts->n + first, (uint32_t)n, err);
        if (st == PARE_OK)
            st = pare_forward_states(e->f, 0, 0, n_tokens, e->states, err);
        for (size_t i = first; i < first + n && st == PARE_OK; at += texts->n[i++])
            st = pool(e, e->states + at * width, texts->n[i], i, out + i * width, err);
        id += n_tokens;
        if (st == PARE_OK && progress != NULL)
            progress(first + n, texts->n_texts, user);
    }
    return st;
}

pare_status pare_embed(const pare_model *m, pare_backend *b, pare_pooling pooling, const pare_text_ids *texts,
                       float *out, pare_embed_progress progress, void *user, pare_error *err)
{
    embedder e = {.m = m, .pooling = pooling};
    uint32_t longest = 1;
    if (pooling == PARE_POOLING_RANK || pooling == PARE_POOLING_NONE)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: pooling of kind %d gives no vector of a text", m->path,
                         (int)pooling);
    for (size_t i = 0; i < texts->n_texts; i++)
        longest = texts->n[i] > longest ? texts->n[i] : longest;
    e.n_tokens = b->batch_tokens > longest ? b->batch_tokens : longest;
    if (texts->n_ids < e.n_tokens && texts->n_ids > 0)
        e.n_tokens = (uint32_t)texts->n_ids;
    size_t bytes = 0;
    pare_status st = pare_forward_open_tokens(&e.f, m, b, longest, e.n_tokens, err);
    if (st == PARE_OK && (!pare_mul_size((size_t)e.n_tokens * sizeof(float), m->hp.n_embd, &bytes) ||
                          (e.states = malloc(bytes)) == NULL || (e.sum = malloc(m->hp.n_embd * sizeof *e.sum)) == NULL))
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for states of %" PRIu32 " tokens", m->path, e.n_tokens);
    if (st == PARE_OK)
        st = run(&e, texts, out, progress, user, err);
    pare_forward_close(e.f);
    free(e.states);
    free(e.sum);
    return st;
}
