#include "formats/pin_scan.h"
#include "core/bytes.h"
#include "formats/folder_list.h"
#include "formats/gguf.h"
#include "formats/lock.h"
#include "formats/open.h"
#include "formats/safetensors.h"
#include "formats/safetensors_header.h"
#include "formats/shard_index.h"
#include "formats/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has_suffix(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/* The file starts as a safetensors file does: a header length that fits, and an object. */
static bool starts_as_safetensors(const pare_map *file)
{
    if (file->size < 10)
        return false;
    uint64_t len = pare_load_u64le(file->data);
    return len >= 2 && len <= PARE_SAFETENSORS_MAX_HEADER && len <= file->size - 8 &&
           memchr("{ \t\n\r", file->data[8], 5) != NULL;
}

static pare_status record_model(pare_pin_file *f, const pare_model *m, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->n_tensors && st == PARE_OK; i++) {
        pare_digest range = {.n_bytes = m->tensors[i].n_bytes};
        st = pare_pin_add_tensor(f, &m->tensors[i], m->tensors[i].offset, &range, err);
    }
    for (size_t i = 0; i < m->meta.n && st == PARE_OK; i++)
        st = pare_pin_add_meta(f, &m->meta.values[i], err);
    return st;
}

/* The open file becomes f's structure, and is closed. */
static pare_status read_structure(pare_pin_file *f, pare_map *file, bool *is_model, pare_error *err)
{
    pare_model m = {0};
    pare_status st = PARE_OK;
    f->digest.n_bytes = file->size;
    f->source = file->id;
    if (has_suffix(f->path, ".gguf") || (file->size >= 4 && memcmp(file->data, "GGUF", 4) == 0)) {
        *is_model = true;
        st = pare_gguf_parse(&m, file->data, (size_t)file->size, f->path, err);
    } else if (has_suffix(f->path, ".safetensors") || starts_as_safetensors(file)) {
        *is_model = true;
        st = pare_safetensors_parse(&m, file->data, (size_t)file->size, f->path, err);
    }
    if (st == PARE_OK)
        st = record_model(f, &m, err);
    pare_model_close(&m);
    pare_map_close(file);
    return st;
}

pare_status pare_pin_read_structure(pare_pin_file *f, bool *is_model, pare_error *err)
{
    pare_map file;
    *is_model = false;
    pare_status st = pare_map_open(&file, f->path, err);
    return st == PARE_OK ? read_structure(f, &file, is_model, err) : pare_model_judge_front(f->path, st, err);
}

pare_status pare_pin_read_structure_fd(pare_pin_file *f, int fd, bool *is_model, pare_error *err)
{
    pare_map file;
    *is_model = false;
    pare_status st = pare_map_open_fd(&file, fd, f->path, err);
    return st == PARE_OK ? read_structure(f, &file, is_model, err) : st;
}

static pare_status add_structured(pare_pin *p, const char *path, pare_error *err)
{
    pare_pin_file *f = NULL;
    bool is_model;
    pare_status st = pare_pin_add_file(p, path, &f, err);
    return st == PARE_OK ? pare_pin_read_structure(f, &is_model, err) : st;
}

static pare_status add_maps(pare_pin *p, const pare_model *m, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->n_files && st == PARE_OK; i++)
        st = add_structured(p, m->files[i].path, err);
    return st;
}

/* A manifest of Ollama's and its blobs. */
static pare_status add_manifest(pare_pin *p, const char *path, pare_error *err)
{
    pare_store_list list;
    pare_status st = pare_store_list_read(&list, path, err);
    if (st == PARE_OK)
        st = add_structured(p, path, err);
    for (size_t i = 0; i < list.n && st == PARE_OK; i++)
        st = add_structured(p, list.entries[i].path, err);
    pare_store_list_close(&list);
    return st;
}

/* One file, or all files of the set that it belongs to. */
static pare_status add_file_or_set(pare_pin *p, const char *path, pare_error *err)
{
    pare_map file;
    pare_model m = {0};
    pare_status st = pare_map_open(&file, path, err);
    if (st != PARE_OK)
        return pare_model_judge_front(path, st, err);
    bool gguf = file.size >= 4 && memcmp(file.data, "GGUF", 4) == 0,
         index = has_suffix(path, ".safetensors.index.json"),
         manifest =
             !gguf && file.size > 0 && file.data[0] == '{' && pare_store_is_manifest(file.data, (size_t)file.size);
    pare_map_close(&file);
    if (manifest)
        return add_manifest(p, path, err);
    if (!gguf && !index)
        return add_structured(p, path, err);
    st = gguf ? pare_gguf_open(&m, path, PARE_OPEN_RAW, err) : pare_safetensors_open_index(&m, path, err);
    if (st == PARE_OK && index)
        st = add_structured(p, path, err);
    if (st == PARE_OK)
        st = add_maps(p, &m, err);
    pare_model_close(&m);
    return st;
}

/* So many are named in one message, the others counted. */
enum { MAX_NAMED = 8 };

/* The entries of a folder that are no regular files, all in one error. */
static pare_status refuse_others(const char *path, const pare_folder_list *list, pare_error *err)
{
    pare_buf text = {0};
    size_t n = 0;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < list->n && st == PARE_OK; i++) {
        const pare_folder_entry *e = &list->entries[i];
        if (e->why != NULL && n++ < MAX_NAMED)
            st = pare_buf_printf(&text, err, "%s%.80s %.80s", n > 1 ? "; " : "", e->name, e->why);
    }
    if (st == PARE_OK && n > MAX_NAMED)
        st = pare_buf_printf(&text, err, "; and %zu more", n - MAX_NAMED);
    if (st == PARE_OK && n > 0)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s/%s, expected %s", path, text.data,
                       n == 1 ? "a regular file" : "regular files");
    pare_buf_close(&text);
    return st;
}

/* Warn of files that an index.json names and that are not there: what is pinned is not all of the model. A name that
 * leads out of the folder is an error. */
static pare_status check_index(const char *path, pare_error *err)
{
    pare_error fault = {0};
    pare_buf text = {0};
    pare_shard_index x = {0};
    char why[64], *folder = pare_path_folder(path, err);
    size_t n = 0;
    pare_status st = folder == NULL ? PARE_ERR_MEMORY : PARE_OK;
    bool leads_out = false;
    pare_path_state state;
    if (st == PARE_OK && (st = pare_shard_index_open(&x, path, &leads_out, &fault)) == PARE_ERR_MEMORY)
        st = pare_fail(err, st, "%s", fault.text);
    else if (leads_out)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s", fault.text);
    else if (st != PARE_OK && folder != NULL)
        st = pare_warn(err, "%s: pinned, and no index that could be read", fault.text);
    else if (st == PARE_OK)
        st = pare_shard_index_check(&x, err);
    for (size_t i = 0; i < x.n_shards && st == PARE_OK; i++)
        if ((st = pare_path_look(&state, folder, x.shards[i], why, sizeof why, err)) == PARE_OK &&
            state != PARE_PATH_FILE && n++ < MAX_NAMED)
            st = pare_buf_printf(&text, err, "%s%.100s", n > 1 ? ", " : "", x.shards[i]);
    if (st == PARE_OK && n > 0)
        st = pare_warn(err, "%s: names %zu %s not there: %s%s", path, n, n == 1 ? "file that is" : "files that are",
                       text.data, n > MAX_NAMED ? ", ..." : "");
    pare_shard_index_close(&x);
    pare_buf_close(&text);
    free(folder);
    return st;
}

/* folder/name, which is full */
static pare_status add_entry(pare_pin *p, const char *folder, const char *name, const char *full, pare_error *err)
{
    pare_path_file file;
    pare_pin_file *f = NULL;
    bool is_model;
    pare_status st = pare_path_open(&file, folder, name, err);
    if (st == PARE_OK && file.state != PARE_PATH_FILE)
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %s, expected a regular file", full, file.why);
    if (st == PARE_OK && (st = pare_pin_add_file(p, full, &f, err)) != PARE_OK)
        close(file.fd);
    return st == PARE_OK ? pare_pin_read_structure_fd(f, file.fd, &is_model, err) : st;
}

static pare_status add_folder(pare_pin *p, const char *path, pare_error *err)
{
    pare_folder_list list;
    pare_status st = pare_folder_list_read(&list, path, err);
    if (st == PARE_OK && (st = refuse_others(path, &list, err)) == PARE_OK)
        st = pare_pin_add_folder(p, path, err);
    for (size_t i = 0; i < list.n && st == PARE_OK; i++) {
        char *full = pare_path_join(path, list.entries[i].name, err);
        st = full == NULL ? PARE_ERR_MEMORY : add_entry(p, path, list.entries[i].name, full, err);
        if (st == PARE_OK && has_suffix(full, ".safetensors.index.json"))
            st = check_index(full, err);
        free(full);
    }
    pare_folder_list_close(&list);
    return st;
}

pare_status pare_pin_scan(pare_pin *p, const char *path, pare_error *err)
{
    struct stat info;
    size_t first = p->n_files;
    if (stat(path, &info) != 0)
        return pare_fail_open(err, path, errno);
    pare_status st = S_ISDIR(info.st_mode) ? add_folder(p, path, err) : add_file_or_set(p, path, err);
    return st == PARE_OK ? pare_pin_hash(p->files + first, p->n_files - first, NULL, PARE_HASH_BOTH, err) : st;
}
