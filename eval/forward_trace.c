#include "eval/cpu_kernels.h"
#include "eval/forward_parts.h"

#include <stdlib.h>

typedef struct trace {
    pare_backend *b;
    const pare_tensor *found;
} trace;

/* Are all n values, which lie in device memory, finite? */
static pare_status all_finite(pare_backend *b, const float *x, size_t n, bool *finite, pare_error *err)
{
    pare_peak peak;
    float *host = NULL;
    size_t bytes = n * sizeof *x; /* the pass holds as many: it fits */
    if (!b->host_memory) {
        if ((host = malloc(bytes)) == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu bytes of activations", bytes);
        pare_status st = b->download(b, host, x, bytes, err);
        if (st != PARE_OK) {
            free(host);
            return st;
        }
        x = host;
    }
    *finite = pare_cpu_peak(x, n, &peak);
    free(host);
    return PARE_OK;
}

static pare_status look(const pare_tensor *w, uint32_t matrix, const float *x, uint32_t n, void *user, pare_error *err)
{
    trace *t = user;
    bool finite = true;
    (void)matrix;
    pare_status st = all_finite(t->b, x, (size_t)(n * w->row_len), &finite, err);
    if (st != PARE_OK || finite)
        return st;
    t->found = w;
    return pare_fail(err, PARE_ERR_NUMBER, "an input of tensor '%s' is not finite", w->name);
}

bool pare_forward_trace(pare_forward *f, const int32_t *ids, uint32_t n, pare_error *err)
{
    trace t = {.b = f->b};
    pare_forward_observe(f, look, &t);
    pare_status st = pare_forward_run(f, ids, 1, n, NULL);
    pare_forward_observe(f, NULL, NULL);
    if (err == NULL || (t.found == NULL && st != PARE_OK))
        return t.found != NULL;
    const pare_error before = *err;
    if (t.found != NULL)
        pare_fail(err, before.status, "%s; the first one that is not goes into tensor '%s'", before.text,
                  t.found->name);
    else
        pare_fail(err, before.status, "%s; all that go into the tensors of the layers are finite", before.text);
    return t.found != NULL;
}
