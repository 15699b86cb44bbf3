#include "core/guard.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

pare_identity pare_identity_of(const struct stat *info)
{
    return (pare_identity){.known = true,
                           .device = (uint64_t)info->st_dev,
                           .inode = (uint64_t)info->st_ino,
                           .size = (uint64_t)info->st_size,
                           .modified = nanoseconds(info->st_mtim),
                           .changed = nanoseconds(info->st_ctim)};
}

static pare_status compare(const pare_identity *id, const struct stat *info, const char *path, pare_error *err)
{
    const pare_identity now = pare_identity_of(info);
    if (now.device != id->device || now.inode != id->inode)
        return pare_fail(err, PARE_ERR_IO, "%s: another file took its place while it was read", path);
    if (now.size != id->size)
        return pare_fail(err, PARE_ERR_IO, "%s: had %llu bytes and now has %llu: it changes while it is read", path,
                         (unsigned long long)id->size, (unsigned long long)now.size);
    if (now.modified != id->modified || now.changed != id->changed)
        return pare_fail(err, PARE_ERR_IO, "%s: changed while it was read", path);
    return PARE_OK;
}

pare_status pare_identity_check(const pare_identity *id, const char *path, pare_error *err)
{
    struct stat info;
    if (!id->known)
        return PARE_OK;
    if (stat(path, &info) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot be looked at any more: %s", path, strerror(errno));
    return compare(id, &info, path, err);
}

pare_status pare_identity_check_open(const pare_identity *id, int fd, const char *path, pare_error *err)
{
    struct stat info;
    if (!id->known)
        return PARE_OK;
    if (fstat(fd, &info) != 0)
        return pare_fail(err, PARE_ERR_IO, "%s: cannot stat: %s", path, strerror(errno));
    return compare(id, &info, path, err);
}
