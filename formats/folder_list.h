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

/* List the files below folder, its subfolders included. Left out: what version control and downloaders keep (.git*,
 * .cache) and, at the top, pare.lock, SHA256SUMS and model.sig. Nothing is opened but folders; links to folders are not
 * followed. Errors: PARE_ERR_IO      a folder cannot be listed PARE_ERR_RANGE   more than 16 levels or 1000000 entries;
 * PARE_ERR_MEMORY */
pare_status pare_folder_list_read(pare_folder_list *list, const char *folder, pare_error *err);

/* The same, leaving out what skip says: name is relative to the folder; a folder that is left out is not read. */
typedef bool (*pare_folder_skip)(const char *name, void *user);
pare_status pare_folder_list_where(pare_folder_list *list, const char *folder, pare_folder_skip skip, void *user,
                                   pare_error *err);
/* What pare_folder_list_read leaves out. user is not used. */
bool pare_folder_is_left_out(const char *name, void *user);
void pare_folder_list_close(pare_folder_list *list);

#endif
