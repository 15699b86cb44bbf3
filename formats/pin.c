#include "formats/pin.h"

#include <stdlib.h>
#include <string.h>

/* Room for one more item behind n. The capacity is implied: the next power of two, so growth happens when n is one. */
static void *grow(void *items, size_t n, size_t item_bytes, const char *path, pare_error *err)
{
    if (n > 0 && (n & (n - 1)) != 0)
        return items;
    void *more = n > SIZE_MAX / 2 ? NULL : reallocarray(items, n == 0 ? 1 : 2 * n, item_bytes);
    if (more == NULL)
        pare_fail(err, PARE_ERR_MEMORY, "%s: no memory to record %zu entries", path, n + 1);
    return more;
}

static char *copy_text(const char *text, size_t len, const char *path, pare_error *err)
{
    char *copy = strndup(text, len);
    if (copy == NULL)
        pare_fail(err, PARE_ERR_MEMORY, "%s: no memory to record a name of %zu bytes", path, len);
    return copy;
}

void pare_pin_file_close(pare_pin_file *f)
{
    for (size_t i = 0; i < f->n_tensors; i++)
        free(f->tensors[i].name);
    for (size_t i = 0; i < f->n_meta; i++)
        free(f->meta[i].key);
    free(f->tensors);
    free(f->meta);
    free(f->path);
    free(f->stored_at);
    free(f->name);
    *f = (pare_pin_file){0};
}

void pare_pin_close(pare_pin *p)
{
    for (size_t i = 0; i < p->n_files; i++)
        pare_pin_file_close(&p->files[i]);
    for (size_t i = 0; i < p->n_folders; i++)
        free(p->folders[i]);
    free(p->files);
    free(p->folders);
    *p = (pare_pin){0};
}

pare_status pare_pin_add_file(pare_pin *p, const char *path, pare_pin_file **out, pare_error *err)
{
    *out = NULL;
    pare_pin_file *files = grow(p->files, p->n_files, sizeof *files, path, err);
    if (files == NULL)
        return PARE_ERR_MEMORY;
    p->files = files;
    pare_pin_file *f = &files[p->n_files];
    *f = (pare_pin_file){.path = copy_text(path, strlen(path), path, err)};
    if (f->path == NULL)
        return PARE_ERR_MEMORY;
    p->n_files++;
    *out = f;
    return PARE_OK;
}

pare_status pare_pin_store_at(pare_pin_file *f, const char *temporary, pare_error *err)
{
    free(f->stored_at);
    f->stored_at = copy_text(temporary, strlen(temporary), f->path, err);
    return f->stored_at != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

pare_status pare_pin_add_tensor(pare_pin_file *f, const pare_tensor *t, uint64_t offset, const pare_digest *digest,
                                pare_error *err)
{
    pare_pin_tensor *tensors = grow(f->tensors, f->n_tensors, sizeof *tensors, f->path, err);
    if (tensors == NULL)
        return PARE_ERR_MEMORY;
    f->tensors = tensors;
    pare_pin_tensor *to = &tensors[f->n_tensors];
    *to = (pare_pin_tensor){.name = copy_text(t->name, strlen(t->name), f->path, err),
                            .type = t->type,
                            .n_dims = t->n_dims,
                            .offset = offset,
                            .digest = *digest,
                            .bad_block = PARE_PIN_NOT_LOOKED_AT};
    if (to->name == NULL)
        return PARE_ERR_MEMORY;
    memcpy(to->dim, t->dim, sizeof to->dim);
    f->n_tensors++;
    return PARE_OK;
}

pare_status pare_pin_add_meta_digest(pare_pin_file *f, const char *key, const pare_digest *digest, pare_error *err)
{
    pare_pin_meta *meta = grow(f->meta, f->n_meta, sizeof *meta, f->path, err);
    if (meta == NULL)
        return PARE_ERR_MEMORY;
    f->meta = meta;
    meta[f->n_meta] = (pare_pin_meta){copy_text(key, strlen(key), f->path, err), *digest};
    if (meta[f->n_meta].key == NULL)
        return PARE_ERR_MEMORY;
    f->n_meta++;
    return PARE_OK;
}

pare_status pare_pin_add_meta(pare_pin_file *f, const pare_meta_value *value, pare_error *err)
{
    pare_buf bytes = {0};
    pare_digest digest;
    char *key = copy_text(value->key.data, value->key.len, f->path, err);
    pare_status st = key == NULL ? PARE_ERR_MEMORY : pare_meta_serialize(value, &bytes, err);
    if (st == PARE_OK && (st = pare_hash_bytes(bytes.data, bytes.len, PARE_HASH_BOTH, &digest, err)) == PARE_OK)
        st = pare_pin_add_meta_digest(f, key, &digest, err);
    if (st == PARE_OK && value->type == PARE_META_STRING && strcmp(key, "tokenizer.chat_template") == 0) {
        st = pare_hash_bytes(value->v.s.data, value->v.s.len, PARE_HASH_BOTH, &f->chat_template, err);
        f->has_chat_template = st == PARE_OK;
    }
    pare_buf_close(&bytes);
    free(key);
    return st;
}

pare_status pare_pin_add_folder(pare_pin *p, const char *path, pare_error *err)
{
    char **folders = grow(p->folders, p->n_folders, sizeof *folders, path, err);
    if (folders == NULL)
        return PARE_ERR_MEMORY;
    p->folders = folders;
    if ((folders[p->n_folders] = copy_text(path, strlen(path), path, err)) == NULL)
        return PARE_ERR_MEMORY;
    p->n_folders++;
    return PARE_OK;
}

/* Replace the leading folder `from` of *path, if it is that, by `to`. */
static pare_status move_path(char **path, const char *from, const char *to, pare_error *err)
{
    size_t n = strlen(from);
    if (strncmp(*path, from, n) != 0 || ((*path)[n] != '/' && (*path)[n] != '\0'))
        return PARE_OK;
    pare_buf moved = {0};
    pare_status st = pare_buf_printf(&moved, err, "%s%s", to, *path + n);
    if (st != PARE_OK)
        return st;
    free(*path);
    *path = moved.data;
    return PARE_OK;
}

pare_status pare_pin_move(pare_pin *p, const char *from, const char *to, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++)
        st = move_path(&p->files[i].path, from, to, err);
    for (size_t i = 0; i < p->n_folders && st == PARE_OK; i++)
        st = move_path(&p->folders[i], from, to, err);
    return st;
}
