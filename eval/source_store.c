#include "eval/source.h"

#include "model/vocab.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Sources of one store may be called by several threads (eval/evaluate_devices.h), a store by one at a time. */
static pthread_mutex_t store_lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct store_source {
    pare_logit_store *store; /* borrowed */
    uint64_t *index;         /* [n_windows] of the windows of the run in the store */
    uint32_t first;          /* window of the batch */
} store_source;

static pare_status store_run(pare_source *s, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err)
{
    store_source *own = s->state;
    (void)w;
    (void)n_seq;
    own->first = i;
    return pare_check_interrupt(err);
}

static pare_status store_rows(pare_source *s, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    const store_source *own = s->state;
    pthread_mutex_lock(&store_lock);
    pare_status st = pare_logit_store_rows(own->store, own->index[own->first + seq], pos, n, out, err);
    pthread_mutex_unlock(&store_lock);
    return st;
}

static uint64_t store_bytes(const pare_source *s)
{
    const store_source *own = s->state;
    return pare_logit_store_bytes(own->store);
}

static void store_close(pare_source *s)
{
    store_source *own = s->state;
    free(own->index);
    free(own);
    free(s);
}

/* All of them before the first is measured: what is lacking is told at once. */
static pare_status find_windows(store_source *own, const pare_windows *w, pare_error *err)
{
    pare_status st = PARE_OK;
    int32_t *ids = malloc(w->n_ctx * sizeof *ids);
    if (ids == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a window of %" PRIu32 " tokens", w->n_ctx);
    for (uint32_t i = 0; i < w->n_windows && st == PARE_OK; i++) {
        memcpy(ids, w->ids + (size_t)w->number[i] * w->step, w->n_ctx * sizeof *ids);
        if (w->bos != PARE_TOKEN_NONE)
            ids[0] = (int32_t)w->bos;
        st = pare_logit_store_find(own->store, ids, w->first, w->n_scored, &own->index[i], err);
    }
    free(ids);
    return st;
}

pare_status pare_source_of_store(pare_source **out, pare_logit_store *store, const pare_windows *w, pare_error *err)
{
    const char *path = pare_logit_store_path(store);
    store_source *own = malloc(sizeof *own);
    pare_source *s = malloc(sizeof *s);
    uint64_t *index = malloc(((size_t)w->n_windows + 1) * sizeof *index);
    pare_status st = PARE_OK;
    if (s == NULL || own == NULL || index == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " windows", path, w->n_windows);
    if (st == PARE_OK) {
        *own = (store_source){.store = store, .index = index};
        st = find_windows(own, w, err);
    }
    if (st != PARE_OK) {
        free(s);
        free(own);
        free(index);
        return st;
    }
    *s = (pare_source){.path = path,
                       .n_vocab = pare_logit_store_info(store)->n_vocab,
                       .state = own,
                       .run = store_run,
                       .rows = store_rows,
                       .bytes = store_bytes,
                       .close = store_close};
    *out = s;
    return PARE_OK;
}
