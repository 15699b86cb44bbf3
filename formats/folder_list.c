#include "formats/folder_list.h"
#include "core/look.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_LEVELS = 16, MAX_ENTRIES = 1000000 };

void pare_folder_list_close(pare_folder_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->entries[i].name);
        free(list->entries[i].why);
    }
    free(list->entries);
    *list = (pare_folder_list){0};
}

const char *const pare_folder_left_out[] = {".cache/huggingface", ".git", ".gitattributes", ".github",
                                            ".gitignore",         NULL};

bool pare_folder_is_left_out(const char *name, void *user)
{
    static const char *const own[] = {"SHA256SUMS", "model.sig", "pare.lock"};
    (void)user;
    for (size_t i = 0; pare_folder_left_out[i] != NULL; i++)
        if (strcmp(name, pare_folder_left_out[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(name, own[i]) == 0)
            return true;
    return false;
}

bool pare_folder_was_left_out(const char *name)
{
    for (const char *part = name; part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, ".git", 4) == 0 || strncmp(part, ".cache/", 7) == 0 || strcmp(part, ".cache") == 0)
            return true;
    }
    return false;
}

/* Append name, which the list then owns. */
static pare_status append(pare_folder_list *list, const char *folder, char *name, pare_error *err)
{
    char why[512];
    pare_path_state state;
    if (list->n == MAX_ENTRIES)
        return pare_fail(err, PARE_ERR_RANGE, "%s: more than %d files", folder, MAX_ENTRIES);
    if ((list->n & (list->n - 1)) == 0) { /* the capacity is the next power of two */
        pare_folder_entry *more = reallocarray(list->entries, list->n == 0 ? 1 : 2 * list->n, sizeof *more);
        if (more == NULL)
            return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu names", folder, list->n + 1);
        list->entries = more;
    }
    pare_folder_entry *e = &list->entries[list->n];
    *e = (pare_folder_entry){0};
    pare_status st = pare_path_look(&state, folder, name, why, sizeof why, err);
    if (st != PARE_OK)
        return st;
    if (state != PARE_PATH_FILE && (e->why = strdup(why)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", folder);
    e->name = name;
    list->n++;
    return PARE_OK;
}

/* A walk through a folder: subfolders are read in the order in which they were found. */
typedef struct walk {
    pare_folder_list *list, pending;
    const char *folder;
    pare_folder_skip skip;
    void *user;
} walk;

/* A subfolder waits to be read, all else is listed; what vanished meanwhile is neither. name goes to the list. */
static pare_status add_entry(walk *w, char *name, pare_error *err)
{
    struct stat info;
    bool there = false;
    char *full = pare_path_join(w->folder, name, err);
    pare_status st = full != NULL ? pare_look_link(full, &info, &there, err) : PARE_ERR_MEMORY;
    free(full);
    if (st != PARE_OK || !there ||
        (st = append(S_ISDIR(info.st_mode) ? &w->pending : w->list, w->folder, name, err)) != PARE_OK)
        free(name);
    return st;
}

/* The entries of folder/below (folder itself when below is ""); subfolders are pushed on pending. */
static pare_status read_one(walk *w, const char *below, pare_error *err)
{
    char *full = pare_path_join(w->folder, below, err);
    DIR *dir = full != NULL ? opendir(full) : NULL;
    struct dirent *e;
    pare_status st = full == NULL ? PARE_ERR_MEMORY : PARE_OK;
    if (st == PARE_OK && dir == NULL)
        st = pare_fail(err, errno == ENOMEM ? PARE_ERR_MEMORY : PARE_ERR_IO, "%s: cannot list: %s", full,
                       strerror(errno));
    while (st == PARE_OK && (st = pare_look_next(dir, full, &e, err)) == PARE_OK && e != NULL) {
        char *name = below[0] == '\0' ? strdup(e->d_name) : pare_path_join(below, e->d_name, err);
        if (name == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", full);
        else if (w->skip(name, w->user))
            free(name);
        else
            st = add_entry(w, name, err);
    }
    if (dir != NULL)
        closedir(dir);
    free(full);
    return st;
}

static size_t level_of(const char *name)
{
    size_t n = 1;
    for (; *name != '\0'; name++)
        n += *name == '/';
    return n;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const pare_folder_entry *)a)->name, ((const pare_folder_entry *)b)->name);
}

pare_status pare_folder_list_where(pare_folder_list *list, const char *folder, pare_folder_skip skip, void *user,
                                   pare_error *err)
{
    walk w = {.list = list, .folder = folder, .skip = skip, .user = user};
    *list = (pare_folder_list){0};
    pare_status st = read_one(&w, "", err);
    for (size_t i = 0; i < w.pending.n && st == PARE_OK; i++) {
        const char *name = w.pending.entries[i].name;
        if (level_of(name) >= MAX_LEVELS)
            st = pare_fail(err, PARE_ERR_RANGE, "%s/%s: more than %d levels of folders", folder, name, MAX_LEVELS);
        else
            st = read_one(&w, name, err);
    }
    pare_folder_list_close(&w.pending);
    if (st != PARE_OK)
        pare_folder_list_close(list);
    else if (list->n > 0)
        qsort(list->entries, list->n, sizeof *list->entries, compare_entries);
    return st;
}

pare_status pare_folder_list_read(pare_folder_list *list, const char *folder, pare_error *err)
{
    return pare_folder_list_where(list, folder, pare_folder_is_left_out, NULL, err);
}
