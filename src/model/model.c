#include "model/model.h"
#include "core/checked.h"
#include "core/guard.h"
#include "core/scratch.h"
#include "quant/registry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A component of the name is "..". */
static bool climbs(pare_str name)
{
    size_t start = 0;
    for (size_t i = 0; i <= name.len; i++)
        if (i == name.len || name.data[i] == '/') {
            if (i - start == 2 && memcmp(name.data + start, "..", 2) == 0)
                return true;
            start = i + 1;
        }
    return false;
}

/* Two names would look the same. */
static bool hides(pare_str name)
{
    for (size_t i = 0, n; i < name.len; i += n) {
        uint32_t cp = 0;
        n = pare_utf8_next(name.data + i, name.len - i, &cp);
        if (n == 0 || pare_char_invisible(cp))
            return true;
    }
    return false;
}

const char *pare_tensor_name_fault(pare_str name)
{
    if (name.len == 0)
        return "is empty";
    if (!pare_utf8_valid(name.data, name.len, NULL))
        return "is not UTF-8";
    if (pare_text_unsafe(name.data, name.len))
        return "has a control byte or a mark of direction";
    if (hides(name))
        return "has an invisible character";
    if (memchr(name.data, '\\', name.len) != NULL)
        return "has a backslash";
    if (name.data[0] == '/')
        return "begins with '/'";
    return climbs(name) ? "has a component '..'" : NULL;
}

pare_status pare_tensor_set_shape(pare_tensor *t, const char *path, pare_error *err)
{
    if (t->n_dims > PARE_MAX_DIMS)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' has %" PRIu32 " dimensions, at most %d are allowed",
                         path, t->name, t->n_dims, PARE_MAX_DIMS);
    t->row_len = t->n_dims > 0 ? t->dim[t->n_dims - 1] : 1;
    t->n_rows = 1;
    for (uint32_t i = 0; i + 1 < t->n_dims; i++)
        if (!pare_mul_u64(t->n_rows, t->dim[i], &t->n_rows))
            return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': the product of its dimensions overflows", path,
                             t->name);
    if (!pare_row_bytes(t->type, t->row_len, &t->row_bytes)) {
        const pare_type_info *info = pare_type_get(t->type);
        if (t->row_len % info->block_len == 0)
            return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': the bytes of rows of %" PRIu64 " weights overflow",
                             path, t->name, t->row_len);
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s': rows of %" PRIu64 " weights are no multiple of %s's block of %" PRIu32, path,
                         t->name, t->row_len, info->name, info->block_len);
    }
    uint64_t n_weights = 0;
    if (!pare_mul_u64(t->n_rows, t->row_bytes, &t->n_bytes) || !pare_mul_u64(t->n_rows, t->row_len, &n_weights) ||
        t->n_bytes > INT64_MAX || n_weights > INT64_MAX)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': %" PRIu64 " rows of %" PRIu64 " bytes overflow", path,
                         t->name, t->n_rows, t->row_bytes);
    return PARE_OK;
}

static pare_status check_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, pare_error *err)
{
    if (pare_in_range(row, n_rows, t->n_rows))
        return PARE_OK;
    return pare_fail(err, PARE_ERR_RANGE, "tensor '%s': rows %" PRIu64 " to %" PRIu64 " asked for, it has %" PRIu64,
                     t->name, row, row + n_rows, t->n_rows);
}

pare_status pare_tensor_read(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    pare_status st = check_rows(t, row, n_rows, err);
    if (st != PARE_OK)
        return st;
    if (t->read != NULL)
        return t->read(t, row, n_rows, dst, err);
    if (n_rows * t->row_bytes > 0)
        memcpy(dst, t->data + row * t->row_bytes, (size_t)(n_rows * t->row_bytes));
    return PARE_OK;
}

void pare_tensor_apply_factor(const pare_tensor *t, uint64_t row, uint64_t n_rows, float *x)
{
    uint64_t matrix_rows = t->n_rows / pare_tensor_matrices(t);
    for (uint64_t r = row; t->factor != NULL && r < row + n_rows; r++)
        for (uint64_t i = 0; i < t->row_len; i++)
            *x++ *= t->factor[r / matrix_rows];
}

pare_status pare_tensor_read_f32(const pare_tensor *t, uint64_t row, uint64_t n_rows, float *dst, pare_error *err)
{
    pare_status st = pare_tensor_read_unscaled(t, row, n_rows, dst, err);
    if (st == PARE_OK)
        pare_tensor_apply_factor(t, row, n_rows, dst);
    return st;
}

pare_status pare_tensor_read_unscaled(const pare_tensor *t, uint64_t row, uint64_t n_rows, float *dst, pare_error *err)
{
    pare_status st = check_rows(t, row, n_rows, err);
    if (st != PARE_OK)
        return st;
    if (t->type == PARE_TYPE_F32 && t->data == NULL) /* stored floats are little endian, as every machine we run on */
        return pare_tensor_read(t, row, n_rows, dst, err);
    if (t->data != NULL)
        return pare_decode_rows(t->type, t->data + row * t->row_bytes, (size_t)n_rows, (size_t)t->row_len, dst, err);
    size_t bytes = (size_t)(n_rows * t->row_bytes);
    void *stored = pare_scratch_alloc(bytes);
    if (stored == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "tensor '%s': no memory for %zu bytes", t->name, bytes);
    if ((st = pare_tensor_read(t, row, n_rows, stored, err)) == PARE_OK)
        st = pare_decode_rows(t->type, stored, (size_t)n_rows, (size_t)t->row_len, dst, err);
    pare_scratch_free(stored, bytes);
    return st;
}

bool pare_model_is_factor(const pare_model *m, const pare_tensor *t)
{
    static const char end[] = ".scale";
    char name[128];
    size_t n = strlen(t->name), k = sizeof end - 1;
    if (n <= k || n - k + sizeof ".weight" > sizeof name || strcmp(t->name + n - k, end) != 0)
        return false;
    memcpy(name, t->name, n - k);
    memcpy(name + n - k, ".weight", sizeof ".weight");
    const pare_tensor *weight = pare_model_find(m, name);
    return weight != NULL && weight->factor != NULL;
}

uint64_t pare_tensor_matrices(const pare_tensor *t)
{
    uint64_t n_rows = t->n_dims > 2 ? t->dim[t->n_dims - 2] : t->n_rows;
    return n_rows > 0 ? t->n_rows / n_rows : 1;
}

static pare_status read_replaced(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err)
{
    (void)err;
    memcpy(dst, (const uint8_t *)t->ctx + row * t->row_bytes, (size_t)(n_rows * t->row_bytes));
    return PARE_OK;
}

static void keep_pages(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    (void)t;
    (void)row;
    (void)n_rows;
}

pare_status pare_tensor_replace(pare_tensor *t, pare_type type, const float *factor, const void *bytes,
                                const char *path, pare_error *err)
{
    pare_tensor made = *t;
    made.type = type;
    made.data = NULL;
    made.factor = factor;
    made.base = NULL;
    made.shared = NULL;
    made.ctx = bytes;
    made.read = read_replaced;
    made.release = keep_pages;
    made.scratch_bytes = 0;
    pare_status st = pare_tensor_set_shape(&made, path, err);
    if (st == PARE_OK)
        *t = made;
    return st;
}

void pare_tensor_release(const pare_tensor *t, uint64_t row, uint64_t n_rows)
{
    if (t->release != NULL && pare_in_range(row, n_rows, t->n_rows))
        t->release(t, row, n_rows);
    else if (t->data != NULL && pare_in_range(row, n_rows, t->n_rows))
        pare_map_release(t->data + row * t->row_bytes, (size_t)(n_rows * t->row_bytes));
}

pare_status pare_model_check_files(const pare_model *m, pare_error *err)
{
    pare_status st = PARE_OK;
    for (; m != NULL && st == PARE_OK; m = m->source)
        for (size_t i = 0; i < m->n_files && st == PARE_OK; i++)
            st = pare_identity_check(&m->files[i].id, m->files[i].path, err);
    return st;
}

const char *pare_model_claims(const pare_model *m)
{
    while (m != NULL && m->claims == NULL)
        m = m->source;
    return m != NULL ? m->claims : NULL;
}

void pare_model_close(pare_model *m)
{
    if (m->closing != NULL)
        m->closing(m);
    for (size_t i = 0; i < m->n_files; i++)
        pare_map_close(&m->files[i]);
    free(m->files);
    free(m->tensors);
    pare_index_close(&m->by_name);
    pare_vocab_close(&m->vocab);
    pare_meta_close(&m->meta);
    pare_arena_close(&m->arena);
    *m = (pare_model){0};
}

pare_status pare_model_reserve(pare_model *m, size_t n_tensors, pare_error *err)
{
    size_t bytes = 0;
    if (m->tensors != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "the tensors of a model were reserved already");
    m->tensors = pare_mul_size(n_tensors, sizeof *m->tensors, &bytes) ? malloc(bytes > 0 ? bytes : 1) : NULL;
    if (m->tensors == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", n_tensors);
    m->cap_tensors = n_tensors;
    return pare_index_reserve(&m->by_name, n_tensors, err);
}

pare_status pare_model_reserve_more(pare_model *m, size_t n_more, pare_error *err)
{
    size_t n = 0;
    if (!pare_add_size(m->n_tensors, n_more, &n))
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu more tensors", n_more);
    if (n <= m->cap_tensors)
        return PARE_OK;
    pare_tensor *tensors = reallocarray(m->tensors, n, sizeof *tensors);
    if (tensors == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu tensors", n);
    m->tensors = tensors;
    m->cap_tensors = n;
    return pare_index_reserve(&m->by_name, n, err);
}

pare_status pare_model_add(pare_model *m, const pare_tensor *t, pare_tensor **out, pare_error *err)
{
    if (m->n_tensors == m->cap_tensors)
        return pare_fail(err, PARE_ERR_USAGE, "tensor '%s': more tensors than the %zu reserved", t->name,
                         m->cap_tensors);
    int64_t old = PARE_INDEX_NONE;
    size_t len = strlen(t->name);
    char *name = pare_arena_copy(&m->arena, t->name, len, err);
    pare_status st = name == NULL
                         ? PARE_ERR_MEMORY
                         : pare_index_add(&m->by_name, (pare_str){name, len}, (int64_t)m->n_tensors, &old, err);
    if (st != PARE_OK)
        return st;
    if (old != PARE_INDEX_NONE)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor '%s' twice, at offsets %" PRIu64 " and %" PRIu64,
                         m->path != NULL ? m->path : "model", name, m->tensors[old].offset, t->offset);
    pare_tensor *slot = &m->tensors[m->n_tensors++];
    *slot = *t;
    slot->name = name;
    if (out != NULL)
        *out = slot;
    return PARE_OK;
}

const pare_tensor *pare_model_find(const pare_model *m, const char *name)
{
    int64_t at = pare_index_find(&m->by_name, (pare_str){name, strlen(name)});
    return at == PARE_INDEX_NONE ? NULL : &m->tensors[at];
}

const pare_tensor *pare_model_weight(const pare_model *m, pare_weight id, uint32_t layer, const char *suffix)
{
    char name[128];
    return pare_model_find(m, pare_weight_name(name, sizeof name, id, layer, suffix));
}

pare_status pare_model_want_tensors(const pare_model *m, pare_error *err)
{
    return m->n_tensors > 0 ? PARE_OK : pare_fail(err, PARE_ERR_FORMAT, "%s: holds no tensors", m->path);
}

uint64_t pare_model_n_params(const pare_model *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        n += m->tensors[i].n_rows * m->tensors[i].row_len;
    return n;
}

uint64_t pare_model_n_bytes(const pare_model *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n_tensors; i++)
        n += m->tensors[i].n_bytes;
    return n;
}
