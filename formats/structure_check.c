#include "formats/structure_check.h"
#include "core/threads.h"
#include "formats/imatrix_file.h"
#include "formats/open.h"
#include "model/stream.h"
#include "quant/registry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The first block of each tensor whose scale is not finite, or UINT64_MAX. */
typedef struct finite_scan {
    const pare_model *m;
    uint64_t *bad; /* [n_tensors] */
    pare_numbers_fn numbers;
    void *user;
} finite_scan;

typedef struct finite_sink {
    const pare_tensor *t;
    uint64_t done; /* blocks before this slice */
    uint64_t bad;
} finite_sink;

static pare_status look_at_slice(const void *data, size_t n, void *user, pare_error *err)
{
    finite_sink *s = user;
    size_t n_blocks = n / pare_type_get(s->t->type)->block_bytes, bad = SIZE_MAX;
    (void)err;
    if (s->bad == UINT64_MAX && (bad = pare_find_nonfinite_block(s->t->type, data, n_blocks)) != SIZE_MAX)
        s->bad = s->done + bad;
    s->done += n_blocks;
    return PARE_OK;
}

static bool is_known(const finite_scan *scan, const pare_tensor *t, uint64_t *bad)
{
    for (size_t i = 0; scan->numbers != NULL && t->read == NULL && i < scan->m->n_files; i++) {
        const pare_map *file = &scan->m->files[i];
        if ((uintptr_t)t->data >= (uintptr_t)file->data && (uintptr_t)t->data - (uintptr_t)file->data < file->size)
            return scan->numbers(file, t, bad, scan->user);
    }
    return false;
}

static pare_status scan_tensor(size_t i, int thread, void *ctx, pare_error *err)
{
    finite_scan *scan = ctx;
    finite_sink sink = {.t = &scan->m->tensors[i], .bad = UINT64_MAX};
    (void)thread;
    if (is_known(scan, sink.t, &scan->bad[i]))
        return PARE_OK;
    pare_status st = pare_tensor_stream(sink.t, look_at_slice, &sink, err);
    scan->bad[i] = sink.bad;
    return st;
}

/* A single infinite number in a folder whose architecture is unknown may be a constant that masks attention (GPT-NeoX
 * checkpoints carry attention.masked_bias), which no converter takes for a weight. */
static bool may_be_mask(const pare_model *m, const pare_tensor *t)
{
    return m->arch == NULL && m->format != PARE_FORMAT_GGUF && t->n_rows == 1 && t->row_len == 1;
}

static pare_status check_finite(const pare_model *m, pare_numbers_fn numbers, pare_fault_fn fault, void *user,
                                pare_error *err)
{
    finite_scan scan = {m, calloc(m->n_tensors > 0 ? m->n_tensors : 1, sizeof(uint64_t)), numbers, user};
    if (scan.bad == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tensors", m->path, m->n_tensors);
    pare_status st = pare_parallel(m->n_tensors, scan_tensor, &scan, err);
    for (size_t i = 0; i < m->n_tensors && st == PARE_OK; i++) {
        char text[160];
        const pare_tensor *t = &m->tensors[i];
        const pare_type_info *info = pare_type_get(t->type);
        if (scan.bad[i] == UINT64_MAX)
            continue;
        snprintf(text, sizeof text, "%s block %" PRIu64 " (weights %" PRIu64 " to %" PRIu64 ") is not finite",
                 info->name, scan.bad[i], scan.bad[i] * info->block_len, (scan.bad[i] + 1) * info->block_len - 1);
        st = may_be_mask(m, t) ? pare_warn(err, "%s: tensor '%s': %s", m->path, t->name, text)
                               : fault(t->name, text, user, err);
    }
    free(scan.bad);
    return st;
}

/* A GGUF file of calibration statistics, which is no model, opened as a container: is it one, and a whole one? */
static pare_status open_statistics(pare_model *m, const char *path, bool *is_one, pare_error *err)
{
    pare_imatrix statistics;
    *is_one = false;
    if (pare_model_open(m, path, PARE_OPEN_RAW, NULL) != PARE_OK)
        return PARE_OK;
    const pare_meta_value *type = pare_meta_find(&m->meta, "general.type");
    *is_one = m->format == PARE_FORMAT_GGUF && type != NULL && type->type == PARE_META_STRING &&
              pare_str_equal(type->v.s, "imatrix");
    if (!*is_one) {
        pare_model_close(m);
        return PARE_OK;
    }
    pare_status st = pare_imatrix_open(&statistics, path, err);
    pare_imatrix_close(&statistics);
    if (st != PARE_OK)
        pare_model_close(m);
    return st;
}

pare_status pare_structure_check(const char *path, pare_numbers_fn numbers, pare_structure_counts *counts,
                                 pare_fault_fn fault, void *user, pare_error *err)
{
    pare_model m = {0};
    pare_error why = {0};
    *counts = (pare_structure_counts){0};
    pare_status st = pare_model_open(&m, path, 0, &why);
    if (st == PARE_ERR_UNSUPPORTED)
        st = pare_model_open(&m, path, PARE_OPEN_RAW, &why);
    if (st == PARE_ERR_FORMAT) {
        bool is_one;
        pare_error fault_of_it = {0};
        pare_status opened = open_statistics(&m, path, &is_one, &fault_of_it);
        st = is_one ? opened : st;
        why = is_one ? fault_of_it : why;
    }
    if (st != PARE_OK) {
        if (err != NULL)
            *err = why;
        return st;
    }
    *counts = (pare_structure_counts){m.n_files, 0, m.n_tensors};
    for (size_t i = 0; i < m.n_files; i++)
        counts->n_bytes += m.files[i].size;
    if (m.arch != NULL && pare_arch_check(&m, &why) != PARE_OK)
        st = fault("", why.text, user, err);
    if (st == PARE_OK)
        st = check_finite(&m, numbers, fault, user, err);
    pare_model_close(&m);
    return st;
}
