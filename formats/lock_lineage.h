/* formats/lock_lineage.h - what a lock says of where its files are from: "parents", "repository", "xet" */
#ifndef PARE_FORMATS_LOCK_LINEAGE_H
#define PARE_FORMATS_LOCK_LINEAGE_H

#include "core/error.h"

#include <jansson.h>
#include <stddef.h>

/* The name of a repository of the Hub, "org/name" or "name": parts of at most 96 letters, digits, '-', '_' and '.',
 * which begin and end with neither '-' nor '.' and hold no "--" or "..". */
bool pare_lock_is_repository(const char *text, size_t len);
bool pare_lock_is_revision(const char *text, size_t len); /* 40 lower-case hexadecimal digits */

/* Check these members of the object doc, of a lock called path, where they are there. Nothing is compared with them:
 * they are for whoever follows a model back to what it was made of.
 * Errors: PARE_ERR_FORMAT, PARE_ERR_RANGE */
pare_status pare_lock_check_lineage(const json_t *doc, const char *path, pare_error *err);

/* files[].xet, the content hash of the Hub's storage: 64 hexadecimal digits, where it is there.
 * Errors: PARE_ERR_FORMAT */
pare_status pare_lock_check_xet(const json_t *file, const char *path, pare_error *err);

#endif
