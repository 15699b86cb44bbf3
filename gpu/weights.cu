#include "gpu/weights.h"

#include <stdlib.h>

typedef struct entry {
    const pare_tensor *t;
    void *stored; /* the tensor's bytes, or NULL */
    float *floats;
    struct entry *next;
} entry;

struct pare_gpu_weights {
    entry *entries;
    uint64_t resident_bytes;
};

pare_status pare_gpu_weights_open(pare_gpu *g, pare_error *err)
{
    g->weights = (struct pare_gpu_weights *)calloc(1, sizeof *g->weights);
    return g->weights != NULL ? PARE_OK : pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a list of weights");
}

void pare_gpu_weights_close(pare_gpu *g)
{
    struct pare_gpu_weights *w = g->weights;
    while (w->entries != NULL) {
        entry *e = w->entries;
        w->entries = e->next;
        pare_gpu_free(g, e->stored, e->t->n_bytes);
        pare_gpu_free(g, e->floats, e->t->n_rows * e->t->row_len * sizeof(float));
        free(e);
    }
    free(w);
    g->weights = NULL;
}

static entry *entry_of(pare_gpu *g, const pare_tensor *t, pare_error *err)
{
    for (entry *e = g->weights->entries; e != NULL; e = e->next)
        if (e->t == t)
            return e;
    entry *e = (entry *)calloc(1, sizeof *e);
    if (e == NULL) {
        pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a list of weights");
        return NULL;
    }
    e->t = t;
    e->next = g->weights->entries;
    g->weights->entries = e;
    return e;
}

static pare_status load(pare_gpu *g, const pare_tensor *t, void *dst, pare_error *err)
{
    void *host = malloc(t->n_bytes > 0 ? t->n_bytes : 1);
    pare_status st = PARE_OK;
    if (host == NULL)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory to read it", t->name);
    st = pare_gpu_calls->tensor_read(t, 0, t->n_rows, host, err);
    if (st == PARE_OK)
        st = pare_gpu_upload(g, dst, host, t->n_bytes, err);
    if (st == PARE_OK)
        st = pare_gpu_check(g, cudaStreamSynchronize(g->stream), "upload", err);
    free(host);
    return st;
}

pare_status pare_gpu_weight(pare_gpu *g, const pare_tensor *t, uint64_t row, uint64_t, const void **out,
                            pare_error *err)
{
    entry *e = entry_of(g, t, err);
    if (e == NULL)
        return PARE_ERR_MEMORY;
    if (e->stored == NULL) {
        void *p = pare_gpu_alloc(g, t->n_bytes, t->name, err);
        pare_status st = p != NULL ? load(g, t, p, err) : PARE_ERR_MEMORY;
        if (st != PARE_OK) {
            pare_gpu_free(g, p, t->n_bytes);
            return st;
        }
        e->stored = p;
        g->weights->resident_bytes += t->n_bytes;
    }
    *out = (const char *)e->stored + row * t->row_bytes;
    return PARE_OK;
}

uint64_t pare_gpu_weight_piece(pare_gpu *, const pare_tensor *, uint64_t, uint64_t n_rows)
{
    return n_rows;
}

pare_status pare_gpu_vector(pare_gpu *g, const pare_tensor *t, const float **out, pare_error *err)
{
    entry *e = entry_of(g, t, err);
    uint64_t n = t->n_rows * t->row_len;
    const void *stored;
    if (e == NULL)
        return PARE_ERR_MEMORY;
    if (e->floats == NULL) {
        pare_status st = pare_gpu_weight(g, t, 0, t->n_rows, &stored, err);
        float *p = st == PARE_OK ? (float *)pare_gpu_alloc(g, n * sizeof *p, t->name, err) : NULL;
        if (st == PARE_OK)
            st = p == NULL ? PARE_ERR_MEMORY
                 : t->type != PARE_TYPE_F32
                     ? pare_gpu_calls->fail(err, PARE_ERR_UNSUPPORTED, "'%s' is not F32", t->name)
                     : pare_gpu_check(g, cudaMemcpyAsync(p, stored, t->n_bytes, cudaMemcpyDeviceToDevice, g->stream),
                                      "copy", err);
        if (st != PARE_OK) {
            pare_gpu_free(g, p, n * sizeof *p);
            return st;
        }
        e->floats = p;
    }
    *out = e->floats;
    return PARE_OK;
}

pare_status pare_gpu_weights_expect(pare_gpu *, const pare_tensor *const *, size_t, pare_error *)
{
    return PARE_OK;
}

void pare_gpu_weights_traffic(const pare_gpu *g, pare_gpu_traffic *out)
{
    memset(out, 0, sizeof *out);
    out->resident_bytes = g->weights->resident_bytes;
}
