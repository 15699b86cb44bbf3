#include "core/claim.h"
#include "core/look.h"
#include "formats/folder_list.h"
#include "formats/lock_moved.h"
#include "formats/pin_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Files below the lock's folder that the lock does not name. */
typedef struct extras {
    pare_pin pin;  /* regular ones, by name */
    uint8_t *what; /* 0: cannot be a missing file under another name, is not hashed */
    bool *told;    /* found to be one */
    bool *found;   /* [lock files] is one of these */
} extras;

static bool is_covered(const pare_lock *lock, const char *name)
{
    for (size_t i = 0; i < lock->pin.n_folders; i++) {
        const char *folder = lock->pin.folders[i];
        size_t n = strlen(folder);
        if (strcmp(folder, ".") == 0 || (strncmp(name, folder, n) == 0 && name[n] == '/'))
            return true;
    }
    return false;
}

/* The lock, or what was written with it. */
static bool is_own(const pare_lock *lock, const char *name)
{
    for (size_t i = 0; i < json_array_size(lock->beside); i++)
        if (strcmp(name, json_string_value(json_array_get(lock->beside, i))) == 0)
            return true;
    const char *slash = strrchr(lock->path, '/');
    return strcmp(name, slash != NULL ? slash + 1 : lock->path) == 0;
}

static pare_status add_extra(pare_verification *v, extras *x, const char *name, pare_error *err)
{
    struct stat info;
    pare_pin_file *f = NULL;
    char *full = pare_path_join(v->lock->folder, name, err);
    bool there = false;
    pare_status st = full == NULL ? PARE_ERR_MEMORY : pare_look(full, &info, &there, err);
    if (st == PARE_OK && there && S_ISREG(info.st_mode) &&
        (st = pare_pin_add_file(&x->pin, full, &f, err)) == PARE_OK) {
        f->digest.n_bytes = (uint64_t)info.st_size;
        if ((f->name = strdup(name)) == NULL)
            st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for a name", full);
    }
    free(full);
    return st;
}

/* What pinning left out of the folders that the lock covers: at the top of each. */
static bool is_left_out(const char *name, void *user)
{
    const pare_lock *lock = user;
    for (size_t i = 0; i < lock->pin.n_folders; i++) {
        const char *folder = lock->pin.folders[i];
        size_t n = strlen(folder);
        if (strncmp(name, folder, n) == 0 && name[n] == '/' && pare_folder_is_left_out(name + n + 1, NULL))
            return true;
    }
    return pare_folder_is_left_out(name, NULL);
}

/* Collect the regular ones; tell of FIFOs, links and the like at once. */
static pare_status find_extras(pare_verification *v, extras *x, pare_error *err)
{
    pare_folder_list list;
    size_t n_unknown = 0;
    pare_status st = pare_folder_list_where(&list, v->lock->folder, is_left_out, (void *)(uintptr_t)v->lock, err);
    for (size_t i = 0; i < list.n && st == PARE_OK; i++) {
        const pare_folder_entry *e = &list.entries[i];
        if (pare_index_find(&v->names, (pare_str){e->name, strlen(e->name)}) != PARE_INDEX_NONE ||
            is_own(v->lock, e->name))
            continue;
        if (!v->lock->sums && !v->lock->left_out && pare_folder_was_left_out(e->name)) /* an older lock */
            n_unknown++;
        else if (e->why == NULL)
            st = add_extra(v, x, e->name, err);
        else if (!v->allow_extra && is_covered(v->lock, e->name))
            st = pare_verification_add(v, PARE_FOUND_BYTES, "extra", e->name, "", e->why, err);
    }
    if (st == PARE_OK && n_unknown > 0 && !v->allow_extra)
        st = pare_warn(err,
                       "%s: an older lock, which says nothing of the %zu files there whose names or folders begin with "
                       ".git or are .cache; pin the folder again to cover them",
                       v->lock->path, n_unknown);
    pare_folder_list_close(&list);
    return st;
}

/* Hash the extras that may be a missing file: of its size, or, for SHA256SUMS, any. */
static pare_status hash_candidates(pare_verification *v, extras *x, pare_error *err)
{
    const size_t n = x->pin.n_files, n_lock = v->lock->pin.n_files;
    size_t n_missing = 0;
    uint64_t *sizes = calloc(n_lock + 1, sizeof *sizes);
    x->what = calloc(n + 1, sizeof *x->what);
    x->told = calloc(n + 1, sizeof *x->told);
    x->found = calloc(n_lock + 1, sizeof *x->found);
    pare_status st = PARE_OK;
    if (sizes == NULL || x->what == NULL || x->told == NULL || x->found == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for %zu files", v->lock->path, n);
    for (size_t k = 0; k < n_lock && st == PARE_OK; k++)
        if (v->states[k].missing)
            sizes[n_missing++] = v->lock->pin.files[k].digest.n_bytes;
    if (st == PARE_OK)
        qsort(sizes, n_missing, sizeof *sizes, pare_compare_sizes);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        if (n_missing > 0 && (v->lock->sums || bsearch(&x->pin.files[i].digest.n_bytes, sizes, n_missing, sizeof *sizes,
                                                       pare_compare_sizes) != NULL))
            x->what[i] = PARE_PIN_WHOLE;
    free(sizes);
    return st == PARE_OK ? pare_pin_hash(x->pin.files, n, x->what, v->kind, err) : st;
}

/* Missing file k: does its content lie under another name? by_content: of the extras that were hashed. */
static pare_status tell_renamed(pare_verification *v, extras *x, const pare_index *by_content, size_t k,
                                pare_error *err)
{
    const pare_pin_file *f = &v->lock->pin.files[k];
    const int64_t i = pare_index_find(by_content, pare_verification_key(v, &f->digest));
    pare_buf text = {0};
    if (i == PARE_INDEX_NONE)
        return PARE_OK;
    x->told[i] = x->found[k] = true;
    pare_status st = pare_buf_printf(&text, err, "is missing; same content as '%s'", x->pin.files[i].name);
    if (st == PARE_OK)
        st = pare_verification_add(v, PARE_FOUND_BYTES, "renamed", f->name, "", text.data, err);
    pare_buf_close(&text);
    return st;
}

static pare_status tell_all_renamed(pare_verification *v, extras *x, pare_error *err)
{
    pare_index by_content = {0};
    pare_status st = PARE_OK;
    for (size_t i = 0; i < x->pin.n_files && st == PARE_OK; i++)
        if (x->what[i] != 0)
            st = pare_index_add(&by_content, pare_verification_key(v, &x->pin.files[i].digest), (int64_t)i, NULL, err);
    for (size_t k = 0; k < v->lock->pin.n_files && st == PARE_OK; k++)
        if (v->states[k].missing)
            st = tell_renamed(v, x, &by_content, k, err);
    pare_index_close(&by_content);
    return st;
}

static pare_status tell_missing(pare_verification *v, const extras *x, const pare_moved *m, size_t k, pare_error *err)
{
    const pare_pin_file *f = &v->lock->pin.files[k];
    const size_t n = m->n_found != NULL ? m->n_found[k] : 0;
    pare_buf text = {0};
    pare_status st = pare_buf_puts(&text, "the lock names it, and it is not there", err);
    if (st == PARE_OK && n > 0)
        st = pare_buf_printf(&text, err, "; %zu of its %zu tensors are as pinned in ", n, f->n_tensors);
    if (st == PARE_OK && n > 0)
        st = m->where[k] != SIZE_MAX ? pare_buf_printf(&text, err, "'%s'", x->pin.files[m->where[k]].name)
                                     : pare_buf_puts(&text, "several files that it does not name", err);
    if (st == PARE_OK)
        st = pare_verification_add(v, PARE_FOUND_BYTES, "missing", f->name, "", text.data, err);
    pare_buf_close(&text);
    return st;
}

/* Still a finding: what is in a file does not follow from its name. */
static const char *why_extra(const char *name)
{
    return strstr(name, PARE_CLAIM_MARK) != NULL || strstr(name, PARE_CLAIM_SET) != NULL
               ? "is not in the lock: by its name, of a run that broke off or still works; the next one on that output "
                 "takes it away"
               : "is not in the lock";
}

static pare_status tell_extra(pare_verification *v, const extras *x, const pare_moved *m, size_t i, pare_error *err)
{
    const pare_pin_file *f = &x->pin.files[i];
    pare_buf text = {0};
    pare_status st = pare_buf_puts(&text, why_extra(f->name), err);
    if (st == PARE_OK && m->n_as_pinned != NULL && m->n_as_pinned[i] > 0)
        st = pare_buf_printf(&text, err,
                             "; %zu of its %zu tensors are as pinned in files that are missing: the model was divided "
                             "anew",
                             m->n_as_pinned[i], f->n_tensors);
    if (st == PARE_OK)
        st = pare_verification_add(v, PARE_FOUND_BYTES, "extra", f->name, "", text.data, err);
    pare_buf_close(&text);
    return st;
}

pare_status pare_compare_folders(pare_verification *v, pare_error *err)
{
    extras x = {0};
    pare_moved moved = {0};
    bool any_missing = false;
    const size_t n = v->lock->pin.n_files;
    for (size_t k = 0; k < n; k++)
        any_missing = any_missing || v->states[k].missing;
    if (!any_missing && v->lock->pin.n_folders == 0)
        return PARE_OK;
    pare_status st = find_extras(v, &x, err);
    if (st == PARE_OK)
        st = hash_candidates(v, &x, err);
    if (st == PARE_OK)
        st = tell_all_renamed(v, &x, err);
    if (st == PARE_OK)
        st = pare_find_moved(&moved, v, &x.pin, x.told, err);
    for (size_t k = 0; k < n && st == PARE_OK; k++)
        if (v->states[k].missing && !x.found[k])
            st = tell_missing(v, &x, &moved, k, err);
    for (size_t i = 0; i < x.pin.n_files && st == PARE_OK && !v->allow_extra; i++)
        if (!x.told[i] && is_covered(v->lock, x.pin.files[i].name))
            st = tell_extra(v, &x, &moved, i, err);
    pare_moved_close(&moved);
    pare_pin_close(&x.pin);
    free(x.what);
    free(x.told);
    free(x.found);
    return st;
}
