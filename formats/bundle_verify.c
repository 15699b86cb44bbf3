#include "core/look.h"
#include "core/map.h"
#include "core/progress.h"
#include "core/threads.h"
#include "formats/bundle.h"
#include "formats/bundle_names.h"
#include "formats/folder_list.h"
#include "formats/lock_compare.h"
#include "formats/safe_path.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, WHY = 512 };

/* A range of a file to hash. */
typedef struct job {
    const char *path, *name; /* borrowed; name in the folder, NULL: of the one file that is signed */
    uint64_t start, end, file_size;
    const pare_bundle_item *item; /* what it should be, or NULL: looked for among the missing ones */
    uint8_t digest[PARE_BUNDLE_MAX_DIGEST];
} job;

/* A file of the folder that the bundle does not name. */
typedef struct unsigned_file {
    char *path;
    const char *name; /* borrowed of the list */
    bool told;        /* found to be a missing one under another name */
} unsigned_file;

typedef struct bundle_run {
    pare_verification v;
    const pare_bundle *b;
    const pare_map *file;    /* the bundle */
    const char *name, *root; /* of the bundle, for findings; the folder, or the one file */
    const pare_bundle_options *options;
    char **paths;  /* [b->n_items] of the first item of each file, else NULL */
    bool *missing; /* [b->n_items] likewise */
    job *jobs;
    size_t n_jobs;
    uint64_t done, total;
    bool any_missing;
    uint64_t n_files;
} bundle_run;

static pare_status tell(bundle_run *run, const char *kind, const char *file, const char *item, const char *text,
                        pare_error *err)
{
    return pare_verification_add(&run->v, PARE_FOUND_SIGNATURE, kind, file, item, text, err);
}

static pare_status no_memory(const bundle_run *run, pare_error *err)
{
    return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory to verify it", run->name);
}

/* What findings call a file: the one file has no name of its own. */
static const char *file_name(const bundle_run *run, const pare_bundle_item *item)
{
    return item->name[0] != '\0' ? item->name : run->root;
}

static pare_status hash_job(const bundle_run *run, job *j, int fd, uint8_t *buffer, EVP_MD_CTX *md, pare_error *err)
{
    const EVP_MD *kind = run->b->n_digest == 32 ? EVP_sha256() : EVP_blake2b512();
    if (EVP_DigestInit_ex(md, kind, NULL) != 1)
        return pare_fail(err, PARE_ERR_UNSUPPORTED, "libcrypto has no %s", run->b->algorithm);
    for (uint64_t at = j->start; at < j->end;) {
        size_t want = j->end - at < READ_BYTES ? (size_t)(j->end - at) : READ_BYTES;
        pare_status st = pare_check_interrupt(err);
        if (st != PARE_OK)
            return st;
        ssize_t n = pread(fd, buffer, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return pare_fail(err, PARE_ERR_IO, "%s: cannot read at offset %" PRIu64 ": %s", j->path, at,
                             n < 0 ? strerror(errno) : "the file became shorter");
        if (EVP_DigestUpdate(md, buffer, (size_t)n) != 1)
            return no_memory(run, err);
        at += (uint64_t)n;
    }
    return EVP_DigestFinal_ex(md, j->digest, NULL) == 1 ? PARE_OK : no_memory(run, err);
}

/* name is NULL: the one file that the user has named. */
static pare_status open_job(const bundle_run *run, const job *j, int *fd, pare_error *err)
{
    pare_path_file file = {.fd = -1};
    pare_status st = PARE_OK;
    if (j->name == NULL) {
        *fd = open(j->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        return *fd >= 0 ? PARE_OK : pare_fail_open(err, j->path, errno);
    }
    if ((st = pare_path_open(&file, run->root, j->name, err)) == PARE_OK && file.state != PARE_PATH_FILE)
        st = pare_fail(err, PARE_ERR_IO, "%s: something else took its place while it was opened", j->path);
    *fd = file.fd;
    return st;
}

static pare_status run_job(size_t i, int thread, void *ctx, pare_error *err)
{
    bundle_run *run = ctx;
    job *j = &run->jobs[i];
    struct stat info;
    (void)thread;
    int fd = -1;
    pare_status opened = open_job(run, j, &fd, err);
    if (opened != PARE_OK)
        return opened;
    uint8_t *buffer = malloc(READ_BYTES);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    pare_status st = PARE_OK;
    if (buffer == NULL || md == NULL)
        st = no_memory(run, err);
    else if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: is no regular file", j->path);
    else if ((uint64_t)info.st_size != j->file_size)
        st = pare_fail(err, PARE_ERR_IO, "%s: changes while it is read", j->path);
    else
        st = hash_job(run, j, fd, buffer, md, err);
    if (st == PARE_OK) {
#pragma omp critical(pare_bundle_progress)
        {
            run->done += j->end - j->start;
            pare_progress("bytes", run->done, run->total, j->path);
        }
    }
    EVP_MD_CTX_free(md);
    free(buffer);
    close(fd);
    return st;
}

static pare_status run_jobs(bundle_run *run, pare_error *err)
{
    run->done = run->total = 0;
    for (size_t i = 0; i < run->n_jobs; i++)
        run->total += run->jobs[i].end - run->jobs[i].start;
    return pare_parallel(run->n_jobs, run_job, run, err);
}

static bool is_as_signed(const bundle_run *run, const job *j, const pare_bundle_item *item)
{
    return memcmp(j->digest, item->digest, run->b->n_digest) == 0;
}

/* The items from first on that are of the same file. */
static size_t n_of_file(const pare_bundle *b, size_t first)
{
    size_t n = 1;
    while (first + n < b->n_items && strcmp(b->items[first].name, b->items[first + n].name) == 0)
        n++;
    return n;
}

/* Queue the items [first, first + n) of one file, which is there. */
static pare_status queue_file(bundle_run *run, size_t first, size_t n, pare_error *err)
{
    struct stat info;
    char why[WHY];
    const char *path = run->paths[first];
    if (stat(path, &info) != 0)
        return pare_fail_open(err, path, errno);
    uint64_t size = (uint64_t)info.st_size, last = run->b->items[first + n - 1].end;
    run->n_files++;
    for (size_t i = first; i < first + n; i++) {
        const pare_bundle_item *item = &run->b->items[i];
        if (!run->b->shards || item->end <= size)
            run->jobs[run->n_jobs++] = (job){
                path, run->b->single ? NULL : item->name, item->start, run->b->shards ? item->end : size, size, item,
                {0}};
    }
    if (!run->b->shards || size == last)
        return PARE_OK;
    snprintf(why, sizeof why, "%" PRIu64 " bytes, %" PRIu64 " are signed", size, last);
    return tell(run, "signed content", file_name(run, &run->b->items[first]), "", why, err);
}

static pare_status look_at_file(bundle_run *run, size_t first, size_t n, pare_error *err)
{
    char why[WHY];
    const pare_bundle_item *item = &run->b->items[first];
    if (run->b->single) {
        run->paths[first] = strdup(run->root);
        return run->paths[first] != NULL ? queue_file(run, first, n, err) : no_memory(run, err);
    }
    pare_path_state found;
    pare_status st = pare_path_look(&found, run->root, item->name, why, sizeof why, err);
    if (st != PARE_OK)
        return st;
    if (found == PARE_PATH_REFUSED)
        return tell(run, "signed refused", item->name, "", why, err);
    run->missing[first] = found == PARE_PATH_ABSENT;
    run->any_missing = run->any_missing || run->missing[first];
    if (run->missing[first])
        return PARE_OK;
    run->paths[first] = pare_path_join(run->root, item->name, err);
    return run->paths[first] != NULL ? queue_file(run, first, n, err) : PARE_ERR_MEMORY;
}

static pare_status compare_signed(bundle_run *run, pare_error *err)
{
    char range[WHY] = "";
    pare_status st = PARE_OK;
    for (size_t i = 0, n; i < run->b->n_items && st == PARE_OK; i += n)
        st = look_at_file(run, i, n = n_of_file(run->b, i), err);
    if (st == PARE_OK)
        st = run_jobs(run, err);
    for (size_t i = 0; i < run->n_jobs && st == PARE_OK; i++) {
        const job *j = &run->jobs[i];
        if (is_as_signed(run, j, j->item))
            continue;
        if (run->b->shards)
            snprintf(range, sizeof range, "offsets %" PRIu64 " to %" PRIu64, j->start, j->end);
        char text[WHY];
        snprintf(text, sizeof text, "the %s is not the signed one", run->b->algorithm);
        st = tell(run, "signed content", file_name(run, j->item), range, text, err);
    }
    return st;
}

static bool is_at_or_below(const char *name, const char *path)
{
    size_t n = strlen(path);
    return strncmp(name, path, n) == 0 && (name[n] == '\0' || name[n] == '/');
}

static bool is_ignored(const char *name, void *user)
{
    const pare_bundle *b = ((const bundle_run *)user)->b;
    for (size_t i = 0; i < PARE_BUNDLE_N_GIT_NAMES; i++)
        if (is_at_or_below(name, pare_bundle_git_names[i]))
            return true;
    for (size_t i = 0; i < b->n_ignored; i++)
        if (is_at_or_below(name, b->ignored[i]))
            return true;
    return false;
}

/* The regular files that the bundle does not name; tell of FIFOs, links and the like at once. */
static pare_status find_unsigned(bundle_run *run, const pare_folder_list *list, unsigned_file *files, size_t *n,
                                 pare_error *err)
{
    pare_index known = {0};
    struct stat info;
    bool there;
    pare_status st = PARE_OK;
    for (size_t i = 0; i < run->b->n_items && st == PARE_OK; i++) {
        const char *name = run->b->items[i].name;
        st = pare_index_add(&known, (pare_str){name, strlen(name)}, (int64_t)i, NULL, err);
    }
    for (size_t i = 0; i < list->n && st == PARE_OK; i++) {
        const pare_folder_entry *e = &list->entries[i];
        if (pare_index_find(&known, (pare_str){e->name, strlen(e->name)}) != PARE_INDEX_NONE)
            continue;
        if (e->why != NULL) {
            if (!run->options->ignore_unsigned)
                st = tell(run, "unsigned", e->name, "", e->why, err);
            continue;
        }
        char *path = pare_path_join(run->root, e->name, err);
        if (path == NULL)
            st = PARE_ERR_MEMORY;
        else if ((st = pare_look(path, &info, &there, err)) != PARE_OK || !there ||
                 (info.st_dev == run->file->device && info.st_ino == run->file->inode) ||
                 (run->b->shards && info.st_size == 0)) /* the bundle itself; an empty file has no shards */
            free(path);
        else
            files[(*n)++] = (unsigned_file){.path = path, .name = e->name};
    }
    pare_index_close(&known);
    return st;
}

/* Hash the unsigned files: one of them may be a missing one under another name. */
static pare_status hash_unsigned(bundle_run *run, const unsigned_file *files, size_t n, pare_error *err)
{
    struct stat info;
    free(run->jobs);
    run->n_jobs = 0;
    if ((run->jobs = calloc(n > 0 ? n : 1, sizeof *run->jobs)) == NULL)
        return no_memory(run, err);
    for (size_t i = 0; i < n; i++) {
        if (stat(files[i].path, &info) != 0)
            return pare_fail_open(err, files[i].path, errno);
        uint64_t size = (uint64_t)info.st_size;
        run->jobs[run->n_jobs++] = (job){files[i].path, files[i].name, 0, size, size, NULL, {0}};
    }
    return run_jobs(run, err);
}

static pare_status tell_missing(bundle_run *run, size_t first, unsigned_file *files, size_t n, pare_error *err)
{
    const pare_bundle_item *item = &run->b->items[first];
    char text[WHY];
    for (size_t i = 0; i < n && n_of_file(run->b, first) == 1; i++) {
        const job *j = &run->jobs[i];
        if (!is_as_signed(run, j, item) || (run->b->shards && j->end != item->end))
            continue;
        files[i].told = true;
        snprintf(text, sizeof text, "is missing; same content as '%s'", files[i].name);
        return tell(run, "signed renamed", item->name, "", text, err);
    }
    return tell(run, "signed missing", item->name, "", "is signed, and not there", err);
}

static pare_status compare_folder(bundle_run *run, pare_error *err)
{
    pare_folder_list list = {0};
    size_t n = 0;
    if (run->b->single || (run->options->ignore_unsigned && !run->any_missing))
        return PARE_OK;
    pare_status st = pare_folder_list_where(&list, run->root, is_ignored, run, err);
    unsigned_file *files = st == PARE_OK ? calloc(list.n > 0 ? list.n : 1, sizeof *files) : NULL;
    if (st == PARE_OK && files == NULL)
        st = no_memory(run, err);
    if (st == PARE_OK && (st = find_unsigned(run, &list, files, &n, err)) == PARE_OK && run->any_missing)
        st = hash_unsigned(run, files, n, err);
    for (size_t i = 0; i < run->b->n_items && st == PARE_OK; i++)
        if (run->missing[i])
            st = tell_missing(run, i, files, n, err);
    for (size_t i = 0; i < n && st == PARE_OK; i++)
        if (!files[i].told && !run->options->ignore_unsigned)
            st = tell(run, "unsigned", files[i].name, "", "is not in the bundle", err);
    for (size_t i = 0; i < n; i++)
        free(files[i].path);
    free(files);
    pare_folder_list_close(&list);
    return st;
}

/* The file that was asked for has to be among the signed ones, however many others are. */
static pare_status check_must_sign(bundle_run *run, pare_error *err)
{
    const char *path = run->options->must_sign;
    struct stat wanted;
    if (path == NULL)
        return PARE_OK;
    bool found = false, known;
    pare_status st = pare_look(path, &wanted, &known, err);
    for (size_t i = 0; i < run->b->n_items && known && !found && st == PARE_OK; i++)
        if (run->paths[i] != NULL)
            st = pare_look_same(run->paths[i], &wanted, &found, err);
    if (st != PARE_OK)
        return st;
    if (found || !run->options->ignore_unsigned) /* else it is told as unsigned already */
        return PARE_OK;
    return tell(run, "unsigned", path, "", "is not in the bundle", err);
}

static pare_status compare(bundle_run *run, pare_error *err)
{
    size_t n = run->b->n_items > 0 ? run->b->n_items : 1;
    run->paths = calloc(n, sizeof *run->paths);
    run->missing = calloc(n, sizeof *run->missing);
    run->jobs = calloc(n, sizeof *run->jobs);
    pare_status st = PARE_OK;
    if (run->paths == NULL || run->missing == NULL || run->jobs == NULL)
        st = no_memory(run, err);
    else if (pare_path_is_folder(run->root) == run->b->single)
        st = run->b->single
                 ? pare_fail(err, PARE_ERR_FORMAT, "%s: signs one file, and %s is a folder: name the file", run->name,
                             run->root)
                 : pare_fail(err, PARE_ERR_FORMAT, "%s: signs files of a folder, and %s is none", run->name, run->root);
    if (st == PARE_OK && (st = compare_signed(run, err)) == PARE_OK && (st = compare_folder(run, err)) == PARE_OK)
        st = check_must_sign(run, err);
    for (size_t i = 0; i < n && run->paths != NULL; i++)
        free(run->paths[i]);
    free(run->paths);
    free(run->missing);
    free(run->jobs);
    return st;
}

static pare_status verify_file(bundle_run *run, const char *target, const pare_ec_key *key, pare_error *err)
{
    pare_envelope e = {0};
    pare_bundle b = {0};
    const char *fault = NULL;
    char *folder = NULL;
    pare_status st = pare_envelope_parse(&e, run->name, run->file->data, (size_t)run->file->size, err);
    if (st == PARE_OK && (st = pare_envelope_check(&e, key, &fault, err)) == PARE_OK && fault != NULL)
        st = tell(run, "signature", run->name, "", fault, err);
    else if (st == PARE_OK && (st = pare_bundle_parse(&b, run->name, e.payload.data, e.payload.len, err)) == PARE_OK) {
        run->b = &b;
        run->root = target;
        if (!b.single && !pare_path_is_folder(target) && (folder = pare_path_folder(target, err)) == NULL)
            st = PARE_ERR_MEMORY;
        else if (folder != NULL)
            run->root = folder;
        if (st == PARE_OK)
            st = compare(run, err);
    }
    free(folder);
    pare_bundle_close(&b);
    pare_envelope_close(&e);
    return st;
}

pare_status pare_bundle_verify(const char *path, const char *target, const pare_ec_key *key,
                               const pare_bundle_options *options, pare_verify_report *r, uint64_t *n_files,
                               pare_error *err)
{
    pare_map file;
    bundle_run run = {.v = {.report = r}, .file = &file, .name = path, .options = options};
    pare_status st;
    *n_files = 0;
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        st = tell(&run, "signature", path, "", "there is no such bundle", err);
        r->signature = PARE_VERDICT_ABSENT;
        return st;
    }
    if ((st = pare_map_open_content(&file, path, err)) != PARE_OK)
        return st;
    if (file.size > PARE_BUNDLE_MAX_BYTES)
        st = pare_fail(err, PARE_ERR_RANGE, "%s: %" PRIu64 " bytes, at most %d are allowed", path, file.size,
                       PARE_BUNDLE_MAX_BYTES);
    else {
        r->signature = PARE_VERDICT_OK;
        st = verify_file(&run, target, key, err);
    }
    *n_files = run.n_files;
    pare_map_close(&file);
    return st;
}
