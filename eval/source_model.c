#include "eval/source.h"

#include <stdlib.h>

static pare_status model_run(pare_source *s, const pare_windows *w, uint32_t i, uint32_t n_seq, pare_error *err)
{
    (void)i;
    return pare_forward_run_from(s->state, w->batch, n_seq, w->n_ctx, w->first, err);
}

static pare_status model_rows(pare_source *s, uint32_t seq, uint32_t pos, uint32_t n, float *out, pare_error *err)
{
    return pare_forward_logits(s->state, seq, pos, n, out, err);
}

static pare_status model_side(pare_source *s, pare_score_side *out, uint32_t *n, pare_error *err)
{
    return pare_forward_score_side(s->state, out, n, err);
}

static void model_trace(pare_source *s, const int32_t *ids, uint32_t n_ctx, pare_error *err)
{
    pare_forward_trace(s->state, ids, n_ctx, err);
}

static uint64_t model_bytes(const pare_source *s)
{
    return pare_forward_bytes(s->state);
}

static void model_close(pare_source *s)
{
    pare_forward_close(s->state);
    free(s);
}

pare_status pare_source_of_model(pare_source **out, const pare_model *m, pare_backend *b, const pare_windows *w,
                                 const pare_kv_form *form, pare_error *err)
{
    pare_forward *f = NULL;
    pare_status st = pare_forward_open(&f, m, b, w->n_ctx, w->n_seq != 0 ? w->n_seq : 1, err);
    if (st == PARE_OK && form != NULL)
        st = pare_forward_keep(f, form, err);
    if (st != PARE_OK) {
        pare_forward_close(f);
        return st;
    }
    pare_source *s = malloc(sizeof *s);
    if (s == NULL) {
        pare_forward_close(f);
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory to run it", m->path);
    }
    *s = (pare_source){.path = m->path,
                       .n_vocab = m->hp.n_vocab,
                       .state = f,
                       .run = model_run,
                       .rows = model_rows,
                       .side = model_side,
                       .backend = b,
                       .trace = model_trace,
                       .bytes = model_bytes,
                       .close = model_close};
    *out = s;
    return PARE_OK;
}

void pare_source_close(pare_source *s)
{
    if (s != NULL)
        s->close(s);
}
