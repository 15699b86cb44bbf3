/* formats/safe_path.h - names of files that come out of a file (index.json, lock, SHA256SUMS): they may only lead to
 * regular files inside of the folder they are relative to */
#ifndef PARE_FORMATS_SAFE_PATH_H
#define PARE_FORMATS_SAFE_PATH_H

#include "core/text.h"

/* A name longer than Linux opens names no file; one of more folders than these none that anybody keeps. */
enum { PARE_PATH_MAX_BYTES = 4095, PARE_PATH_MAX_COMPONENT = 255, PARE_PATH_MAX_COMPONENTS = 256 };

/* What is wrong with name as a plain relative path ("is absolute", "holds '..'", ...), or NULL. Plain: not empty, no
 * leading slash, no component that is empty, "." or "..", no backslash, no control byte or NUL, well-formed UTF-8,
 * within the limits above. */
const char *pare_path_fault(pare_str name);

/* The same, but backslashes, line feeds, carriage returns, which SHA256SUMS writes with escapes, and bytes that are not
 * UTF-8 pass. */
const char *pare_path_leaves(pare_str name);

typedef enum pare_path_state {
    PARE_PATH_FILE,   /* a regular file, perhaps through the Hub cache's link */
    PARE_PATH_ABSENT, /* there is nothing; a disk that fails says something else, an error */
    PARE_PATH_REFUSED /* something that is not opened */
} pare_path_state;

/* Look at folder/name, which is plain, without opening it. A symbolic link is refused, in the middle of the name too,
 * with one exception: the layout of the Hub's cache, where snapshots/<commit>/<name> links to
 * ../../blobs/<40 or 64 lower-case hexadecimal digits> (one "../" more for each folder in the name), a regular file of
 * a folder that is itself no link.
 * why (size bytes) receives what is there instead of a regular file: "is a FIFO", "is a symbolic link to '/etc/...'".
 * Errors: PARE_ERR_IO (it cannot be told; *state is PARE_PATH_REFUSED) */
pare_status pare_path_look(pare_path_state *state, const char *folder, const char *name, char *why, size_t size,
                           pare_error *err);

/* folder/name where it is a regular file, owned by the caller; NULL: it is not. Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status pare_path_find(char **path, const char *folder, const char *name, pare_error *err);

/* What pare_path_open found. */
typedef struct pare_path_file {
    pare_path_state state;
    int fd;        /* of a PARE_PATH_FILE, open for reading and the caller's to close; else -1 */
    char why[512]; /* as of pare_path_look */
} pare_path_file;

/* Look at folder/name as pare_path_look does and open the regular file that it is. Each component is opened in the one
 * before it and no link is followed (openat, O_NOFOLLOW), but for the layout of the Hub's cache, whose parts are opened
 * so, too: what is put into the name's place after the look cannot lead elsewhere.
 * Errors: PARE_ERR_IO (a regular file that cannot be opened, or whose place something else took meanwhile),
 * PARE_ERR_MEMORY */
pare_status pare_path_open(pare_path_file *f, const char *folder, const char *name, pare_error *err);

bool pare_path_is_folder(const char *path); /* links are followed */

/* The folder part of path (".", when there is none), owned by the caller; NULL: no memory. */
char *pare_path_folder(const char *path, pare_error *err);

/* folder/name, owned by the caller; NULL: no memory. */
char *pare_path_join(const char *folder, const char *name, pare_error *err);

#endif
