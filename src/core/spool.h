/* core/spool.h - bytes made ahead of their use, in a file beside the output
 *
 * Its pages are the system's to write out: what is spooled costs disk, not memory. A spool without a name is gone with
 * the process whatever happens to it; one with a name stays, and can be opened again. */
#ifndef PARE_CORE_SPOOL_H
#define PARE_CORE_SPOOL_H

#include "core/error.h"

#include <stdint.h>

/* Zeroed is closed. */
typedef struct pare_spool {
    uint8_t *data; /* [size], zeros at first; NULL when size is 0 */
    uint64_t size;
} pare_spool;

/* beside: a path in the folder, which need not exist itself. The file has no name any more once it is open.
 * Errors: PARE_ERR_IO (no room for size bytes, which are reserved at once; the folder does not take files),
 * PARE_ERR_MEMORY */
pare_status pare_spool_open(pare_spool *s, const char *beside, uint64_t size, pare_error *err);

/* A file with the name path. With reuse, one that is there is opened as it is, with its own size, which *reused says;
 * else, or when it is empty, it becomes one of size > 0 zeros. Until the spool is closed no other process can open it
 * so: what a process wrote that was killed is in the file all the same. A file that this call made is gone when it
 * fails. Errors: PARE_ERR_IO as above, or another process has it open; PARE_ERR_FORMAT (it is no regular file);
 * PARE_ERR_MEMORY */
pare_status pare_spool_open_named(pare_spool *s, const char *path, uint64_t size, bool reuse, bool *reused,
                                  pare_error *err);

/* All that was written is on the disk now. path is for the message. Errors: PARE_ERR_IO */
pare_status pare_spool_sync(const pare_spool *s, const char *path, pare_error *err);
void pare_spool_close(pare_spool *s);

#endif
