/* cmd/repository.h - the Hub's repository that pinned files are from: --hf, or the folder of the Hub's cache */
#ifndef PARE_CMD_REPOSITORY_H
#define PARE_CMD_REPOSITORY_H

#include "core/error.h"

#include <jansson.h>
#include <stddef.h>

/* {"name", "revision"} of --hf NAME@REVISION (given, may be NULL), else of what the paths are: each of them a snapshot
 * of the Hub's cache, models--org--name/snapshots/<commit>, or in one, and all of the same; else *out is NULL. A name
 * is "org/name" or "name" of letters, digits, '-', '_' and '.', at most 96 a part; a revision the 40 lower-case
 * hexadecimal digits of a commit.
 * Errors: PARE_ERR_USAGE (given is none, or a path is a snapshot of something else), PARE_ERR_MEMORY */
pare_status cmd_repository_find(json_t **out, const char *given, char *const *paths, size_t n, pare_error *err);

#endif
