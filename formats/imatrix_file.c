#include "formats/imatrix_file.h"

#include "core/bytes.h"
#include "core/checked.h"
#include "core/map.h"
#include "model/sample.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEY_DATASETS "imatrix.datasets"
#define KEY_CHUNK_COUNT "imatrix.chunk_count"
#define KEY_CHUNK_SIZE "imatrix.chunk_size"
#define KEY_SAMPLE "pare.imatrix.sample"           /* model/sample.h, of the model that was run */
#define KEY_SAME_INPUTS "pare.imatrix.same_inputs" /* pairs: a matrix, and the one whose in_gram is its own, too */

enum {
    MAX_NAME = 63,         /* bytes of a tensor's name in GGUF */
    MIN_LEGACY_ENTRY = 17, /* len, one byte of name, ncall, nval, one value */
    MAX_WINDOW = 1 << 30   /* tokens */
};

/* Counts are whole: above this a double no longer tells neighbours apart. */
static const double max_count = 9007199254740992.0; /* 2^53 */

/* The parts of an entry in the GGUF layout: a tensor each, named after the weight. */
typedef enum part { PART_SUM2, PART_COUNTS, PART_SUM, PART_GRAM, PART_COUNT } part;
static const char *const suffixes[PART_COUNT] = {".in_sum2", ".counts", ".in_sum", ".in_gram"};

static bool ends_with(const char *name, const char *suffix)
{
    size_t n = strlen(name), k = strlen(suffix);
    return n > k && strcmp(name + n - k, suffix) == 0;
}

static pare_status bad_number(const char *path, const char *name, const char *what, uint64_t at, double v,
                              pare_error *err)
{
    return pare_fail(err, PARE_ERR_NUMBER, "%s: tensor '%s': %s %" PRIu64 " is %.9g; it must be finite%s", path, name,
                     what, at, v, strcmp(what, "activation sum") == 0 ? "" : " and not negative");
}

/* n little-endian floats at src, each finite and, but for activation sums, not negative. */
static pare_status load_sums(const char *path, const char *name, const void *src, uint64_t n, bool is_signed,
                             float *dst, pare_error *err)
{
    for (uint64_t i = 0; i < n; i++) {
        dst[i] = pare_load_f32le((const uint8_t *)src + 4 * i);
        if (!isfinite(dst[i]) || (!is_signed && dst[i] < 0))
            return bad_number(path, name, is_signed ? "activation sum" : "sum of squares", i, (double)dst[i], err);
    }
    return PARE_OK;
}

static pare_status load_counts(const char *path, const char *name, const void *src, uint64_t n, double *dst,
                               pare_error *err)
{
    for (uint64_t i = 0; i < n; i++) {
        dst[i] = (double)pare_load_f32le((const uint8_t *)src + 4 * i);
        if (!isfinite(dst[i]) || dst[i] < 0)
            return bad_number(path, name, "count", i, dst[i], err);
        if (dst[i] > max_count || dst[i] != floor(dst[i]))
            return pare_fail(err, PARE_ERR_RANGE,
                             "%s: tensor '%s': count %" PRIu64 " is %.9g; it must be a whole number up to 2^53", path,
                             name, i, dst[i]);
    }
    return PARE_OK;
}

/* An expert without tokens can have no sums. */
static pare_status check_unseen(const pare_imatrix *im, const pare_imatrix_entry *e, pare_error *err)
{
    for (uint64_t i = 0; i < e->n_counts; i++) {
        uint64_t n = e->n_experts / e->n_counts * e->n_columns;
        if (e->counts[i] > 0)
            continue;
        for (uint64_t c = 0; c < n; c++)
            if (e->sum2[i * n + c] > 0)
                return pare_fail(err, PARE_ERR_RANGE,
                                 "%s: tensor '%s': count %" PRIu64 " is 0 although column %" PRIu64 " has a sum",
                                 im->path, e->name, i, c);
    }
    return PARE_OK;
}

/* The tensors of one entry. */
typedef struct parts {
    const pare_tensor *t[PART_COUNT];
} parts;

static pare_status find_parts(const pare_model *m, const pare_tensor *sum2, char name[MAX_NAME + 1], parts *out,
                              pare_error *err)
{
    char full[MAX_NAME + 16];
    size_t len = strlen(sum2->name) - strlen(suffixes[PART_SUM2]);
    memcpy(name, sum2->name, len); /* the GGUF reader limits names to MAX_NAME */
    name[len] = '\0';
    for (int p = 0; p < PART_COUNT; p++) {
        memcpy(full, name, len);
        strcpy(full + len, suffixes[p]);
        out->t[p] = pare_model_find(m, full);
        if (out->t[p] != NULL && out->t[p]->type != PARE_TYPE_F32)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor '%s' at offset %" PRIu64 " is of type %s, expected f32",
                             m->path, full, out->t[p]->offset, pare_type_get(out->t[p]->type)->name);
    }
    if (out->t[PART_COUNTS] == NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor '%s' has no '%s%s' beside it", m->path, sum2->name, name,
                         suffixes[PART_COUNTS]);
    return PARE_OK;
}

static uint64_t n_elements(const pare_tensor *t)
{
    return t->n_rows * t->row_len; /* checked by the GGUF reader */
}

static pare_status check_parts(const pare_model *m, const parts *p, pare_error *err)
{
    const pare_tensor *sum2 = p->t[PART_SUM2], *counts = p->t[PART_COUNTS], *sum = p->t[PART_SUM];
    if (n_elements(sum2) == 0)
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' is empty", m->path, sum2->name);
    if (n_elements(counts) != sum2->n_rows && n_elements(counts) != 1)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has %" PRIu64 " counts for the %" PRIu64
                         " rows of '%s'; expected 1 or as many",
                         m->path, counts->name, n_elements(counts), sum2->n_rows, sum2->name);
    if (sum != NULL && (sum->n_rows != sum2->n_rows || sum->row_len != sum2->row_len))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has %" PRIu64 " rows of %" PRIu64 " columns, '%s' %" PRIu64 " of %" PRIu64,
                         m->path, sum->name, sum->n_rows, sum->row_len, sum2->name, sum2->n_rows, sum2->row_len);
    return PARE_OK;
}

/* Of all experts. */
static double tokens_of(const pare_imatrix_entry *e)
{
    double count = 0;
    for (uint64_t i = 0; i < e->n_counts; i++)
        count += e->counts[i];
    return count;
}

/* The triangle stays where it is; its values are looked at when they are used. */
static pare_status read_gram(pare_imatrix *im, const pare_imatrix_entry *e, const pare_tensor *gram, pare_error *err)
{
    uint64_t bytes = 0, all = 0;
    double count = tokens_of(e);
    bool fits = pare_gram_bytes(e->n_columns, &bytes) && pare_mul_u64(bytes, e->n_experts, &all);
    bool own = fits && e->n_experts > 1 && e->n_counts == e->n_experts && gram->n_bytes == all;
    if (!fits || (gram->n_bytes != bytes && !own))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: tensor '%s' has %" PRIu64 " values; a triangle of %" PRIu64
                         " columns has n (n + 1) / 2, and there is one, or one for each of %" PRIu64 " experts",
                         im->path, gram->name, n_elements(gram), e->n_columns, e->n_experts);
    if (!(count > 0))
        return pare_fail(err, PARE_ERR_RANGE, "%s: tensor '%s' stands beside a count of 0", im->path, gram->name);
    pare_status st =
        pare_grams_add_experts(&im->grams, e->name, e->n_columns, own ? e->n_experts : 1, count, gram->data, NULL, err);
    return st == PARE_OK ? st : pare_fail_in(err, st, im->path);
}

static pare_status read_entry(pare_imatrix *im, const pare_model *m, const pare_tensor *sum2, pare_error *err)
{
    char name[MAX_NAME + 1];
    parts p;
    pare_imatrix_entry *e = NULL;
    pare_status st = find_parts(m, sum2, name, &p, err);
    if (st != PARE_OK || (st = check_parts(m, &p, err)) != PARE_OK ||
        (st = pare_imatrix_add(im, name, sum2->n_rows, sum2->row_len, n_elements(p.t[PART_COUNTS]),
                               p.t[PART_SUM] != NULL, &e, err)) != PARE_OK)
        return st;
    st = load_sums(m->path, e->name, sum2->data, n_elements(sum2), false, e->sum2, err);
    if (st == PARE_OK && e->sum != NULL)
        st = load_sums(m->path, e->name, p.t[PART_SUM]->data, n_elements(sum2), true, e->sum, err);
    if (st == PARE_OK)
        st = load_counts(m->path, e->name, p.t[PART_COUNTS]->data, e->n_counts, e->counts, err);
    if (st == PARE_OK)
        st = check_unseen(im, e, err);
    return st == PARE_OK && p.t[PART_GRAM] != NULL ? read_gram(im, e, p.t[PART_GRAM], err) : st;
}

/* Matrices that share second-order statistics have the same inputs: as many columns, and as many tokens. */
static pare_status link_one(pare_imatrix *im, pare_str matrix, pare_str like, pare_error *err)
{
    char name[2][MAX_NAME + 1] = {"", ""};
    pare_str text[2] = {matrix, like};
    const pare_imatrix_entry *e[2];
    for (int i = 0; i < 2; i++) {
        if (text[i].len <= MAX_NAME)
            memcpy(name[i], text[i].data, text[i].len);
        if ((e[i] = pare_imatrix_find(im, name[i])) == NULL)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' names '%s', which has no statistics", im->path,
                             KEY_SAME_INPUTS, name[i]);
    }
    if (e[0]->n_columns != e[1]->n_columns)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%s' says that '%s' (%" PRIu64 " columns) and '%s' (%" PRIu64
                         ") have the same inputs",
                         im->path, KEY_SAME_INPUTS, name[0], e[0]->n_columns, name[1], e[1]->n_columns);
    if (tokens_of(e[0]) != tokens_of(e[1]))
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%s' says that '%s' (%.0f tokens) and '%s' (%.0f) have the same inputs", im->path,
                         KEY_SAME_INPUTS, name[0], tokens_of(e[0]), name[1], tokens_of(e[1]));
    const pare_gram *gram = pare_grams_find(&im->grams, e[1]->name);
    if (gram != NULL && gram->n_experts > 1 && gram->n_experts != e[0]->n_experts)
        return pare_fail(err, PARE_ERR_RANGE,
                         "%s: key '%s' says that '%s' (%" PRIu64 " experts) and '%s' (%" PRIu64
                         ") have the same inputs",
                         im->path, KEY_SAME_INPUTS, name[0], e[0]->n_experts, name[1], e[1]->n_experts);
    pare_status st = pare_grams_link(&im->grams, e[0]->name, e[1]->name, err);
    return st == PARE_OK ? st : pare_fail_in(err, st, im->path);
}

static pare_status read_links(pare_imatrix *im, const pare_model *m, pare_error *err)
{
    const pare_meta_value *v = pare_meta_find(&m->meta, KEY_SAME_INPUTS);
    pare_status st = PARE_OK;
    if (v == NULL)
        return PARE_OK;
    if (v->type != PARE_META_ARRAY || v->elem != PARE_META_STRING || v->n % 2 != 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' is no array of pairs of names", m->path, KEY_SAME_INPUTS);
    for (uint64_t i = 0; i < v->n && st == PARE_OK; i += 2)
        st = link_one(im, v->v.strings[i], v->v.strings[i + 1], err);
    return st;
}

static pare_status read_datasets(pare_imatrix *im, const pare_model *m, pare_error *err)
{
    const pare_meta_value *v = pare_meta_find(&m->meta, KEY_DATASETS);
    if (v == NULL || v->type != PARE_META_ARRAY || v->elem != PARE_META_STRING)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' is %s; an imatrix needs an array of strings", m->path,
                         KEY_DATASETS, v == NULL ? "missing" : "something else");
    pare_status st = PARE_OK;
    for (uint64_t i = 0; i < v->n && st == PARE_OK; i++)
        st = pare_imatrix_add_dataset(im, v->v.strings[i], err);
    return st;
}

/* What belongs to no entry: counts and activation sums without squares are errors, as in stock; other tensors are not
 * used. */
static pare_status check_strangers(const pare_model *m, pare_error *err)
{
    const pare_tensor *stranger = NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->n_tensors; i++) {
        const char *name = m->tensors[i].name;
        char full[MAX_NAME + 16];
        int p = PART_COUNT - 1;
        while (p >= 0 && !ends_with(name, suffixes[p]))
            p--;
        if (p < 0) {
            stranger = n++ == 0 ? &m->tensors[i] : stranger;
            continue;
        }
        size_t len = strlen(name) - strlen(suffixes[p]);
        memcpy(full, name, len);
        strcpy(full + len, suffixes[PART_SUM2]);
        if (pare_model_find(m, full) == NULL)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: tensor '%s' has no '%s' beside it", m->path, name, full);
    }
    if (n == 0)
        return PARE_OK;
    if (n == m->n_tensors)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: a GGUF file without statistics (no tensor named *%s): no imatrix",
                         m->path, suffixes[PART_SUM2]);
    return pare_warn(err, "%s: %zu tensors are no part of an imatrix and not used, the first is '%s'", m->path, n,
                     stranger->name);
}

static pare_status read_sample(pare_imatrix *im, const pare_model *m, pare_error *err)
{
    const pare_meta_value *v = pare_meta_find(&m->meta, KEY_SAMPLE);
    float sample[PARE_SAMPLE_SIZE];
    if (v == NULL)
        return PARE_OK;
    if (v->type != PARE_META_ARRAY || v->elem != PARE_META_F32 || v->n != PARE_SAMPLE_SIZE)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: key '%s' is no array of %d F32", m->path, KEY_SAMPLE,
                         (int)PARE_SAMPLE_SIZE);
    for (size_t i = 0; i < PARE_SAMPLE_SIZE; i++) {
        sample[i] = pare_load_f32le((const uint8_t *)v->v.data + 4 * i);
        if (!isfinite(sample[i]))
            return pare_fail(err, PARE_ERR_NUMBER, "%s: key '%s': element %zu is %g", m->path, KEY_SAMPLE, i,
                             (double)sample[i]);
    }
    return pare_imatrix_set_sample(im, sample, err);
}

/* A file that says what it is says this; stock's do. */
static pare_status check_type(const pare_model *m, pare_error *err)
{
    pare_str type = {0};
    bool found = false;
    pare_status st = pare_meta_name(&m->meta, m->path, "general.type", &type, &found, err);
    if (st == PARE_OK && found && !pare_str_equal(type, "imatrix"))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: key 'general.type' is '%.*s', expected 'imatrix'", m->path,
                       (int)(type.len < 64 ? type.len : 64), type.data);
    return st;
}

static pare_status read_gguf(pare_imatrix *im, const pare_model *m, pare_error *err)
{
    uint64_t chunk_count = 0, chunk_size = 0;
    pare_status st = check_strangers(m, err);
    if (st == PARE_OK)
        st = check_type(m, err);
    if (st == PARE_OK && m->n_tensors == 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: a GGUF file without tensors: no imatrix", m->path);
    if (st == PARE_OK)
        st = read_datasets(im, m, err);
    if (st == PARE_OK)
        st = pare_meta_u64(&m->meta, m->path, KEY_CHUNK_COUNT, 0, INT32_MAX, &chunk_count, NULL, err);
    if (st == PARE_OK)
        st = pare_meta_u64(&m->meta, m->path, KEY_CHUNK_SIZE, 1, MAX_WINDOW, &chunk_size, NULL, err);
    im->chunk_count = (uint32_t)chunk_count;
    im->chunk_size = (uint32_t)chunk_size;
    for (size_t i = 0; i < m->n_tensors && st == PARE_OK; i++)
        if (ends_with(m->tensors[i].name, suffixes[PART_SUM2]))
            st = read_entry(im, m, &m->tensors[i], err);
    if (st == PARE_OK)
        st = read_sample(im, m, err);
    return st == PARE_OK ? read_links(im, m, err) : st;
}

/* The legacy layout: a cursor that never passes the end. */
typedef struct cursor {
    const pare_imatrix *im;
    const uint8_t *bytes;
    uint64_t size, at;
    uint32_t entry, n_entries; /* the one in hand, from 1 */
} cursor;

static pare_status legacy_fail(const cursor *c, uint64_t at, const char *what, int64_t found, const char *allowed,
                               pare_error *err)
{
    return pare_fail(err, PARE_ERR_RANGE,
                     "%s: read as a legacy imatrix (.dat, it has no GGUF magic): entry %" PRIu32 " of %" PRIu32
                     ": %s at offset %" PRIu64 " is %" PRId64 ", %" PRIu64 " bytes are left; expected %s",
                     c->im->path, c->entry, c->n_entries, what, at, found, c->size - c->at, allowed);
}

/* The next number, which must be from min to max. */
static pare_status take_i32(cursor *c, const char *what, int64_t min, int64_t max, int64_t *out, pare_error *err)
{
    if (c->size - c->at < 4)
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: read as a legacy imatrix (.dat, it has no GGUF magic): it ends at byte %" PRIu64
                         " in entry %" PRIu32 " of %" PRIu32 ", before %s",
                         c->im->path, c->size, c->entry, c->n_entries, what);
    *out = (int32_t)pare_load_u32le(c->bytes + c->at);
    c->at += 4;
    if (*out >= min && *out <= max)
        return PARE_OK;
    char allowed[64];
    snprintf(allowed, sizeof allowed, "%" PRId64 " to %" PRId64, min, max);
    return legacy_fail(c, c->at - 4, what, *out, allowed, err);
}

static pare_status take_name(cursor *c, char name[MAX_NAME + 1], pare_error *err)
{
    int64_t len = 0;
    uint64_t start = c->at;
    pare_status st = take_i32(c, "the length of the name", 1, MAX_NAME, &len, err);
    if (st != PARE_OK)
        return st;
    if ((uint64_t)len > c->size - c->at)
        return legacy_fail(c, start, "the length of the name", len, "at most that", err);
    memcpy(name, c->bytes + c->at, (size_t)len);
    name[len] = '\0';
    c->at += (uint64_t)len;
    bool printable = pare_utf8_valid(name, (size_t)len, NULL);
    for (int64_t i = 0; i < len; i++)
        printable = printable && (uint8_t)name[i] >= 0x20 && name[i] != 0x7f;
    if (printable)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT,
                     "%s: read as a legacy imatrix (.dat, it has no GGUF magic): the name of entry %" PRIu32
                     " at offset %" PRIu64 " is no text",
                     c->im->path, c->entry, start + 4);
}

static pare_status read_legacy_entry(pare_imatrix *im, cursor *c, pare_error *err)
{
    char name[MAX_NAME + 1];
    int64_t n_calls = 0, n = 0;
    pare_imatrix_entry *e = NULL;
    pare_status st = take_name(c, name, err);
    if (st == PARE_OK)
        st = take_i32(c, "the number of windows", 1, INT32_MAX, &n_calls, err);
    if (st == PARE_OK)
        st = take_i32(c, "the number of columns", 1, INT32_MAX, &n, err);
    if (st == PARE_OK && (uint64_t)n > (c->size - c->at) / 4)
        st = legacy_fail(c, c->at - 4, "the number of columns", n, "4 bytes each", err);
    if (st == PARE_OK)
        st = pare_imatrix_add(im, name, 1, (uint64_t)n, 1, false, &e, err);
    if (st != PARE_OK)
        return st;
    e->counts[0] = (double)n_calls;
    st = load_sums(im->path, e->name, c->bytes + c->at, (uint64_t)n, false, e->sum2, err);
    c->at += 4 * (uint64_t)n;
    return st;
}

/* Window count and the name of the text: files of the first versions end before them. */
static pare_status read_legacy_tail(pare_imatrix *im, cursor *c, pare_error *err)
{
    int64_t n_chunks = 0, len = 0;
    pare_status st = PARE_OK;
    if (c->at < c->size)
        st = take_i32(c, "the number of windows in all", 0, INT32_MAX, &n_chunks, err);
    im->chunk_count = (uint32_t)n_chunks;
    if (st == PARE_OK && c->at < c->size)
        st = take_i32(c, "the length of the text's name", 0, INT32_MAX, &len, err);
    if (st == PARE_OK && (uint64_t)len > c->size - c->at)
        st = legacy_fail(c, c->at - 4, "the length of the text's name", len, "at most that", err);
    if (st == PARE_OK && len > 0)
        st = pare_imatrix_add_dataset(im, (pare_str){(const char *)c->bytes + c->at, (size_t)len}, err);
    c->at += (uint64_t)len;
    if (st == PARE_OK && c->at < c->size)
        st = pare_warn(err, "%s: %" PRIu64 " bytes follow the statistics and are not used", im->path, c->size - c->at);
    return st;
}

static pare_status read_legacy(pare_imatrix *im, const uint8_t *bytes, size_t size, pare_error *err)
{
    cursor c = {.im = im, .bytes = bytes, .size = size};
    int64_t n = 0;
    pare_status st = take_i32(&c, "the number of entries", 1, INT32_MAX, &n, err);
    if (st == PARE_OK && (uint64_t)n > (size - c.at) / MIN_LEGACY_ENTRY)
        st = legacy_fail(&c, 0, "the number of entries", n, "at least 17 bytes each", err);
    c.n_entries = (uint32_t)n;
    for (c.entry = 1; st == PARE_OK && c.entry <= c.n_entries; c.entry++)
        st = read_legacy_entry(im, &c, err);
    return st == PARE_OK ? read_legacy_tail(im, &c, err) : st;
}

pare_status pare_imatrix_parse(pare_imatrix *im, const void *bytes, size_t n, const char *path, pare_error *err)
{
    pare_model m;
    *im = (pare_imatrix){0};
    pare_status st = PARE_OK;
    if ((im->path = pare_arena_copy(&im->arena, path, strlen(path), err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st == PARE_OK && n >= 4 && memcmp(bytes, "GGUF", 4) == 0) {
        if ((st = pare_gguf_parse(&m, bytes, n, path, err)) == PARE_OK) {
            st = read_gguf(im, &m, err);
            pare_model_close(&m);
        }
    } else if (st == PARE_OK) {
        st = read_legacy(im, bytes, n, err);
    }
    if (st != PARE_OK)
        pare_imatrix_close(im);
    return st;
}

pare_status pare_imatrix_open(pare_imatrix *im, const char *path, pare_error *err)
{
    pare_map map;
    *im = (pare_imatrix){0};
    pare_status st = pare_map_open_content(&map, path, err);
    if (st == PARE_OK)
        st = pare_imatrix_parse(im, map.data, (size_t)map.size, path, err);
    if (st == PARE_OK && im->grams.n > 0)
        im->map = map;
    else
        pare_map_close(&map);
    return st;
}

/* One tensor of the file over values that live in m's arena or in the entry. */
static pare_status add_part(pare_model *m, const pare_imatrix_entry *e, part which, const void *values, uint64_t n_rows,
                            uint64_t row_len, pare_error *err)
{
    char name[256];
    int len = snprintf(name, sizeof name, "%s%s", e->name, suffixes[which]);
    if (len > MAX_NAME)
        return pare_fail(err, PARE_ERR_RANGE, "%s: the name '%s%s' has more than %d bytes, which GGUF does not hold",
                         m->path, e->name, suffixes[which], MAX_NAME);
    pare_tensor t = {.name = name, .type = PARE_TYPE_F32, .n_dims = 2, .dim = {n_rows, row_len}, .data = values};
    pare_status st = pare_tensor_set_shape(&t, m->path, err);
    return st == PARE_OK ? pare_model_add(m, &t, NULL, err) : st;
}

/* A little-endian copy of n numbers in m's arena. */
static uint8_t *float_bytes(pare_model *m, const float *floats, const double *doubles, uint64_t n, pare_error *err)
{
    uint8_t *bytes = pare_arena_alloc(&m->arena, (size_t)n * 4, err); /* n numbers are in memory: it fits */
    for (uint64_t i = 0; bytes != NULL && i < n; i++)
        pare_store_f32le(bytes + 4 * i, floats != NULL ? floats[i] : (float)doubles[i]);
    return bytes;
}

/* gram: of this matrix and perhaps of others, or NULL. */
static pare_status add_entry(pare_model *m, const pare_imatrix_entry *e, const pare_gram *gram, pare_error *err)
{
    uint64_t n = e->n_experts * e->n_columns;
    const uint8_t *sum2 = float_bytes(m, e->sum2, NULL, n, err);
    const uint8_t *counts = float_bytes(m, NULL, e->counts, e->n_counts, err);
    const uint8_t *sum = e->sum != NULL ? float_bytes(m, e->sum, NULL, n, err) : NULL;
    if (sum2 == NULL || counts == NULL || (e->sum != NULL && sum == NULL))
        return PARE_ERR_MEMORY;
    pare_status st = add_part(m, e, PART_SUM2, sum2, e->n_experts, e->n_columns, err);
    if (st == PARE_OK)
        st = add_part(m, e, PART_COUNTS, counts, e->n_counts, 1, err);
    if (st == PARE_OK && sum != NULL)
        st = add_part(m, e, PART_SUM, sum, e->n_experts, e->n_columns, err);
    uint64_t bytes = 0;
    if (st == PARE_OK && gram != NULL && pare_gram_bytes(gram->n_columns, &bytes))
        st = add_part(m, e, PART_GRAM, gram->lower, gram->n_experts, bytes / 4, err);
    return st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const pare_imatrix_entry *const *)a)->name, (*(const pare_imatrix_entry *const *)b)->name);
}

static pare_status add_entries(pare_model *m, const pare_imatrix *im, pare_error *err)
{
    const pare_imatrix_entry **order = malloc((im->n + 1) * sizeof *order);
    size_t n = 0;
    if (order == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu entries", m->path, im->n);
    for (size_t i = 0; i < im->n; i++)
        if (tokens_of(&im->entries[i]) > 0)
            order[n++] = &im->entries[i];
    qsort(order, n, sizeof *order, by_name);
    pare_status st = pare_model_reserve(m, n * PART_COUNT, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        const pare_gram *gram = pare_grams_find(&im->grams, order[i]->name);
        st = add_entry(m, order[i], gram != NULL && strcmp(gram->name, order[i]->name) == 0 ? gram : NULL, err);
    }
    free(order);
    return st;
}

static pare_status set_links(pare_model *m, const pare_imatrix *im, pare_error *err)
{
    const pare_grams *g = &im->grams;
    pare_str *pairs = malloc((2 * g->n_matrices + 1) * sizeof *pairs);
    size_t n = 0;
    if (pairs == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu names", m->path, 2 * g->n_matrices);
    for (size_t i = 0; i < g->n_matrices; i++) {
        const char *like = pare_grams_find(g, g->matrix[i])->name;
        if (strcmp(like, g->matrix[i]) == 0)
            continue;
        pairs[n++] = (pare_str){g->matrix[i], strlen(g->matrix[i])};
        pairs[n++] = (pare_str){like, strlen(like)};
    }
    pare_status st = n > 0 ? pare_meta_set_strs(&m->meta, KEY_SAME_INPUTS, pairs, n, err) : PARE_OK;
    free(pairs);
    return st;
}

static pare_status set_sample(pare_model *m, const pare_imatrix *im, pare_error *err)
{
    uint8_t bytes[4 * PARE_SAMPLE_SIZE];
    for (size_t i = 0; i < PARE_SAMPLE_SIZE && im->sample != NULL; i++)
        pare_store_f32le(bytes + 4 * i, im->sample[i]);
    return im->sample == NULL ? PARE_OK
                              : pare_meta_set_array(&m->meta, KEY_SAMPLE, PARE_META_F32, bytes, PARE_SAMPLE_SIZE, err);
}

pare_status pare_imatrix_write(const pare_imatrix *im, const char *path, bool force, pare_pin *pin, pare_error *err)
{
    return pare_imatrix_write_in(NULL, im, path, force, pin, err);
}

pare_status pare_imatrix_write_in(pare_output_set *set, const pare_imatrix *im, const char *path, bool force,
                                  pare_pin *pin, pare_error *err)
{
    const pare_write_options options = {.force = force, .pending = set};
    pare_model m = {.format = PARE_FORMAT_GGUF, .path = path, .alignment = 32};
    pare_status st = pare_meta_set_str(&m.meta, "general.type", (pare_str){"imatrix", 7}, err);
    if (st == PARE_OK)
        st = pare_meta_set_strs(&m.meta, KEY_DATASETS, im->datasets, im->n_datasets, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(&m.meta, KEY_CHUNK_COUNT, im->chunk_count, err);
    if (st == PARE_OK)
        st = pare_meta_set_u32(&m.meta, KEY_CHUNK_SIZE, im->chunk_size, err);
    if (st == PARE_OK)
        st = set_links(&m, im, err);
    if (st == PARE_OK)
        st = set_sample(&m, im, err);
    if (st == PARE_OK)
        st = add_entries(&m, im, err);
    if (st == PARE_OK)
        st = pare_gguf_write(&m, path, &options, pin, err);
    pare_model_close(&m);
    return st;
}
