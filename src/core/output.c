#include "core/output.h"
#include "core/claim.h"
#include "core/look.h"
#include "core/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Small writes are gathered up to so many bytes; larger ones go to the file at once. */
enum { BUFFER_BYTES = 64 << 10 };

/* The disk is sent to work each time so much is written, not only at the end: the last sync has little left to wait
 * for. */
enum { WRITEBACK_BYTES = 16 << 20 };

struct pare_output {
    char *path, *tmp;
    int fd;
    void *lock; /* a mapping of the finished file, which is closed: it holds the lock */
    unsigned flags;
    uint64_t n_bytes; /* where the next byte goes, with what is buffered */
    uint64_t end;     /* of what was written behind n_bytes */
    bool finished, published;
    bool replaced; /* published, and tmp is what lay at path before */
    bool fresh;    /* published, and nothing lay there before */
    bool left;     /* tmp stays when it is closed */
    size_t n_buffered;
    uint64_t n_unsynced; /* written since the disk was last sent to work, */
    uint64_t unsynced;   /* from here on */
    uint8_t *buffer;     /* BUFFER_BYTES, until the file is finished: many may wait to be published together */
};

/* The temporaries that exist, for pare_output_abandon. One beyond this number is written all the same, only it stays
 * behind when the program is killed twice. */
enum { MAX_LISTED = 256 };
static _Atomic(const char *) listed[MAX_LISTED];

static void list_temporary(const char *tmp)
{
    for (size_t i = 0; i < MAX_LISTED; i++) {
        const char *expected = NULL;
        if (atomic_compare_exchange_strong(&listed[i], &expected, tmp))
            return;
    }
}

static void unlist_temporary(const char *tmp)
{
    for (size_t i = 0; i < MAX_LISTED; i++)
        if (atomic_load(&listed[i]) == tmp)
            atomic_store(&listed[i], NULL);
}

/* How many publications run; ABANDONED once the temporaries were removed. */
enum { ABANDONED = -1 };
static atomic_int publications;

pare_status pare_output_publishing(pare_error *err)
{
    int n = atomic_load(&publications);
    do
        if (n == ABANDONED)
            return pare_fail(err, PARE_ERR_INTERRUPTED, "interrupted");
    while (!atomic_compare_exchange_weak(&publications, &n, n + 1));
    return PARE_OK;
}

void pare_output_published(void)
{
    atomic_fetch_sub(&publications, 1);
}

static char *join(const char *a, const char *b, const char *c, pare_error *err)
{
    pare_buf text = {0};
    if (pare_buf_printf(&text, err, "%s%s%s", a, b, c) != PARE_OK)
        return NULL;
    return text.data;
}

/* The folder that holds path, owned by the caller. */
static char *folder_of(const char *path, pare_error *err)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return join(".", "", "", err);
    char *dir = join(path, "", "", err);
    if (dir != NULL)
        dir[slash == path ? 1 : slash - path] = '\0';
    return dir;
}

/* Make the rename durable: the entry lives in the folder. It has its name by now, so nothing fails any more. */
static void sync_folder(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t n = slash == NULL || slash == path ? 1 : (size_t)(slash - path);
    if (n >= sizeof dir)
        return;
    memcpy(dir, slash == NULL ? "." : path, n);
    dir[n] = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd); /* some file systems refuse it on a folder; the data itself is synced already */
    close(fd);
}

pare_status pare_output_check_room(const char *path, uint64_t n_bytes, pare_error *err)
{
    struct statvfs fs;
    char *dir = folder_of(path, err);
    if (dir == NULL)
        return PARE_ERR_MEMORY;
    int code = statvfs(dir, &fs); /* a folder that is absent is told by whoever creates the file */
    free(dir);
    uint64_t room = code == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
    if (room < n_bytes)
        return pare_fail(err, PARE_ERR_IO, "%s: disk full: %llu bytes needed, %llu free", path,
                         (unsigned long long)n_bytes, (unsigned long long)room);
    return PARE_OK;
}

/* Whether the file system is memory, which to reserve means to fill it with zeros, while everything waits. */
static bool lies_in_memory(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

pare_status pare_output_reserve(int fd, const char *path, uint64_t n_bytes, bool mapped, pare_error *err)
{
    pare_status st = pare_output_check_room(path, n_bytes, err);
    if (st != PARE_OK || n_bytes == 0)
        return st;
    if (!mapped && lies_in_memory(fd))
        return PARE_OK;
    int code;
    do
        code = posix_fallocate(fd, 0, (off_t)n_bytes);
    while (code == EINTR);
    if (code == ENOSPC || code == EFBIG || code == EDQUOT)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot reserve %llu bytes: %s", path, (unsigned long long)n_bytes,
                         strerror(code));
    return PARE_OK;
}

/* May path become a file with these flags? */
static pare_status check_target(const char *path, unsigned flags, pare_error *err)
{
    struct stat info;
    bool there;
    pare_status st = pare_look(path, &info, &there, err);
    if (st != PARE_OK || !there)
        return st;
    if (S_ISDIR(info.st_mode))
        return pare_fail(err, PARE_ERR_USAGE, "%s: is a folder, expected a file name for the output", path);
    if (!S_ISREG(info.st_mode)) /* the rename would replace the device itself */
        return pare_fail(err, PARE_ERR_USAGE, "%s: is no regular file, so it cannot be the output", path);
    if (!(flags & PARE_OUTPUT_FORCE))
        return pare_fail(err, PARE_ERR_USAGE, "%s: exists already; give --force to replace it", path);
    return PARE_OK;
}

/* Is the temporary that path would have one of those that this run has open? The same name may be another run's, in a
 * container of its own: its process may have the same number. */
static bool is_given_twice(const char *path)
{
    struct stat info;
    bool there, same = false;
    pare_buf name = {0};
    if (pare_buf_printf(&name, NULL, "%s%s%ld", path, PARE_CLAIM_MARK, (long)getpid()) == PARE_OK &&
        pare_look_link(name.data, &info, &there, NULL) == PARE_OK && there)
        for (size_t i = 0; i < MAX_LISTED && !same; i++) {
            const char *tmp = atomic_load(&listed[i]);
            same = tmp != NULL && pare_look_same(tmp, &info, &same, NULL) == PARE_OK && same;
        }
    pare_buf_close(&name);
    return same;
}

pare_status pare_output_open(pare_output **result, const char *path, uint64_t n_bytes, unsigned flags, pare_error *err)
{
    *result = NULL;
    pare_status st = check_target(path, flags, err);
    if (st != PARE_OK)
        return st;
    pare_output *out = calloc(1, sizeof *out);
    if (out == NULL || (out->buffer = malloc(BUFFER_BYTES)) == NULL) {
        free(out);
        return pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    }
    out->fd = -1;
    out->lock = MAP_FAILED;
    out->flags = flags;
    st = PARE_ERR_MEMORY;
    if ((out->path = join(path, "", "", err)) == NULL ||
        (st = pare_claim(path, PARE_CLAIM_FILE, &out->tmp, &out->fd, err)) != PARE_OK) {
        if (st == PARE_ERR_IO && is_given_twice(path))
            st = pare_fail(err, PARE_ERR_USAGE, "%s: two outputs of this run have this name", path);
        goto fail;
    }
    list_temporary(out->tmp);
    if ((st = check_target(path, flags, err)) != PARE_OK) /* what a dead run began to name may have appeared */
        goto fail;
    if ((st = pare_output_reserve(out->fd, out->path, n_bytes, false, err)) != PARE_OK)
        goto fail;
    *result = out;
    return PARE_OK;
fail:
    pare_output_close(out);
    return st;
}

/* n bytes that follow the n_bytes - n ones which are written or buffered already. */
static pare_status write_all(pare_output *out, const uint8_t *data, size_t n, pare_error *err)
{
    for (size_t at = 0; at < n;) {
        ssize_t part = write(out->fd, data + at, n - at);
        if (part < 0 && errno == EINTR)
            continue;
        if (part <= 0)
            return pare_fail(err, PARE_ERR_IO, "%s: cannot write at offset %llu: %s", out->path,
                             (unsigned long long)(out->n_bytes - n + at), part < 0 ? strerror(errno) : "short write");
        at += (size_t)part;
    }
    if (out->n_unsynced == 0 || out->n_bytes - n < out->unsynced)
        out->unsynced = out->n_bytes - n;
    out->n_unsynced += n;
    if (out->n_unsynced >= WRITEBACK_BYTES) {
        sync_file_range(out->fd, (off_t)out->unsynced, 0, SYNC_FILE_RANGE_WRITE); /* 0: to the end of the file. What
                                                                                     goes wrong the last sync tells */
        out->n_unsynced = 0;
    }
    return PARE_OK;
}

static pare_status flush(pare_output *out, pare_error *err)
{
    size_t n = out->n_buffered;
    out->n_buffered = 0;
    return write_all(out, out->buffer, n, err);
}

pare_status pare_output_write(pare_output *out, const void *data, size_t n, pare_error *err)
{
    pare_status st = n > BUFFER_BYTES - out->n_buffered ? flush(out, err) : PARE_OK;
    if (st != PARE_OK || n == 0)
        return st;
    out->n_bytes += n;
    if (n > BUFFER_BYTES)
        return write_all(out, data, n, err);
    memcpy(out->buffer + out->n_buffered, data, n);
    out->n_buffered += n;
    return PARE_OK;
}

pare_status pare_output_zeros(pare_output *out, uint64_t n, pare_error *err)
{
    static const uint8_t zeros[4096];
    pare_status st = PARE_OK;
    while (st == PARE_OK && n > 0) {
        size_t part = n < sizeof zeros ? (size_t)n : sizeof zeros;
        st = pare_output_write(out, zeros, part, err);
        n -= part;
    }
    return st;
}

pare_status pare_output_redirect(pare_output *out, const char *path, unsigned flags, pare_error *err)
{
    char *copy = join(path, "", "", err);
    if (copy == NULL)
        return PARE_ERR_MEMORY;
    free(out->path);
    out->path = copy;
    out->flags = flags;
    return PARE_OK;
}

uint64_t pare_output_offset(const pare_output *out)
{
    return out->n_bytes;
}

pare_status pare_output_seek(pare_output *out, uint64_t offset, pare_error *err)
{
    if (offset == out->n_bytes)
        return PARE_OK;
    pare_status st = flush(out, err);
    if (st == PARE_OK && (offset > INT64_MAX || lseek(out->fd, (off_t)offset, SEEK_SET) < 0))
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot go to offset %llu", out->path, (unsigned long long)offset);
    if (st != PARE_OK)
        return st;
    out->end = out->n_bytes > out->end ? out->n_bytes : out->end;
    out->n_bytes = offset;
    return PARE_OK;
}

pare_status pare_output_finish(pare_output *out, pare_error *err)
{
    uint64_t size = out->n_bytes > out->end ? out->n_bytes : out->end;
    pare_status st = flush(out, err);
    if (st == PARE_OK &&
        TEMP_FAILURE_RETRY(ftruncate(out->fd, (off_t)size)) != 0) /* the reservation may have been larger */
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot set the size: %s", out->path, strerror(errno));
    if (st == PARE_OK && TEMP_FAILURE_RETRY(fsync(out->fd)) != 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot sync: %s", out->path, strerror(errno));
    if (st == PARE_OK) {
        out->lock = mmap(NULL, 1, PROT_READ, MAP_SHARED, out->fd, 0); /* never read; a set may have many files */
        int code = close(out->fd);
        out->fd = -1;
        if (code != 0 && errno != EINTR) /* Linux has closed it by then */
            st = pare_fail(err, PARE_ERR_IO, "%s: cannot close: %s", out->path, strerror(errno));
    }
    out->finished = st == PARE_OK;
    free(out->buffer);
    out->buffer = NULL;
    return st;
}

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1) /* linux/fs.h */
#endif

/* renameat2 is younger than the oldest C library that the program runs on. */
static int exchange(const char *a, const char *b)
{
    return (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}

/* Does errno say that the file system, or the system, has no such call? */
static bool cannot_exchange(int number)
{
    return number == EINVAL || number == ENOSYS || number == EPERM;
}

/* Put tmp in path's place in one step; with keep_old what lay there is tmp then, where the file system can do that. */
static pare_status take_place(pare_output *out, bool keep_old, pare_error *err)
{
    out->replaced = keep_old && exchange(out->tmp, out->path) == 0;
    out->fresh = keep_old && !out->replaced && errno == ENOENT;
    if (keep_old && !out->replaced && !out->fresh && !cannot_exchange(errno)) /* the old one would be lost */
        return pare_fail(err, PARE_ERR_IO, "%s: cannot exchange it with %s: %s", out->path, out->tmp, strerror(errno));
    if (!out->replaced && rename(out->tmp, out->path) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot rename %s: %s", out->path, out->tmp, strerror(errno));
    out->published = true;
    sync_folder(out->path);
    return PARE_OK;
}

static pare_status give_name(pare_output *out, bool keep_old, pare_error *err)
{
    if (!out->finished)
        return pare_fail(err, PARE_ERR_USAGE, "%s: published before it was finished", out->path);
    /* Without force, a file that appeared since the start must not be replaced: link fails where rename would not. */
    if (!(out->flags & PARE_OUTPUT_FORCE)) {
        if (link(out->tmp, out->path) == 0) {
            unlink(out->tmp);
            out->published = out->fresh = true;
            sync_folder(out->path);
            return PARE_OK;
        }
        if (errno == EEXIST)
            return pare_fail(err, PARE_ERR_USAGE, "%s: appeared while it was being written; give --force to replace it",
                             out->path);
        /* a file system without hard links: fall through to the rename */
    }
    return take_place(out, keep_old, err);
}

pare_status pare_output_publish(pare_output *out, pare_error *err)
{
    return give_name(out, true, err);
}

pare_status pare_output_commit(pare_output *out, pare_error *err)
{
    pare_status st = pare_output_finish(out, err);
    return st == PARE_OK ? give_name(out, false, err) : st;
}

const char *pare_output_temporary(const pare_output *out)
{
    return out->tmp;
}

const char *pare_output_path(const pare_output *out)
{
    return out->path;
}

unsigned pare_output_get_flags(const pare_output *out)
{
    return out->flags;
}

bool pare_output_put_back(pare_output *out)
{
    if (out->replaced && exchange(out->tmp, out->path) == 0)
        out->replaced = out->published = false;
    return !out->replaced;
}

void pare_output_withdraw(pare_output *out)
{
    if (pare_output_put_back(out) && out->published && out->fresh)
        unlink(out->path);
}

void pare_output_leave(pare_output *out)
{
    out->left = true;
}

void pare_output_close(pare_output *out)
{
    if (out == NULL)
        return;
    if (out->fd >= 0)
        close(out->fd);
    if (out->tmp != NULL && !out->left && (!out->published || out->replaced))
        unlink(out->tmp);
    if (out->tmp != NULL)
        unlist_temporary(out->tmp);
    if (out->lock != MAP_FAILED)
        munmap(out->lock, 1);
    free(out->buffer);
    free(out->path);
    free(out->tmp);
    free(out);
}

pare_status pare_output_file(const char *path, const void *data, size_t n, unsigned flags, pare_error *err)
{
    pare_output *out = NULL;
    pare_status st = pare_output_open(&out, path, n, flags, err);
    if (st == PARE_OK && (st = pare_output_write(out, data, n, err)) == PARE_OK)
        st = pare_output_commit(out, err);
    pare_output_close(out);
    return st;
}

/* Go through a folder of regular files and links: refuse one that holds anything else, or (unlink_them) remove them. */
static pare_status walk_folder(const char *path, bool unlink_them, pare_error *err)
{
    pare_status st = PARE_OK;
    struct dirent *e;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot list: %s", path, strerror(errno));
    while (st == PARE_OK && (st = pare_look_next(dir, path, &e, err)) == PARE_OK && e != NULL) {
        struct stat info;
        if (fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            st = pare_fail(err, PARE_ERR_IO, "%s/%s: cannot stat: %s", path, e->d_name, strerror(errno));
        else if (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode))
            st = pare_fail(err, PARE_ERR_USAGE, "%s: holds '%s', which is no regular file; not replaced", path,
                           e->d_name);
        else if (unlink_them && unlinkat(dirfd(dir), e->d_name, 0) != 0)
            st = pare_fail(err, PARE_ERR_IO, "%s/%s: cannot remove: %s", path, e->d_name, strerror(errno));
    }
    closedir(dir);
    return st;
}

static pare_status remove_folder(const char *path, pare_error *err)
{
    pare_status st = walk_folder(path, false, err);
    if (st == PARE_OK && (st = walk_folder(path, true, err)) == PARE_OK && rmdir(path) != 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot remove: %s", path, strerror(errno));
    return st;
}

/* May d->path become a folder with these flags? */
static pare_status check_folder(const pare_outdir *d, pare_error *err)
{
    struct stat info;
    bool there;
    pare_status st = pare_look_link(d->path, &info, &there, err);
    if (st != PARE_OK || !there)
        return st;
    if (!(d->flags & PARE_OUTPUT_FORCE))
        return pare_fail(err, PARE_ERR_USAGE, "%s: exists already; give --force to replace it", d->path);
    if (!S_ISDIR(info.st_mode))
        return pare_fail(err, PARE_ERR_USAGE, "%s: is no folder; not replaced by one", d->path);
    return walk_folder(d->path, false, err); /* told now, not after hours of work */
}

pare_status pare_outdir_open(pare_outdir *d, const char *path, unsigned flags, pare_error *err)
{
    *d = (pare_outdir){.flags = flags, .lock = -1, .old_lock = -1};
    if ((d->path = join(path, "", "", err)) == NULL)
        return PARE_ERR_MEMORY;
    for (size_t n = strlen(d->path); n > 1 && d->path[n - 1] == '/'; n--)
        d->path[n - 1] = '\0';
    pare_status st = check_folder(d, err);
    if (st == PARE_OK && (st = pare_claim(d->path, PARE_CLAIM_FOLDER, &d->tmp, &d->lock, err)) == PARE_OK) {
        list_temporary(d->tmp);
        st = check_folder(d, err); /* what a dead run had moved aside may be back */
    }
    if (st != PARE_OK)
        pare_outdir_close(d);
    return st;
}

/* Put tmp in the place of path, a folder; *old, owned by the caller, is where that one lies then. */
static pare_status replace_folder(pare_outdir *d, char **old, pare_error *err)
{
    if ((*old = join(d->tmp, "", "", err)) == NULL)
        return PARE_ERR_MEMORY;
    if (exchange(d->tmp, d->path) == 0)
        return PARE_OK;
    if (!cannot_exchange(errno))
        return pare_fail(err, PARE_ERR_IO, "%s: cannot exchange it with %s: %s", d->path, d->tmp, strerror(errno));
    free(*old);
    if ((*old = join(d->tmp, PARE_CLAIM_ASIDE, "", err)) ==
        NULL) /* core/claim.h finds it behind a run that is killed here */
        return PARE_ERR_MEMORY;
    if (rename(d->path, *old) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot move aside: %s", d->path, strerror(errno));
    if (rename(d->tmp, d->path) == 0)
        return PARE_OK;
    pare_status st = pare_fail(err, PARE_ERR_IO, "%s: cannot rename %s: %s", d->path, d->tmp, strerror(errno));
    rename(*old, d->path);
    return st;
}

static pare_status commit_folder(pare_outdir *d, pare_error *err)
{
    struct stat info;
    bool there = false;
    pare_status st = d->flags & PARE_OUTPUT_FORCE ? pare_look_link(d->path, &info, &there, err) : PARE_OK;
    if (st != PARE_OK)
        return st;
    if (!there) {
        if (rename(d->tmp, d->path) != 0)
            return pare_fail(err, PARE_ERR_IO, "%s: cannot rename %s: %s", d->path, d->tmp, strerror(errno));
        d->committed = true;
        sync_folder(d->path);
        return PARE_OK;
    }
    if ((st = walk_folder(d->path, false, err)) != PARE_OK) /* it may have changed since the start */
        return st;
    d->old_lock = open(d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (d->old_lock >= 0)
        pare_claim_lock(d->old_lock); /* nobody takes it for a dead run's while it is removed */
    char *old = NULL;
    if ((st = replace_folder(d, &old, err)) == PARE_OK) {
        d->committed = true;
        sync_folder(d->path);
        pare_error why = {0};
        if (remove_folder(old, &why) != PARE_OK)
            st = pare_warn(err,
                           "%s: is complete, but the folder that it replaced is still there, as %s: %s; the next "
                           "run that writes to the name removes it",
                           d->path, old, why.text);
    }
    free(old);
    return st;
}

pare_status pare_outdir_commit(pare_outdir *d, pare_error *err)
{
    pare_status st = pare_output_publishing(err); /* no signal ends the program while the old folder is moved aside */
    if (st != PARE_OK)
        return st;
    st = commit_folder(d, err);
    pare_output_published();
    return st;
}

void pare_outdir_close(pare_outdir *d)
{
    if (d->tmp != NULL && !d->committed)
        remove_folder(d->tmp, NULL);
    if (d->tmp != NULL)
        unlist_temporary(d->tmp);
    if (d->tmp != NULL && d->lock >= 0)
        close(d->lock);
    if (d->tmp != NULL && d->old_lock >= 0)
        close(d->old_lock);
    free(d->path);
    free(d->tmp);
    *d = (pare_outdir){0};
}

/* opendir allocates, so the folder is read with the system call: struct linux_dirent64 is inode (8 bytes), offset (8),
 * record length (2), type (1), name. */
static void abandon_folder(const char *path)
{
    enum { RECORD_LEN = 16, NAME = 19 };
    _Alignas(8) char entries[4096];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    for (long n; (n = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0;)
        for (long at = 0; at < n;) {
            uint16_t len;
            memcpy(&len, entries + at + RECORD_LEN, sizeof len);
            unlinkat(fd, entries + at + NAME, 0); /* fails for . and .. */
            at += len;
        }
    close(fd);
    rmdir(path);
}

bool pare_output_abandon(void)
{
    int expected = 0;
    if (!atomic_compare_exchange_strong(&publications, &expected, ABANDONED) && expected != ABANDONED)
        return false;
    for (size_t i = 0; i < MAX_LISTED; i++) {
        const char *tmp = atomic_load(&listed[i]);
        if (tmp != NULL && unlink(tmp) != 0)
            abandon_folder(tmp);
    }
    return true;
}
