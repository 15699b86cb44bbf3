#include "eval/forward_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

typedef struct trace {
    const pare_forward *f;
    const pare_tensor *found;
    uint32_t position;
} trace;

/* The first of n rows, in device memory, that holds what is not finite; n: none does. */
static pare_status first_bad_row(pare_backend *b, const float *x, uint32_t n, size_t width, uint32_t *row,
                                 pare_error *err)
{
    float *host = NULL;
    size_t bytes = n * width * sizeof *x, i = 0; /* the pass holds as many: it fits */
    pare_status st = PARE_OK;
    if (!b->host_memory) {
        if ((host = malloc(bytes)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu bytes of activations", bytes);
        st = b->download(b, host, x, bytes, err);
        x = host;
    }
    while (st == PARE_OK && i < n * width && isfinite(x[i]))
        i++;
    *row = (uint32_t)(i / width);
    free(host);
    return st;
}

/* Of row `row` that goes into matrix `matrix` of w: the slice's tokens in their order, or those that the router chose
 * for an expert. */
static uint32_t position_of(const pare_forward *f, const pare_tensor *w, uint32_t matrix, uint32_t row)
{
    const pare_routing *r = &f->experts.routing;
    if (pare_tensor_matrices(w) > 1)
        row = (uint32_t)r->token[r->first[matrix] + row];
    return f->at + row;
}

static pare_status look(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user, pare_error *err)
{
    trace *t = user;
    uint32_t row = 0;
    pare_status st = first_bad_row(t->f->b, x, n, (size_t)w->row_len, &row, err);
    if (st != PARE_OK || row == n)
        return st;
    t->found = w;
    t->position = position_of(t->f, w, matrix, row);
    return pare_fail(err, PARE_ERR_NUMBER, "an input of tensor '%s' is not finite", w->name);
}

bool pare_forward_trace(pare_forward *f, const int32_t *ids, uint32_t n, pare_error *err)
{
    trace t = {.f = f};
    uint32_t row = n;
    pare_forward_observe(f, look, &t);
    pare_status st = pare_forward_run(f, ids, 1, n, NULL);
    pare_forward_observe(f, NULL, NULL);
    if (st == PARE_OK)
        st = first_bad_row(f->b, f->x, n, f->m->hp.n_embd, &row, NULL);
    if (err == NULL || (t.found == NULL && st != PARE_OK))
        return t.found != NULL || row < n;
    const pare_error before = *err;
    if (t.found != NULL)
        pare_fail(err, before.status, "%s; the first one that is not goes into tensor '%s' at position %" PRIu32,
                  before.text, t.found->name, t.position);
    else if (row < n)
        pare_fail(err, before.status,
                  "%s; the first one that is not comes out of the last of %" PRIu32 " layers at position %" PRIu32,
                  before.text, f->m->hp.n_layer, row);
    else
        pare_fail(err, before.status, "%s; all that go into and out of the layers are finite", before.text);
    return t.found != NULL || row < n;
}
