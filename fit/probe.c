#include "fit/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { N_MATRICES = 3 };

static uint64_t weights_of(const pare_tensor *t)
{
    return t->n_rows * t->row_len;
}

/* The smallest matrices of the middle layer that have statistics, the smallest first. */
static size_t choose(const pare_encodings_options *o, size_t *tensors)
{
    const pare_model *m = o->model;
    char prefix[32];
    size_t n = 0;
    snprintf(prefix, sizeof prefix, "blk.%u.", (unsigned)(m->hp.n_layer / 2));
    for (size_t i = 0; i < m->n_tensors; i++) {
        const pare_tensor *t = &m->tensors[i];
        if (strncmp(t->name, prefix, strlen(prefix)) != 0 || !o->allowed[i * PARE_TYPE_COUNT + PARE_TYPE_Q8_0] ||
            pare_grams_find(&o->imatrix->grams, t->name) == NULL || pare_tensor_matrices(t) > 1)
            continue;
        size_t at = n;
        while (at > 0 && weights_of(&m->tensors[tensors[at - 1]]) > weights_of(t))
            at--;
        for (size_t k = n < N_MATRICES ? n : N_MATRICES - 1; k > at; k--)
            tensors[k] = tensors[k - 1];
        if (at < N_MATRICES)
            tensors[at] = i;
        n += n < N_MATRICES;
    }
    return n;
}

/* A model of these tensors alone; the rest is borrowed. To be closed by close_few. */
static pare_status open_few(pare_model *few, const pare_model *m, const size_t *tensors, size_t n, pare_error *err)
{
    *few = (pare_model){
        .format = m->format, .path = m->path, .meta = m->meta, .alignment = m->alignment, .arch = m->arch, .hp = m->hp};
    pare_status st = pare_model_reserve(few, n, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = pare_model_add(few, &m->tensors[tensors[i]], NULL, err);
    return st;
}

static void close_few(pare_model *few)
{
    few->meta = (pare_meta){0};
    pare_model_close(few);
}

/* Whatever tensor of the model may have the type may have the other one (whose blocks may not divide all rows). */
static bool stands_in(const pare_encodings_options *all, pare_type other, pare_type type)
{
    for (size_t i = 0; i < all->model->n_tensors; i++)
        if (all->allowed[i * PARE_TYPE_COUNT + (size_t)type] && !all->allowed[i * PARE_TYPE_COUNT + (size_t)other])
            return false;
    return true;
}

/* On this tensor, does a type of no more bytes that can stand in for it lose so much less? */
static bool is_beaten(const pare_encodings *e, const pare_encodings_options *all, size_t tensor, pare_type type)
{
    const pare_encoding_list *l = &e->of[tensor];
    const pare_encoding *own = pare_encodings_find(e, tensor, type);
    if (own == NULL || !(own->form > 0))
        return false;
    for (size_t k = 0; k < l->n; k++) {
        const pare_encoding *other = &l->list[k];
        if (other->type != type && other->bytes <= own->bytes && other->form * PARE_PROBE_MARGIN < own->form &&
            stands_in(all, other->type, type))
            return true;
    }
    return false;
}

static pare_status probe(pare_encodings *e, const pare_encodings_options *all, size_t n_tensors, const pare_type *types,
                         size_t n_types, bool *needless, pare_error *err)
{
    pare_encodings_want wants[PARE_TYPE_COUNT];
    for (size_t k = 0; k < n_types; k++)
        wants[k] = (pare_encodings_want){.e = e, .type = types[k]};
    pare_status st = pare_encodings_add_all(wants, n_types, err);
    for (size_t k = 0; k < n_types && st == PARE_OK; k++) {
        bool beaten = n_tensors > 0;
        for (size_t i = 0; i < n_tensors; i++)
            beaten = beaten && is_beaten(e, all, i, types[k]);
        needless[types[k]] = beaten;
    }
    return st;
}

pare_status pare_probe_types(const pare_encodings_options *options, const pare_type *types, size_t n_types,
                             bool *needless, pare_error *err)
{
    size_t tensors[N_MATRICES];
    bool allowed[N_MATRICES * PARE_TYPE_COUNT];
    pare_model few = {0};
    pare_buf folder = {0};
    pare_encodings e = {0};
    memset(needless, 0, PARE_TYPE_COUNT * sizeof *needless);
    if (options->imatrix == NULL || options->imatrix->grams.n == 0)
        return PARE_OK;
    const size_t n = choose(options, tensors);
    for (size_t i = 0; i < n; i++)
        memcpy(allowed + i * PARE_TYPE_COUNT, options->allowed + tensors[i] * PARE_TYPE_COUNT,
               PARE_TYPE_COUNT * sizeof *allowed);
    pare_status st = open_few(&few, options->model, tensors, n, err);
    if (st == PARE_OK)
        st = pare_buf_printf(&folder, err, "%s/probe", options->folder);
    if (st == PARE_OK && mkdir(folder.data, 0777) != 0 && errno != EEXIST)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot be made: %s", folder.data, strerror(errno));
    pare_encodings_options own = *options;
    own.model = &few;
    own.allowed = allowed;
    own.folder = folder.data;
    if (st == PARE_OK)
        st = pare_encodings_open(&e, &own, err);
    if (st == PARE_OK)
        st = probe(&e, options, n, types, n_types, needless, err);
    pare_encodings_close(&e);
    pare_buf_close(&folder);
    close_few(&few);
    return st;
}
