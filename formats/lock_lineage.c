#include "formats/lock_lineage.h"
#include "core/hash.h"
#include "core/json.h"

#include <string.h>

enum { MAX_PART = 96, MAX_PARENTS = 100000 };

static bool is_part(const char *text, size_t len)
{
    if (len == 0 || len > MAX_PART || strchr("-.", text[0]) != NULL || strchr("-.", text[len - 1]) != NULL)
        return false;
    for (size_t i = 0; i < len; i++) {
        const char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
              c == '.'))
            return false;
        if (i > 0 && (c == '-' || c == '.') && text[i - 1] == c)
            return false;
    }
    return true;
}

bool pare_lock_is_repository(const char *text, size_t len)
{
    const char *slash = memchr(text, '/', len);
    if (slash == NULL)
        return is_part(text, len);
    const size_t org = (size_t)(slash - text);
    return is_part(text, org) && is_part(slash + 1, len - org - 1);
}

static bool is_hex(const char *text, size_t len, size_t n)
{
    for (size_t i = 0; i < len; i++)
        if (memchr("0123456789abcdef", text[i], 16) == NULL)
            return false;
    return len == n;
}

bool pare_lock_is_revision(const char *text, size_t len)
{
    return is_hex(text, len, 40);
}

/* The 64 digits under key of obj; found: may be NULL where they must be there. */
static pare_status check_hash(const json_t *obj, const char *path, const char *key, bool *found, pare_error *err)
{
    pare_str text = {0};
    pare_status st = pare_json_str(obj, path, key, &text, found, err);
    if (st != PARE_OK || (found != NULL && !*found) || is_hex(text.data, text.len, 64))
        return st;
    return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' '%.80s', expected 64 lower-case hexadecimal digits", path, key,
                     text.data);
}

static pare_status check_parent(const json_t *row, const char *path, pare_error *err)
{
    pare_str text = {0};
    uint64_t size = 0;
    bool found = false;
    if (!json_is_object(row))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'parents' holds what is no object", path);
    pare_status st = pare_json_str(row, path, "name", &text, NULL, err);
    if (st == PARE_OK)
        st = pare_json_str(row, path, "role", &text, NULL, err);
    if (st == PARE_OK)
        st = check_hash(row, path, "sha256", NULL, err);
    if (st == PARE_OK)
        st = check_hash(row, path, "lock_sha256", &found, err);
    return st == PARE_OK ? pare_json_integer(row, path, "size", 0, INT64_MAX, &size, &found, err) : st;
}

static pare_status check_repository(const json_t *repository, const char *path, pare_error *err)
{
    pare_str name = {0}, revision = {0};
    if (!json_is_object(repository))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'repository' is no object", path);
    pare_status st = pare_json_str(repository, path, "name", &name, NULL, err);
    if (st == PARE_OK)
        st = pare_json_str(repository, path, "revision", &revision, NULL, err);
    if (st == PARE_OK && !pare_lock_is_repository(name.data, name.len))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: 'repository': '%.200s' is no name of a repository", path, name.data);
    if (st == PARE_OK && !pare_lock_is_revision(revision.data, revision.len))
        st = pare_fail(err, PARE_ERR_FORMAT,
                       "%s: 'repository': revision '%.80s', expected 40 lower-case hexadecimal digits", path,
                       revision.data);
    return st;
}

pare_status pare_lock_check_lineage(const json_t *doc, const char *path, pare_error *err)
{
    const json_t *parents = json_object_get(doc, "parents"), *repository = json_object_get(doc, "repository");
    pare_status st = PARE_OK;
    if (parents != NULL && !json_is_array(parents))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: 'parents' is no array", path);
    if (json_array_size(parents) > MAX_PARENTS)
        return pare_fail(err, PARE_ERR_RANGE, "%s: %zu 'parents', at most %d are allowed", path,
                         json_array_size(parents), MAX_PARENTS);
    for (size_t i = 0; i < json_array_size(parents) && st == PARE_OK; i++)
        st = check_parent(json_array_get(parents, i), path, err);
    return st == PARE_OK && repository != NULL ? check_repository(repository, path, err) : st;
}

pare_status pare_lock_check_xet(const json_t *file, const char *path, pare_error *err)
{
    bool found = false;
    return check_hash(file, path, "xet", &found, err);
}
