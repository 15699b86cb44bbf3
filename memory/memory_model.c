#include "memory/memory.h"

#include "core/checked.h"

#include <fnmatch.h>
#include <string.h>

static pare_status take_tensor(pare_memory_tensor *to, const pare_tensor *t, const char *path, pare_error *err)
{
    if (t->n_dims > 4)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s' has %u dimensions, a runtime takes 4 at most",
                         path, t->name, t->n_dims);
    *to = (pare_memory_tensor){
        .name = t->name, .type = t->type, .n_dims = t->n_dims, .n_bytes = t->n_bytes, .place = PARE_MEMORY_BY_RUNTIME};
    memcpy(to->dim, t->dim, t->n_dims * sizeof *to->dim);
    return PARE_OK;
}

pare_status pare_memory_model_of(pare_memory_model *out, const pare_model *m, pare_error *err)
{
    *out = (pare_memory_model){.arch = m->arch, .hp = &m->hp, .alignment = m->alignment > 0 ? m->alignment : 32};
    if (m->arch == NULL)
        return pare_arch_refuse_unknown(m, err);
    out->n_tokens = m->has_vocab ? m->vocab.n_tokens : m->hp.n_vocab;
    out->tensors = pare_arena_alloc(&out->arena, m->n_tensors * sizeof *out->tensors, err);
    if (out->tensors == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < m->n_tensors; i++) {
        pare_status status = take_tensor(&out->tensors[i], &m->tensors[i], m->path, err);
        if (status != PARE_OK) {
            pare_memory_model_close(out);
            return status;
        }
    }
    out->n_tensors = m->n_tensors;
    return PARE_OK;
}

void pare_memory_model_close(pare_memory_model *m)
{
    pare_arena_close(&m->arena);
    *m = (pare_memory_model){0};
}

pare_memory_tensor *pare_memory_find(const pare_memory_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    return NULL;
}

pare_status pare_memory_retype(pare_memory_model *m, const char *name, pare_type type, pare_error *err)
{
    pare_memory_tensor *t = pare_memory_find(m, name);
    if (t == NULL || type >= PARE_TYPE_COUNT)
        return pare_fail(err, PARE_ERR_USAGE, "no tensor '%s' that could get another type", name);
    uint64_t rows = 1, row_len = t->n_dims > 0 ? t->dim[t->n_dims - 1] : 1, bytes;
    for (uint32_t i = 0; i + 1 < t->n_dims; i++)
        rows *= t->dim[i]; /* their product is a size that held before */
    if (!pare_row_bytes(type, row_len, &bytes) || !pare_mul_u64(bytes, rows, &bytes))
        return pare_fail(err, PARE_ERR_RANGE,
                         "tensor '%s': rows of %llu are no multiple of a block of %s, which has %u", name,
                         (unsigned long long)row_len, pare_type_get(type)->name, pare_type_get(type)->block_len);
    t->type = type;
    t->n_bytes = bytes;
    return PARE_OK;
}

int32_t pare_memory_layer_of(const pare_memory_tensor *t)
{
    if (strncmp(t->name, "blk.", 4) != 0)
        return -1;
    int32_t layer = 0;
    const char *p = t->name + 4;
    for (; *p >= '0' && *p <= '9' && layer < PARE_MAX_LAYERS; p++)
        layer = 10 * layer + (*p - '0');
    return p > t->name + 4 && *p == '.' ? layer : -1;
}

bool pare_memory_is_expert(const pare_memory_tensor *t)
{
    return fnmatch("blk.*_exps.*", t->name, 0) == 0;
}

/* ---- on paper ---- */

static pare_status add_weight(pare_memory_model *m, const pare_arch_weight *w, uint32_t layer, bool bias,
                              pare_type type, pare_error *err)
{
    char name[128];
    pare_tensor t = {.type = PARE_TYPE_F32};
    uint32_t n = 0;
    pare_weight_name(name, sizeof name, w->id, layer, bias ? "bias" : "weight");
    while (n < 3 && w->dim[n] != PARE_DIM_NONE)
        n++;
    t.n_dims = bias && n > 1 && (w->flags & PARE_BIAS_ALONE) == 0 ? n - 1 : n;
    for (uint32_t i = 0; i < t.n_dims; i++)
        t.dim[i] = pare_dim_size(w->dim[i], m->hp, layer);
    t.name = pare_arena_copy(&m->arena, name, strlen(name), err);
    if (t.name == NULL)
        return PARE_ERR_MEMORY;
    /* What converters leave in F32: vectors, routers and their like. */
    if (t.n_dims > 1 && !bias && t.dim[t.n_dims - 1] % pare_type_get(type)->block_len == 0 &&
        w->id != PARE_W_FFN_GATE_INP && w->id != PARE_W_SSM_CONV1D)
        t.type = type;
    pare_status status = pare_tensor_set_shape(&t, "model", err);
    return status == PARE_OK ? take_tensor(&m->tensors[m->n_tensors++], &t, "model", err) : status;
}

static bool is_there(const pare_memory_model *m, const pare_arch_weight *w, uint32_t layer, bool bias)
{
    bool wanted = (w->flags & (bias ? PARE_STOCK_WANTS_BIAS : PARE_STOCK_WANTS)) != 0;
    if (!pare_arch_applies(w, m->hp))
        return false;
    if (w->id == PARE_W_OUTPUT && !bias)
        return wanted || !m->hp->tied_output;
    return wanted || pare_arch_requires(w, m->hp, layer, bias);
}

pare_status pare_memory_model_on_paper(pare_memory_model *out, const pare_arch *arch, const pare_hparams *hp,
                                       pare_type type, pare_error *err)
{
    pare_status status = PARE_OK;
    *out = (pare_memory_model){.arch = arch, .hp = hp, .n_tokens = hp->n_vocab, .alignment = 32};
    out->tensors =
        pare_arena_alloc(&out->arena, 2 * arch->n_weights * ((size_t)hp->n_layer + 1) * sizeof *out->tensors, err);
    if (out->tensors == NULL)
        return PARE_ERR_MEMORY;
    for (uint32_t layer = 0; layer <= hp->n_layer; layer++) { /* the first round: weights of the whole model */
        for (size_t i = 0; i < arch->n_weights && status == PARE_OK; i++) {
            const pare_arch_weight *w = &arch->weights[i];
            if (pare_weight_per_layer(w->id) == (layer == 0))
                continue;
            for (int bias = 0; bias < 2 && status == PARE_OK; bias++)
                if (is_there(out, w, layer > 0 ? layer - 1 : 0, bias))
                    status = add_weight(out, w, layer > 0 ? layer - 1 : 0, bias, type, err);
        }
    }
    if (status != PARE_OK)
        pare_memory_model_close(out);
    return status;
}
