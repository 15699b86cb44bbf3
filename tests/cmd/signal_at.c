/* signal_at.c - loaded before the C library (LD_PRELOAD): sends the program signals when it syncs or names a file
 *
 * SIGNAL_AT=N: at call N of fsync or link, counted together from 1; SIGNAL_TIMES=K: so many SIGINT (1). FREE_BYTES=N:
 * every disk has so much room left. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static void maybe_signal(void)
{
    static int n_calls;
    const char *at = getenv("SIGNAL_AT"), *times = getenv("SIGNAL_TIMES");
    if (at == NULL || ++n_calls != atoi(at))
        return;
    for (int i = times != NULL ? atoi(times) : 1; i > 0; i--)
        raise(SIGINT);
}

int fsync(int fd)
{
    maybe_signal();
    return (int)syscall(SYS_fsync, fd);
}

int link(const char *from, const char *to)
{
    maybe_signal();
    return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int statvfs(const char *path, struct statvfs *out)
{
    int (*whole)(const char *, struct statvfs *) = (int (*)(const char *, struct statvfs *))dlsym(RTLD_NEXT, "statvfs");
    const char *room = getenv("FREE_BYTES");
    int code = whole(path, out);
    if (code == 0 && room != NULL)
        out->f_bavail = (fsblkcnt_t)(strtoull(room, NULL, 10) / out->f_frsize);
    return code;
}
