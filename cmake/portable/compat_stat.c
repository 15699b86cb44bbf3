/* compat_stat.c - stat and its kin, functions since glibc 2.33: before, <sys/stat.h> had inline functions over these
 *
 * Hidden: a program and its plugin have their own. The layout of struct stat is version 1 on x86-64, and struct stat64
 * is the same. */
#define _GNU_SOURCE
#include <sys/stat.h>

#define HIDDEN __attribute__((visibility("hidden")))

extern int __xstat(int version, const char *path, struct stat *out);
extern int __lxstat(int version, const char *path, struct stat *out);
extern int __fxstat(int version, int fd, struct stat *out);
extern int __fxstatat(int version, int dir, const char *path, struct stat *out, int flags);

HIDDEN int stat(const char *restrict path, struct stat *restrict out)
{
    return __xstat(1, path, out);
}
HIDDEN int lstat(const char *restrict path, struct stat *restrict out)
{
    return __lxstat(1, path, out);
}
HIDDEN int fstat(int fd, struct stat *out)
{
    return __fxstat(1, fd, out);
}
HIDDEN int fstatat(int dir, const char *restrict path, struct stat *restrict out, int flags)
{
    return __fxstatat(1, dir, path, out, flags);
}
HIDDEN int stat64(const char *restrict path, struct stat64 *restrict out) __attribute__((alias("stat")));
HIDDEN int lstat64(const char *restrict path, struct stat64 *restrict out) __attribute__((alias("lstat")));
HIDDEN int fstat64(int fd, struct stat64 *out) __attribute__((alias("fstat")));
HIDDEN int fstatat64(int dir, const char *restrict path, struct stat64 *restrict out, int flags)
    __attribute__((alias("fstatat")));
