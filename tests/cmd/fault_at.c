/* fault_at.c - loaded before the C library (LD_PRELOAD): calls on files fail, or do less than they were asked to
 *
 *   FAULT=CALL:N:ERROR      call N of a kind, counted from 1, does nothing and fails: open, read, write, sync, rename,
 *                           remove, reserve, close, lock, stat, list; ERROR: ENOSPC, EIO, EINTR, EDQUOT, EACCES
 *   FAULT=CALL:N+:ERROR     the same for call N and all after it
 *   FAULT=CALL:N:cut:PATH   before that call PATH loses its second half; gone: it is removed; edit: a byte in its
 *                           middle changes; once
 *   FAULT=CALL:N:kill       SIGKILL comes in place of that call
 *   FAULT_SHORT=1           a read or a write of several bytes moves a third of them
 *   FAULT_COUNT=PATH        at the end a line a kind: its name and how many calls there were
 *
 *   alloc: memory, asked for by the program, the C library or those that read JSON and patterns; not by others, some of
 * which end the program without it (OpenMP) or fall over it (libcrypto's set-up)
 *
 * Counted are calls on regular files, and those that name files; standard streams and what the C library does inside
 * are not. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

typedef enum kind { OPEN, READ, WRITE, SYNC, RENAME, REMOVE, RESERVE, CLOSE, LOCK, STAT, LIST, ALLOC, N_KINDS } kind;

static const char *const names[N_KINDS] = {"open",    "read",  "write", "sync", "rename", "remove",
                                           "reserve", "close", "lock",  "stat", "list",   "alloc"};
static atomic_int counts[N_KINDS];

static struct {
    kind kind;
    int at, error;
    bool persists;
    char what, path[512]; /* c, g, e, k; 0: an error */
} fault = {.at = 0};
static bool is_short, counts_all;

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void set_up(void)
{
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EINTR", EINTR},
                  {"EDQUOT", EDQUOT}, {"EACCES", EACCES}, {"ENOMEM", ENOMEM}};
    char call[16] = "", what[16] = "";
    const char *text = getenv("FAULT");
    is_short = getenv("FAULT_SHORT") != NULL;
    counts_all = getenv("FAULT_COUNT") != NULL;
    char each[2] = "";
    if (text == NULL || (sscanf(text, "%15[^:]:%d:%15[^:]:%511s", call, &fault.at, what, fault.path) < 3 &&
                         sscanf(text, "%15[^:]:%d%1[+]:%15[^:]", call, &fault.at, each, what) < 4))
        return;
    fault.persists = each[0] == '+';
    for (kind k = 0; k < N_KINDS; k++)
        if (strcmp(call, names[k]) == 0)
            fault.kind = k;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(what, errors[i].name) == 0)
            fault.error = errors[i].number;
    fault.what = fault.error != 0 ? 0 : what[0];
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("FAULT_COUNT");
    FILE *f = path != NULL ? fopen(path, "w") : NULL;
    for (kind k = 0; f != NULL && k < N_KINDS; k++)
        fprintf(f, "%s %d\n", names[k], atomic_load(&counts[k]));
    if (f != NULL)
        fclose(f);
}

static void damage(void)
{
    int (*do_open)(const char *, int, ...) = (int (*)(const char *, int, ...))next("open");
    struct stat info;
    if (fault.what == 'k')
        kill(getpid(), SIGKILL);
    if (stat(fault.path, &info) != 0)
        return;
    if (fault.what == 'c' && truncate(fault.path, info.st_size / 2) != 0)
        abort();
    int (*do_unlink)(const char *) = (int (*)(const char *))next("unlink");
    if (fault.what == 'g')
        do_unlink(fault.path);
    int fd = fault.what == 'e' ? do_open(fault.path, O_RDWR) : -1;
    ssize_t (*do_write)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))next("write");
    if (fd >= 0) {
        lseek(fd, info.st_size / 2, SEEK_SET);
        do_write(fd, "\x5a", 1);
        close(fd);
    }
}

/* Does this call fail? */
static bool fails(kind k)
{
    const int n = atomic_fetch_add(&counts[k], 1) + 1;
    if (k != fault.kind || (n != fault.at && !(fault.persists && n > fault.at)))
        return false;
    if (fault.what != 0)
        damage();
    errno = fault.error;
    return fault.what == 0;
}

/* Is the caller one whose memory is to fail? Asked of each caller once: to look it up takes long. */
static bool is_counted(const void *caller)
{
    enum { SLOTS = 4096 };
    static _Atomic(uintptr_t) seen[SLOTS]; /* an address, its lowest bit: the answer. Code is aligned to bytes: 2x */
    const uintptr_t key = (uintptr_t)caller << 1;
    _Atomic(uintptr_t) *slot = &seen[(uintptr_t)caller % SLOTS];
    const uintptr_t known = atomic_load(slot);
    if ((known & ~(uintptr_t)1) == key)
        return (known & 1) != 0;
    static const char *const others[] = {"libgomp", "libomp",    "libcrypto", "libopenblas",
                                         "libdnnl", "libstdc++", "ld-"};
    Dl_info where;
    bool yes = dladdr(caller, &where) != 0 && where.dli_fname != NULL;
    for (size_t i = 0; yes && i < sizeof others / sizeof *others; i++)
        yes = strstr(where.dli_fname, others[i]) == NULL;
    atomic_store(slot, key | yes);
    return yes;
}

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

#define MAY_ALLOCATE()                                                                                                 \
    (!(fault.kind == ALLOC || counts_all) || !is_counted(__builtin_return_address(0)) || !fails(ALLOC))

void *malloc(size_t n)
{
    return MAY_ALLOCATE() ? __libc_malloc(n) : NULL;
}

void *calloc(size_t n, size_t size)
{
    return MAY_ALLOCATE() ? __libc_calloc(n, size) : NULL;
}

void *realloc(void *p, size_t n)
{
    return MAY_ALLOCATE() ? __libc_realloc(p, n) : NULL;
}

void *reallocarray(void *p, size_t n, size_t size)
{
    size_t all;
    return !__builtin_mul_overflow(n, size, &all) && MAY_ALLOCATE() ? __libc_realloc(p, all) : NULL;
}

static bool is_file(int fd)
{
    struct stat info;
    int saved = errno;
    bool is = fd > 2 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    errno = saved;
    return is;
}

static size_t less(size_t n)
{
    return is_short && n > 1 ? n / 3 + 1 : n;
}

static int open_as(const char *name, const char *path, int flags, mode_t mode)
{
    int (*whole)(const char *, int, ...) = (int (*)(const char *, int, ...))next(name);
    return fails(OPEN) ? -1 : whole(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open_as("open", path, flags, mode);
}

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open_as("open", path, flags, 0);
}

ssize_t read(int fd, void *to, size_t n)
{
    ssize_t (*whole)(int, void *, size_t) = (ssize_t(*)(int, void *, size_t))next("read");
    if (!is_file(fd))
        return whole(fd, to, n);
    return fails(READ) ? -1 : whole(fd, to, less(n));
}

ssize_t __read_chk(int fd, void *to, size_t n, size_t room);
ssize_t __read_chk(int fd, void *to, size_t n, size_t room)
{
    return n > room ? (abort(), -1) : read(fd, to, n);
}

ssize_t pread(int fd, void *to, size_t n, off_t at)
{
    ssize_t (*whole)(int, void *, size_t, off_t) = (ssize_t(*)(int, void *, size_t, off_t))next("pread");
    return fails(READ) ? -1 : whole(fd, to, less(n), at);
}

ssize_t __pread_chk(int fd, void *to, size_t n, off_t at, size_t room);
ssize_t __pread_chk(int fd, void *to, size_t n, off_t at, size_t room)
{
    return n > room ? (abort(), -1) : pread(fd, to, n, at);
}

ssize_t write(int fd, const void *from, size_t n)
{
    ssize_t (*whole)(int, const void *, size_t) = (ssize_t(*)(int, const void *, size_t))next("write");
    if (!is_file(fd))
        return whole(fd, from, n);
    return fails(WRITE) ? -1 : whole(fd, from, less(n));
}

ssize_t pwrite(int fd, const void *from, size_t n, off_t at)
{
    ssize_t (*whole)(int, const void *, size_t, off_t) = (ssize_t(*)(int, const void *, size_t, off_t))next("pwrite");
    return fails(WRITE) ? -1 : whole(fd, from, less(n), at);
}

int fsync(int fd)
{
    int (*whole)(int) = (int (*)(int))next("fsync");
    if (!is_file(fd))
        return whole(fd);
    return fails(SYNC) ? -1 : whole(fd);
}

int rename(const char *from, const char *to)
{
    int (*whole)(const char *, const char *) = (int (*)(const char *, const char *))next("rename");
    return fails(RENAME) ? -1 : whole(from, to);
}

/* The program exchanges names without the C library's wrapper. */
long syscall(long number, ...)
{
    long (*whole)(long, ...) = (long (*)(long, ...))next("syscall");
    long a[6];
    va_list args;
    va_start(args, number);
    for (size_t i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_renameat2 && fails(RENAME))
        return -1;
    return whole(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int link(const char *from, const char *to)
{
    int (*whole)(const char *, const char *) = (int (*)(const char *, const char *))next("link");
    return fails(RENAME) ? -1 : whole(from, to);
}

int unlink(const char *path)
{
    int (*whole)(const char *) = (int (*)(const char *))next("unlink");
    return fails(REMOVE) ? -1 : whole(path);
}

int unlinkat(int dir, const char *path, int flags)
{
    int (*whole)(int, const char *, int) = (int (*)(int, const char *, int))next("unlinkat");
    return fails(REMOVE) ? -1 : whole(dir, path, flags);
}

int rmdir(const char *path)
{
    int (*whole)(const char *) = (int (*)(const char *))next("rmdir");
    return fails(REMOVE) ? -1 : whole(path);
}

int posix_fallocate(int fd, off_t at, off_t n)
{
    int (*whole)(int, off_t, off_t) = (int (*)(int, off_t, off_t))next("posix_fallocate");
    return fails(RESERVE) ? errno : whole(fd, at, n);
}

int ftruncate(int fd, off_t n)
{
    int (*whole)(int, off_t) = (int (*)(int, off_t))next("ftruncate");
    return fails(RESERVE) ? -1 : whole(fd, n);
}

int flock(int fd, int how)
{
    int (*whole)(int, int) = (int (*)(int, int))next("flock");
    return fails(LOCK) ? -1 : whole(fd, how);
}

int stat(const char *restrict path, struct stat *restrict info)
{
    int (*whole)(const char *, struct stat *) = (int (*)(const char *, struct stat *))next("stat");
    return fails(STAT) ? -1 : whole(path, info);
}

int lstat(const char *restrict path, struct stat *restrict info)
{
    int (*whole)(const char *, struct stat *) = (int (*)(const char *, struct stat *))next("lstat");
    return fails(STAT) ? -1 : whole(path, info);
}

int fstatat(int dir, const char *restrict path, struct stat *restrict info, int flags)
{
    int (*whole)(int, const char *, struct stat *, int) =
        (int (*)(int, const char *, struct stat *, int))next("fstatat");
    return fails(STAT) ? -1 : whole(dir, path, info, flags);
}

struct dirent *readdir(DIR *dir)
{
    struct dirent *(*whole)(DIR *) = (struct dirent * (*)(DIR *)) next("readdir");
    return fails(LIST) ? NULL : whole(dir);
}

int close(int fd)
{
    int (*whole)(int) = (int (*)(int))next("close");
    bool failed = is_file(fd) && fails(CLOSE);
    int error = errno, code = whole(fd);
    if (failed)
        errno = error;
    return failed ? -1 : code;
}
