/* Where the tensors of a GGUF file lie:
 *
 *     header, pairs, directory | 0..0 | tensor | 0..0 | tensor | 0..0 | ... | tensor | 0..0 or nothing
 *                              padded to the alignment                        the end of the file
 *
 * The specification allows gaps and any order, and asks for aligned offsets; stock llama.cpp wants exactly this
 * picture. */
#include "core/checked.h"
#include "formats/gguf_internal.h"

#include <inttypes.h>
#include <stdlib.h>

static pare_status place(pare_tensor *t, const uint8_t *bytes, uint64_t n, uint64_t data_start, uint32_t alignment,
                         const char *path, pare_error *err)
{
    uint64_t at = 0;
    if (t->offset % alignment != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s': offset %" PRIu64 " in the data is no multiple of the alignment %" PRIu32,
                         path, t->name, t->offset, alignment);
    if (!pare_add_u64(t->offset, data_start, &at))
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s': offset %" PRIu64 " in the data overflows", path,
                         t->name, t->offset);
    bool inside = t->n_bytes > 0 ? pare_in_range(at, t->n_bytes, n) : at <= data_start || at - alignment < n;
    if (!inside)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' at offset %" PRIu64 ": need %" PRIu64 " bytes, have %" PRIu64
                         " (the file has %" PRIu64 ")",
                         path, t->name, at, t->n_bytes, at < n ? n - at : 0, n);
    t->offset = at;
    t->data = t->n_bytes > 0 ? bytes + at : bytes;
    return PARE_OK;
}

static int by_offset(const void *a, const void *b)
{
    const pare_tensor *x = *(const pare_tensor *const *)a, *y = *(const pare_tensor *const *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* The first tensor with bytes that the directory has behind one of a larger offset; NULL: all are in order. */
static const pare_tensor *find_moved(const pare_model *m)
{
    uint64_t last = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (m->tensors[i].n_bytes > 0 && m->tensors[i].offset < last)
            return &m->tensors[i];
        last = m->tensors[i].n_bytes > 0 ? m->tensors[i].offset : last;
    }
    return NULL;
}

/* The tensors that have bytes, by offset; owned by the caller. */
static pare_status sort_tensors(const pare_model *m, const pare_tensor ***sorted, size_t *n_sorted, pare_error *err)
{
    size_t n = 0;
    const pare_tensor **list = reallocarray(NULL, m->n_tensors > 0 ? m->n_tensors : 1, sizeof *list);
    if ((*sorted = list) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory to sort %zu tensors", m->path, m->n_tensors);
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].n_bytes > 0)
            list[n++] = &m->tensors[i];
    qsort(list, n, sizeof *list, by_offset);
    *n_sorted = n;
    return PARE_OK;
}

/* What is odd about the bytes between the tensors. */
typedef struct oddities {
    const pare_tensor *moved; /* first of the wrong order */
    const pare_tensor *after; /* first with a gap before it */
    uint64_t gap, n_gaps;     /* bytes of that gap; how many gaps */
    uint64_t dirty, n_dirty;  /* offset of the first padding byte that is not zero; how many */
    uint64_t trailing_at, n_trailing;
    uint64_t n_mapped; /* bytes that can be looked at */
} oddities;

static void scan_padding(oddities *odd, const uint8_t *bytes, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to && i < odd->n_mapped; i++)
        if (bytes[i] != 0 && odd->n_dirty++ == 0)
            odd->dirty = i;
}

/* sorted NULL: the n_sorted tensors of m, which are in order. */
static pare_status walk(const pare_model *m, const pare_tensor *const *sorted, size_t n_sorted, const uint8_t *bytes,
                        uint64_t n, uint64_t header_end, const char *path, oddities *odd, pare_error *err)
{
    const pare_tensor *last = NULL;
    uint32_t alignment = m->alignment;
    uint64_t end = header_end, padded = 0;
    for (size_t i = 0; i < n_sorted; i++) {
        const pare_tensor *t = sorted != NULL ? sorted[i] : &m->tensors[i];
        if (t->n_bytes == 0)
            continue;
        if (t->offset < end)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: tensor '%s' at offset %" PRIu64 " overlaps tensor '%s' at offset %" PRIu64
                             " of %" PRIu64 " bytes",
                             path, t->name, t->offset, last != NULL ? last->name : "", last != NULL ? last->offset : 0,
                             last != NULL ? last->n_bytes : 0);
        if (!pare_align_u64(end, alignment, &padded)) /* an offset behind it is in the file, so it cannot overflow */
            padded = end;
        scan_padding(odd, bytes, end, padded);
        if (t->offset > padded && odd->n_gaps++ == 0) {
            odd->after = t;
            odd->gap = t->offset - padded;
        }
        end = t->offset + t->n_bytes;
        last = t;
    }
    if (!pare_align_u64(end, alignment, &padded))
        padded = end;
    if (last != NULL && n > end && n < padded)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: cut in the padding behind tensor '%s' at offset %" PRIu64 ": need %" PRIu64
                         " bytes, have %" PRIu64,
                         path, last->name, end, padded - end, n - end);
    scan_padding(odd, bytes, end, n < padded ? n : padded);
    if (n > padded) {
        odd->trailing_at = padded;
        odd->n_trailing = n - padded;
    }
    return PARE_OK;
}

static pare_status warn_of(const oddities *odd, const char *path, pare_error *err)
{
    pare_status st = PARE_OK;
    if (odd->moved != NULL)
        st = pare_warn(err,
                       "%s: tensors are not in the order of their offsets, tensor '%s' at offset %" PRIu64
                       " is the first; the specification allows it, stock llama.cpp refuses it",
                       path, odd->moved->name, odd->moved->offset);
    if (st == PARE_OK && odd->n_gaps > 0)
        st = pare_warn(err,
                       "%s: %" PRIu64 " gaps between tensors, the first of %" PRIu64
                       " bytes before tensor '%s' at offset %" PRIu64
                       "; the specification allows it, stock llama.cpp refuses it",
                       path, odd->n_gaps, odd->gap, odd->after->name, odd->after->offset);
    if (st == PARE_OK && odd->n_dirty > 0)
        st = pare_warn(err, "%s: %" PRIu64 " bytes of padding are not zero, the first at offset %" PRIu64, path,
                       odd->n_dirty, odd->dirty);
    if (st == PARE_OK && odd->n_trailing > 0)
        st = pare_warn(err, "%s: %" PRIu64 " bytes behind the last tensor, from offset %" PRIu64, path, odd->n_trailing,
                       odd->trailing_at);
    return st;
}

pare_status pare_gguf_place_tensors(pare_model *m, const uint8_t *bytes, uint64_t n_mapped, uint64_t n,
                                    uint64_t header_end, const char *path, pare_error *err)
{
    uint64_t data_start = 0;
    if (!pare_align_u64(header_end, m->alignment, &data_start))
        return pare_fail(err, PARE_ERR_RANGE, "%s: header of %" PRIu64 " bytes overflows", path, header_end);
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->n_tensors && st == PARE_OK; i++)
        st = place(&m->tensors[i], bytes, n, data_start, m->alignment, path, err);
    if (st != PARE_OK)
        return st;
    oddities odd = {.n_mapped = n_mapped};
    const pare_tensor **sorted = NULL;
    size_t n_sorted = m->n_tensors;
    if ((odd.moved = find_moved(m)) != NULL)
        st = sort_tensors(m, &sorted, &n_sorted, err);
    if (st == PARE_OK)
        st = walk(m, sorted, n_sorted, bytes, n, header_end, path, &odd, err);
    if (st == PARE_OK)
        st = warn_of(&odd, path, err);
    free(sorted);
    return st;
}
