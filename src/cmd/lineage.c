#include "cmd/lineage.h"
#include "cmd/console.h"
#include "core/map.h"
#include "formats/hf_meta.h"
#include "formats/lock_read.h"
#include "formats/lock_schema.h"
#include "formats/safe_path.h"
#include "formats/store.h"

#include <stdlib.h>
#include <string.h>

/* path without its folders and without slashes at its end, behind `keep` bytes that stay as they are. */
static json_t *base_json(const char *path, size_t keep)
{
    size_t end = strlen(path), start;
    while (end > keep + 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > keep && path[start - 1] != '/'; start--)
        continue;
    if (start == end && end > keep) /* the root of all folders */
        start = keep;
    pare_buf text = {0};
    json_t *json = NULL;
    if (pare_buf_put(&text, path, keep, NULL) == PARE_OK &&
        pare_buf_put(&text, path + start, end - start, NULL) == PARE_OK)
        json = cmd_json_text(text.data != NULL ? text.data : "", text.len);
    pare_buf_close(&text);
    return json;
}

/* Does the word end in the argument of an option that is no path? */
static bool ends_in_text(const cmd_args *args, const char *word)
{
    const uintptr_t at = (uintptr_t)word, end = at + strlen(word);
    for (size_t i = 0; i < args->n_given; i++) {
        const uintptr_t text = (uintptr_t)args->given[i].text;
        if (args->given[i].option->kind != CMD_KIND_PATH && text >= at && text <= end && text != 0)
            return true;
    }
    return false;
}

/* "m", "out.gguf", "-oout.gguf" and "--output=out.gguf" of words with folders. The name of a store is no path of this
 * machine. */
static json_t *word_json(const cmd_args *args, const char *word)
{
    const char *equals = strchr(word, '=');
    const bool is_long = strncmp(word, "--", 2) == 0, is_short = !is_long && word[0] == '-';
    const size_t keep = is_long && equals != NULL ? (size_t)(equals + 1 - word) : is_short && word[1] != '\0' ? 2 : 0;
    if ((is_long && equals == NULL) || ends_in_text(args, word) || pare_store_has_name(word + keep))
        return cmd_json_text(word, strlen(word));
    return base_json(word, keep);
}

json_t *cmd_lineage_argv(const cmd_args *args)
{
    json_t *list = json_array();
    for (size_t i = 0; i < args->n_words; i++)
        if (json_array_append_new(list, word_json(args, args->words[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

pare_status cmd_lineage_folder(json_t **out, const cmd_args *args, const pare_model *source, pare_error *err)
{
    if (source->format == PARE_FORMAT_GGUF || source->n_files == 0)
        return PARE_OK;
    char *folder = pare_path_folder(source->files[0].path, err);
    char *name = folder == NULL              ? NULL
                 : args->folder_name != NULL ? strdup(args->folder_name)
                                             : pare_hf_folder_name(folder, err);
    pare_status st = name != NULL ? PARE_OK : folder != NULL ? PARE_ERR_IO : PARE_ERR_MEMORY;
    if (st == PARE_OK && (*out = cmd_json_text(name, strlen(name))) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", folder);
    free(folder);
    free(name);
    return st;
}

bool cmd_lineage_names_input(const cmd_option *option)
{
    return option->kind == CMD_KIND_PATH && (option->traits & CMD_SHAPES_BYTES);
}

static const char *role_of(const cmd_option *option)
{
    switch (option->id) {
    case OPT_IMATRIX:
    case OPT_IN:
        return "imatrix";
    case OPT_FILE:
    case OPT_TEST:
    case OPT_SEQUENTIAL:
    case OPT_KV_TEXT:
        return "text";
    default:
        return option->name;
    }
}

/* A lock that lies beside inputs; the last one that was looked at. */
typedef struct lock_beside {
    char *folder;
    bool is_there;
    pare_lock lock;
    pare_digest digest; /* of its bytes */
} lock_beside;

static void forget(lock_beside *b)
{
    pare_lock_close(&b->lock);
    free(b->folder);
    *b = (lock_beside){0};
}

static pare_status read_beside(lock_beside *b, const char *folder, pare_error *err)
{
    char why[64];
    pare_error fault = {0};
    pare_map file;
    if (b->folder != NULL && strcmp(b->folder, folder) == 0)
        return PARE_OK;
    forget(b);
    char *path = pare_path_join(folder, "pare.lock", err);
    if (path == NULL || (b->folder = strdup(folder)) == NULL) {
        free(path);
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", folder);
    }
    pare_path_state state;
    pare_status st = pare_path_look(&state, folder, "pare.lock", why, sizeof why, err);
    if (st != PARE_OK || state != PARE_PATH_FILE) {
        free(path);
        return st;
    }
    st = pare_map_open_content(&file, path, &fault);
    if (st == PARE_OK && file.size > PARE_LOCK_MAX_BYTES)
        st = pare_fail(&fault, PARE_ERR_RANGE, "%s: is too large for a lock", path);
    if (st == PARE_OK)
        st = pare_lock_parse(&b->lock, path, file.data, (size_t)file.size, &fault);
    if (st == PARE_OK)
        st = pare_hash_bytes(file.data, (size_t)file.size, PARE_HASH_SHA256, &b->digest, &fault);
    if (st == PARE_OK && b->lock.has_seal && !b->lock.sealed)
        st = pare_fail(&fault, PARE_ERR_FORMAT, "%s: was edited after it was written", path);
    b->is_there = st == PARE_OK;
    pare_map_close(&file);
    free(path);
    return st == PARE_OK ? PARE_OK : pare_warn(err, "%s: the lineage does not go on there", fault.text);
}

/* What the lock of folder says of the file that it calls name: *found when it lists it as it is. */
static pare_status ask_lock(lock_beside *b, const char *folder, const char *name, const pare_pin_file *f, bool *found,
                            pare_error *err)
{
    *found = false;
    pare_status st = read_beside(b, folder, err);
    for (size_t i = 0; st == PARE_OK && b->is_there && i < b->lock.pin.n_files; i++) {
        const pare_pin_file *listed = &b->lock.pin.files[i];
        if (strcmp(listed->name, name) != 0)
            continue;
        *found = listed->digest.n_bytes == f->digest.n_bytes &&
                 memcmp(listed->digest.sha256, f->digest.sha256, sizeof f->digest.sha256) == 0;
        if (!*found)
            st = pare_warn(err, "%s: is not what %s says of it: the lineage does not go on there", f->path,
                           b->lock.path);
        break;
    }
    return st;
}

/* "1_Pooling/config.json" of "m/1_Pooling/config.json" and the model m, "x.gguf" of "x.gguf". */
static const char *name_in(const char *model, const char *path)
{
    size_t n = strlen(model);
    while (n > 1 && model[n - 1] == '/')
        n--;
    const char *slash = strrchr(path, '/');
    if (strncmp(path, model, n) == 0 && path[n] == '/')
        return path + n + strspn(path + n, "/");
    return slash != NULL ? slash + 1 : path;
}

static json_t *make_row(const pare_pin_file *f, const char *name, const char *role)
{
    char hex[PARE_SHA256_HEX];
    pare_hex(hex, f->digest.sha256, sizeof f->digest.sha256);
    json_t *row = json_object();
    json_object_set_new(row, "name", cmd_json_text(name, strlen(name)));
    json_object_set_new(row, "role", json_string(role));
    json_object_set_new(row, "sha256", json_string(hex));
    cmd_json_u64(row, "size", f->digest.n_bytes);
    return row;
}

/* model: the folder of the model, of one of its files; NULL: of another input */
static pare_status add_parent(json_t *list, lock_beside *b, const pare_pin_file *f, const char *model, const char *role,
                              pare_error *err)
{
    const char *slash = strrchr(f->path, '/'), *base = slash != NULL ? slash + 1 : f->path;
    const char *name = model != NULL ? name_in(model, f->path) : base;
    bool found = false;
    char *folder = pare_path_folder(f->path, err);
    json_t *row = make_row(f, name, role);
    pare_status st = folder != NULL ? ask_lock(b, folder, base, f, &found, err) : PARE_ERR_MEMORY;
    if (st == PARE_OK && !found && strcmp(name, base) != 0) /* in a subfolder of the model */
        st = ask_lock(b, model, name, f, &found, err);
    if (st == PARE_OK && found) {
        char hex[PARE_SHA256_HEX];
        pare_hex(hex, b->digest.sha256, sizeof b->digest.sha256);
        json_object_set_new(row, "lock_sha256", json_string(hex));
    }
    if (json_array_append_new(list, row) != 0 && st == PARE_OK)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the lineage");
    free(folder);
    return st;
}

pare_status cmd_lineage_parents(json_t **out, const cmd_args *args, const pare_pin *inputs, size_t n_model,
                                pare_error *err)
{
    lock_beside b = {0};
    size_t at = n_model;
    pare_status st = PARE_OK;
    char *model = n_model > 0 ? pare_path_folder(inputs->files[0].path, err) : NULL;
    *out = json_array();
    if (n_model > 0 && model == NULL)
        return PARE_ERR_MEMORY;
    for (size_t i = 0; i < n_model && st == PARE_OK; i++)
        st = add_parent(*out, &b, &inputs->files[i], model, "model", err);
    for (size_t i = 0; i < args->n_given && st == PARE_OK && at < inputs->n_files; i++)
        if (cmd_lineage_names_input(args->given[i].option) && strcmp(args->given[i].text, "-") != 0)
            st = add_parent(*out, &b, &inputs->files[at++], NULL, role_of(args->given[i].option), err);
    forget(&b);
    free(model);
    return st;
}

json_t *cmd_lineage_stream(const char *sha256)
{
    return json_pack("{s:s, s:s, s:s}", "name", "-", "role", "text", "sha256", sha256);
}
