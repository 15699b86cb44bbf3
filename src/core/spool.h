/* core/spool.h - bytes made ahead of their use, in a file that nobody else sees
 *
 * The file lies in a folder with room, has no name any more once it is open, and so is gone with the process whatever
 * happens to it. Its pages are the system's to write out: what is spooled costs disk, not memory. */
#ifndef PARE_CORE_SPOOL_H
#define PARE_CORE_SPOOL_H

#include "core/error.h"

#include <stdint.h>

/* Zeroed is closed. */
typedef struct pare_spool {
    uint8_t *data; /* [size], zeros at first; NULL when size is 0 */
    uint64_t size;
} pare_spool;

/* beside: a path in the folder, which need not exist itself.
 * Errors: PARE_ERR_IO (no room for size bytes, which are reserved at once; the folder does not take files),
 * PARE_ERR_MEMORY */
pare_status pare_spool_open(pare_spool *s, const char *beside, uint64_t size, pare_error *err);
void pare_spool_close(pare_spool *s);

#endif
