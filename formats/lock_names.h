/* formats/lock_names.h - the names of pinned files relative to the folder of a lock */
#ifndef PARE_FORMATS_LOCK_NAMES_H
#define PARE_FORMATS_LOCK_NAMES_H

#include "formats/pin.h"

/* Set f->name of every file of p relative to the folder of lock_path and sort the files by it, bytewise. The lock
 * itself, when it is among the files, is dropped. Links in the folders' names are resolved, a file's own is not: a file
 * of the Hub's cache is named by its snapshot.
 * Errors: PARE_ERR_USAGE  a file outside of the folder or twice; PARE_ERR_IO the folder is not there (any more) */
pare_status pare_lock_set_names(pare_pin *p, const char *lock_path, pare_error *err);

/* folder relative to the folder of lock_path (".": the same), owned by the caller.
 * Errors: PARE_ERR_USAGE it lies outside; PARE_ERR_IO one is not there (any more) */
pare_status pare_lock_folder_name(const char *folder, const char *lock_path, char **name, pare_error *err);

/* The names in a lock must stay apart where letters of either case, or composed and decomposed ones, are the same.
 * names: n pointers. PARE_ERR_FORMAT: a name twice, or two that differ in nothing else. */
pare_status pare_lock_check_twins(const char *const *names, size_t n, const char *lock_path, pare_error *err);

#endif
