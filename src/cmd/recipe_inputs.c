#include "cmd/recipe_inputs.h"
#include "core/look.h"
#include "cmd/lineage.h"
#include "formats/pin_scan.h"
#include "formats/safe_path.h"
#include "formats/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pare_status no_memory(pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "no memory for inputs");
}

static pare_status bad(const cmd_recipe *r, pare_error *err, const char *name, const char *what)
{
    return pare_fail(err, PARE_ERR_FORMAT, "%s: recipe: input '%s' %s", r->lock.path, name, what);
}

static pare_status take_row(cmd_inputs *in, const cmd_recipe *r, const json_t *row, pare_error *err)
{
    cmd_input_file *f = &in->files[in->n];
    const json_t *size = json_object_get(row, "size"), *name = json_object_get(row, "name");
    *f = (cmd_input_file){.name = json_string_value(name),
                          .role = json_string_value(json_object_get(row, "role")),
                          .sha256 = json_string_value(json_object_get(row, "sha256")),
                          .has_size = size != NULL,
                          .size = (uint64_t)json_integer_value(size)};
    const bool of_model = strcmp(f->role, "model") == 0, stream = strcmp(f->name, "-") == 0;
    const char *fault = pare_path_fault((pare_str){f->name, json_string_length(name)});
    if (!stream && fault == NULL && !of_model && strchr(f->name, '/') != NULL)
        fault = "holds a folder";
    if (!stream && fault == NULL && !f->has_size)
        fault = "has no size";
    if (fault != NULL)
        return bad(r, err, f->name, fault);
    if (of_model && in->n != in->n_model)
        return bad(r, err, f->name, "stands behind inputs that are none of the model");
    in->n++;
    in->n_model += of_model;
    if (stream && isatty(STDIN_FILENO)) {
        f->state = CMD_INPUT_MISSING;
        snprintf(f->why, sizeof f->why, "was read from standard input, which is a terminal now");
    } else
        f->state = stream ? CMD_INPUT_STREAM : CMD_INPUT_MISSING;
    return PARE_OK;
}

/* Behind the model's come those that options name, in their order; standard input is last. */
static pare_status check_order(const cmd_inputs *in, const cmd_recipe *r, pare_error *err)
{
    size_t at = in->n_model, n_streams = 0, n_given = 0;
    for (size_t i = 0; i < r->args.n_given; i++) {
        const cmd_given *given = &r->args.given[i];
        if (!cmd_lineage_names_input(given->option))
            continue;
        const char *slash = pare_store_has_name(given->text) ? strrchr(given->text, '/') : NULL;
        if (strcmp(given->text, "-") == 0)
            n_given++;
        else if (at >= in->n || strcmp(in->files[at].name, slash != NULL ? slash + 1 : given->text) != 0)
            return bad(r, err, given->text, "is given and not recorded, or in another order");
        else
            at++;
    }
    while (at + n_streams < in->n && strcmp(in->files[at + n_streams].name, "-") == 0)
        n_streams++;
    if (at + n_streams != in->n || (n_streams > 0) != (n_given > 0))
        return bad(r, err, at < in->n ? in->files[at].name : "-", "is recorded, and no option names it");
    return in->n_model > 0 ? PARE_OK : bad(r, err, r->model, "has no files of a model");
}

/* Is there a file of the right size? Why not goes into f. */
static pare_status look(cmd_input_file *f, const char *folder, pare_error *err)
{
    char why[200];
    struct stat info;
    pare_path_state found;
    pare_status st = pare_path_look(&found, folder, f->name, why, sizeof why, err);
    if (st != PARE_OK)
        return st;
    if (found == PARE_PATH_ABSENT) {
        if (f->path == NULL)
            snprintf(f->why, sizeof f->why, "is not there");
        return PARE_OK;
    }
    free(f->path);
    if ((f->path = pare_path_join(folder, f->name, err)) == NULL)
        return PARE_ERR_MEMORY;
    f->state = CMD_INPUT_DIFFERENT;
    if (found == PARE_PATH_REFUSED)
        snprintf(f->why, sizeof f->why, "%s, expected a regular file", why);
    else if (stat(f->path, &info) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot stat: %s", f->path, strerror(errno));
    else if ((uint64_t)info.st_size != f->size)
        snprintf(f->why, sizeof f->why, "is not the recorded one: %" PRIu64 " bytes, %" PRIu64 " are recorded",
                 (uint64_t)info.st_size, f->size);
    else
        f->state = CMD_INPUT_OK; /* as far as can be told without reading */
    return PARE_OK;
}

/* Hash those of the n files that are of the right size. */
static pare_status check_hashes(cmd_input_file *files, size_t n, pare_error *err)
{
    pare_pin pin = {0};
    pare_pin_file *f = NULL;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        if (files[i].state == CMD_INPUT_OK && (st = pare_pin_add_file(&pin, files[i].path, &f, err)) == PARE_OK)
            f->digest.n_bytes = files[i].size;
    if (st == PARE_OK)
        st = pare_pin_hash(pin.files, pin.n_files, NULL, PARE_HASH_SHA256, err);
    for (size_t i = 0, k = 0; i < n && st == PARE_OK; i++) {
        char hex[PARE_SHA256_HEX];
        if (files[i].state != CMD_INPUT_OK)
            continue;
        pare_hex(hex, pin.files[k].digest.sha256, sizeof pin.files[k].digest.sha256);
        k++;
        if (strcmp(hex, files[i].sha256) == 0)
            continue;
        files[i].state = CMD_INPUT_DIFFERENT;
        snprintf(files[i].why, sizeof files[i].why, "is not the recorded one: its sha256 is %s", hex);
    }
    pare_pin_close(&pin);
    return st;
}

static size_t count_ok(const cmd_input_file *files, size_t n)
{
    size_t n_ok = 0;
    for (size_t i = 0; i < n; i++)
        n_ok += files[i].state == CMD_INPUT_OK || files[i].state == CMD_INPUT_STREAM;
    return n_ok;
}

static void forget_places(cmd_input_file *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(files[i].path);
        files[i].path = NULL;
        files[i].state = CMD_INPUT_MISSING;
    }
}

/* All files of the model lie in one folder: is it this one? */
static pare_status try_folder(cmd_inputs *in, const char *folder, bool *all, pare_error *err)
{
    pare_status st = PARE_OK;
    forget_places(in->files, in->n_model);
    for (size_t i = 0; i < in->n_model && st == PARE_OK; i++)
        st = look(&in->files[i], folder, err);
    if (st == PARE_OK)
        st = check_hashes(in->files, in->n_model, err);
    *all = st == PARE_OK && count_ok(in->files, in->n_model) == in->n_model;
    return st;
}

/* *below: folder/model, where the model is a folder and its name a plain one; NULL: there is none. */
static pare_status find_below(char **below, const cmd_recipe *r, const char *folder, pare_error *err)
{
    char why[200];
    pare_path_state state;
    struct stat info;
    bool there = false;
    *below = NULL;
    if (r->model_is_file || pare_path_fault((pare_str){r->model, strlen(r->model)}) != NULL)
        return PARE_OK;
    pare_status st = pare_path_look(&state, folder, r->model, why, sizeof why, err);
    if (st != PARE_OK || state == PARE_PATH_ABSENT)
        return st;
    if ((*below = pare_path_join(folder, r->model, err)) == NULL)
        return PARE_ERR_MEMORY;
    st = pare_look_link(*below, &info, &there, err);
    if (there && S_ISDIR(info.st_mode))
        return PARE_OK;
    free(*below);
    *below = NULL;
    return st;
}

static pare_status find_model(cmd_inputs *in, const cmd_recipe *r, const char *const *folders, size_t n,
                              pare_error *err)
{
    pare_status st = PARE_OK;
    char *best = NULL, *found = NULL;
    size_t most = 0;
    bool all = false;
    for (size_t i = 0; i < 2 * n && st == PARE_OK && !all; i++) {
        char *folder = NULL;
        if (i % 2 == 0)
            st = find_below(&folder, r, folders[i / 2], err);
        else if ((folder = strdup(folders[i / 2])) == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
        if (folder == NULL)
            continue;
        st = try_folder(in, folder, &all, err);
        const size_t n_ok = count_ok(in->files, in->n_model);
        if (all)
            found = folder;
        else if (best == NULL || n_ok > most) {
            free(best);
            best = folder;
            most = n_ok;
        } else
            free(folder);
    }
    if (st == PARE_OK && !all && best != NULL) /* what is missing is told of the folder that has the most */
        st = try_folder(in, best, &all, err);
    if (st == PARE_OK && found != NULL && r->model_is_file) {
        in->model = pare_path_join(found, r->model, err);
        free(found);
    } else
        in->model = found;
    free(best);
    return st;
}

static pare_status find_file(cmd_input_file *f, const char *const *folders, size_t n, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK && f->state != CMD_INPUT_OK; i++)
        if ((st = look(f, folders[i], err)) == PARE_OK)
            st = check_hashes(f, 1, err);
    return st;
}

pare_status cmd_inputs_find(cmd_inputs *in, const cmd_recipe *r, const char *const *folders, size_t n_folders,
                            pare_error *err)
{
    const size_t n = json_array_size(r->parents);
    *in = (cmd_inputs){.files = calloc(n + 1, sizeof *in->files)};
    pare_status st = in->files != NULL ? PARE_OK : no_memory(err);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        st = take_row(in, r, json_array_get(r->parents, i), err);
    if (st == PARE_OK)
        st = check_order(in, r, err);
    if (st == PARE_OK)
        st = find_model(in, r, folders, n_folders, err);
    for (size_t i = in->n_model; i < in->n && st == PARE_OK; i++)
        if (strcmp(in->files[i].name, "-") != 0)
            st = find_file(&in->files[i], folders, n_folders, err);
    return st;
}

bool cmd_inputs_complete(const cmd_inputs *in)
{
    return in->model != NULL && count_ok(in->files, in->n) == in->n;
}

void cmd_inputs_close(cmd_inputs *in)
{
    for (size_t i = 0; i < in->n && in->files != NULL; i++)
        free(in->files[i].path);
    free(in->files);
    free(in->model);
    *in = (cmd_inputs){0};
}
