#include "formats/lock_names.h"
#include "formats/safe_path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* *real, owned by the caller, is NULL after an error. */
static pare_status real_folder(char **real, const char *folder, pare_error *err)
{
    *real = realpath(folder, NULL);
    if (*real != NULL)
        return PARE_OK;
    return pare_fail(err, errno == ENOMEM ? PARE_ERR_MEMORY : PARE_ERR_IO, "%s: cannot open the folder: %s", folder,
                     strerror(errno));
}

static pare_status real_folder_of(char **real, const char *path, pare_error *err)
{
    char *folder = pare_path_folder(path, err);
    *real = NULL;
    pare_status st = folder != NULL ? real_folder(real, folder, err) : PARE_ERR_MEMORY;
    free(folder);
    return st;
}

/* What is behind root in path: "" when they are the same, NULL when path is not below root. */
static const char *below(const char *root, const char *path)
{
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(root, path, n) != 0 || (path[n] != '/' && path[n] != '\0'))
        return NULL;
    return path[n] == '/' ? path + n + 1 : "";
}

static pare_status outside(const char *path, const char *lock_path, pare_error *err)
{
    return pare_fail(err, PARE_ERR_USAGE,
                     "%s: lies outside of the folder of '%s'; a lock names files below its own folder", path,
                     lock_path);
}

static pare_status set_name(pare_pin_file *f, const char *root, const char *lock_path, pare_error *err)
{
    char *folder;
    pare_status st = real_folder_of(&folder, f->path, err);
    if (st != PARE_OK)
        return st;
    const char *relative = below(root, folder), *slash = strrchr(f->path, '/'),
               *base = slash != NULL ? slash + 1 : f->path;
    free(f->name);
    f->name = NULL;
    if (relative == NULL)
        st = outside(f->path, lock_path, err);
    else if (relative[0] == '\0')
        f->name = strdup(base);
    else
        f->name = pare_path_join(relative, base, NULL);
    if (st == PARE_OK && f->name == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", f->path);
    free(folder);
    return st;
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const pare_pin_file *)a)->name, ((const pare_pin_file *)b)->name);
}

static void drop_file(pare_pin *p, const char *name)
{
    for (size_t i = 0; i < p->n_files; i++)
        if (strcmp(p->files[i].name, name) == 0) {
            pare_pin_file_close(&p->files[i]);
            memmove(&p->files[i], &p->files[i + 1], (p->n_files - i - 1) * sizeof *p->files);
            p->n_files--;
            return;
        }
}

pare_status pare_lock_set_names(pare_pin *p, const char *lock_path, pare_error *err)
{
    const char *slash = strrchr(lock_path, '/');
    char *root;
    pare_status st = real_folder_of(&root, lock_path, err);
    for (size_t i = 0; i < p->n_files && st == PARE_OK; i++)
        st = set_name(&p->files[i], root, lock_path, err);
    free(root);
    if (st != PARE_OK)
        return st;
    drop_file(p, slash != NULL ? slash + 1 : lock_path);
    if (p->n_files > 0)
        qsort(p->files, p->n_files, sizeof *p->files, compare_files);
    for (size_t i = 1; i < p->n_files; i++)
        if (compare_files(&p->files[i - 1], &p->files[i]) == 0)
            return pare_fail(err, PARE_ERR_USAGE, "%s: '%s' is given twice", lock_path, p->files[i].name);
    return PARE_OK;
}

pare_status pare_lock_folder_name(const char *folder, const char *lock_path, char **name, pare_error *err)
{
    char *root, *real = NULL;
    pare_status st = real_folder_of(&root, lock_path, err);
    *name = NULL;
    if (st == PARE_OK)
        st = real_folder(&real, folder, err);
    if (st == PARE_OK) {
        const char *relative = below(root, real);
        if (relative == NULL)
            st = outside(folder, lock_path, err);
        else if ((*name = strdup(relative[0] == '\0' ? "." : relative)) == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", folder);
    }
    free(root);
    free(real);
    return st;
}

/* Composed and case-folded, owned by the caller; NULL: no memory. A name that is not UTF-8 stands for itself. */
static char *folded(const char *name)
{
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)name, 0, &out,
                                      UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD);
    return n < 0 ? strdup(name) : (char *)out;
}

pare_status pare_lock_check_twins(const char *const *names, size_t n, const char *lock_path, pare_error *err)
{
    pare_index seen = {0};
    size_t done = 0;
    pare_status st = PARE_OK;
    char **keys = calloc(n > 0 ? n : 1, sizeof *keys);
    if (keys == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu names", lock_path, n);
    for (; done < n && st == PARE_OK; done++) {
        int64_t old = PARE_INDEX_NONE;
        if ((keys[done] = folded(names[done])) == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", lock_path);
        else if ((st = pare_index_add(&seen, (pare_str){keys[done], strlen(keys[done])}, (int64_t)done, &old, err)) ==
                     PARE_OK &&
                 old != PARE_INDEX_NONE)
            st = pare_fail(err, PARE_ERR_FORMAT, "%s: files '%s' and '%s': %s", lock_path, names[old], names[done],
                           strcmp(names[old], names[done]) == 0 ? "a name twice"
                                                                : "names that differ in case or composition alone");
    }
    for (size_t i = 0; i < done; i++)
        free(keys[i]);
    free(keys);
    pare_index_close(&seen);
    return st;
}
