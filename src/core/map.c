#include "core/map.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The open maps, for pare_map_find. A model has one map a shard; a file beyond this number is mapped all the same,
 * only its name is missing from the message of a SIGBUS. */
enum { MAX_LISTED = 1024 };
static struct {
    const uint8_t *data;
    uint64_t size;
    const char *path;
} listed[MAX_LISTED];
static pthread_mutex_t listed_lock = PTHREAD_MUTEX_INITIALIZER;

/* Bytes of one map that were released and whose pages have not gone yet: neighbours go together, because each time
 * interrupts the other cores. first == end: none. */
enum { RELEASED_BYTES = 4 << 20 };
static struct {
    uintptr_t first, end;
} released;
static pthread_mutex_t released_lock = PTHREAD_MUTEX_INITIALIZER;

static void list_map(const pare_map *m)
{
    pthread_mutex_lock(&listed_lock);
    for (size_t i = 0; i < MAX_LISTED; i++)
        if (listed[i].data == NULL) {
            listed[i].path = m->path;
            listed[i].size = m->size;
            listed[i].data = m->data;
            break;
        }
    pthread_mutex_unlock(&listed_lock);
}

static void unlist_map(const pare_map *m)
{
    pthread_mutex_lock(&listed_lock);
    for (size_t i = 0; i < MAX_LISTED; i++)
        if (listed[i].data == m->data)
            listed[i].data = NULL;
    pthread_mutex_unlock(&listed_lock);
}

const char *pare_map_find(const void *address, uint64_t *offset)
{
    const uint8_t *at = address;
    for (size_t i = 0; i < MAX_LISTED; i++)
        if (listed[i].data != NULL && at >= listed[i].data && at < listed[i].data + listed[i].size) {
            *offset = (uint64_t)(at - listed[i].data);
            return listed[i].path;
        }
    return NULL;
}

const char *pare_kind_of_file(const struct stat *info)
{
    return S_ISREG(info->st_mode)    ? "a regular file"
           : S_ISDIR(info->st_mode)  ? "a folder"
           : S_ISFIFO(info->st_mode) ? "a FIFO"
           : S_ISSOCK(info->st_mode) ? "a socket"
                                     : "a device";
}

/* Map the first *n bytes or, with `front`, half of them, and again, while there is no room. MAP_FAILED with errno. */
static void *map_bytes(int fd, uint64_t *n, bool front)
{
    enum { LEAST = 1 << 16 };
    for (;; *n /= 2) {
        void *p = *n > SIZE_MAX ? MAP_FAILED : mmap(NULL, (size_t)*n, PROT_READ, MAP_SHARED, fd, 0);
        if (p != MAP_FAILED || !front || errno != ENOMEM || *n / 2 < LEAST)
            return p;
    }
}

/* fd is closed. whole: NULL, or the front of the file will do, and it receives the file's size. */
static pare_status map_fd(pare_map *m, int fd, const char *path, uint64_t *whole, pare_error *err)
{
    struct stat info;
    pare_status st = PARE_OK;
    *m = (pare_map){0};
    if (fstat(fd, &info) != 0)
        st = pare_fail(err, PARE_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        st = pare_fail(err, PARE_ERR_FORMAT, "%s: is %s, expected a regular file", path, pare_kind_of_file(&info));
    if (st == PARE_OK && (m->path = strdup(path)) == NULL)
        st = pare_fail(err, PARE_ERR_MEMORY, "%s: no memory", path);
    if (st == PARE_OK) {
        m->device = (uint64_t)info.st_dev;
        m->inode = (uint64_t)info.st_ino;
        m->size = (uint64_t)info.st_size;
        m->id = pare_identity_of(&info);
    }
    if (whole != NULL)
        *whole = m->size;
    if (st == PARE_OK && m->size > 0) {
        void *p = map_bytes(fd, &m->size, whole != NULL);
        if (p == MAP_FAILED)
            st = pare_fail(err, PARE_ERR_IO, "%s: cannot map %llu bytes: %s", path, (unsigned long long)m->size,
                           strerror(errno));
        else
            m->data = p;
    }
    close(fd);
    if (st != PARE_OK)
        pare_map_close(m);
    else if (m->data != NULL)
        list_map(m);
    return st;
}

static pare_status open_map(pare_map *m, const char *path, uint64_t *whole, pare_error *err)
{
    *m = (pare_map){0};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* O_NONBLOCK: a FIFO without a writer must not hang us */
    return fd < 0 ? pare_fail_open(err, path, errno) : map_fd(m, fd, path, whole, err);
}

pare_status pare_map_open(pare_map *m, const char *path, pare_error *err)
{
    return open_map(m, path, NULL, err);
}

pare_status pare_map_open_front(pare_map *m, const char *path, uint64_t *whole, pare_error *err)
{
    return open_map(m, path, whole, err);
}

pare_status pare_map_open_fd(pare_map *m, int fd, const char *path, pare_error *err)
{
    return map_fd(m, fd, path, NULL, err);
}

pare_status pare_refuse_wrapped(const void *bytes, uint64_t n, const char *path, pare_error *err)
{
    enum { MAX_POINTER = 1024 };
    static const char *const pointers[] = {"version https://git-lfs", "version https://hawser.github.com/spec/v1",
                                           "version http://git-media.io/v/2"};
    static const struct {
        uint8_t first[4], mask[4];
        const char *name, *program;
    } packed[] = {{{0x28, 0xb5, 0x2f, 0xfd}, {0xff, 0xff, 0xff, 0xff}, "zstd", "zstd -d"},
                  {{0x50, 0x2a, 0x4d, 0x18}, {0xf0, 0xff, 0xff, 0xff}, "zstd (a skippable frame)", "zstd -d"}};
    const uint8_t *p = bytes;
    for (size_t i = 0; n <= MAX_POINTER && i < sizeof pointers / sizeof pointers[0]; i++)
        if (n >= strlen(pointers[i]) && memcmp(p, pointers[i], strlen(pointers[i])) == 0)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: is a Git LFS pointer, not the file itself: run git lfs pull",
                             path);
    for (size_t i = 0; n >= 4 && i < sizeof packed / sizeof packed[0]; i++) {
        size_t k = 0;
        while (k < 4 && (p[k] & packed[i].mask[k]) == packed[i].first[k])
            k++;
        if (k == 4)
            return pare_fail(err, PARE_ERR_FORMAT, "%s: offset 0: is compressed by %s; unpack it first: %s", path,
                             packed[i].name, packed[i].program);
    }
    return PARE_OK;
}

pare_status pare_map_open_content(pare_map *m, const char *path, pare_error *err)
{
    pare_status st = pare_map_open(m, path, err);
    if (st == PARE_OK && (st = pare_refuse_wrapped(m->data, m->size, path, err)) != PARE_OK)
        pare_map_close(m);
    return st;
}

/* What was released of a map that goes: another one, or memory that no file holds, may come to lie there. */
static void forget_released(const pare_map *m)
{
    uintptr_t at = (uintptr_t)m->data;
    pthread_mutex_lock(&released_lock);
    if (released.first < at + (uintptr_t)m->size && at < released.end)
        released.first = released.end = 0;
    pthread_mutex_unlock(&released_lock);
}

void pare_map_close(pare_map *m)
{
    if (m->data != NULL) {
        unlist_map(m);
        forget_released(m);
        munmap((void *)(uintptr_t)m->data, (size_t)m->size);
    }
    free(m->path);
    *m = (pare_map){0};
}

static void drop_released(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (released.first + page - 1) / page * page, end = released.end / page * page;
    if (first < end)
        madvise((void *)first, end - first, MADV_DONTNEED);
    released.first = released.end = 0;
}

void pare_map_release(const void *data, size_t n)
{
    uint64_t offset;
    uintptr_t first = (uintptr_t)data, end = first + n;
    if (pare_map_find(data, &offset) == NULL)
        return; /* dropping pages that no file holds would lose them */
    pthread_mutex_lock(&released_lock);
    if (first > released.end || end < released.first)
        drop_released();
    if (released.first == released.end) {
        released.first = first;
        released.end = end;
    } else {
        released.first = first < released.first ? first : released.first;
        released.end = end > released.end ? end : released.end;
    }
    if (released.end - released.first >= RELEASED_BYTES)
        drop_released();
    pthread_mutex_unlock(&released_lock);
}
