#include "core/spool.h"

#include "core/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file without a name beside `beside`, or -1 with errno. */
static int open_nameless(const char *beside)
{
    const char *slash = strrchr(beside, '/');
    size_t len = slash != NULL ? (size_t)(slash - beside) + 1 : 0;
    char *path = malloc(len + sizeof ".pare-spool-XXXXXX");
    if (path == NULL)
        return -1;
    memcpy(path, beside, len);
    strcpy(path + len, ".");
    int fd = open(path, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) { /* a file system without O_TMPFILE: for a moment it has a name */
        strcpy(path + len, ".pare-spool-XXXXXX");
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0)
            unlink(path);
    }
    free(path);
    return fd;
}

static pare_status check_size(const char *path, uint64_t size, pare_error *err)
{
    if (size <= SIZE_MAX && (int64_t)size >= 0)
        return PARE_OK;
    return pare_fail(err, PARE_ERR_MEMORY, "%s: %llu bytes cannot be set aside", path, (unsigned long long)size);
}

/* Map all of fd, which is path or lies beside it, with `size` bytes; they are reserved unless they are there. */
static pare_status map_file(pare_spool *s, int fd, const char *path, uint64_t size, bool is_there, pare_error *err)
{
    void *p = MAP_FAILED;
    pare_status st = is_there ? PARE_OK : pare_output_reserve(fd, path, size, true, err);
    if (st != PARE_OK)
        return st;
    if (is_there || TEMP_FAILURE_RETRY(ftruncate(fd, (off_t)size)) == 0)
        p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot set %llu bytes aside in its folder: %s", path,
                         (unsigned long long)size, strerror(errno));
    s->data = p;
    s->size = size;
    return PARE_OK;
}

pare_status pare_spool_open(pare_spool *s, const char *beside, uint64_t size, pare_error *err)
{
    *s = (pare_spool){0};
    pare_status st = check_size(beside, size, err);
    if (st != PARE_OK || size == 0)
        return st;
    int fd = open_nameless(beside);
    if (fd < 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot make a file in its folder: %s", beside, strerror(errno));
    st = map_file(s, fd, beside, size, false, err);
    close(fd);
    return st;
}

/* Open the file, or create it: *created. -1 with errno. */
static int open_named(const char *path, bool *created)
{
    const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC;
    int fd = TEMP_FAILURE_RETRY(open(path, flags));
    *created = fd < 0 && errno == ENOENT;
    if (*created)
        *created = (fd = TEMP_FAILURE_RETRY(open(path, flags | O_CREAT | O_EXCL, 0666))) >= 0;
    return fd;
}

/* Lock the file fd and find out its size. *others: another process has it. */
static pare_status look_at(int fd, const char *path, uint64_t *size, bool *others, pare_error *err)
{
    struct stat info;
    *others = false;
    if (fstat(fd, &info) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return pare_fail(err, PARE_ERR_FORMAT, "%s: is no regular file", path);
    const int code = TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB));
    *others = code != 0 && errno == EWOULDBLOCK;
    if (*others)
        return pare_fail(err, PARE_ERR_IO, "%s: another process is at work with it", path);
    if (code != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot be locked: %s", path, strerror(errno));
    *size = (uint64_t)info.st_size;
    return PARE_OK;
}

pare_status pare_spool_open_named(pare_spool *s, const char *path, uint64_t size, bool reuse, bool *reused,
                                  pare_error *err)
{
    uint64_t old = 0;
    bool ours, others;
    *s = (pare_spool){0};
    *reused = false;
    pare_status st = check_size(path, size, err);
    if (st != PARE_OK)
        return st;
    int fd = open_named(path, &ours);
    if (fd < 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    st = look_at(fd, path, &old, &others, err);
    *reused = st == PARE_OK && reuse && old > 0; /* of no bytes: a run was killed before it held anything */
    ours = (ours && !others) || (st == PARE_OK && !*reused);
    if (st == PARE_OK && !*reused && TEMP_FAILURE_RETRY(ftruncate(fd, 0)) != 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot be emptied: %s", path, strerror(errno));
    if (st == PARE_OK)
        st = map_file(s, fd, path, *reused ? old : size, *reused, err);
    if (st != PARE_OK && ours)
        unlink(path);
    *reused = st == PARE_OK && *reused;
    close(fd); /* the mapping holds the lock */
    return st;
}

pare_status pare_spool_sync(const pare_spool *s, const char *path, pare_error *err)
{
    if (s->data != NULL && msync(s->data, (size_t)s->size, MS_SYNC) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot sync: %s", path, strerror(errno));
    return PARE_OK;
}

void pare_spool_close(pare_spool *s)
{
    if (s->data != NULL)
        munmap(s->data, (size_t)s->size);
    *s = (pare_spool){0};
}
