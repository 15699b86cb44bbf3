#include "core/spool.h"

#include "core/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
    strcpy(path + len, ".pare-spool-XXXXXX");
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    free(path);
    return fd;
}

pare_status pare_spool_open(pare_spool *s, const char *beside, uint64_t size, pare_error *err)
{
    *s = (pare_spool){0};
    if (size == 0)
        return PARE_OK;
    if (size > SIZE_MAX || (int64_t)size < 0)
        return pare_fail(err, PARE_ERR_MEMORY, "%s: %llu bytes cannot be set aside", beside, (unsigned long long)size);
    int fd = open_nameless(beside), code = errno;
    if (fd < 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot make a file in its folder: %s", beside, strerror(code));
    void *p = MAP_FAILED;
    pare_status st = pare_output_reserve(fd, beside, size, err);
    if (st == PARE_OK && ftruncate(fd, (off_t)size) == 0)
        p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    code = errno;
    close(fd);
    if (st != PARE_OK)
        return st;
    if (p == MAP_FAILED)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot set %llu bytes aside in its folder: %s", beside,
                         (unsigned long long)size, strerror(code));
    s->data = p;
    s->size = size;
    return PARE_OK;
}

void pare_spool_close(pare_spool *s)
{
    if (s->data != NULL)
        munmap(s->data, (size_t)s->size);
    *s = (pare_spool){0};
}
