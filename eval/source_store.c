#include "eval/source.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct store_source {
    pare_logit_store *store; /* borrowed */
    uint64_t *index;         /* [n_seq] of the windows of the batch */
} store_source;

static pare_status store_run(pare_source *s, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err)
{
    store_source *own = s->state;
    pare_status st = PARE_OK;
    (void)i;
    for (uint32_t k = 0; k < n_seq && st == PARE_OK; k++)
        st = pare_logit_store_find(own->store, w->batch + (size_t)k * w->n_ctx, w->first, w->n_scored, &own->index[k],
                                   err);
    return st == PARE_OK ? pare_check_interrupt(err) : st;
}

static pare_status store_rows(pare_source *s, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    const store_source *own = s->state;
    return pare_logit_store_rows(own->store, own->index[seq], pos, n, out, err);
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

pare_status pare_source_of_store(pare_source **out, pare_logit_store *store, const pare_windows *w, pare_error *err)
{
    const char *path = pare_logit_store_path(store);
    pare_source *s = malloc(sizeof *s);
    store_source *own = malloc(sizeof *own);
    uint64_t *index = malloc(((size_t)w->n_seq + 1) * sizeof *index);
    if (s == NULL || own == NULL || index == NULL) {
        free(s);
        free(own);
        free(index);
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " windows", path, w->n_seq);
    }
    *own = (store_source){store, index};
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
