#include "core/look.h"

#include <errno.h>
#include <string.h>

bool pare_look_says(int number)
{
    return number == ENOENT || number == ENOTDIR || number == EACCES || number == ELOOP || number == ENAMETOOLONG;
}

static pare_status answer(int code, const char *path, bool *there, pare_error *err)
{
    *there = code == 0;
    return code == 0 || pare_look_says(errno)
               ? PARE_OK
               : pare_fail(err, PARE_ERR_IO, "%s: cannot be looked at: %s", path, strerror(errno));
}

pare_status pare_look(const char *path, struct stat *info, bool *there, pare_error *err)
{
    return answer(stat(path, info), path, there, err);
}

pare_status pare_look_link(const char *path, struct stat *info, bool *there, pare_error *err)
{
    return answer(lstat(path, info), path, there, err);
}

pare_status pare_look_same(const char *path, const struct stat *other, bool *same, pare_error *err)
{
    struct stat info;
    bool there;
    pare_status st = pare_look(path, &info, &there, err);
    *same = there && info.st_dev == other->st_dev && info.st_ino == other->st_ino;
    return st;
}

pare_status pare_look_next(DIR *dir, const char *path, struct dirent **entry, pare_error *err)
{
    do {
        errno = 0;
        *entry = readdir(dir);
    } while (*entry != NULL && (strcmp((*entry)->d_name, ".") == 0 || strcmp((*entry)->d_name, "..") == 0));
    return *entry != NULL || errno == 0 ? PARE_OK
                                        : pare_fail(err, PARE_ERR_IO, "%s: cannot list: %s", path, strerror(errno));
}
