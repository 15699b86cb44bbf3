#include "cmd/repository.h"
#include "formats/lock_lineage.h"
#include "formats/safe_path.h"
#include "formats/store.h"

#include <stdlib.h>
#include <string.h>

static json_t *make(const char *name, size_t name_len, const char *revision)
{
    return json_pack("{s:s%, s:s#}", "name", name, name_len, "revision", revision, 40);
}

/* "org--name" -> "org/name"; owned, NULL: no memory. */
static char *name_of(const char *text, size_t len)
{
    char *name = strndup(text, len), *dashes = name != NULL ? strstr(name, "--") : NULL;
    if (dashes != NULL) {
        *dashes = '/';
        memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return name;
}

/* The repository whose snapshot the folder real is, or lies in; NULL: none. */
static json_t *of_folder(const char *real)
{
    size_t len;
    const char *text = pare_store_snapshot(real, &len);
    char *name = text != NULL ? name_of(text, len) : NULL;
    json_t *found = NULL;
    if (name != NULL && pare_lock_is_repository(name, strlen(name)))
        found = make(name, strlen(name), text + len + strlen(PARE_STORE_SNAPSHOTS));
    free(name);
    return found;
}

/* The folder that path is, or that it lies in: a file of a snapshot is a link out of it. */
static json_t *of_path(const char *path)
{
    char *folder = pare_path_is_folder(path) ? strdup(path) : pare_path_folder(path, NULL);
    char *real = folder != NULL ? realpath(folder, NULL) : NULL;
    json_t *found = real != NULL ? of_folder(real) : NULL;
    free(folder);
    free(real);
    return found;
}

static pare_status parse(json_t **out, const char *given, pare_error *err)
{
    const char *at = strchr(given, '@');
    if (at == NULL || !pare_lock_is_revision(at + 1, strlen(at + 1)))
        return pare_fail(err, PARE_ERR_USAGE,
                         "pin: --hf '%s': expected NAME@REVISION with a commit of 40 lower-case hexadecimal digits; a "
                         "branch or tag is no fixed state",
                         given);
    if (!pare_lock_is_repository(given, (size_t)(at - given)))
        return pare_fail(err, PARE_ERR_USAGE, "pin: --hf '%s': '%.*s' is no name of a repository, such as org/name",
                         given, (int)(at - given), given);
    *out = make(given, (size_t)(at - given), at + 1);
    return *out != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a name");
}

static const char *member(const json_t *repository, const char *key)
{
    return json_string_value(json_object_get(repository, key));
}

pare_status cmd_repository_find(json_t **out, const char *given, char *const *paths, size_t n, pare_error *err)
{
    json_t *first = NULL;
    bool same = true;
    *out = NULL;
    pare_status st = given != NULL ? parse(out, given, err) : PARE_OK;
    for (size_t i = 0; i < n && st == PARE_OK; i++) {
        json_t *found = of_path(paths[i]);
        if (given != NULL && found != NULL && !json_equal(found, *out))
            st = pare_fail(err, PARE_ERR_USAGE, "pin: --hf '%s': %s is a snapshot of %s@%s", given, paths[i],
                           member(found, "name"), member(found, "revision"));
        if (i == 0)
            first = json_incref(found);
        same = same && found != NULL && json_equal(found, first);
        json_decref(found);
    }
    if (st == PARE_OK && given == NULL && same)
        *out = json_incref(first);
    json_decref(first);
    if (st != PARE_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}
