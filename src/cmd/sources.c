#include "cmd/sources.h"
#include "core/guard.h"
#include "formats/hf_files.h"
#include "formats/safe_path.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct cmd_source {
    char *path; /* owned */
    pare_identity id;
};

/* Takes over path. */
static pare_status add(cmd_args *args, char *path, const struct stat *info, pare_error *err)
{
    cmd_source *more = reallocarray(args->sources, args->n_sources + 1, sizeof *more);
    if (more == NULL) {
        free(path);
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu inputs", args->n_sources + 1);
    }
    args->sources = more;
    more[args->n_sources++] = (cmd_source){path, pare_identity_of(info)};
    return PARE_OK;
}

/* A regular file of that name in folder, if there is one. */
static pare_status note_in(cmd_args *args, const char *folder, const char *name, pare_error *err)
{
    struct stat info;
    char *path = pare_path_join(folder, name, err);
    if (path == NULL)
        return PARE_ERR_MEMORY;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode))
        return add(args, path, &info, err);
    free(path);
    return PARE_OK;
}

static pare_status note_folder(cmd_args *args, const char *folder, pare_error *err)
{
    pare_status st = note_in(args, folder, "model.safetensors.index.json", err);
    for (size_t i = 0; pare_hf_file_name(i) != NULL && st == PARE_OK; i++)
        st = note_in(args, folder, pare_hf_file_name(i), err);
    return st;
}

static pare_status note(cmd_args *args, const char *path, pare_error *err)
{
    static const char tail[] = ".safetensors";
    struct stat info;
    size_t n = strlen(path);
    if (stat(path, &info) != 0)
        return PARE_OK;
    if (S_ISDIR(info.st_mode))
        return note_folder(args, path, err);
    if (!S_ISREG(info.st_mode)) /* standard input, a pipe: read once, from the front */
        return PARE_OK;
    char *copy = strdup(path);
    if (copy == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
    pare_status st = add(args, copy, &info, err);
    if (st != PARE_OK || n < sizeof tail || strcmp(path + n - (sizeof tail - 1), tail) != 0)
        return st;
    char *folder = pare_path_folder(path, err);
    st = folder != NULL ? note_folder(args, folder, err) : PARE_ERR_MEMORY;
    free(folder);
    return st;
}

pare_status cmd_sources_note(cmd_args *args, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < args->n_operands && st == PARE_OK; i++)
        st = note(args, args->operands[i], err);
    for (size_t i = 0; i < args->n_given && st == PARE_OK; i++)
        if (args->given[i].text != NULL && cmd_option_is_read(args->given[i].option))
            st = note(args, args->given[i].text, err);
    return st;
}

void cmd_sources_close(cmd_args *args)
{
    for (size_t i = 0; i < args->n_sources; i++)
        free(args->sources[i].path);
    free(args->sources);
    args->sources = NULL;
    args->n_sources = 0;
}

pare_status cmd_sources_check(const cmd_args *args, const pare_model *m, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < args->n_sources && st == PARE_OK; i++)
        st = pare_identity_check(&args->sources[i].id, args->sources[i].path, err);
    return st == PARE_OK ? pare_model_check_files(m, err) : st;
}
