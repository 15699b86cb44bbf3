/* core/look.h - what lies at a name, where "nothing" and "cannot tell" are two answers
 *
 * A disk that fails must not look like a file that is absent: a side file would be left out of an output, a file of a
 * folder out of its lock. */
#ifndef PARE_CORE_LOOK_H
#define PARE_CORE_LOOK_H

#include "core/error.h"

#include <dirent.h>
#include <sys/stat.h>

/* Does errno of a failed look say something about the name: nothing is there (ENOENT, ENOTDIR), one may not go there
 * (EACCES), or it leads nowhere (ELOOP, ENAMETOOLONG)? */
bool pare_look_says(int number);

/* stat(2); *there: something lies at path, and *info is of it. What cannot be reached is nothing, as pare_look_says:
 * whoever opens it is told why. Errors: PARE_ERR_IO (it cannot be told) */
pare_status pare_look(const char *path, struct stat *info, bool *there, pare_error *err);

/* The same for the name itself: a link is not followed. */
pare_status pare_look_link(const char *path, struct stat *info, bool *there, pare_error *err);

/* *same: path is the file or the folder *other, through links. Errors: PARE_ERR_IO (it cannot be told) */
pare_status pare_look_same(const char *path, const struct stat *other, bool *same, pare_error *err);

/* The next entry of a folder that is open, without "." and ".."; NULL: there are no more. path is for the message.
 * Errors: PARE_ERR_IO (the listing broke off) */
pare_status pare_look_next(DIR *dir, const char *path, struct dirent **entry, pare_error *err);

#endif
