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
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: no description of this architecture: its cache and its graph are unknown", m->path);
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
