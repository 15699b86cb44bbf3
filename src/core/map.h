/* core/map.h - a file mapped for reading */
#ifndef PARE_CORE_MAP_H
#define PARE_CORE_MAP_H

#include "core/error.h"
#include "core/guard.h"

#include <stdint.h>

/* Zeroed is closed. data is NULL for an empty file. The bytes are read-only and live until pare_map_close. */
typedef struct pare_map {
    const uint8_t *data;
    uint64_t size;
    char *path;             /* as given, owned */
    uint64_t device, inode; /* who the file is, to find that two paths name one file */
    pare_identity id;       /* as it was opened */
} pare_map;

/* Map a regular file. A FIFO, socket, device or folder is refused without blocking on it.
 * Errors: PARE_ERR_FORMAT  absent, unreadable or not a regular file; PARE_ERR_IO opening or mapping failed;
 * PARE_ERR_MEMORY */
pare_status pare_map_open(pare_map *m, const char *path, pare_error *err);
/* The same of what the caller has opened, without blocking; fd is closed. path: for messages, and kept. */
pare_status pare_map_open_fd(pare_map *m, int fd, const char *path, pare_error *err);
void pare_map_close(pare_map *m);

/* The start of a file that cannot be mapped as a whole because address space is short: half of it, or half of that, and
 * so on. *whole: bytes of the file; m->size: those that are mapped. Errors: as pare_map_open. */
pare_status pare_map_open_front(pare_map *m, const char *path, uint64_t *whole, pare_error *err);

/* The same for a file whose content is going to be used: what pare_refuse_wrapped refuses is PARE_ERR_FORMAT, too. */
pare_status pare_map_open_content(pare_map *m, const char *path, pare_error *err);

/* PARE_ERR_FORMAT with the cure when the n bytes of the file at path are not the file itself: a Git LFS pointer, which
 * git puts there while the file was not fetched (git-lfs docs/spec.md: text that starts with a version line, below
 * 1024 bytes; two older names of the project stand in such lines, too: lfs/pointer.go), or a file that is compressed as a whole, by zstd (RFC 8878, 3.1). Nothing is unpacked. */
pare_status pare_refuse_wrapped(const void *bytes, uint64_t n, const char *path, pare_error *err);

/* "a FIFO", "a folder", ... */
const char *pare_kind_of_file(const struct stat *info);

/* The path of the open map that address lies in, and its offset there; NULL when it lies in none. Async-signal-safe:
 * when a mapped file is truncated by someone else, reading it raises SIGBUS, and the program's handler can say where.
 */
const char *pare_map_find(const void *address, uint64_t *offset);

/* Tell the system that these bytes will not be read again soon: the pages that lie wholly in them leave the process,
 * and come back from the file if they are read all the same. Nothing happens to bytes that lie in no open map. */
void pare_map_release(const void *data, size_t n);

#endif
