/* What a store knows of files, and whether it is so. */
#include "core/json.h"
#include "core/look.h"
#include "core/progress.h"
#include "core/text.h"
#include "formats/folder_list.h"
#include "formats/git_blob.h"
#include "formats/pin_scan.h"
#include "formats/safe_path.h"
#include "formats/store_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ETAG_SHA1 = 40, ETAG_SHA256 = 64, MAX_LINK = 4096, NOTE_BYTES = 512 };

bool pare_store_is_etag(const char *text)
{
    size_t n = strspn(text, "0123456789abcdef");
    return (n == ETAG_SHA1 || n == ETAG_SHA256) && text[n] == '\0';
}

pare_status pare_store_list_add(pare_store_list *list, const char *name, const char *path, const char *hex,
                                const uint64_t *size, pare_error *err)
{
    pare_store_entry *entries = realloc(list->entries, (list->n + 1) * sizeof *entries);
    if (entries == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu files of a store", list->n + 1);
    list->entries = entries;
    pare_store_entry *e = &entries[list->n++];
    *e = (pare_store_entry){.name = strdup(name),
                            .path = strdup(path),
                            .git = strlen(hex) == ETAG_SHA1,
                            .has_size = size != NULL,
                            .size = size != NULL ? *size : 0};
    if (e->name == NULL || e->path == NULL || !pare_unhex(e->hash, e->git ? 20 : 32, hex))
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory for what the store says", path);
    return PARE_OK;
}

void pare_store_list_close(pare_store_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->entries[i].name);
        free(list->entries[i].path);
    }
    free(list->entries);
    *list = (pare_store_list){0};
}

/* path links to .../blobs/<etag>: add it. */
static pare_status add_link(pare_store_list *list, const char *name, const char *path, pare_error *err)
{
    char target[MAX_LINK];
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    const char *slash = strrchr(target, '/');
    bool in_blobs = slash != NULL && slash - target >= 5 && strncmp(slash - 5, "blobs", 5) == 0;
    if (!in_blobs || !pare_store_is_etag(slash + 1))
        return PARE_OK;
    list->store = "the Hub's cache";
    return pare_store_list_add(list, name, path, slash + 1, NULL, err);
}

/* The note of a download to folder: FOLDER/.cache/huggingface/download/NAME.metadata, its second line the etag. */
static pare_status add_note(pare_store_list *list, const char *folder, const char *name, pare_error *err)
{
    char text[NOTE_BYTES + 1], why[256];
    pare_buf note = {0};
    pare_status st = pare_buf_printf(&note, err, ".cache/huggingface/download/%s.metadata", name);
    pare_path_state state = PARE_PATH_ABSENT;
    if (st == PARE_OK)
        st = pare_path_look(&state, folder, note.data, why, sizeof why, err);
    char *path = state == PARE_PATH_FILE ? pare_path_join(folder, note.data, err) : NULL;
    char *full = state == PARE_PATH_FILE ? pare_path_join(folder, name, err) : NULL;
    FILE *f = path != NULL ? fopen(path, "rb") : NULL;
    size_t n = f != NULL ? fread(text, 1, NOTE_BYTES, f) : 0;
    if (f != NULL)
        fclose(f);
    text[n] = '\0';
    char *etag = strchr(text, '\n');
    if (etag != NULL)
        etag[1 + strcspn(etag + 1, "\r\n")] = '\0';
    if (f != NULL && full != NULL) {
        list->store = "the Hub's client";
        st = etag != NULL && pare_store_is_etag(etag + 1)
                 ? pare_store_list_add(list, name, full, etag + 1, NULL, err)
                 : pare_fail(err, PARE_ERR_FORMAT, "%s: line 2 is no etag of 40 or 64 hexadecimal digits", path);
    }
    free(path);
    free(full);
    pare_buf_close(&note);
    return st;
}

pare_status pare_store_list_file(pare_store_list *list, const char *folder, const char *name, pare_error *err)
{
    size_t before = list->n;
    char *path = pare_path_join(folder, name, err);
    pare_status st = path != NULL ? add_link(list, name, path, err) : PARE_ERR_MEMORY;
    free(path);
    return st == PARE_OK && list->n == before ? add_note(list, folder, name, err) : st;
}

static pare_status list_folder(pare_store_list *list, const char *folder, pare_error *err)
{
    pare_folder_list files = {0};
    pare_status st = pare_folder_list_read(&files, folder, err);
    for (size_t i = 0; i < files.n && st == PARE_OK; i++)
        if (files.entries[i].why == NULL)
            st = pare_store_list_file(list, folder, files.entries[i].name, err);
    pare_folder_list_close(&files);
    return st;
}

bool pare_store_is_blob(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    return strncmp(name, "sha256-", 7) == 0 && strlen(name) == 7 + ETAG_SHA256 && pare_store_is_etag(name + 7);
}

/* A blob of Ollama's, else what the Hub knows. */
static pare_status list_one(pare_store_list *list, const char *path, pare_error *err)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    if (pare_store_is_blob(path)) {
        list->store = "Ollama's store";
        return pare_store_list_add(list, name, path, name + 7, NULL, err);
    }
    char *folder = pare_path_folder(path, err);
    pare_status st = folder != NULL ? pare_store_list_file(list, folder, name, err) : PARE_ERR_MEMORY;
    free(folder);
    return st;
}

pare_status pare_store_list_read(pare_store_list *list, const char *path, pare_error *err)
{
    enum { HEAD = 1 << 16 };
    *list = (pare_store_list){0};
    if (pare_path_is_folder(path))
        return list_folder(list, path, err);
    char *head = malloc(HEAD);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat info;
    ssize_t n = head != NULL && fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? read(fd, head, HEAD) : 0;
    bool manifest = n > 0 && head[0] == '{' && pare_store_is_manifest(head, (size_t)n);
    if (fd >= 0)
        close(fd);
    free(head);
    return manifest ? pare_store_list_manifest(list, path, err) : list_one(list, path, err);
}

static pare_status tell(const pare_store_list *list, const pare_store_entry *e, const uint8_t *is,
                        pare_store_fault fault, void *user, pare_error *err)
{
    char says[PARE_SHA256_HEX], hex[PARE_SHA256_HEX], text[2 * PARE_SHA256_HEX + 64];
    size_t n = e->git ? 20 : 32;
    if (memcmp(is, e->hash, n) == 0)
        return PARE_OK;
    pare_hex(says, e->hash, n);
    pare_hex(hex, is, n);
    snprintf(text, sizeof text, "is %s, %s says %s", hex, list->store, says);
    return fault(e->git ? "git_sha1" : "sha256", e->name, text, user, err);
}

/* What is there and of the right size is hashed; *hash says which. */
static pare_status look(const pare_store_list *list, const pare_store_entry *e, bool *hash, pare_store_fault fault,
                        void *user, pare_error *err)
{
    struct stat info;
    char text[128];
    *hash = false;
    bool there;
    pare_status st = pare_look(e->path, &info, &there, err);
    if (st != PARE_OK)
        return st;
    if (!there) {
        snprintf(text, sizeof text, "is absent, %s lists it", list->store);
        return fault("missing", e->name, text, user, err);
    }
    if (!S_ISREG(info.st_mode))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: is no regular file", e->path);
    if (e->has_size && (uint64_t)info.st_size != e->size) {
        snprintf(text, sizeof text, "has %" PRIu64 " bytes, %s says %" PRIu64, (uint64_t)info.st_size, list->store,
                 e->size);
        return fault("size", e->name, text, user, err);
    }
    *hash = true;
    return PARE_OK;
}

static pare_status add_pin(pare_pin *pin, const pare_store_entry *e, pare_error *err)
{
    pare_pin_file *f;
    struct stat info;
    pare_status st = pare_pin_add_file(pin, e->path, &f, err);
    if (st == PARE_OK && stat(e->path, &info) != 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot stat: %s", e->path, strerror(errno));
    if (st == PARE_OK) {
        f->source = pare_identity_of(&info);
        f->digest.n_bytes = f->source.size;
    }
    return st;
}

static pare_status check_git(const pare_store_list *list, const pare_store_entry *e, uint64_t *n_bytes,
                             pare_store_fault fault, void *user, pare_error *err)
{
    pare_pin alone = {0};
    uint8_t sha1[20];
    pare_status st = add_pin(&alone, e, err);
    if (st == PARE_OK && (st = pare_git_blob_sha1(alone.files, sha1, err)) == PARE_OK) {
        *n_bytes += alone.files[0].digest.n_bytes;
        st = tell(list, e, sha1, fault, user, err);
    }
    pare_pin_close(&alone);
    return st;
}

pare_status pare_store_check(const pare_store_list *list, uint64_t *n_bytes, pare_store_fault fault, void *user,
                             pare_error *err)
{
    pare_pin pin = {0};
    size_t *of = calloc(list->n + 1, sizeof *of);
    pare_status st = of != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu hashes", list->n);
    for (size_t i = 0; i < list->n && st == PARE_OK; i++) {
        const pare_store_entry *e = &list->entries[i];
        bool hash;
        if ((st = look(list, e, &hash, fault, user, err)) != PARE_OK || !hash)
            continue;
        if (e->git) {
            st = check_git(list, e, n_bytes, fault, user, err);
        } else {
            of[pin.n_files] = i;
            st = add_pin(&pin, e, err);
        }
    }
    if (st == PARE_OK)
        st = pare_pin_hash(pin.files, pin.n_files, NULL, PARE_HASH_SHA256, err);
    for (size_t i = 0; i < pin.n_files && st == PARE_OK; i++) {
        *n_bytes += pin.files[i].digest.n_bytes;
        st = tell(list, &list->entries[of[i]], pin.files[i].digest.sha256, fault, user, err);
    }
    pare_pin_close(&pin);
    free(of);
    return st;
}
