#include "core/bytes.h"
#include "core/checked.h"
#include "core/json.h"
#include "formats/file_writer.h"
#include "formats/safe_path.h"
#include "formats/safetensors.h"
#include "formats/safetensors_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 99999, SHARD_NAME = 64 };

typedef struct item {
    const pare_tensor *t;
    const char *name;
    size_t rank; /* of its dtype, see dtype_rank */
} item;

/* What goes where: shard i holds items[first[i]] up to items[first[i + 1]], in the order of its file. */
typedef struct plan {
    const char *dir;
    item *items;
    size_t n_items;
    size_t *first; /* [n_shards + 1] */
    size_t n_shards;
    uint64_t total, done; /* bytes of tensors; done: with the headers */
    pare_pin *pin;
} plan;

/* The reference library puts the later of these first, which sorts by descending alignment: safetensors
 * src/tensor.rs, enum Dtype, version 0.8. */
static size_t dtype_rank(const char *dtype)
{
    static const char *const order[] = {"BOOL",    "F4",      "F6_E2M3", "F6_E3M2",     "U8",          "I8",
                                        "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16",
                                        "U16",     "F16",     "BF16",    "I32",         "U32",         "F32",
                                        "C64",     "F64",     "I64",     "U64"};
    size_t i = 0;
    while (i < sizeof order / sizeof *order && strcmp(order[i], dtype) != 0)
        i++;
    return i;
}

static int compare_items(const void *pa, const void *pb)
{
    const item *a = pa, *b = pb;
    if (a->rank != b->rank)
        return a->rank > b->rank ? -1 : 1;
    return strcmp(a->name, b->name);
}

static pare_status check_items(const plan *p, pare_error *err)
{
    pare_index seen = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < p->n_items && st == PARE_OK; i++) {
        const item *it = &p->items[i];
        pare_str name = {it->name, strlen(it->name)};
        const pare_type_info *info = pare_type_get(it->t->type);
        int64_t old = PARE_INDEX_NONE;
        const char *fault;
        if (strcmp(it->name, "__metadata__") == 0)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: a tensor named '__metadata__' cannot be stored as safetensors",
                           p->dir);
        else if ((fault = pare_tensor_name_fault(name)) != NULL)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: tensor name '%s' %s: it would not be read again", p->dir,
                           it->name, fault);
        else if (info->safetensors[0] == '\0')
            st = pare_fail(err, PARE_ERR_UNSUPPORTED, "%s: tensor '%s': safetensors has no dtype for %s", p->dir,
                           it->name, info->name);
        else if ((st = pare_index_add(&seen, name, (int64_t)i, &old, err)) == PARE_OK && old != PARE_INDEX_NONE)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: two tensors named '%s'", p->dir, it->name);
    }
    pare_index_close(&seen);
    return st;
}

/* Cut the tensors, in the model's order, into shards of at most shard_bytes, then sort each shard. */
static pare_status make_plan(plan *p, const pare_model *m, const char *const *names, uint64_t shard_bytes,
                             pare_error *err)
{
    size_t n = m->n_tensors;
    uint64_t in_shard = 0;
    p->items = calloc(n > 0 ? n : 1, sizeof *p->items);
    p->first = calloc(n + 2, sizeof *p->first);
    if (p->items == NULL || p->first == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tensors", p->dir, n);
    for (size_t i = 0; i < n; i++) {
        const pare_tensor *t = &m->tensors[i];
        if (shard_bytes > 0 && in_shard > 0 && (in_shard >= shard_bytes || t->n_bytes > shard_bytes - in_shard)) {
            p->first[++p->n_shards] = i;
            in_shard = 0;
        }
        if (!pare_add_u64(in_shard, t->n_bytes, &in_shard) || !pare_add_u64(p->total, t->n_bytes, &p->total))
            return pare_fail(err, PARE_ERR_RANGE, "%s: the sizes of all tensors overflow", p->dir);
        p->items[i] = (item){t, names[i], dtype_rank(pare_type_get(t->type)->safetensors)};
    }
    p->first[++p->n_shards] = p->n_items = n;
    if (p->n_shards > MAX_SHARDS)
        return pare_fail(err, PARE_ERR_USAGE, "%s: %zu shards of %" PRIu64 " bytes, at most %d are allowed", p->dir,
                         p->n_shards, shard_bytes, MAX_SHARDS);
    for (size_t k = 0; k < p->n_shards; k++)
        if (p->first[k + 1] > p->first[k])
            qsort(p->items + p->first[k], p->first[k + 1] - p->first[k], sizeof *p->items, compare_items);
    return check_items(p, err);
}

static void shard_name(const plan *p, size_t k, char *dst)
{
    if (p->n_shards == 1)
        snprintf(dst, SHARD_NAME, "model.safetensors");
    else
        snprintf(dst, SHARD_NAME, "model-%05zu-of-%05zu.safetensors", k + 1, p->n_shards);
}

/* A JSON string as the reference library writes it. */
static pare_status put_string(pare_buf *b, const char *s, pare_error *err)
{
    static const char special[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    pare_status st = pare_buf_put(b, "\"", 1, err);
    for (; *s != '\0' && st == PARE_OK; s++) {
        const char *at = strchr(special, *s);
        if (at != NULL)
            st = pare_buf_printf(b, err, "\\%c", names[at - special]);
        else if ((unsigned char)*s < 0x20)
            st = pare_buf_printf(b, err, "\\u%04x", (unsigned)*s);
        else
            st = pare_buf_put(b, s, 1, err);
    }
    return st == PARE_OK ? pare_buf_put(b, "\"", 1, err) : st;
}

/* Length and JSON of a shard's header; *data_bytes: what follows it. */
static pare_status make_header(const item *items, size_t n, const char *dir, pare_buf *b, uint64_t *data_bytes,
                               pare_error *err)
{
    static const uint8_t length_goes_here[8];
    uint64_t offset = 0;
    pare_status st = pare_buf_put(b, length_goes_here, sizeof length_goes_here, err);
    if (st == PARE_OK)
        st = pare_buf_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}", err);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        const pare_tensor *t = items[i].t;
        if ((st = pare_buf_puts(b, ",", err)) != PARE_OK || (st = put_string(b, items[i].name, err)) != PARE_OK)
            break;
        st = pare_buf_printf(b, err, ":{\"dtype\":\"%s\",\"shape\":[", pare_type_get(t->type)->safetensors);
        for (uint32_t k = 0; k < t->n_dims && st == PARE_OK; k++)
            st = pare_buf_printf(b, err, "%s%" PRIu64, k > 0 ? "," : "", t->dim[k]);
        if (st == PARE_OK)
            st = pare_buf_printf(b, err, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset, offset + t->n_bytes);
        offset += t->n_bytes;
    }
    if (st == PARE_OK)
        st = pare_buf_puts(b, "}", err);
    while (st == PARE_OK && b->len % 8 != 0)
        st = pare_buf_put(b, " ", 1, err);
    if (st == PARE_OK && b->len - 8 > PARE_SAFETENSORS_MAX_HEADER)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: a header of %zu bytes, at most %d are allowed; use smaller shards",
                       dir, b->len - 8, PARE_SAFETENSORS_MAX_HEADER);
    if (st == PARE_OK)
        pare_store_u64le(b->data, b->len - 8);
    *data_bytes = offset;
    return st;
}

/* The tensors of a shard under the names that they have in it; owned by the caller. */
static pare_tensor *named_tensors(const item *items, size_t n, const char *dir, pare_error *err)
{
    pare_tensor *tensors = calloc(n > 0 ? n : 1, sizeof *tensors);
    if (tensors == NULL)
        pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu tensors", dir, n);
    for (size_t i = 0; tensors != NULL && i < n; i++) {
        tensors[i] = *items[i].t;
        tensors[i].name = items[i].name;
    }
    return tensors;
}

static pare_status write_shard(plan *p, size_t k, pare_error *err)
{
    const item *items = p->items + p->first[k];
    size_t n = p->first[k + 1] - p->first[k];
    char name[SHARD_NAME];
    pare_buf header = {0};
    pare_file_writer w = {
        .files_only = p->pin != NULL && p->pin->files_only, .alignment = 1, .done = p->done, .total = p->total};
    pare_tensor *tensors = named_tensors(items, n, p->dir, err);
    uint64_t data_bytes = 0;
    shard_name(p, k, name);
    char *path = pare_path_join(p->dir, name, err);
    pare_status st =
        path == NULL || tensors == NULL ? PARE_ERR_MEMORY : make_header(items, n, p->dir, &header, &data_bytes, err);
    if (st != PARE_OK || (p->pin != NULL && (st = pare_pin_add_file(p->pin, path, &w.record, err)) != PARE_OK))
        goto done;
    const pare_meta_value format = {.key = {"format", 6}, .type = PARE_META_STRING, .n = 1, .v.s = {"pt", 2}};
    if (w.record != NULL && (st = pare_pin_add_meta(w.record, &format, err)) != PARE_OK)
        goto done;
    if ((st = pare_output_open(&w.out, path, header.len + data_bytes, 0, err)) != PARE_OK ||
        (st = pare_file_writer_start(&w, err)) != PARE_OK ||
        (st = pare_file_writer_put(&w, header.data, header.len, err)) != PARE_OK)
        goto done;
    if ((st = pare_file_writer_tensors(&w, tensors, n, err)) == PARE_OK &&
        (st = pare_file_writer_finish(&w, err)) == PARE_OK)
        st = pare_output_commit(w.out, err);
    p->done = w.done;
done:
    pare_output_close(w.out);
    pare_file_writer_close(&w);
    pare_buf_close(&header);
    free(tensors);
    free(path);
    return st;
}

static pare_status add_to_map(json_t *map, const plan *p, size_t k, const char *dir, pare_error *err)
{
    char name[SHARD_NAME];
    shard_name(p, k, name);
    for (size_t i = p->first[k]; i < p->first[k + 1]; i++)
        if (json_object_set_new(map, p->items[i].name, json_string(name)) != 0)
            return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the index", dir);
    return PARE_OK;
}

static pare_status write_index(const plan *p, pare_error *err)
{
    pare_buf text = {0};
    pare_digest digest;
    pare_pin_file *pinned = NULL;
    json_t *map = json_object();
    json_t *doc = json_pack("{s:{s:I},s:o}", "metadata", "total_size", (json_int_t)p->total, "weight_map", map);
    char *path = pare_path_join(p->dir, "model.safetensors.index.json", err);
    pare_status st = path == NULL ? PARE_ERR_MEMORY : PARE_OK;
    if (doc == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for the index", p->dir);
    for (size_t k = 0; k < p->n_shards && st == PARE_OK; k++)
        st = add_to_map(map, p, k, p->dir, err);
    if (st == PARE_OK && (st = pare_json_dump(doc, &text, err)) == PARE_OK)
        st = pare_output_file(path, text.data, text.len, 0, err);
    if (st == PARE_OK && p->pin != NULL &&
        (st = pare_hash_bytes(text.data, text.len, PARE_HASH_BOTH, &digest, err)) == PARE_OK &&
        (st = pare_pin_add_file(p->pin, path, &pinned, err)) == PARE_OK)
        pinned->digest = digest;
    pare_buf_close(&text);
    json_decref(doc);
    free(path);
    return st;
}

pare_status pare_safetensors_write(const pare_model *m, const char *const *names, const char *dir, uint64_t shard_bytes,
                                   pare_pin *pin, pare_error *err)
{
    plan p = {.dir = dir, .pin = pin};
    pare_status st = make_plan(&p, m, names, shard_bytes, err);
    for (size_t k = 0; k < p.n_shards && st == PARE_OK; k++)
        st = write_shard(&p, k, err);
    if (st == PARE_OK && p.n_shards > 1)
        st = write_index(&p, err);
    free(p.items);
    free(p.first);
    return st;
}
