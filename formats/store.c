#include "formats/store.h"
#include "core/look.h"
#include "core/text.h"
#include "formats/safe_path.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { COMMIT = 40 };

static bool is_set(const char *text)
{
    return text != NULL && *text != '\0';
}

/* The first variable that is set and what follows in it; else what follows `last` in the home folder. */
typedef struct place {
    const char *variable, *below;
} place;

static pare_status find_root(char **out, const place *places, size_t n, const char *below_home, pare_error *err)
{
    pare_buf path = {0};
    const char *home = getenv("HOME");
    for (size_t i = 0; i < n; i++)
        if (is_set(getenv(places[i].variable))) {
            pare_status st = pare_buf_printf(&path, err, "%s%s", getenv(places[i].variable), places[i].below);
            *out = path.data;
            return st;
        }
    pare_status st = pare_buf_printf(&path, err, "%s%s", is_set(home) ? home : "", below_home);
    *out = path.data;
    return st;
}

static pare_status hub_root(char **out, pare_error *err)
{
    static const place places[] = {{"HF_HUB_CACHE", ""},
                                   {"HUGGINGFACE_HUB_CACHE", ""},
                                   {"HF_HOME", "/hub"},
                                   {"XDG_CACHE_HOME", "/huggingface/hub"}};
    return find_root(out, places, sizeof places / sizeof *places, "/.cache/huggingface/hub", err);
}

static pare_status ollama_root(char **out, pare_error *err)
{
    static const place places[] = {{"OLLAMA_MODELS", ""}};
    return find_root(out, places, 1, "/.ollama/models", err);
}

/* A part of a store's name: letters, digits and "._-", and no folder of its own. */
static bool is_plain(pare_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && memchr("._-", c, 3) == NULL)
            return false;
    }
    return s.len > 0 && s.len < 256 && s.data[0] != '.';
}

static bool is_commit(const char *text, size_t n)
{
    return n == COMMIT && strspn(text, "0123456789abcdef") >= COMMIT;
}

/* The commit that refs/<revision> holds; *there is false without such a file. */
static pare_status read_ref(const char *repository, const char *revision, char commit[COMMIT + 1], bool *there,
                            pare_error *err)
{
    char name[512], why[256], text[COMMIT + 2];
    *there = false;
    if ((size_t)snprintf(name, sizeof name, "refs/%s", revision) >= sizeof name ||
        pare_path_fault((pare_str){name, strlen(name)}) != NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: '%s' is no name of a revision", repository, revision);
    pare_path_state state;
    pare_status st = pare_path_look(&state, repository, name, why, sizeof why, err);
    if (st != PARE_OK)
        return st;
    if (state == PARE_PATH_ABSENT)
        return PARE_OK;
    if (state == PARE_PATH_REFUSED)
        return pare_fail(err, PARE_ERR_FORMAT, "%s/%s: %s", repository, name, why);
    char *path = pare_path_join(repository, name, err);
    FILE *f = path != NULL ? fopen(path, "rb") : NULL;
    size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;
    if (f != NULL)
        fclose(f);
    free(path);
    if (n == COMMIT + 1 && text[COMMIT] == '\n')
        n--;
    if (!is_commit(text, n))
        return pare_fail(err, PARE_ERR_FORMAT, "%s/%s: holds no commit of 40 hexadecimal digits", repository, name);
    memcpy(commit, text, COMMIT);
    commit[COMMIT] = '\0';
    *there = true;
    return PARE_OK;
}

/* The only snapshot of a repository; *n says how many there are. */
static pare_status find_only(const char *repository, char commit[COMMIT + 1], size_t *n, pare_error *err)
{
    char *folder = pare_path_join(repository, "snapshots", err);
    DIR *dir = folder != NULL ? opendir(folder) : NULL;
    struct dirent *e;
    pare_status st = folder != NULL ? PARE_OK : PARE_ERR_MEMORY;
    *n = 0;
    while (dir != NULL && st == PARE_OK && (st = pare_look_next(dir, folder, &e, err)) == PARE_OK && e != NULL)
        if (is_commit(e->d_name, strlen(e->d_name))) {
            memcpy(commit, e->d_name, COMMIT + 1);
            ++*n;
        }
    if (dir != NULL)
        closedir(dir);
    free(folder);
    return st;
}

/* revision: NULL for main, or the only one. */
static pare_status find_snapshot(char **out, const char *repository, const char *revision, pare_error *err)
{
    char commit[COMMIT + 1] = "";
    bool there = revision != NULL && is_commit(revision, strlen(revision));
    size_t n = 1;
    pare_status st = PARE_OK;
    if (there)
        memcpy(commit, revision, COMMIT + 1);
    else
        st = read_ref(repository, revision != NULL ? revision : "main", commit, &there, err);
    if (st == PARE_OK && !there && revision == NULL)
        st = find_only(repository, commit, &n, err);
    if (st == PARE_OK && !there && (revision != NULL || n != 1))
        return pare_fail(err, PARE_ERR_FORMAT,
                         "%s: no snapshot of revision '%s' (%zu snapshots are there; nothing is downloaded)",
                         repository, revision != NULL ? revision : "main", n);
    pare_buf path = {0};
    if (st == PARE_OK)
        st = pare_buf_printf(&path, err, "%s/snapshots/%s", repository, commit);
    if (st == PARE_OK && !pare_path_is_folder(path.data))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: is not there; nothing is downloaded", path.data);
    if (st != PARE_OK)
        pare_buf_close(&path);
    *out = path.data;
    return st;
}

/* "refs%2Fpr%2F1": the only escape that a revision needs. */
static pare_status decode_revision(pare_str s, char *out, size_t size, const char *name, pare_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len && n + 1 < size; n++)
        if (i + 3 <= s.len && strncasecmp(s.data + i, "%2f", 3) == 0) {
            out[n] = '/';
            i += 3;
        } else {
            out[n] = s.data[i++];
        }
    out[n] = '\0';
    return s.len > 0 && s.len < size ? PARE_OK
                                     : pare_fail(err, PARE_ERR_FORMAT, "%s: the revision behind '@' is no name", name);
}

/* Behind hf://: org/name, @revision, /file. */
typedef struct hub_name {
    pare_str org, name, revision, file; /* data NULL: not given */
} hub_name;

static bool split_hub_name(hub_name *out, const char *text)
{
    size_t org = strcspn(text, "/");
    if (text[org] == '\0')
        return false;
    const char *name = text + org + 1;
    size_t n = strcspn(name, "/@");
    *out = (hub_name){.org = {text, org}, .name = {name, n}};
    const char *at = name + n;
    if (*at == '@') {
        out->revision = (pare_str){at + 1, strcspn(at + 1, "/")};
        at += 1 + out->revision.len;
    }
    if (*at == '/' && at[1] != '\0')
        out->file = (pare_str){at + 1, strlen(at + 1)};
    return is_plain(out->org) && is_plain(out->name);
}

/* A file of the snapshot: a plain name that leads to a regular file, through the cache's own link at most. */
static pare_status add_file(char **path, pare_str file, const char *name, pare_error *err)
{
    char why[256];
    const char *fault = pare_path_fault(file);
    if (fault != NULL)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: the file's name %s", name, fault);
    pare_path_state state;
    pare_status st = pare_path_look(&state, *path, file.data, why, sizeof why, err);
    if (st != PARE_OK)
        return st;
    if (state != PARE_PATH_FILE)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: %s/%s %s", name, *path, file.data, why);
    char *full = pare_path_join(*path, file.data, err);
    free(*path);
    *path = full;
    return full != NULL ? PARE_OK : PARE_ERR_MEMORY;
}

static pare_status resolve_hub(char **out, const char *name, pare_error *err)
{
    hub_name parts;
    char *root = NULL, revision[256];
    pare_buf repository = {0};
    if (!split_hub_name(&parts, name + strlen("hf://")))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: expected hf://org/name[@revision][/file]", name);
    pare_status st = hub_root(&root, err);
    if (st == PARE_OK)
        st = pare_buf_printf(&repository, err, "%s/models--%.*s--%.*s", root, (int)parts.org.len, parts.org.data,
                             (int)parts.name.len, parts.name.data);
    if (st == PARE_OK && !pare_path_is_folder(repository.data))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %s is not there; nothing is downloaded", name, repository.data);
    if (st == PARE_OK && parts.revision.data != NULL)
        st = decode_revision(parts.revision, revision, sizeof revision, name, err);
    if (st == PARE_OK)
        st = find_snapshot(out, repository.data, parts.revision.data != NULL ? revision : NULL, err);
    if (st == PARE_OK && parts.file.data != NULL && (st = add_file(out, parts.file, name, err)) != PARE_OK) {
        free(*out);
        *out = NULL;
    }
    pare_buf_close(&repository);
    free(root);
    return st;
}

/* [[registry/]namespace/]model[:tag], with Ollama's own names for what is left out. */
static pare_status resolve_ollama(char **out, const char *name, pare_error *err)
{
    const char *text = name + strlen("ollama://"), *colon = strrchr(text, ':');
    if (colon != NULL && strchr(colon, '/') != NULL) /* the port of a registry */
        colon = NULL;
    pare_str parts[3] = {{"registry.ollama.ai", 18}, {"library", 7}, {NULL, 0}},
             tag = colon != NULL ? (pare_str){colon + 1, strlen(colon + 1)} : (pare_str){"latest", 6};
    size_t n = colon != NULL ? (size_t)(colon - text) : strlen(text), first = 3;
    for (size_t end = n; first > 0;) { /* from the last part on */
        size_t start = end;
        while (start > 0 && text[start - 1] != '/')
            start--;
        parts[--first] = (pare_str){text + start, end - start};
        if (start == 0)
            break;
        end = start - 1;
        if (first == 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: expected ollama://[[registry/]namespace/]model[:tag]", name);
    }
    if (!is_plain(parts[0]) || !is_plain(parts[1]) || !is_plain(parts[2]) || !is_plain(tag))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: expected ollama://[[registry/]namespace/]model[:tag]", name);
    char *root = NULL;
    pare_buf path = {0};
    struct stat info;
    bool there = false;
    pare_status st = ollama_root(&root, err);
    if (st == PARE_OK)
        st =
            pare_buf_printf(&path, err, "%s/manifests/%.*s/%.*s/%.*s/%.*s", root, (int)parts[0].len, parts[0].data,
                            (int)parts[1].len, parts[1].data, (int)parts[2].len, parts[2].data, (int)tag.len, tag.data);
    if (st == PARE_OK)
        st = pare_look_link(path.data, &info, &there, err);
    if (st == PARE_OK && (!there || !S_ISREG(info.st_mode)))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: %s is no file; nothing is downloaded", name, path.data);
    if (st != PARE_OK)
        pare_buf_close(&path);
    *out = path.data;
    free(root);
    return st;
}

/* path without slashes at its end is .../models--org--name, a folder with snapshots. */
static bool is_repository(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t start = n;
    while (start > 0 && path[start - 1] != '/')
        start--;
    char *inside = strncmp(path + start, "models--", 8) == 0 ? pare_path_join(path, "snapshots", NULL) : NULL;
    bool is = inside != NULL && pare_path_is_folder(inside);
    free(inside);
    return is;
}

bool pare_store_has_name(const char *name)
{
    return strncmp(name, "hf://", 5) == 0 || strncmp(name, "ollama://", 9) == 0;
}

const char *pare_store_snapshot(const char *path, size_t *len)
{
    const char *found = NULL;
    for (const char *at = path; (at = strstr(at, PARE_STORE_SNAPSHOTS)) != NULL; at++) {
        const char *revision = at + strlen(PARE_STORE_SNAPSHOTS), *start = at;
        while (start > path && start[-1] != '/')
            start--;
        if (is_commit(revision, strcspn(revision, "/")) && at - start > 8 && strncmp(start, "models--", 8) == 0) {
            found = start + 8;
            *len = (size_t)(at - found);
        }
    }
    return found;
}

pare_status pare_store_resolve(char **out, const char *name, pare_error *err)
{
    *out = NULL;
    if (strncmp(name, "hf://", 5) == 0)
        return resolve_hub(out, name, err);
    if (strncmp(name, "ollama://", 9) == 0)
        return resolve_ollama(out, name, err);
    return is_repository(name) ? find_snapshot(out, name, NULL, err) : PARE_OK;
}
