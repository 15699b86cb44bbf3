/* Opening a GGUF model: one file, or all parts of a split set; then what its metadata means. */
#include "core/output_journal.h"
#include "formats/gguf_internal.h"
#include "formats/open.h"
#include "formats/safe_path.h"
#include "model/hparams_floats.h"
#include "model/hparams_parts.h"
#include "model/projector.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the split.* keys of one file say. */
typedef struct split {
    uint32_t no;        /* part, from 0 */
    uint32_t count;     /* parts; 0: no set, as stock's merge leaves it */
    uint64_t n_tensors; /* of all parts */
} split;

static pare_status read_split(const pare_meta *meta, const char *path, split *s, pare_error *err)
{
    uint64_t no = 0, count = 0;
    bool found = false;
    *s = (split){0};
    pare_status st = pare_meta_u64(meta, path, GGUF_KEY_SPLIT_COUNT, 0, GGUF_MAX_PARTS, &count, &found, err);
    if (st != PARE_OK || count == 0)
        return st;
    if ((st = pare_meta_u64(meta, path, GGUF_KEY_SPLIT_NO, 0, count - 1, &no, NULL, err)) != PARE_OK ||
        (st = pare_meta_u64(meta, path, GGUF_KEY_SPLIT_TENSORS, 0, GGUF_MAX_SET_TENSORS, &s->n_tensors, NULL, err)) !=
            PARE_OK)
        return st;
    s->no = (uint32_t)no;
    s->count = (uint32_t)count;
    return PARE_OK;
}

pare_status pare_gguf_part_name(pare_buf *out, const char *prefix, size_t prefix_len, uint32_t part, uint32_t n_parts,
                                pare_error *err)
{
    return pare_buf_printf(out, err, "%.*s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", (int)prefix_len, prefix, part,
                           n_parts);
}

/* Length of the prefix when path ends like a part's name ("-00002-of-00003.gguf"), else of the path without ".gguf". */
static size_t prefix_length(const char *path)
{
    static const char shape[] = "-ddddd-of-ddddd.gguf";
    size_t len = strlen(path), tail = sizeof shape - 1;
    bool fits = len > tail;
    for (size_t i = 0; i < tail && fits; i++) {
        char c = path[len - tail + i];
        fits = shape[i] == 'd' ? isdigit((unsigned char)c) != 0 : c == shape[i];
    }
    if (fits && strncmp(path + len - tail + 7, "of", 2) == 0)
        return len - tail;
    return len > 5 && strcmp(path + len - 5, ".gguf") == 0 ? len - 5 : len;
}

/* Map and parse one file; the model owns the map. */
static pare_status load(pare_model *m, const char *path, pare_error *err)
{
    if ((m->files = calloc(1, sizeof *m->files)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    pare_status st = pare_map_open(&m->files[0], path, err);
    if (st != PARE_OK)
        return st == PARE_ERR_IO ? pare_gguf_judge_front(path, st, err) : st;
    m->n_files = 1;
    return pare_gguf_read(m, m->files[0].data, m->files[0].size, path, err);
}

/* The parts of a set while they are put together. */
typedef struct set {
    const char *path; /* as the user named it */
    size_t prefix_len;
    split want; /* what every part must say; no is that of the named part */
    pare_model *parts;
} set;

static pare_status part_path(const set *s, uint32_t i, pare_buf *out, pare_error *err)
{
    out->len = 0;
    return pare_gguf_part_name(out, s->path, s->prefix_len, i + 1, s->want.count, err);
}

/* Is the named file called what its split.no says? Otherwise its neighbours cannot be found. */
static pare_status check_own_name(const set *s, pare_error *err)
{
    pare_buf name = {0};
    pare_status st = part_path(s, s->want.no, &name, err);
    if (st == PARE_OK && strcmp(name.data, s->path) != 0)
        st = pare_fail(err, PARE_ERR_FORMAT,
                       "%s: is part %" PRIu32 " of %" PRIu32 " by its key %s, so its name must be %s", s->path,
                       s->want.no + 1, s->want.count, GGUF_KEY_SPLIT_NO, name.data);
    pare_buf_close(&name);
    return st;
}

/* All missing parts in one message, as many as its line takes. */
static pare_status check_present(const set *s, pare_error *err)
{
    enum { MAX_LISTED = 8 };
    pare_buf name = {0}, list = {0};
    uint32_t n_missing = 0;
    pare_status st = PARE_OK;
    for (uint32_t i = 0; i < s->want.count && st == PARE_OK; i++)
        if ((st = part_path(s, i, &name, err)) == PARE_OK && access(name.data, F_OK) != 0 && n_missing++ < MAX_LISTED)
            st = pare_buf_printf(&list, err, "%s%s", list.len > 0 ? ", " : "", name.data);
    if (st == PARE_OK && n_missing > MAX_LISTED)
        st = pare_buf_printf(&list, err, " and %" PRIu32 " more", n_missing - MAX_LISTED);
    if (st == PARE_OK && n_missing > 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %" PRIu32 " of %" PRIu32 " parts missing: %s", s->path, n_missing,
                       s->want.count, list.data);
    pare_buf_close(&name);
    pare_buf_close(&list);
    return st;
}

/* No run was killed while the parts got their names. */
static pare_status check_names_given(const set *s, pare_error *err)
{
    char *folder = pare_path_folder(s->path, err), *prefix = folder != NULL ? strndup(s->path, s->prefix_len) : NULL;
    const char *slash = prefix != NULL ? strrchr(prefix, '/') : NULL;
    pare_status st = folder == NULL   ? PARE_ERR_MEMORY
                     : prefix == NULL ? pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", s->path)
                                      : pare_journal_warn(folder, slash != NULL ? slash + 1 : prefix, err);
    free(folder);
    free(prefix);
    return st;
}

static bool same_value(const pare_meta_value *a, const pare_meta_value *b)
{
    if (a->type != b->type || a->n != b->n)
        return false;
    if (a->type == PARE_META_STRING)
        return a->v.s.len == b->v.s.len && memcmp(a->v.s.data, b->v.s.data, a->v.s.len) == 0;
    if (a->type != PARE_META_ARRAY)
        return a->v.u == b->v.u;
    if (a->elem != b->elem)
        return false;
    if (a->elem != PARE_META_STRING)
        return memcmp(a->v.data, b->v.data, (size_t)a->n * pare_meta_type_size(a->elem)) == 0;
    for (uint64_t i = 0; i < a->n; i++)
        if (a->v.strings[i].len != b->v.strings[i].len ||
            memcmp(a->v.strings[i].data, b->v.strings[i].data, a->v.strings[i].len) != 0)
            return false;
    return true;
}

static bool starts_with(pare_str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len >= n && memcmp(s.data, prefix, n) == 0;
}

/* A later part carries the split keys and usually nothing else. What it repeats must agree with part 1; what it says
 * beyond that, or differently where it does no harm, is not used, and a warning says so. */
static pare_status check_meta(const set *s, const pare_model *part, pare_error *err)
{
    const pare_model *first = &s->parts[0];
    uint64_t n_unused = 0;
    const pare_meta_value *unused = NULL, *arch = pare_meta_find(&first->meta, "general.architecture");
    for (size_t i = 0; i < part->meta.n; i++) {
        const pare_meta_value *b = &part->meta.values[i];
        if (starts_with(b->key, "split.") || pare_str_equal(b->key, GGUF_KEY_ALIGNMENT))
            continue;
        int64_t at = pare_index_find(&first->meta.by_key, b->key);
        const pare_meta_value *a = at == PARE_INDEX_NONE ? NULL : &first->meta.values[at];
        if (a != NULL && same_value(a, b))
            continue;
        bool hyper = arch != NULL && arch->type == PARE_META_STRING && arch->v.s.len < b->key.len &&
                     memcmp(b->key.data, arch->v.s.data, arch->v.s.len) == 0 && b->key.data[arch->v.s.len] == '.';
        if (pare_str_equal(b->key, "general.architecture") || starts_with(b->key, "tokenizer.") || (hyper && a != NULL))
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: key '%.*s' at offset %" PRIu64
                             " differs from that of %s: the parts are not of one model",
                             part->path, pare_gguf_shown(b->key), b->key.data, b->offset, first->path);
        if (n_unused++ == 0)
            unused = b;
    }
    if (unused == NULL)
        return PARE_OK;
    return pare_warn(
        err, "%s: %" PRIu64 " keys that %s lacks or has otherwise are not used, the first is '%.*s' at offset %" PRIu64,
        part->path, n_unused, first->path, pare_gguf_shown(unused->key), unused->key.data, unused->offset);
}

static pare_status check_part(const set *s, uint32_t i, pare_error *err)
{
    const pare_model *part = &s->parts[i];
    split have;
    pare_status st = read_split(&part->meta, part->path, &have, err);
    if (st != PARE_OK)
        return st;
    if (have.count != s->want.count)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' is %" PRIu32 ", in %s it is %" PRIu32, part->path,
                         GGUF_KEY_SPLIT_COUNT, have.count, s->path, s->want.count);
    if (have.no != i)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: key '%s' is %" PRIu32 ", by the name of the file it must be %" PRIu32, part->path,
                         GGUF_KEY_SPLIT_NO, have.no, i);
    if (have.n_tensors != s->want.n_tensors)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' is %" PRIu64 ", in %s it is %" PRIu64, part->path,
                         GGUF_KEY_SPLIT_TENSORS, have.n_tensors, s->path, s->want.n_tensors);
    return i > 0 ? check_meta(s, part, err) : PARE_OK;
}

static pare_status load_parts(set *s, pare_error *err)
{
    pare_buf name = {0};
    pare_status st = PARE_OK;
    uint64_t n_tensors = 0;
    for (uint32_t i = 0; i < s->want.count && st == PARE_OK; i++) {
        if (s->parts[i].n_files == 0 && (st = part_path(s, i, &name, err)) == PARE_OK)
            st = load(&s->parts[i], name.data, err);
        if (st == PARE_OK)
            st = check_part(s, i, err);
        if (i > 0)
            pare_meta_close(&s->parts[i].meta); /* looked at, and not used: no memory for those of all parts */
        n_tensors += s->parts[i].n_tensors;
        if (st == PARE_OK &&
            (n_tensors > s->want.n_tensors || (i + 1 == s->want.count && n_tensors < s->want.n_tensors)))
            st = pare_fail(err, PARE_ERR_FORMAT,
                           "%s: key '%s' is %" PRIu64 ", the parts have %" PRIu64 " tensors up to %s", s->path,
                           GGUF_KEY_SPLIT_TENSORS, s->want.n_tensors, n_tensors, s->parts[i].path);
    }
    pare_buf_close(&name);
    return st;
}

/* Move what the parts hold into m: all maps and tensors, the metadata of part 1. */
static pare_status merge(pare_model *m, set *s, pare_error *err)
{
    pare_status st = pare_model_reserve(m, (size_t)s->want.n_tensors, err);
    if (st != PARE_OK)
        return st;
    if ((m->files = calloc(s->want.count, sizeof *m->files)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " files", s->path, s->want.count);
    if ((m->path = pare_arena_copy(&m->arena, s->path, strlen(s->path), err)) == NULL)
        return PARE_ERR_MEMORY;
    m->format = PARE_FORMAT_GGUF;
    m->version = s->parts[0].version;
    m->alignment = s->parts[0].alignment;
    m->meta = s->parts[0].meta;
    s->parts[0].meta = (pare_meta){0};
    for (uint32_t i = 0; i < s->want.count; i++) {
        pare_model *part = &s->parts[i];
        for (size_t k = 0; k < part->n_tensors; k++) {
            const pare_tensor *old = pare_model_find(m, part->tensors[k].name);
            if (old != NULL)
                return pare_fail(err, PARE_ERR_FORMAT,
                                 "%s: tensor '%s' at offset %" PRIu64 " is in %s too, at offset %" PRIu64, part->path,
                                 old->name, part->tensors[k].offset, m->files[old->file].path, old->offset);
            part->tensors[k].file = i;
            if ((st = pare_model_add(m, &part->tensors[k], NULL, err)) != PARE_OK)
                return st;
        }
        m->files[i] = part->files[0];
        part->files[0] = (pare_map){0};
        m->n_files = i + 1;
        pare_model_close(part); /* no two copies of all tensors */
    }
    pare_meta_remove(&m->meta, GGUF_KEY_SPLIT_NO);
    pare_meta_remove(&m->meta, GGUF_KEY_SPLIT_COUNT);
    pare_meta_remove(&m->meta, GGUF_KEY_SPLIT_TENSORS);
    return PARE_OK;
}

/* *named is the part that the user named, parsed already; its content moves into *m. */
static pare_status open_set(pare_model *m, pare_model *named, const char *path, const split *want, pare_error *err)
{
    set s = {.path = path, .prefix_len = prefix_length(path), .want = *want};
    pare_status st = PARE_OK;
    /* a single part has no neighbours that a name would lead to */
    if (want->count > 1 && ((st = check_own_name(&s, err)) != PARE_OK || (st = check_present(&s, err)) != PARE_OK ||
                            (st = check_names_given(&s, err)) != PARE_OK))
        return st;
    if ((s.parts = calloc(want->count, sizeof *s.parts)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %" PRIu32 " parts", path, want->count);
    s.parts[want->no] = *named;
    *named = (pare_model){0};
    if ((st = load_parts(&s, err)) == PARE_OK)
        st = merge(m, &s, err);
    for (uint32_t i = 0; i < want->count; i++)
        pare_model_close(&s.parts[i]);
    free(s.parts);
    return st;
}

static pare_status read_arch(pare_model *m, const char *path, pare_error *err)
{
    enum { MAX_ARCH = 64 };
    char name[MAX_ARCH + 1] = {0};
    pare_str text = {0};
    pare_status st = pare_meta_name(&m->meta, path, "general.architecture", &text, NULL, err);
    if (st != PARE_OK)
        return st;
    uint64_t offset = pare_meta_find(&m->meta, "general.architecture")->offset;
    if (text.len == 0 || text.len > MAX_ARCH)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key 'general.architecture' at offset %" PRIu64 " has %zu bytes, allowed 1 to %d", path,
                         offset, text.len, MAX_ARCH);
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == ' ')
            return pare_fail(err, PARE_ERR_FORMAT,
                             "%s: key 'general.architecture' at offset %" PRIu64
                             " is '%.*s', allowed is printable ASCII without blanks",
                             path, offset, (int)text.len, text.data);
    memcpy(name, text.data, text.len);
    m->arch = pare_arch_find(name);
    return PARE_OK;
}

/* Where layers differ, which is not supported, the widths that are given must be those of the matrices all the same. */
static pare_status check_layer_widths(const pare_model *m, pare_error *err)
{
    char key[160];
    uint64_t n = 0;
    snprintf(key, sizeof key, "%s.feed_forward_length", m->arch->name);
    const pare_meta_value *v = pare_meta_find(&m->meta, key);
    if (v == NULL || v->type != PARE_META_ARRAY || v->elem == PARE_META_STRING)
        return PARE_OK;
    for (uint32_t i = 0; i < v->n && i < PARE_MAX_LAYERS; i++) {
        const pare_tensor *t = pare_model_weight(m, PARE_W_FFN_DOWN, i, "weight");
        if (t != NULL && pare_meta_element_u64(v, i, &n) && n > 0 && n != t->row_len)
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: offset %" PRIu64 ": '%s' of layer %" PRIu32 " is %" PRIu64
                             ", tensor '%s' has rows of %" PRIu64,
                             m->path, v->offset, key, i, n, t->name, t->row_len);
    }
    return PARE_OK;
}

/* A file without tensors is a vocabulary alone: its hyperparameters have nothing to describe. */
pare_status pare_gguf_interpret(pare_model *m, unsigned flags, pare_error *err)
{
    const char *path = m->path;
    pare_str type = {0};
    bool found = false;
    pare_status st = read_arch(m, path, err);
    if (st == PARE_OK)
        st = pare_meta_name(&m->meta, path, "general.type", &type, &found, err);
    if (m->n_tensors == 0)
        m->arch = NULL;
    if (st == PARE_OK)
        st = pare_hparams_check_floats(&m->meta, pare_meta_find(&m->meta, "general.architecture")->v.s, path, err);
    if (st == PARE_OK && pare_projector_is_one(&m->meta))
        st = pare_projector_check(&m->meta, path, err);
    if (st == PARE_OK && m->arch != NULL)
        st = pare_hparams_from_meta(&m->hp, m->arch, &m->meta, path, err);
    if (st == PARE_ERR_UNSUPPORTED && m->arch != NULL && check_layer_widths(m, err) != PARE_OK)
        st = PARE_ERR_RANGE;
    if (st == PARE_OK && !(flags & PARE_OPEN_NO_VOCAB))
        st = pare_vocab_from_meta(&m->vocab, &m->meta, path, &m->has_vocab, err);
    if (st == PARE_OK && m->arch != NULL)
        st = pare_arch_check(m, err);
    return st;
}

pare_status pare_gguf_open(pare_model *m, const char *path, unsigned flags, pare_error *err)
{
    pare_model one = {0};
    split s;
    *m = (pare_model){0};
    pare_status st = load(&one, path, err);
    if (st == PARE_OK && (st = read_split(&one.meta, path, &s, err)) == PARE_OK) {
        if (s.count > 0) {
            st = open_set(m, &one, path, &s, err);
        } else {
            *m = one;
            one = (pare_model){0};
        }
    }
    if (st == PARE_OK && !(flags & PARE_OPEN_RAW))
        st = pare_gguf_interpret(m, flags, err);
    if (st != PARE_OK && !(flags & PARE_OPEN_PARTIAL))
        pare_model_close(m);
    else if (st != PARE_OK && m->n_files == 0) { /* what was read of the named file, before it proved bad */
        pare_model_close(m);
        *m = one;
        one = (pare_model){0};
    }
    pare_model_close(&one);
    return st;
}
