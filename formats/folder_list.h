/* formats/folder_list.h - every file below a folder, for pinning it and for finding files that a pin does not know */
#ifndef PARE_FORMATS_FOLDER_LIST_H
#define PARE_FORMATS_FOLDER_LIST_H

#include "formats/safe_path.h"

typedef struct pare_folder_entry {
    char *name; /* relative to the folder, with '/' */
    char *why;  /* what is wrong with it (see pare_path_look), or NULL: a regular file */
} pare_folder_entry;

/* Zeroed is empty. */
typedef struct pare_folder_list {
    pare_folder_entry *entries; /* sorted bytewise by name */
    size_t n;
} pare_folder_list;

/* What is left out at the top of a folder, and nowhere else: what OpenSSF Model Signing leaves out (OMS 6.2), and the
 * notes of the Hub's client about a download with --local-dir (.cache/huggingface). Sorted; NULL behind the last. */
extern const char *const pare_folder_left_out[];

/* List the files below folder, its subfolders included. Left out are, at the top, pare_folder_left_out and pare.lock,
 * SHA256SUMS and model.sig. Nothing is opened but folders; links to folders are not followed.
 * Errors: PARE_ERR_IO (a folder cannot be listed), PARE_ERR_RANGE (more than 16 levels or 1000000 entries),
 * PARE_ERR_MEMORY */
pare_status pare_folder_list_read(pare_folder_list *list, const char *folder, pare_error *err);

/* The same, leaving out what skip says: name is relative to the folder; a folder that is left out is not read. */
typedef bool (*pare_folder_skip)(const char *name, void *user);
pare_status pare_folder_list_where(pare_folder_list *list, const char *folder, pare_folder_skip skip, void *user,
                                   pare_error *err);
/* What pare_folder_list_read leaves out. user is not used. */
bool pare_folder_is_left_out(const char *name, void *user);
/* What programs up to 0.1.0 left out: names that begin with .git, and .cache, at any level. Their locks, which have no
 * "left_out", say nothing of such files. */
bool pare_folder_was_left_out(const char *name);
void pare_folder_list_close(pare_folder_list *list);

#endif
