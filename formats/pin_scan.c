#include "formats/pin_scan.h"
#include "core/bytes.h"
#include "core/progress.h"
#include "core/threads.h"
#include "formats/folder_list.h"
#include "formats/gguf.h"
#include "formats/lock.h"
#include "formats/open.h"
#include "formats/safetensors.h"
#include "formats/safetensors_header.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20 };

static bool has_suffix(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/* The file starts as a safetensors file does: a header length that fits, and an object. */
static bool starts_as_safetensors(const pare_map *file)
{
    if (file->size < 10)
        return false;
    uint64_t len = pare_load_u64le(file->data);
    return len >= 2 && len <= PARE_SAFETENSORS_MAX_HEADER && len <= file->size - 8 &&
           memchr("{ \t\n\r", file->data[8], 5) != NULL;
}

static pare_status record_model(pare_pin_file *f, const pare_model *m, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->n_tensors && st == PARE_OK; i++) {
        pare_digest range = {.n_bytes = m->tensors[i].n_bytes};
        st = pare_pin_add_tensor(f, &m->tensors[i], m->tensors[i].offset, &range, err);
    }
    for (size_t i = 0; i < m->meta.n && st == PARE_OK; i++)
        st = pare_pin_add_meta(f, &m->meta.values[i], err);
    return st;
}

pare_status pare_pin_read_structure(pare_pin_file *f, bool *is_model, pare_error *err)
{
    pare_map file;
    pare_model m = {0};
    *is_model = false;
    pare_status st = pare_map_open(&file, f->path, err);
    if (st != PARE_OK)
        return st;
    f->digest.n_bytes = file.size;
    f->source = file.id;
    if (has_suffix(f->path, ".gguf") || (file.size >= 4 && memcmp(file.data, "GGUF", 4) == 0)) {
        *is_model = true;
        st = pare_gguf_parse(&m, file.data, (size_t)file.size, f->path, err);
    } else if (has_suffix(f->path, ".safetensors") || starts_as_safetensors(&file)) {
        *is_model = true;
        st = pare_safetensors_parse(&m, file.data, (size_t)file.size, f->path, err);
    }
    if (st == PARE_OK)
        st = record_model(f, &m, err);
    pare_model_close(&m);
    pare_map_close(&file);
    return st;
}

/* A range of a file to hash. */
typedef struct job {
    const char *path;
    uint64_t file_size, offset, len;
    pare_digest *out;
    const pare_identity *source;
} job;

typedef struct job_list {
    job *jobs;
    size_t n;
    pare_hash_kind kind;
    uint64_t done, total;
} job_list;

static int compare_jobs(const void *pa, const void *pb)
{
    const job *a = pa, *b = pb;
    return a->len > b->len ? -1 : a->len < b->len;
}

/* Whole files and their tensors, the longest first, so that no thread starts a long one when the others are done. */
static pare_status list_jobs(job_list *list, pare_pin_file *files, size_t n, const bool *skip, pare_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += 1 + files[i].n_tensors;
    if ((list->jobs = calloc(count > 0 ? count : 1, sizeof *list->jobs)) == NULL)
        return pare_fail(err, PARE_ERR_MEMORY, "no memory for %zu hashes", count);
    for (size_t i = 0; i < n; i++) {
        pare_pin_file *f = &files[i];
        if (skip != NULL && skip[i])
            continue;
        list->jobs[list->n++] = (job){f->path, f->digest.n_bytes, 0, f->digest.n_bytes, &f->digest, &f->source};
        for (size_t k = 0; k < f->n_tensors; k++) {
            pare_pin_tensor *t = &f->tensors[k];
            list->jobs[list->n++] = (job){f->path, f->digest.n_bytes, t->offset, t->digest.n_bytes, &t->digest, &f->source};
        }
    }
    for (size_t i = 0; i < list->n; i++)
        list->total += list->jobs[i].len;
    qsort(list->jobs, list->n, sizeof *list->jobs, compare_jobs);
    return PARE_OK;
}

static pare_status open_regular(const char *path, uint64_t size, int *fd, pare_error *err)
{
    struct stat info;
    *fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: cannot open: %s", path, strerror(errno));
    if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: is no regular file", path);
    if ((uint64_t)info.st_size != size)
        return pare_fail(err, PARE_ERR_IO,
                         "%s: had %" PRIu64 " bytes and now has %" PRIu64 ": it changes while it is read", path, size,
                         (uint64_t)info.st_size);
    return PARE_OK;
}

static pare_status hash_range(int fd, const job *j, uint8_t *buffer, size_t room, pare_hasher *h, job_list *list,
                              pare_error *err)
{
    for (uint64_t at = 0; at < j->len;) {
        size_t want = j->len - at < room ? (size_t)(j->len - at) : room;
        pare_status st = pare_check_interrupt(err);
        if (st != PARE_OK)
            return st;
        ssize_t n = pread(fd, buffer, want, (off_t)(j->offset + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return pare_fail(err, PARE_ERR_IO, "%s: cannot read at offset %" PRIu64 ": %s", j->path, j->offset + at,
                             n < 0 ? strerror(errno) : "the file became shorter");
        if ((st = pare_hasher_add(h, buffer, (size_t)n, err)) != PARE_OK)
            return st;
        at += (uint64_t)n;
#pragma omp critical(pare_pin_hash_progress)
        {
            list->done += (uint64_t)n;
            pare_progress("bytes", list->done, list->total, j->path);
        }
    }
    return PARE_OK;
}

static pare_status run_job(size_t i, int thread, void *ctx, pare_error *err)
{
    job_list *list = ctx;
    const job *j = &list->jobs[i];
    size_t room = j->len < READ_BYTES ? (size_t)j->len : READ_BYTES;
    pare_hasher h = {0};
    int fd = -1;
    (void)thread;
    uint8_t *buffer = malloc(room > 0 ? room : 1);
    pare_status st = buffer == NULL ? pare_fail(err, PARE_ERR_MEMORY, "%s: no memory to read", j->path)
                                    : open_regular(j->path, j->file_size, &fd, err);
    if (st == PARE_OK && (st = pare_hasher_open(&h, list->kind, err)) == PARE_OK &&
        (st = hash_range(fd, j, buffer, room, &h, list, err)) == PARE_OK &&
        (st = pare_identity_check_open(j->source, fd, j->path, err)) == PARE_OK)
        st = pare_hasher_finish(&h, j->out, err);
    pare_hasher_close(&h);
    if (fd >= 0)
        close(fd);
    free(buffer);
    return st;
}

pare_status pare_pin_hash(pare_pin_file *files, size_t n, const bool *skip, pare_hash_kind kind, pare_error *err)
{
    job_list list = {.kind = kind};
    pare_status st = list_jobs(&list, files, n, skip, err);
    if (st == PARE_OK)
        st = pare_parallel(list.n, run_job, &list, err);
    free(list.jobs);
    return st;
}

static pare_status add_structured(pare_pin *p, const char *path, pare_error *err)
{
    pare_pin_file *f = NULL;
    bool is_model;
    pare_status st = pare_pin_add_file(p, path, &f, err);
    return st == PARE_OK ? pare_pin_read_structure(f, &is_model, err) : st;
}

static pare_status add_maps(pare_pin *p, const pare_model *m, pare_error *err)
{
    pare_status st = PARE_OK;
    for (size_t i = 0; i < m->n_files && st == PARE_OK; i++)
        st = add_structured(p, m->files[i].path, err);
    return st;
}

/* One file, or all files of the set that it belongs to. */
static pare_status add_file_or_set(pare_pin *p, const char *path, pare_error *err)
{
    pare_map file;
    pare_model m = {0};
    pare_status st = pare_map_open(&file, path, err);
    if (st != PARE_OK)
        return st;
    bool gguf = file.size >= 4 && memcmp(file.data, "GGUF", 4) == 0,
         index = has_suffix(path, ".safetensors.index.json");
    pare_map_close(&file);
    if (!gguf && !index)
        return add_structured(p, path, err);
    st = gguf ? pare_gguf_open(&m, path, PARE_OPEN_RAW, err) : pare_safetensors_open_index(&m, path, err);
    if (st == PARE_OK && index)
        st = add_structured(p, path, err);
    if (st == PARE_OK)
        st = add_maps(p, &m, err);
    pare_model_close(&m);
    return st;
}

static pare_status add_folder(pare_pin *p, const char *path, pare_error *err)
{
    pare_folder_list list;
    pare_status st = pare_folder_list_read(&list, path, err);
    if (st == PARE_OK)
        st = pare_pin_add_folder(p, path, err);
    for (size_t i = 0; i < list.n && st == PARE_OK; i++) {
        const pare_folder_entry *e = &list.entries[i];
        if (e->why != NULL) {
            st = pare_fail(err, PARE_ERR_FORMAT, "%s/%s: %s, expected a regular file", path, e->name, e->why);
            break;
        }
        char *full = pare_path_join(path, e->name, err);
        st = full == NULL ? PARE_ERR_MEMORY : add_structured(p, full, err);
        free(full);
    }
    pare_folder_list_close(&list);
    return st;
}

pare_status pare_pin_scan(pare_pin *p, const char *path, pare_error *err)
{
    struct stat info;
    size_t first = p->n_files;
    if (stat(path, &info) != 0)
        return pare_fail(err, PARE_ERR_FORMAT, "%s: cannot open: %s", path, strerror(errno));
    pare_status st = S_ISDIR(info.st_mode) ? add_folder(p, path, err) : add_file_or_set(p, path, err);
    return st == PARE_OK ? pare_pin_hash(p->files + first, p->n_files - first, NULL, PARE_HASH_BOTH, err) : st;
}
