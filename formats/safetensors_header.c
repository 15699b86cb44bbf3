#include "formats/safetensors_header.h"
#include "core/bytes.h"
#include "core/checked.h"
#include "formats/json_cursor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_METADATA = 1 << 16 }; /* strings: trainers write some tens */
enum { LENGTH_BYTES = 8 };       /* u64 little endian: bytes of JSON that follow */

/* What the first pass keeps of a tensor; the second one reads the rest again at `at`. */
typedef struct entry {
    uint64_t begin, end; /* of its data, from the start of the data area */
    size_t at;           /* cursor position of its name */
} entry;

typedef struct header {
    pare_json_cursor cursor;
    uint64_t data_start, data_bytes; /* the data area in the file */
    entry *entries;
    size_t n, cap;
    pare_buf name;      /* of the tensor that is being read, terminated */
    pare_arena scratch; /* decoded names */
} header;

/* Where the JSON lies: fills the cursor, or says what is wrong with the first bytes. */
static pare_status locate(header *h, const uint8_t *bytes, uint64_t n, const char *path, pare_error *err)
{
    size_t bad = 0;
    pare_status st = pare_refuse_wrapped(bytes, n, path, err);
    if (st != PARE_OK)
        return st;
    if (n < LENGTH_BYTES)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %" PRIu64 " bytes, shorter than the 8-byte header length", path, n);
    uint64_t len = pare_load_u64le(bytes);
    if (len == 0 || len > PARE_SAFETENSORS_MAX_HEADER)
        return pare_fail(err, PARE_ERR_RANGE, "%s: offset 0: header length %" PRIu64 ", allowed 1 to %d", path, len,
                         PARE_SAFETENSORS_MAX_HEADER);
    if (len > n - LENGTH_BYTES)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset 0: header length %" PRIu64 ", the file has %" PRIu64 " bytes behind it", path, len,
                         n - LENGTH_BYTES);
    h->cursor = (pare_json_cursor){.text = (const char *)bytes + LENGTH_BYTES,
                                   .len = (size_t)len,
                                   .base = LENGTH_BYTES,
                                   .path = path,
                                   .arena = &h->scratch};
    h->data_start = LENGTH_BYTES + len;
    h->data_bytes = n - h->data_start;
    if (!pare_utf8_valid(h->cursor.text, h->cursor.len, &bad))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %zu: header is not UTF-8", path, LENGTH_BYTES + bad);
    return PARE_OK;
}

uint64_t pare_safetensors_header_end(const uint8_t *bytes, uint64_t n_mapped, uint64_t n)
{
    uint64_t len = n_mapped >= LENGTH_BYTES ? pare_load_u64le(bytes) : 0;
    return len > PARE_SAFETENSORS_MAX_HEADER || n < LENGTH_BYTES || len > n - LENGTH_BYTES ? 0 : LENGTH_BYTES + len;
}

static pare_status read_dtype(pare_json_cursor *c, pare_tensor *t, pare_error *err)
{
    pare_str dtype = {0};
    uint64_t offset = pare_cursor_offset(c);
    pare_status st = pare_cursor_string(c, "dtype", &dtype, err);
    if (st != PARE_OK)
        return st;
    t->type = pare_type_from_safetensors(dtype.data, dtype.len);
    if (t->type != PARE_TYPE_NONE)
        return PARE_OK;
    pare_buf known = {0};
    for (int i = 0; i < PARE_TYPE_COUNT && st == PARE_OK; i++)
        if (pare_type_get((pare_type)i)->safetensors[0] != '\0')
            st = pare_buf_printf(&known, err, " %s", pare_type_get((pare_type)i)->safetensors);
    if (st == PARE_OK)
        st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: offset %" PRIu64 ": tensor '%s': dtype '%.*s' is not one of%s",
                       c->path, offset, t->name, (int)(dtype.len < 64 ? dtype.len : 64), dtype.data, known.data);
    pare_buf_close(&known);
    return st;
}

static pare_status read_shape(pare_json_cursor *c, pare_tensor *t, pare_error *err)
{
    pare_status st = pare_cursor_expect(c, '[', "shape", err);
    bool more = st == PARE_OK;
    for (t->n_dims = 0; more; t->n_dims++) {
        if ((st = pare_cursor_item(c, t->n_dims, ']', "shape", &more, err)) != PARE_OK || !more)
            break;
        if (t->n_dims == PARE_MAX_DIMS)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: offset %" PRIu64 ": tensor '%s': shape has more than %d dimensions", c->path,
                             pare_cursor_offset(c), t->name, PARE_MAX_DIMS);
        if ((st = pare_cursor_u64(c, "shape", &t->dim[t->n_dims], err)) != PARE_OK)
            break;
    }
    return st;
}

static pare_status read_data_offsets(pare_json_cursor *c, entry *e, pare_error *err)
{
    static const char where[] = "data_offsets (two integers)";
    pare_status st = pare_cursor_expect(c, '[', where, err);
    if (st == PARE_OK && (st = pare_cursor_u64(c, where, &e->begin, err)) == PARE_OK &&
        (st = pare_cursor_expect(c, ',', where, err)) == PARE_OK &&
        (st = pare_cursor_u64(c, where, &e->end, err)) == PARE_OK)
        st = pare_cursor_expect(c, ']', where, err);
    return st;
}

/* Elements against whole bytes and against the range that data_offsets gives. */
static pare_status check_size(const header *h, pare_tensor *t, const entry *e, pare_error *err)
{
    const pare_json_cursor *c = &h->cursor;
    const pare_type_info *info = pare_type_get(t->type);
    uint64_t offset = c->base + e->at, n = 1;
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (!pare_mul_u64(n, t->dim[i], &n))
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: offset %" PRIu64 ": tensor '%s': the product of its shape overflows", c->path, offset,
                             t->name);
    if (n % info->block_len != 0)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset %" PRIu64 ": tensor '%s': %" PRIu64 " elements of %s are not whole bytes", c->path,
                         offset, t->name, n, info->safetensors);
    if (t->n_dims > 0 && t->dim[t->n_dims - 1] % info->block_len != 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: offset %" PRIu64 ": tensor '%s': rows of %" PRIu64 " elements of %s are not whole bytes",
                         c->path, offset, t->name, t->dim[t->n_dims - 1], info->safetensors);
    pare_status st = pare_tensor_set_shape(t, c->path, err);
    if (st != PARE_OK)
        return st;
    if (e->begin > e->end || e->end > h->data_bytes)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: offset %" PRIu64 ": tensor '%s': data_offsets [%" PRIu64 ", %" PRIu64
                         "], the file has %" PRIu64 " bytes of data",
                         c->path, offset, t->name, e->begin, e->end, h->data_bytes);
    if (t->n_bytes != e->end - e->begin)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: offset %" PRIu64 ": tensor '%s': shape and dtype make %" PRIu64
                         " bytes, data_offsets give %" PRIu64,
                         c->path, offset, t->name, t->n_bytes, e->end - e->begin);
    return PARE_OK;
}

/* The description behind a tensor's name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, in any order. A
 * member that pare does not know could change what the bytes mean, so it is refused. */
static pare_status read_tensor(header *h, pare_tensor *t, entry *e, pare_error *err)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    pare_json_cursor *c = &h->cursor;
    unsigned seen = 0;
    bool more = true;
    pare_status st = pare_cursor_expect(c, '{', "tensor", err);
    for (size_t i = 0; st == PARE_OK && more; i++) {
        pare_str key = {0};
        if ((st = pare_cursor_item(c, i, '}', "tensor", &more, err)) != PARE_OK || !more)
            break;
        uint64_t offset = pare_cursor_offset(c);
        if ((st = pare_cursor_string(c, "tensor", &key, err)) != PARE_OK ||
            (st = pare_cursor_expect(c, ':', "tensor", err)) != PARE_OK)
            break;
        unsigned field = pare_str_equal(key, "dtype")          ? DTYPE
                         : pare_str_equal(key, "shape")        ? SHAPE
                         : pare_str_equal(key, "data_offsets") ? OFFSETS
                                                               : 0;
        if (field == 0 || (seen & field) != 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": tensor '%s': %s '%.*s'", c->path, offset,
                             t->name, field == 0 ? "unknown member" : "duplicate key",
                             (int)(key.len < 64 ? key.len : 64), key.data);
        seen |= field;
        st = field == DTYPE   ? read_dtype(c, t, err)
             : field == SHAPE ? read_shape(c, t, err)
                              : read_data_offsets(c, e, err);
    }
    if (st == PARE_OK && seen != ALL)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": tensor '%s': needs dtype, shape and data_offsets",
                       c->path, c->base + e->at, t->name);
    return st == PARE_OK ? check_size(h, t, e, err) : st;
}

/* __metadata__: strings under strings. */
static pare_status read_metadata(header *h, pare_meta *meta, pare_error *err)
{
    pare_json_cursor *c = &h->cursor;
    static const char where[] = "__metadata__ (strings)";
    bool more = true;
    pare_status st = pare_cursor_expect(c, '{', where, err);
    for (size_t i = 0; st == PARE_OK && more; i++) {
        pare_str key = {0}, text = {0};
        if ((st = pare_cursor_item(c, i, '}', where, &more, err)) != PARE_OK || !more)
            break;
        uint64_t offset = pare_cursor_offset(c);
        if (i == MAX_METADATA)
            return pare_fail(err, PARE_ERR_RANGE, "%s: offset %" PRIu64 ": __metadata__ has more than %d strings",
                             c->path, offset, MAX_METADATA);
        if ((st = pare_cursor_string(c, where, &key, err)) != PARE_OK ||
            (st = pare_cursor_expect(c, ':', where, err)) != PARE_OK ||
            (st = pare_cursor_string(c, where, &text, err)) != PARE_OK)
            break;
        char *key_copy = pare_arena_copy(&meta->arena, key.data, key.len, err);
        char *text_copy = pare_arena_copy(&meta->arena, text.data, text.len, err);
        if (key_copy == NULL || text_copy == NULL)
            return PARE_ERR_MEMORY;
        pare_meta_value value = {.key = {key_copy, key.len},
                                 .type = PARE_META_STRING,
                                 .n = 1,
                                 .offset = offset,
                                 .v.s = {text_copy, text.len}};
        const int64_t old = pare_index_find(&meta->by_key, key);
        if (old != PARE_INDEX_NONE)
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: __metadata__: key '%.*s' twice, at offsets %" PRIu64 " and %" PRIu64, c->path,
                             key.len < 200 ? (int)key.len : 200, key.data, meta->values[old].offset, offset);
        st = pare_meta_add(meta, c->path, &value, err);
    }
    return st;
}

static pare_status keep_entry(header *h, const entry *e, pare_error *err)
{
    if (h->n == h->cap) {
        size_t cap = h->cap == 0 ? 256 : 2 * h->cap;
        entry *entries = reallocarray(h->entries, cap, sizeof *entries);
        if (entries == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tensors", h->cursor.path, cap);
        h->entries = entries;
        h->cap = cap;
    }
    h->entries[h->n++] = *e;
    return PARE_OK;
}

/* The name at the cursor: the view lives as long as the header, t->name until the next call. */
static pare_status read_name(header *h, pare_tensor *t, pare_str *name, pare_error *err)
{
    pare_status st = pare_cursor_string(&h->cursor, "header", name, err);
    if (st != PARE_OK || (st = pare_cursor_expect(&h->cursor, ':', "header", err)) != PARE_OK)
        return st;
    h->name.len = 0;
    st = pare_buf_put(&h->name, name->data, name->len, err);
    *t = (pare_tensor){.name = h->name.data};
    return st;
}

/* First pass: the grammar, every tensor for itself, duplicate names. */
static pare_status read_all(header *h, pare_meta *meta, pare_error *err)
{
    pare_json_cursor *c = &h->cursor;
    pare_index names = {0};
    bool more = true;
    pare_status st = pare_cursor_expect(c, '{', "header", err);
    for (size_t i = 0; st == PARE_OK && more; i++) {
        pare_tensor t;
        pare_str name = {0};
        int64_t old = PARE_INDEX_NONE;
        if ((st = pare_cursor_item(c, i, '}', "header", &more, err)) != PARE_OK || !more)
            break;
        entry e = {.at = c->at};
        if ((st = read_name(h, &t, &name, err)) != PARE_OK ||
            (st = pare_index_add(&names, name, (int64_t)e.at, &old, err)) != PARE_OK)
            break;
        const char *fault = pare_tensor_name_fault(name);
        if (fault != NULL)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": tensor name '%.*s' %s", c->path,
                           c->base + e.at, (int)(name.len < 200 ? name.len : 200), name.data, fault);
        else if (old != PARE_INDEX_NONE)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: duplicate key '%s' at offsets %" PRIu64 " and %" PRIu64, c->path,
                           t.name, c->base + (uint64_t)old, c->base + e.at);
        else if (pare_str_equal(name, "__metadata__"))
            st = read_metadata(h, meta, err);
        else if ((st = read_tensor(h, &t, &e, err)) == PARE_OK)
            st = keep_entry(h, &e, err);
    }
    pare_index_close(&names);
    return st == PARE_OK ? pare_cursor_end(c, "header", err) : st;
}

/* By begin, then end, so that an empty tensor precedes the one that starts where it lies; then by place in the header.
 */
static int compare_entries(const void *pa, const void *pb)
{
    const entry *a = pa, *b = pb;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Second pass, in the order of the data: each tensor must start where the last one ended, and the last one must end
 * with the file. */
static pare_status add_all(header *h, pare_model *m, const uint8_t *bytes, pare_error *err)
{
    uint64_t covered = 0;
    if (h->n > 0)
        qsort(h->entries, h->n, sizeof *h->entries, compare_entries);
    pare_status st = pare_model_reserve(m, h->n, err);
    for (size_t i = 0; i < h->n && st == PARE_OK; i++) {
        entry *e = &h->entries[i];
        pare_tensor t;
        pare_str name = {0};
        h->cursor.at = e->at;
        if ((st = read_name(h, &t, &name, err)) != PARE_OK || (st = read_tensor(h, &t, e, err)) != PARE_OK)
            break;
        t.offset = h->data_start + e->begin;
        t.data = bytes + t.offset;
        if (e->begin == covered)
            st = pare_model_add(m, &t, NULL, err);
        else
            st = pare_fail(err, PARE_ERR_FORMAT,
                           "%s: offset %" PRIu64 ": tensor '%s' starts here; it must start at offset %" PRIu64 " (%s)",
                           h->cursor.path, t.offset, t.name, h->data_start + covered,
                           e->begin < covered ? "it overlaps the tensor before it" : "there is a hole before it");
        covered = e->end;
    }
    if (st == PARE_OK && covered != h->data_bytes)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: offset %" PRIu64 ": %" PRIu64 " bytes behind the last tensor",
                       h->cursor.path, h->data_start + covered, h->data_bytes - covered);
    return st;
}

pare_status pare_safetensors_read_header(pare_model *m, const uint8_t *bytes, uint64_t n, const char *path,
                                         pare_error *err)
{
    header h = {0};
    pare_status st = locate(&h, bytes, n, path, err);
    if (st == PARE_OK && (st = read_all(&h, &m->meta, err)) == PARE_OK)
        st = add_all(&h, m, bytes, err);
    free(h.entries);
    pare_buf_close(&h.name);
    pare_arena_close(&h.scratch);
    return st;
}
