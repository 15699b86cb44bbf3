/* core/guard.h - is a source still the file that was read?
 *
 * What is known of a file when it is opened is compared when the output is about to get its name. A write in place
 * changes the time of the last change (ctime) even where the size stays and the time of modification is set back; a
 * file put in its place has another inode. Two changes within one tick of the file system's clock (milliseconds) are
 * one. */
#ifndef PARE_CORE_GUARD_H
#define PARE_CORE_GUARD_H

#include "core/error.h"

#include <stdint.h>

struct stat;

/* Zeroed: nothing is known, and everything is the same. Times in nanoseconds since 1970. */
typedef struct pare_identity {
    bool known;
    uint64_t device, inode, size;
    int64_t modified, changed;
} pare_identity;

pare_identity pare_identity_of(const struct stat *info);

/* Is what path names (links followed) still that? Errors: PARE_ERR_IO, with path: it changed, or is gone */
pare_status pare_identity_check(const pare_identity *id, const char *path, pare_error *err);

/* The same for an open file. path is for the message. */
pare_status pare_identity_check_open(const pare_identity *id, int fd, const char *path, pare_error *err);

#endif
