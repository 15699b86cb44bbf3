#include "cmd/outputs.h"
#include "cmd/build.h"
#include "cmd/console.h"
#include "cmd/lineage.h"
#include "core/claim.h"
#include "core/look.h"
#include "core/threads.h"
#include "formats/lock.h"
#include "formats/lock_names.h"
#include "formats/lock_read.h"
#include "formats/pin_scan.h"
#include "formats/safe_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

const char *cmd_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

/* The folder that would hold path: "." for a bare name. Owned; NULL without memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* *same: two names mean one file, also when it does not exist yet. */
static pare_status same_place(const char *a, const char *b, bool *same, pare_error *err)
{
    struct stat info;
    bool first, second = false;
    *same = strcmp(a, b) == 0; /* in a folder, maybe, that is not there yet */
    if (*same)
        return PARE_OK;
    pare_status st = pare_look(b, &info, &second, err);
    if (st == PARE_OK && second)
        st = pare_look_same(a, &info, same, err);
    if (st != PARE_OK || *same || strcmp(cmd_base_name(a), cmd_base_name(b)) != 0)
        return st;
    char *left = folder_of(a), *right = folder_of(b);
    if (left == NULL || right == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
    if (st == PARE_OK && (st = pare_look(right, &info, &first, err)) == PARE_OK && first)
        st = pare_look_same(left, &info, same, err);
    free(left);
    free(right);
    return st;
}

/* *file: that of the model that path is, or that lies in the folder that path is; NULL when there is none. */
static pare_status find_input(const char **file, const pare_model *input, const char *path, pare_error *err)
{
    struct stat info;
    bool there, same = false;
    *file = NULL;
    pare_status st = pare_look(path, &info, &there, err);
    if (st != PARE_OK || !there)
        return st;
    for (size_t i = 0; i < input->n_files; i++)
        if (input->files[i].device == info.st_dev && input->files[i].inode == info.st_ino)
            *file = input->files[i].path;
    for (size_t i = 0; i < input->n_side_files && st == PARE_OK && *file == NULL; i++)
        if ((st = pare_look_same(input->side_files[i].path, &info, &same, err)) == PARE_OK && same)
            *file = input->side_files[i].path;
    for (size_t i = 0; S_ISDIR(info.st_mode) && i < input->n_files && st == PARE_OK && *file == NULL; i++) {
        char *holder = folder_of(input->files[i].path);
        st = holder != NULL ? pare_look_same(holder, &info, &same, err)
                            : pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
        free(holder);
        if (st == PARE_OK && same)
            *file = input->files[i].path;
    }
    return st;
}

void cmd_outputs_add(cmd_outputs *outputs, const char *option, const char *path)
{
    if (path == NULL)
        return;
    outputs->item[outputs->n].option = option;
    outputs->item[outputs->n++].path = path;
}

static pare_status check_one(const cmd_outputs *outputs, size_t i, const pare_model *input, bool force, pare_error *err)
{
    struct stat info;
    const char *path = outputs->item[i].path, *option = outputs->item[i].option, *file = NULL;
    bool same = false;
    pare_status st = PARE_OK;
    if (strcmp(path, "-") == 0)
        return pare_fail(err, PARE_ERR_USAGE, "%s -: cannot write to standard output; give a name", option);
    for (size_t k = 0; k < i && st == PARE_OK; k++)
        if ((st = same_place(outputs->item[k].path, path, &same, err)) == PARE_OK && same)
            return pare_fail(err, PARE_ERR_USAGE, "%s: is the same output as %s and as %s", path,
                             outputs->item[k].option, option);
    if (st == PARE_OK && input != NULL)
        st = find_input(&file, input, path, err);
    if (st == PARE_OK && file != NULL)
        return pare_fail(err, PARE_ERR_USAGE, "%s: the output is the input, or holds its file %s; give another name",
                         path, file);
    for (size_t k = 0; k < outputs->n_inputs && st == PARE_OK; k++)
        if ((st = same_place(outputs->inputs[k], path, &same, err)) == PARE_OK && same)
            return pare_fail(err, PARE_ERR_USAGE, "%s: the output is an input; give another name", path);
    if (st == PARE_OK && !force && (st = pare_look_link(path, &info, &same, err)) == PARE_OK && same) {
        pare_claim_clean(path);
        return pare_fail(err, PARE_ERR_USAGE, "%s: exists already; give --force to replace it", path);
    }
    return st;
}

pare_status cmd_outputs_check(const cmd_outputs *outputs, const pare_model *input, bool force, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < outputs->n && st == PARE_OK; i++)
        st = check_one(outputs, i, input, force, err);
    return st;
}

pare_status cmd_outputs_check_pinned(const cmd_outputs *outputs, const pare_pin *pin, pare_error *err)
{
    pare_status st = PARE_OK;
    bool same;
    for (size_t i = 0; i < outputs->n; i++)
        for (size_t k = 0; k < pin->n_files && st == PARE_OK; k++)
            if ((st = same_place(outputs->item[i].path, pin->files[k].path, &same, err)) == PARE_OK && same &&
                !pare_lock_is_one(pin->files[k].path))
                return pare_fail(err, PARE_ERR_USAGE, "%s: %s is one of the files to pin; give another name",
                                 outputs->item[i].path, outputs->item[i].option);
    return st;
}

uint64_t cmd_free_bytes(const char *path)
{
    struct statvfs fs;
    char *folder = folder_of(path);
    uint64_t room = folder != NULL && statvfs(folder, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
    free(folder);
    return room;
}

bool cmd_output_is_folder(const cmd_args *args)
{
    const char *format = cmd_text(args, OPT_FORMAT), *output = cmd_text(args, OPT_OUTPUT);
    const size_t n = output != NULL ? strlen(output) : 0;
    if (args->verb->id != CMD_CONVERT)
        return false;
    return format != NULL ? strcmp(format, "gguf") != 0 : n < 5 || strcmp(output + n - 5, ".gguf") != 0;
}

/* Bytes of a folder's name without the slashes behind it. */
static size_t name_length(const char *folder)
{
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/')
        n--;
    return n;
}

static pare_status choose_name(char **out, const char *given, const char *folder, const char *name, pare_error *err)
{
    pare_buf text = {0};
    pare_status st =
        given != NULL ? pare_buf_puts(&text, given, err) : pare_buf_printf(&text, err, "%s/%s", folder, name);
    *out = text.data;
    return st;
}

pare_status cmd_sums_beside(char **out, const cmd_args *args, const char *lock, pare_error *err)
{
    char *folder = folder_of(lock);
    pare_status st = folder != NULL ? choose_name(out, cmd_text(args, OPT_SUMS), folder, "SHA256SUMS", err)
                                    : pare_fail(err, PARE_ERR_MEMORY, "no memory");
    free(folder);
    return st;
}

/* Whoever names the key as an output, or has it in the folder that is replaced, would lose it. */
static pare_status check_key(const cmd_pinning *pinning, const char *key, const char *output, bool is_folder,
                             pare_error *err)
{
    const char *const made[] = {output, pinning->lock, pinning->sums, pinning->signing.signature};
    bool lost = false;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < sizeof made / sizeof *made && st == PARE_OK && !lost; i++)
        st = same_place(key, made[i], &lost, err);
    char *folder = is_folder ? folder_of(key) : NULL;
    if (st == PARE_OK && !lost && folder != NULL)
        st = same_place(folder, output, &lost, err);
    free(folder);
    return lost ? pare_fail(err, PARE_ERR_USAGE, "%s: the private key lies where the output goes; keep it elsewhere",
                            key)
                : st;
}

/* Is path called as a part of the set that output becomes: STEM-00001-of-00002.gguf beside it? */
static bool is_part(const char *path, const char *output)
{
    const char *base = cmd_base_name(output), *name = cmd_base_name(path);
    size_t n = strlen(base);
    if (n > 5 && strcmp(base + n - 5, ".gguf") == 0)
        n -= 5;
    unsigned part = 0, parts = 0;
    int end = 0;
    return strncmp(name, base, n) == 0 && sscanf(name + n, "-%5u-of-%5u.gguf%n", &part, &parts, &end) == 2 &&
           end == 20 && name[n + 20] == '\0';
}

static pare_status check_parts(const cmd_pinning *pinning, const char *output, pare_error *err)
{
    const char *const made[] = {pinning->lock, pinning->sums, pinning->signing.signature};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (made[i] != NULL && is_part(made[i], output))
            return pare_fail(err, PARE_ERR_USAGE, "%s: is called as a part of the output; give another name", made[i]);
    return PARE_OK;
}

pare_status cmd_pinning_open(cmd_pinning *pinning, const cmd_args *args, const char *output, bool is_folder,
                             pare_error *err)
{
    const char *lock = cmd_text(args, OPT_LOCK), *sums = cmd_text(args, OPT_SUMS);
    *pinning = (cmd_pinning){.wanted = cmd_has(args, OPT_PIN)};
    const char *key = cmd_text(args, OPT_SIGN);
    if (!pinning->wanted && (lock != NULL || sums != NULL || key != NULL))
        return pare_fail(err, PARE_ERR_USAGE, "%s: --%s needs --pin", args->verb->name,
                         lock != NULL   ? "lock"
                         : sums != NULL ? "sums"
                                        : "sign");
    if (!pinning->wanted)
        return PARE_OK;
    char *folder = is_folder ? strndup(output, name_length(output)) : folder_of(output);
    pare_status st = folder != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory");
    if (st == PARE_OK)
        st = choose_name(&pinning->lock, lock, folder, "pare.lock", err);
    if (st == PARE_OK)
        st = choose_name(&pinning->sums, sums, folder, "SHA256SUMS", err);
    free(folder);
    if (st == PARE_OK && key != NULL && (st = cmd_signing_open(&pinning->signing, args, pinning->lock, err)) == PARE_OK)
        st = check_key(pinning, key, output, is_folder, err);
    if (st == PARE_OK && (cmd_has(args, OPT_SPLIT_SIZE) || cmd_has(args, OPT_KEEP_SPLIT)))
        st = check_parts(pinning, output, err);
    return st;
}

void cmd_pinning_outputs(const cmd_pinning *pinning, cmd_outputs *outputs)
{
    cmd_outputs_add(outputs, "--lock", pinning->lock);
    cmd_outputs_add(outputs, "--sums", pinning->sums);
    cmd_outputs_add(outputs, "--sign", pinning->signing.signature);
}

/* id: as it was opened; NULL: as it is now. */
static pare_status add_input(pare_pin *pin, const char *path, const pare_identity *id, pare_error *err)
{
    struct stat info;
    pare_pin_file *file = NULL;
    pare_status st = pare_pin_add_file(pin, path, &file, err);
    if (st == PARE_OK && stat(path, &info) != 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    if (st == PARE_OK)
        file->source = id != NULL ? *id : pare_identity_of(&info);
    if (st == PARE_OK)
        file->digest.n_bytes = file->source.size;
    return st;
}

static pare_status hash_read(void *ctx, pare_error *err)
{
    pare_pin *read = ctx;
    return pare_pin_hash(read->files, read->n_files, NULL, PARE_HASH_SHA256, err);
}

pare_status cmd_pinning_hash_inputs(cmd_pinning *pinning, const cmd_args *args, const pare_model *source,
                                    pare_error *err)
{
    pare_pin *read = &pinning->read;
    pare_status st = PARE_OK;
    if (!pinning->wanted)
        return PARE_OK;
    for (size_t i = 0; i < source->n_files && st == PARE_OK; i++)
        st = add_input(read, source->files[i].path, &source->files[i].id, err);
    for (size_t i = 0; i < source->n_side_files && st == PARE_OK; i++)
        st = add_input(read, source->side_files[i].path, NULL, err);
    pinning->n_source = read->n_files;
    for (size_t i = 0; i < args->n_given && st == PARE_OK; i++)
        if (cmd_lineage_names_input(args->given[i].option) && strcmp(args->given[i].text, "-") != 0)
            st = add_input(read, args->given[i].text, NULL, err);
    if (st == PARE_OK)
        st = cmd_lineage_folder(&pinning->folder, args, source, err);
    return st == PARE_OK ? pare_background_start(&pinning->hashing, hash_read, read, err) : st;
}

/* What cmd_pinning_hash_inputs began. */
static pare_status finish_inputs(cmd_pinning *pinning, const cmd_args *args, pare_error *err)
{
    const pare_pin *read = &pinning->read;
    pare_status st = pare_background_join(&pinning->hashing, err);
    pinning->inputs = json_array();
    for (size_t i = 0; i < read->n_files && st == PARE_OK; i++) {
        char hex[PARE_SHA256_HEX];
        const char *name = cmd_base_name(read->files[i].path);
        pare_hex(hex, read->files[i].digest.sha256, sizeof read->files[i].digest.sha256);
        json_array_append_new(pinning->inputs,
                              json_pack("{s:o, s:s}", "name", cmd_json_text(name, strlen(name)), "sha256", hex));
    }
    if (st == PARE_OK)
        st = cmd_lineage_parents(&pinning->parents, args, read, pinning->n_source, err);
    if (st == PARE_OK && pinning->standard_input[0] != '\0') {
        json_array_append_new(pinning->inputs, json_pack("{s:s, s:s}", "name", "-", "sha256", pinning->standard_input));
        json_array_append_new(pinning->parents, cmd_lineage_stream(pinning->standard_input));
    }
    return st;
}

json_t *cmd_recipe_options(const cmd_args *args)
{
    json_t *list = json_array();
    for (size_t i = 0; i < args->n_given; i++) {
        const cmd_option *option = args->given[i].option;
        const char *text = args->given[i].text != NULL ? args->given[i].text : "";
        if (option->kind == CMD_KIND_PATH)
            text = cmd_base_name(text); /* as among the inputs: a lock holds no path of the machine */
        if (option->traits & CMD_SHAPES_BYTES)
            json_array_append_new(list, json_pack("[s, o]", option->name, cmd_json_text(text, strlen(text))));
    }
    return list;
}

/* The files that were made, by their names in the lock. */
static pare_status made_files(json_t **out, const cmd_pinning *pinning, pare_pin *pin, pare_error *err)
{
    *out = json_array();
    pare_status st = pare_lock_set_names(pin, pinning->lock, err);
    for (size_t i = 0; i < pin->n_files && st == PARE_OK; i++)
        json_array_append_new(*out, cmd_json_text(pin->files[i].name, strlen(pin->files[i].name)));
    return st;
}

static pare_status make_recipe(json_t **out, const cmd_pinning *pinning, const cmd_args *args, pare_pin *pin,
                               pare_error *err)
{
    json_t *outputs = NULL, *recipe = *out = json_object();
    pare_status st = made_files(&outputs, pinning, pin, err);
    json_object_set_new(recipe, "outputs", outputs);
    json_object_set_new(recipe, "command", json_string(args->verb->name));
    json_object_set_new(recipe, "pare", json_string(CMD_BUILD_VERSION));
    if (json_object_set_new(recipe, "argv", cmd_lineage_argv(args)) != 0 && st == PARE_OK)
        st = pare_fail(err, PARE_ERR_MEMORY, "no memory for the command line in a lock");
    json_object_set_new(recipe, "options", cmd_recipe_options(args));
    json_object_set(recipe, "inputs", pinning->inputs);
    if (pinning->folder != NULL)
        json_object_set(recipe, "folder", pinning->folder);
    cmd_json_u64(recipe, "threads", (uint64_t)pare_threads());
    if (st == PARE_OK && pinning->devices != NULL)
        st = cmd_devices_json(pinning->devices, recipe, err);
    else
        json_object_set_new(recipe, "device", json_string("cpu"));
    if (pinning->plan[0] != '\0')
        json_object_set_new(recipe, "plan_sha256", json_string(pinning->plan));
    for (size_t i = 0; i < args->n_given; i++)
        if (args->given[i].option->traits & CMD_BYTES_BY_CPU)
            json_object_set_new(recipe, "bytes_by_cpu", json_true());
    return st;
}

static pare_status add_files(cmd_pinning *pinning, const cmd_args *args, pare_pin *pin, bool force,
                             pare_output_set *set, pare_error *err)
{
    json_t *recipe = NULL;
    pare_status st = finish_inputs(pinning, args, err);
    if (st == PARE_OK)
        st = make_recipe(&recipe, pinning, args, pin, err);
    const pare_lock_extra extra = {
        .recipe = recipe, .parents = pinning->parents, .beside = {pinning->sums, pinning->signing.signature}};
    if (st == PARE_OK)
        st = pare_lock_add(set, pin, pinning->lock, &extra, force, err);
    if (st == PARE_OK)
        st = pare_sums_add(set, pin, pinning->sums, force, err);
    if (st == PARE_OK)
        st = cmd_signing_add(&pinning->signing, set, pin, pinning->lock, pinning->sums, force, err);
    json_decref(recipe);
    return st;
}

pare_status cmd_pinning_add(cmd_pinning *pinning, const cmd_args *args, pare_pin *pin, pare_output_set *set,
                            pare_error *err)
{
    return pinning->wanted ? add_files(pinning, args, pin, cmd_has(args, OPT_FORCE), set, err) : PARE_OK;
}

static bool lies_in(const char *path, const char *folder)
{
    const size_t n = name_length(folder);
    if (path == NULL || n == 0 || strncmp(path, folder, n) != 0 || path[n] != '/')
        return false;
    const char *base = path + n + strspn(path + n, "/");
    return *base != '\0' && strchr(base, '/') == NULL;
}

bool cmd_pinning_lies_in(const cmd_pinning *pinning, const char *folder)
{
    return pinning->wanted && lies_in(pinning->lock, folder) && lies_in(pinning->sums, folder) &&
           (pinning->signing.signature == NULL || lies_in(pinning->signing.signature, folder));
}

/* The same file where the folder lies for now; *path stays the caller's. */
static pare_status move_into(char **path, const char *stored_at, pare_error *err)
{
    struct stat info;
    char *moved = *path != NULL ? pare_path_join(stored_at, cmd_base_name(*path), err) : NULL;
    if (*path != NULL && moved == NULL)
        return PARE_ERR_MEMORY;
    bool taken = false;
    pare_status st = moved != NULL ? pare_look_link(moved, &info, &taken, err) : PARE_OK;
    if (taken)
        st = pare_fail(err, PARE_ERR_USAGE, "%s: is a file of the folder itself; give another name", *path);
    *path = moved;
    return st;
}

pare_status cmd_pinning_write_into(cmd_pinning *pinning, const cmd_args *args, pare_pin *pin, const char *folder,
                                   const char *stored_at, pare_error *err)
{
    enum { N_PATHS = 4 };
    char **const paths[N_PATHS] = {&pinning->lock, &pinning->sums, &pinning->signing.beside,
                                   &pinning->signing.signature};
    char *const kept[N_PATHS] = {*paths[0], *paths[1], *paths[2], *paths[3]};
    char *name = strndup(folder, name_length(folder));
    size_t n_moved = 0;
    pare_output_set set = {0};
    pare_status st = name != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
    for (; n_moved < N_PATHS && st == PARE_OK; n_moved++)
        st = move_into(paths[n_moved], stored_at, err);
    pinning->signing.called = name != NULL ? cmd_base_name(name) : NULL;
    if (st == PARE_OK)
        st = add_files(pinning, args, pin, false, &set, err);
    if (st == PARE_OK)
        st = pare_output_set_publish(&set, err);
    pare_output_set_close(&set);
    pinning->signing.called = NULL;
    for (size_t i = 0; i < n_moved; i++) {
        if (*paths[i] != kept[i])
            free(*paths[i]);
        *paths[i] = kept[i];
    }
    free(name);
    return st;
}

void cmd_pinning_close(cmd_pinning *pinning)
{
    pare_background_stop(&pinning->hashing);
    pare_pin_close(&pinning->read);
    json_decref(pinning->inputs);
    json_decref(pinning->parents);
    json_decref(pinning->folder);
    cmd_signing_close(&pinning->signing);
    free(pinning->lock);
    free(pinning->sums);
    *pinning = (cmd_pinning){0};
}

void cmd_json_files(json_t *doc, const pare_pin *pin)
{
    json_t *files = json_array();
    char hex[PARE_SHA256_HEX] = "";
    for (size_t i = 0; i < pin->n_files; i++) {
        const pare_pin_file *file = &pin->files[i];
        json_t *row = json_object();
        const char *name = cmd_base_name(file->path);
        pare_hex(hex, file->digest.sha256, sizeof file->digest.sha256);
        json_object_set_new(row, "name", cmd_json_text(name, strlen(name)));
        json_object_set_new(row, "sha256", json_string(hex));
        cmd_json_u64(row, "bytes", file->digest.n_bytes);
        json_array_append_new(files, row);
    }
    if (pin->n_files == 1)
        json_object_set_new(doc, "sha256", json_string(hex));
    json_object_set_new(doc, "files", files);
}

uint64_t cmd_pin_bytes(const pare_pin *pin)
{
    uint64_t n = 0;
    for (size_t i = 0; i < pin->n_files; i++)
        n += pin->files[i].digest.n_bytes;
    return n;
}
