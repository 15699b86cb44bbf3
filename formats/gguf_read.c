/* One GGUF file: its header, metadata and tensor directory. A single walk with a cursor that never passes the end. */
#include "core/bytes.h"
#include "core/checked.h"
#include "formats/front.h"
#include "formats/gguf_internal.h"

#include <inttypes.h>
#include <string.h>

/* Limits against files that are mostly holes: they cost their maker nothing and us time and memory. */
#define MAX_HEADER_BYTES ((uint64_t)1 << 30)
enum {
    MAX_ARRAY_STRINGS = 1 << 25,  /* in all arrays of a file together: 16 bytes of memory each */
    MAX_NESTING = 8,              /* arrays in arrays that are looked at, to say whether they are well-formed */
    MIN_PAIR_BYTES = 8 + 1 + 4 + 1,
    MIN_INFO_BYTES = 8 + 1 + 4 + 4 + 8
};

typedef struct reader {
    const char *path;
    const uint8_t *bytes;
    uint64_t size;     /* of the file */
    uint64_t limit;    /* where the header must end: size or MAX_HEADER_BYTES */
    uint64_t n_mapped; /* bytes that can be read: size, but for pare_gguf_judge_front */
    bool cut;          /* what is wanted lies behind them: nothing is known of it */
    uint64_t at;
    const char *section;   /* "metadata pair" or "tensor info" */
    uint64_t entry, count; /* the one in hand, from 1, of so many */
    pare_str name;         /* its key or name, once known */
    uint64_t n_strings;
    uint64_t n_odd_keys;
} reader;

static pare_status too_short(const reader *r, const char *what, uint64_t n, pare_error *err)
{
    const char *end = r->limit < r->size ? "the header passes its limit of 1 GiB" : "the file ends";
    if (r->section == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %s at offset %" PRIu64 ": need %" PRIu64 " bytes, have %" PRIu64,
                         r->path, what, r->at, n, r->limit - r->at);
    return pare_fail(err, PARE_ERR_FORMAT,
                     "%s: %s at byte %" PRIu64 " in %s %" PRIu64 " of %" PRIu64 " ('%.*s'): %s at offset %" PRIu64
                     ": need %" PRIu64 " bytes, have %" PRIu64,
                     r->path, end, r->limit, r->section, r->entry, r->count, pare_gguf_shown(r->name),
                     r->name.data != NULL ? r->name.data : "", what, r->at, n, r->limit - r->at);
}

/* True, with err filled, when the next n bytes (n <= limit - at) are not mapped. */
static bool is_cut(reader *r, const char *what, uint64_t n, pare_error *err)
{
    if (n <= r->n_mapped - r->at)
        return false;
    r->cut = true;
    too_short(r, what, n, err);
    return true;
}

/* The next n bytes, or NULL with err filled. */
static const uint8_t *take(reader *r, uint64_t n, const char *what, pare_error *err)
{
    if (n > r->limit - r->at) {
        too_short(r, what, n, err);
        return NULL;
    }
    if (is_cut(r, what, n, err))
        return NULL;
    const uint8_t *p = r->bytes + r->at;
    r->at += n;
    return p;
}

static pare_status take_u32(reader *r, const char *what, uint32_t *out, pare_error *err)
{
    const uint8_t *p = take(r, 4, what, err);
    if (p == NULL)
        return PARE_ERR_FORMAT;
    *out = pare_load_u32le(p);
    return PARE_OK;
}

static pare_status take_u64(reader *r, const char *what, uint64_t *out, pare_error *err)
{
    const uint8_t *p = take(r, 8, what, err);
    if (p == NULL)
        return PARE_ERR_FORMAT;
    *out = pare_load_u64le(p);
    return PARE_OK;
}

/* A string of min to max bytes as a view: u64 length, then the bytes. */
static pare_status take_string(reader *r, const char *what, uint64_t min, uint64_t max, pare_str *out, pare_error *err)
{
    uint64_t start = r->at, len = 0;
    pare_status st = take_u64(r, what, &len, err);
    if (st != PARE_OK)
        return st;
    if (len > r->limit - r->at)
        return too_short(r, what, len, err);
    if (is_cut(r, what, len, err))
        return PARE_ERR_FORMAT;
    if (len < min || len > max)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %s of %s %" PRIu64 " at offset %" PRIu64 " has a length of %" PRIu64
                         " bytes, allowed %" PRIu64 " to %" PRIu64,
                         r->path, what, r->section, r->entry, start, len, min, max);
    *out = (pare_str){(const char *)r->bytes + r->at, (size_t)len};
    r->at += len;
    return PARE_OK;
}

/* Keys are printable ASCII. The specification wants lower case; files with capitals or blanks exist and load. */
static pare_status check_key(reader *r, pare_str key, uint64_t offset, pare_error *err)
{
    bool odd = false;
    for (size_t i = 0; i < key.len; i++) {
        uint8_t c = (uint8_t)key.data[i];
        if (c < 0x20 || c > 0x7e)
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: key of metadata pair %" PRIu64 " at offset %" PRIu64
                             ": byte %zu is 0x%02x, allowed is printable ASCII",
                             r->path, r->entry, offset, i, c);
        odd |= !((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-');
    }
    if (odd && r->n_odd_keys++ == 0)
        return pare_warn(err, "%s: key '%.*s' at offset %" PRIu64 " is not in lower case as the specification asks",
                         r->path, pare_gguf_shown(key), key.data, offset);
    return PARE_OK;
}

static pare_status check_bool(const reader *r, const uint8_t *p, uint64_t n, pare_error *err)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return pare_fail(err, PARE_ERR_RANGE, "%s: key '%.*s': bool at offset %" PRIu64 " is %u, allowed 0 and 1",
                             r->path, pare_gguf_shown(r->name), r->name.data, (uint64_t)(p - r->bytes) + i, p[i]);
    return PARE_OK;
}

static pare_status read_scalar(reader *r, pare_meta_value *value, pare_error *err)
{
    size_t n = pare_meta_type_size(value->type);
    const uint8_t *p = take(r, n, "value", err);
    uint8_t wide[8] = {0};
    if (p == NULL)
        return PARE_ERR_FORMAT;
    memcpy(wide, p, n);
    value->v.u = pare_load_u64le(wide);
    switch (value->type) {
    case PARE_META_BOOL:
        return check_bool(r, p, 1, err);
    case PARE_META_F32:
        value->v.f = (double)pare_load_f32le(wide);
        break;
    case PARE_META_I8:
        value->v.i = (int8_t)wide[0];
        break;
    case PARE_META_I16:
        value->v.i = (int16_t)pare_load_u16le(wide);
        break;
    case PARE_META_I32:
        value->v.i = (int32_t)pare_load_u32le(wide);
        break;
    default: /* unsigned, or 64 bits wide: the union holds it already */
        break;
    }
    return PARE_OK;
}

/* An array whose elements are arrays, cursor behind the outer header. The specification allows it and nothing writes
 * it; say so, unless it is not even well-formed. Looks at the first element of each level only. */
static pare_status refuse_nested(reader *r, uint64_t n, pare_error *err)
{
    uint32_t elem = PARE_META_ARRAY;
    uint64_t start = r->at;
    pare_status st = PARE_OK;
    for (int depth = 1; elem == PARE_META_ARRAY && n > 0; depth++) {
        if (depth > MAX_NESTING)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: key '%.*s': arrays at offset %" PRIu64 " are nested more than %d deep", r->path,
                             pare_gguf_shown(r->name), r->name.data, start, MAX_NESTING);
        if (n > (r->limit - r->at) / 12)
            return too_short(r, "array of arrays", n < UINT64_MAX / 12 ? n * 12 : UINT64_MAX, err);
        if ((st = take_u32(r, "element type", &elem, err)) != PARE_OK ||
            (st = take_u64(r, "array length", &n, err)) != PARE_OK)
            return st;
    }
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "%s: key '%.*s': an array of arrays at offset %" PRIu64
                     "; arrays of numbers, bools and strings are supported",
                     r->path, pare_gguf_shown(r->name), r->name.data, start);
}

/* Token texts are kept as they are; the tokenizer works on bytes. */
static pare_status check_texts(reader *r, const pare_str *s, uint64_t n, pare_error *err)
{
    uint64_t n_bad = 0, first = 0;
    for (uint64_t i = 0; i < n; i++)
        if (!pare_utf8_valid(s[i].data, s[i].len, NULL) && n_bad++ == 0)
            first = i;
    if (n_bad == 0)
        return PARE_OK;
    return pare_warn(err,
                     "%s: key '%.*s': %" PRIu64 " of %" PRIu64 " strings are not UTF-8, the first is %" PRIu64
                     " at offset %" PRIu64,
                     r->path, pare_gguf_shown(r->name), r->name.data, n_bad, n, first,
                     (uint64_t)((const uint8_t *)s[first].data - r->bytes));
}

static pare_status read_strings(reader *r, pare_arena *arena, pare_meta_value *value, pare_error *err)
{
    if (value->n > MAX_ARRAY_STRINGS - r->n_strings)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%.*s' at offset %" PRIu64 ": %" PRIu64 " strings, allowed are %d in a file", r->path,
                         pare_gguf_shown(r->name), r->name.data, value->offset, value->n, MAX_ARRAY_STRINGS);
    r->n_strings += value->n;
    pare_str *strings = pare_arena_alloc(arena, (size_t)value->n * sizeof *strings, err);
    if (strings == NULL)
        return PARE_ERR_MEMORY;
    for (uint64_t i = 0; i < value->n; i++) {
        pare_status st = take_string(r, "string", 0, UINT64_MAX, &strings[i], err);
        if (st != PARE_OK)
            return st;
    }
    value->v.strings = strings;
    return check_texts(r, strings, value->n, err);
}

static pare_status check_value_type(const reader *r, uint32_t type, uint64_t offset, pare_error *err)
{
    if (type < PARE_META_TYPE_COUNT)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT,
                     "%s: key '%.*s': value type %" PRIu32 " at offset %" PRIu64 ", allowed 0 to %d", r->path,
                     pare_gguf_shown(r->name), r->name.data, type, offset, PARE_META_TYPE_COUNT - 1);
}

static pare_status read_array(reader *r, pare_arena *arena, pare_meta_value *value, pare_error *err)
{
    uint64_t start = r->at;
    uint32_t elem = 0;
    pare_status st = take_u32(r, "element type", &elem, err);
    if (st != PARE_OK || (st = check_value_type(r, elem, start, err)) != PARE_OK ||
        (st = take_u64(r, "array length", &value->n, err)) != PARE_OK)
        return st;
    value->elem = (pare_meta_type)elem;
    if (elem == PARE_META_ARRAY)
        return refuse_nested(r, value->n, err);
    size_t min = elem == PARE_META_STRING ? 8 : pare_meta_type_size(value->elem);
    if (value->n > (r->limit - r->at) / min)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: key '%.*s': array at offset %" PRIu64 " of %" PRIu64
                         " %s elements: need %zu bytes each, have %" PRIu64 " in all",
                         r->path, pare_gguf_shown(r->name), r->name.data, start, value->n,
                         pare_meta_type_name(value->elem), min, r->limit - r->at);
    if (elem == PARE_META_STRING)
        return read_strings(r, arena, value, err);
    const uint8_t *p = take(r, value->n * min, "array", err);
    if (p == NULL)
        return PARE_ERR_FORMAT;
    value->v.data = p;
    return elem == PARE_META_BOOL ? check_bool(r, p, value->n, err) : PARE_OK;
}

static pare_status read_pair(reader *r, pare_meta *meta, pare_error *err)
{
    pare_meta_value value = {.n = 1, .offset = r->at};
    uint32_t type = 0;
    pare_status st = take_string(r, "key", 1, GGUF_MAX_KEY, &value.key, err);
    if (st != PARE_OK || (st = check_key(r, value.key, value.offset, err)) != PARE_OK)
        return st;
    r->name = value.key;
    uint64_t type_at = r->at;
    if ((st = take_u32(r, "value type", &type, err)) != PARE_OK ||
        (st = check_value_type(r, type, type_at, err)) != PARE_OK)
        return st;
    value.type = (pare_meta_type)type;
    if (type == PARE_META_ARRAY)
        st = read_array(r, &meta->arena, &value, err);
    else if (type != PARE_META_STRING)
        st = read_scalar(r, &value, err);
    else if ((st = take_string(r, "string", 0, UINT64_MAX, &value.v.s, err)) == PARE_OK)
        st = check_texts(r, &value.v.s, 1, err);
    return st == PARE_OK ? pare_meta_add(meta, r->path, &value, err) : st;
}

static pare_status read_metadata(reader *r, pare_meta *meta, uint64_t n_pairs, pare_error *err)
{
    pare_status st = pare_meta_reserve(meta, (size_t)n_pairs, err);
    r->section = "metadata pair";
    r->count = n_pairs;
    for (r->entry = 1; r->entry <= n_pairs && st == PARE_OK; r->entry++) {
        r->name = (pare_str){NULL, 0};
        st = read_pair(r, meta, err);
    }
    if (st == PARE_OK && r->n_odd_keys > 1)
        st = pare_warn(err, "%s: %" PRIu64 " keys in all are not in lower case", r->path, r->n_odd_keys);
    return st;
}

pare_status pare_gguf_alignment(const pare_meta *meta, const char *path, uint32_t *alignment, pare_error *err)
{
    const pare_meta_value *value = pare_meta_find(meta, GGUF_KEY_ALIGNMENT);
    *alignment = GGUF_ALIGNMENT;
    if (value == NULL)
        return PARE_OK;
    if (value->type != PARE_META_U32)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' at offset %" PRIu64 " is of type %s, expected u32", path,
                         GGUF_KEY_ALIGNMENT, value->offset, pare_meta_type_name(value->type));
    uint64_t a = value->v.u;
    if (a < GGUF_MIN_ALIGNMENT || a > GGUF_MAX_ALIGNMENT || (a & (a - 1)) != 0)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%s' at offset %" PRIu64 " is %" PRIu64 ", allowed is a power of two from %d to %d",
                         path, GGUF_KEY_ALIGNMENT, value->offset, a, GGUF_MIN_ALIGNMENT, GGUF_MAX_ALIGNMENT);
    *alignment = (uint32_t)a;
    return PARE_OK;
}

static pare_status check_name(const reader *r, pare_str name, uint64_t offset, pare_error *err)
{
    const char *fault = pare_tensor_name_fault(name);
    if (fault == NULL)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT,
                     "%s: name '%.*s' of tensor %" PRIu64 " of %" PRIu64 " at offset %" PRIu64 " %s", r->path,
                     pare_gguf_shown(name), name.data, r->entry, r->count, offset, fault);
}

static pare_status read_type(reader *r, pare_tensor *t, pare_error *err)
{
    uint64_t start = r->at;
    uint32_t number = 0;
    pare_status st = take_u32(r, "type", &number, err);
    if (st != PARE_OK)
        return st;
    t->type = pare_type_from_gguf(number);
    if (t->type != PARE_TYPE_NONE)
        return PARE_OK;
    const char *foreign = pare_type_foreign_name(number);
    return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s': type number %" PRIu32 " at offset %" PRIu64 ": %s",
                     r->path, t->name, number, start,
                     foreign != NULL ? foreign : "no known type of llama.cpp or a fork");
}

/* Slowest dimension last in the file, first in memory. */
static pare_status read_dims(reader *r, pare_tensor *t, pare_error *err)
{
    uint64_t start = r->at;
    pare_status st = take_u32(r, "number of dimensions", &t->n_dims, err);
    if (st != PARE_OK)
        return st;
    if (t->n_dims > GGUF_MAX_DIMS)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s': %" PRIu32 " dimensions at offset %" PRIu64 ", allowed 0 to %d", r->path,
                         t->name, t->n_dims, start, GGUF_MAX_DIMS);
    for (uint32_t i = t->n_dims; i-- > 0;) {
        start = r->at;
        if ((st = take_u64(r, "dimension", &t->dim[i], err)) != PARE_OK)
            return st;
        if (t->dim[i] > INT64_MAX)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: tensor '%s': dimension %" PRIu64 " at offset %" PRIu64 ", allowed at most %" PRId64,
                             r->path, t->name, t->dim[i], start, INT64_MAX);
    }
    return PARE_OK;
}

/* Offsets are still counted from the start of the data, which is known after the last entry. */
static pare_status read_info(reader *r, pare_model *m, pare_error *err)
{
    char name[GGUF_MAX_NAME + 1] = {0};
    pare_tensor t = {.name = name};
    uint64_t start = r->at;
    pare_status st = take_string(r, "name", 1, GGUF_MAX_NAME, &r->name, err);
    if (st != PARE_OK || (st = check_name(r, r->name, start, err)) != PARE_OK)
        return st;
    memcpy(name, r->name.data, r->name.len);
    if ((st = read_dims(r, &t, err)) != PARE_OK || (st = read_type(r, &t, err)) != PARE_OK ||
        (st = take_u64(r, "offset", &t.offset, err)) != PARE_OK)
        return st;
    if ((st = pare_tensor_set_shape(&t, r->path, err)) != PARE_OK)
        return err == NULL ? st : pare_fail(err, st, "%s (tensor info at offset %" PRIu64 ")", err->text, start);
    return pare_model_add(m, &t, NULL, err);
}

static pare_status read_infos(reader *r, pare_model *m, uint64_t n_tensors, pare_error *err)
{
    pare_status st = pare_model_reserve(m, (size_t)n_tensors, err);
    r->section = "tensor info";
    r->count = n_tensors;
    for (r->entry = 1; r->entry <= n_tensors && st == PARE_OK; r->entry++) {
        r->name = (pare_str){NULL, 0};
        st = read_info(r, m, err);
    }
    return st;
}

/* Files that are taken for GGUF and are something else. */
static pare_status check_magic(const reader *r, pare_error *err)
{
    static const struct {
        const char *bytes, *what;
    } old[] = {{"lmgg", "ggml (unversioned)"},
               {"ggml", "ggml (unversioned)"},
               {"fmgg", "ggmf"},
               {"ggmf", "ggmf"},
               {"tjgg", "ggjt"},
               {"ggjt", "ggjt"},
               {"algg", "ggla (LoRA)"},
               {"ggla", "ggla (LoRA)"}};
    pare_status st = pare_refuse_wrapped(r->bytes, r->size, r->path, err);
    if (st != PARE_OK)
        return st;
    for (size_t i = 0; r->size >= 4 && i < sizeof old / sizeof old[0]; i++)
        if (memcmp(r->bytes, old[i].bytes, 4) == 0)
            return pare_fail(err, PARE_ERR_UNSUPPORTED,
                             "%s: magic '%.4s' at offset 0 is the old format %s; GGUF versions %d and %d are supported",
                             r->path, old[i].bytes, old[i].what, GGUF_VERSION_MIN, GGUF_VERSION);
    if (r->size >= 4 && memcmp(r->bytes, "FUGG", 4) == 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: magic 'FUGG' at offset 0: a big-endian GGUF file is not supported", r->path);
    if (r->size < GGUF_HEADER_BYTES && (r->size < 4 || memcmp(r->bytes, "GGUF", 4) == 0))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: too short: %" PRIu64 " of %d header bytes at offset 0", r->path,
                         r->size, GGUF_HEADER_BYTES);
    if (memcmp(r->bytes, "GGUF", 4) != 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: magic '%.4s' at offset 0, expected 'GGUF'", r->path,
                         (const char *)r->bytes);
    return PARE_OK;
}

static pare_status check_version(const reader *r, uint32_t version, pare_error *err)
{
    if (version != 0 && (version & 0xffff) == 0)
        return pare_fail(err, PARE_ERR_UNSUPPORTED,
                         "%s: version 0x%08" PRIx32 " at offset 4: a big-endian GGUF file is not supported", r->path,
                         version);
    if (version < GGUF_VERSION_MIN || version > GGUF_VERSION)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: GGUF version %" PRIu32 " at offset 4, supported %d to %d",
                         r->path, version, GGUF_VERSION_MIN, GGUF_VERSION);
    return PARE_OK;
}

/* A count is believed when that many of the smallest possible entries fit into what is left. */
static pare_status check_count(const reader *r, const char *what, uint64_t offset, uint64_t n, uint64_t min_bytes,
                               uint64_t max, pare_error *err)
{
    uint64_t left = r->limit - r->at;
    if (n > left / min_bytes)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: %s %" PRIu64 " at offset %" PRIu64 ": need %" PRIu64 " bytes each at least, have %" PRIu64
                         " in all",
                         r->path, what, n, offset, min_bytes, left);
    if (n > max)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %s %" PRIu64 " at offset %" PRIu64 ", allowed at most %" PRIu64,
                         r->path, what, n, offset, max);
    return PARE_OK;
}

static pare_status read_file(reader *r, pare_model *m, pare_error *err)
{
    uint64_t n_tensors = 0, n_pairs = 0;
    pare_status st = check_magic(r, err);
    if (st != PARE_OK)
        return st;
    m->format = PARE_FORMAT_GGUF;
    m->version = pare_load_u32le(r->bytes + 4);
    n_tensors = pare_load_u64le(r->bytes + 8);
    n_pairs = pare_load_u64le(r->bytes + 16);
    r->at = GGUF_HEADER_BYTES;
    if ((m->path = pare_arena_copy(&m->arena, r->path, strlen(r->path), err)) == NULL)
        return PARE_ERR_MEMORY;
    if ((st = check_version(r, m->version, err)) != PARE_OK ||
        (st = check_count(r, "tensor count", 8, n_tensors, MIN_INFO_BYTES, GGUF_MAX_TENSORS, err)) != PARE_OK ||
        (st = check_count(r, "metadata pair count", 16, n_pairs, MIN_PAIR_BYTES, GGUF_MAX_PAIRS, err)) != PARE_OK ||
        (st = read_metadata(r, &m->meta, n_pairs, err)) != PARE_OK ||
        (st = pare_gguf_alignment(&m->meta, r->path, &m->alignment, err)) != PARE_OK ||
        (st = check_count(r, "tensor count", 8, n_tensors, MIN_INFO_BYTES, GGUF_MAX_TENSORS, err)) != PARE_OK ||
        (st = read_infos(r, m, n_tensors, err)) != PARE_OK)
        return st;
    return pare_gguf_place_tensors(m, r->bytes, r->n_mapped, r->size, r->at, r->path, err);
}

static reader start(const uint8_t *bytes, uint64_t n_mapped, uint64_t n, const char *path)
{
    return (reader){.path = path,
                    .bytes = bytes,
                    .size = n,
                    .limit = n < MAX_HEADER_BYTES ? n : MAX_HEADER_BYTES,
                    .n_mapped = n_mapped};
}

pare_status pare_gguf_read(pare_model *m, const uint8_t *bytes, uint64_t n, const char *path, pare_error *err)
{
    reader r = start(bytes, n, n, path);
    return read_file(&r, m, err);
}

static pare_status read_front(pare_model *m, const pare_map *front, uint64_t n, const char *path, bool *cut,
                              pare_error *err)
{
    reader r = start(front->data, front->size, n, path);
    pare_status st = read_file(&r, m, err);
    *cut = r.cut;
    return st;
}

pare_status pare_gguf_judge_front(const char *path, pare_status st, pare_error *err)
{
    return pare_front_judge(read_front, path, st, err);
}

pare_status pare_gguf_parse(pare_model *m, const void *bytes, size_t n, const char *path, pare_error *err)
{
    *m = (pare_model){0};
    pare_status st = pare_gguf_read(m, bytes, n, path, err);
    if (st != PARE_OK)
        pare_model_close(m);
    return st;
}
