#include "formats/open.h"
#include "core/bytes.h"
#include "core/look.h"
#include "formats/gguf_internal.h"
#include "formats/hf.h"
#include "formats/hf_files.h"
#include "formats/safe_path.h"
#include "formats/safetensors.h"
#include "formats/store.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef enum kind { KIND_GGUF, KIND_SAFETENSORS, KIND_INDEX, KIND_PICKLE, KIND_MANIFEST } kind;

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* Is the first byte from `at` on that is no JSON white space an opening brace? */
static bool opens_object(const pare_map *f, uint64_t at)
{
    while (at < f->size && strchr(" \t\r\n", f->data[at]) != NULL && f->data[at] != '\0')
        at++;
    return at < f->size && f->data[at] == '{';
}

/* What the content says. What says nothing (an empty file, a Git LFS pointer) goes by its name, so that the reader that
 * the user thinks of explains what is wrong; without a telling name it goes to the GGUF reader, which knows the old
 * magics. */
static kind kind_of(const pare_map *f, const char *path)
{
    if (f->size >= 4 && memcmp(f->data, "GGUF", 4) == 0)
        return KIND_GGUF;
    if (f->size > 8 && pare_load_u64le(f->data) <= f->size - 8 && opens_object(f, 8))
        return KIND_SAFETENSORS;
    if (ends_with(path, ".safetensors"))
        return KIND_SAFETENSORS;
    if (f->size >= 4 &&
        (memcmp(f->data, "PK\3\4", 4) == 0 || (f->data[0] == 0x80 && f->data[1] >= 2 && f->data[1] <= 5)))
        return KIND_PICKLE; /* in a zip archive, as PyTorch writes it, or bare: protocol 2 to 5 */
    if (opens_object(f, 0) && pare_store_is_manifest(f->data, (size_t)f->size))
        return KIND_MANIFEST;
    return opens_object(f, 0) || ends_with(path, ".json") ? KIND_INDEX : KIND_GGUF;
}

static pare_status look_inside(const char *path, kind *out, pare_error *err)
{
    pare_map f;
    uint64_t whole;
    pare_status st = pare_map_open_content(&f, path, err);
    if (st == PARE_ERR_IO) /* no room for all of it: the reader says so, or what is wrong with the header */
        st = pare_map_open_front(&f, path, &whole, NULL) == PARE_OK ? PARE_OK : st;
    if (st == PARE_OK)
        *out = kind_of(&f, path);
    pare_map_close(&f);
    return st;
}

/* Does a config.json lie beside path? Then the file is a folder's weights. */
static pare_status has_config(const char *path, bool *found, pare_error *err)
{
    char why[64], *folder = pare_path_folder(path, err);
    if (folder == NULL)
        return PARE_ERR_MEMORY;
    pare_path_state state;
    pare_status st = pare_path_look(&state, folder, "config.json", why, sizeof why, err);
    *found = state != PARE_PATH_ABSENT;
    free(folder);
    return st;
}

static pare_status open_safetensors(pare_model *m, const char *path, kind k, const char *name, unsigned flags,
                                    pare_error *err)
{
    bool in_folder = false;
    pare_status st = flags & PARE_OPEN_RAW ? PARE_OK : has_config(path, &in_folder, err);
    if (st != PARE_OK)
        return st;
    if (in_folder)
        return pare_hf_open_as(m, path, name, flags, err);
    return k == KIND_INDEX ? pare_safetensors_open_index(m, path, err) : pare_safetensors_open(m, path, err);
}

/* Weights of Ollama's store, by the manifest that names them. */
static pare_status open_manifest(pare_model *m, const char *path, unsigned flags, pare_error *err)
{
    char *blob = NULL;
    pare_status st = pare_store_weights(&blob, path, err);
    if (st == PARE_OK)
        st = pare_gguf_open(m, blob, flags, err);
    free(blob);
    return st;
}

static pare_status open_any(pare_model *m, const char *path, const char *name, unsigned flags, pare_error *err)
{
    struct stat info;
    kind k = KIND_GGUF;
    bool there;
    *m = (pare_model){0};
    pare_status st = pare_look(path, &info, &there, err);
    if (st != PARE_OK)
        return st;
    if (there && S_ISDIR(info.st_mode))
        return pare_hf_open_as(m, path, name, flags, err);
    st = look_inside(path, &k, err);
    if (st != PARE_OK)
        return st;
    if (k == KIND_PICKLE)
        return pare_hf_refuse_pickle("", path, err);
    if (k == KIND_MANIFEST)
        return open_manifest(m, path, flags, err);
    return k == KIND_GGUF ? pare_gguf_open(m, path, flags, err) : open_safetensors(m, path, k, name, flags, err);
}

pare_status pare_model_open_as(pare_model *m, const char *path, const char *name, unsigned flags, pare_error *err)
{
    pare_status st = open_any(m, path, name, flags, err);
    if (st == PARE_OK && flags & PARE_OPEN_WEIGHTS && (st = pare_model_want_tensors(m, err)) != PARE_OK)
        pare_model_close(m);
    return st;
}

pare_status pare_model_open(pare_model *m, const char *path, unsigned flags, pare_error *err)
{
    return pare_model_open_as(m, path, NULL, flags, err);
}

pare_status pare_model_judge_front(const char *path, pare_status st, pare_error *err)
{
    kind k = KIND_INDEX;
    if (st != PARE_ERR_IO || look_inside(path, &k, NULL) != PARE_OK)
        return st;
    return k == KIND_GGUF          ? pare_gguf_judge_front(path, st, err)
           : k == KIND_SAFETENSORS ? pare_safetensors_judge_front(path, st, err)
                                   : st;
}
