#include "formats/safetensors.h"
#include "core/json.h"
#include "formats/front.h"
#include "formats/safe_path.h"
#include "formats/safetensors_header.h"
#include "formats/shard_index.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LISTED_FAULTS = 20 };

pare_status pare_safetensors_parse(pare_model *m, const void *bytes, size_t n, const char *path, pare_error *err)
{
    *m = (pare_model){.format = PARE_FORMAT_SAFETENSORS, .alignment = 32};
    pare_status st = PARE_ERR_MEMORY;
    if ((m->path = pare_arena_copy(&m->arena, path, strlen(path), err)) != NULL)
        st = pare_safetensors_read_header(m, bytes, n, m->path, err);
    if (st != PARE_OK)
        pare_model_close(m);
    return st;
}

static pare_status read_front(pare_model *m, const pare_map *front, uint64_t n, const char *path, bool *cut,
                              pare_error *err)
{
    *cut = pare_safetensors_header_end(front->data, front->size, n) > front->size;
    return *cut ? PARE_OK : pare_safetensors_parse(m, front->data, (size_t)n, path, err);
}

pare_status pare_safetensors_judge_front(const char *path, pare_status st, pare_error *err)
{
    return pare_front_judge(read_front, path, st, err);
}

pare_status pare_safetensors_open(pare_model *m, const char *path, pare_error *err)
{
    pare_map *file = calloc(1, sizeof *file);
    *m = (pare_model){0};
    if (file == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    pare_status st = pare_map_open(file, path, err);
    if (st == PARE_ERR_IO)
        st = pare_safetensors_judge_front(path, st, err);
    if (st == PARE_OK)
        st = pare_safetensors_parse(m, file->data, (size_t)file->size, path, err);
    if (st != PARE_OK) {
        pare_map_close(file);
        free(file);
        return st;
    }
    m->files = file;
    m->n_files = 1;
    return PARE_OK;
}

/* The shards of an index, opened one by one, and everything that is wrong between index and shards. */
typedef struct shard_set {
    const char *index_path;
    char *folder;
    pare_shard_index index;
    pare_model *shards; /* [index.n_shards] */
    pare_buf faults;    /* text of all faults found so far, cut at MAX_LISTED_FAULTS */
    size_t n_faults;
} shard_set;

/* One more fault, told by the texts one after the other. */
static pare_status add_fault(shard_set *s, pare_error *err, const char *a, pare_str b, const char *c, const char *d)
{
    if (s->n_faults++ >= MAX_LISTED_FAULTS)
        return PARE_OK;
    return pare_buf_printf(&s->faults, err, "%s%s%.*s%s%s", s->n_faults > 1 ? "; " : "", a, (int)b.len, b.data, c, d);
}

static pare_status report_faults(const shard_set *s, pare_error *err)
{
    if (s->n_faults == 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_FORMAT, "%s: %zu fault%s: %s%s", s->index_path, s->n_faults,
                     s->n_faults == 1 ? "" : "s", s->faults.data, s->n_faults > MAX_LISTED_FAULTS ? "; ..." : "");
}

/* Shards that are no file stay closed (path NULL) and are faults. */
static pare_status open_shards(shard_set *s, pare_error *err)
{
    size_t n = s->index.n_shards;
    char why[512];
    pare_status st = PARE_OK;
    if ((s->shards = calloc(n > 0 ? n : 1, sizeof *s->shards)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu shards", s->index_path, n);
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        const char *name = s->index.shards[i];
        pare_path_state state;
        if ((st = pare_path_look(&state, s->folder, name, why, sizeof why, err)) != PARE_OK)
            continue;
        if (state != PARE_PATH_FILE) {
            st = add_fault(s, err, "shard ", (pare_str){name, strlen(name)}, " ", why);
            continue;
        }
        char *path = pare_path_join(s->folder, name, err);
        st = path == NULL ? PARE_ERR_MEMORY : pare_safetensors_open(&s->shards[i], path, err);
        free(path);
    }
    return st == PARE_ERR_FORMAT && s->n_faults > 0 ? report_faults(s, err) : st;
}

/* weight_map against the shards, both ways. A tensor in two shards shows as one that the map puts elsewhere. */
static pare_status compare_with_map(shard_set *s, pare_error *err)
{
    const pare_shard_index *x = &s->index;
    pare_status st = PARE_OK;
    for (size_t k = 0, i; k < x->tensors.n_used && st == PARE_OK; k++) {
        pare_str tensor = pare_shard_index_at(x, k, &i);
        if (s->shards[i].path != NULL && pare_index_find(&s->shards[i].by_name, tensor) == PARE_INDEX_NONE)
            st = add_fault(s, err, "no tensor ", tensor, " in ", x->shards[i]);
    }
    for (size_t i = 0; i < x->n_shards; i++)
        for (size_t k = 0; k < s->shards[i].n_tensors && st == PARE_OK; k++) {
            const char *name = s->shards[i].tensors[k].name;
            pare_str tensor = {name, strlen(name)};
            int64_t mapped = pare_shard_index_find(x, tensor);
            if (mapped == PARE_INDEX_NONE)
                st = add_fault(s, err, "weight_map lacks tensor ", tensor, " of ", x->shards[i]);
            else if ((size_t)mapped != i)
                st = add_fault(s, err, "weight_map puts elsewhere tensor ", tensor, " of ", x->shards[i]);
        }
    return st == PARE_OK ? report_faults(s, err) : st;
}

static pare_status merge_metadata(pare_model *m, const pare_model *shard, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < shard->meta.n && st == PARE_OK; i++) {
        const pare_meta_value *v = &shard->meta.values[i], *old = pare_meta_find(&m->meta, v->key.data);
        if (old == NULL)
            st = pare_meta_set(&m->meta, v, err);
        else if (old->v.s.len != v->v.s.len || memcmp(old->v.s.data, v->v.s.data, v->v.s.len) != 0)
            st = pare_warn(err, "%s: __metadata__ '%s' is not what an earlier shard says; the earlier value is kept",
                           shard->path, v->key.data);
    }
    return st;
}

/* Move maps and tensors of the shards into m. */
static pare_status merge_shards(pare_model *m, shard_set *s, pare_error *err)
{
    size_t n_tensors = 0;
    for (size_t i = 0; i < s->index.n_shards; i++)
        n_tensors += s->shards[i].n_tensors;
    pare_status st = pare_model_reserve(m, n_tensors, err);
    if (st == PARE_OK && (m->files = calloc(s->index.n_shards > 0 ? s->index.n_shards : 1, sizeof *m->files)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu shards", s->index_path, s->index.n_shards);
    for (size_t i = 0; i < s->index.n_shards && st == PARE_OK; i++) {
        pare_model *shard = &s->shards[i];
        m->files[m->n_files++] = shard->files[0];
        shard->n_files = 0; /* the map is m's now */
        st = merge_metadata(m, shard, err);
        for (size_t k = 0; k < shard->n_tensors && st == PARE_OK; k++) {
            pare_tensor t = shard->tensors[k];
            t.file = (uint32_t)i;
            st = pare_model_add(m, &t, NULL, err);
        }
        pare_model_close(shard);
    }
    return st;
}

static pare_status check_total_size(const shard_set *s, const pare_model *m, pare_error *err)
{
    const json_t *metadata = json_object_get(s->index.rest, "metadata");
    const json_t *said = json_object_get(metadata, "total_size");
    uint64_t total = 0;
    bool found = false;
    if (json_is_real(said) && json_real_value(said) >= 0x1p63) /* an integer beyond int64 is read as a real */
        return pare_warn(err, "%s: metadata.total_size is %.20g, the tensors have %" PRIu64 " bytes", s->index_path,
                         json_real_value(said), pare_model_n_bytes(m));
    pare_status st = json_is_object(metadata)
                         ? pare_json_u64(metadata, s->index_path, "total_size", 0, UINT64_MAX, &total, &found, err)
                         : PARE_OK;
    if (st == PARE_OK && found && total != pare_model_n_bytes(m))
        st = pare_warn(err, "%s: metadata.total_size is %" PRIu64 ", the tensors have %" PRIu64 " bytes", s->index_path,
                       total, pare_model_n_bytes(m));
    return st;
}

static void close_shards(shard_set *s)
{
    for (size_t i = 0; s->shards != NULL && i < s->index.n_shards; i++)
        pare_model_close(&s->shards[i]);
    free(s->shards);
    free(s->folder);
    pare_buf_close(&s->faults);
    pare_shard_index_close(&s->index);
}

pare_status pare_safetensors_open_index(pare_model *m, const char *index_path, pare_error *err)
{
    *m = (pare_model){.format = PARE_FORMAT_SAFETENSORS, .alignment = 32};
    shard_set s = {.index_path = index_path};
    pare_status st = PARE_ERR_MEMORY;
    if ((m->path = pare_arena_copy(&m->arena, index_path, strlen(index_path), err)) == NULL ||
        (s.folder = pare_path_folder(index_path, err)) == NULL)
        goto done;
    if ((st = pare_shard_index_open(&s.index, index_path, NULL, err)) != PARE_OK ||
        (st = pare_shard_index_check(&s.index, err)) != PARE_OK || (st = open_shards(&s, err)) != PARE_OK ||
        (st = compare_with_map(&s, err)) != PARE_OK)
        goto done;
    if ((st = merge_shards(m, &s, err)) == PARE_OK)
        st = check_total_size(&s, m, err);
done:
    close_shards(&s);
    if (st != PARE_OK)
        pare_model_close(m);
    return st;
}
