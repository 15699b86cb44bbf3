/* core/scratch.h - memory for the length of one piece of work
 *
 * What is large goes back to the system when it is freed. malloc would keep it, once for each of its arenas, which are
 * as many as there are threads. */
#ifndef PARE_CORE_SCRATCH_H
#define PARE_CORE_SCRATCH_H

#include "core/error.h"

/* n bytes that hold anything, aligned to 64; NULL without memory. To be freed by pare_scratch_free with the same n, by
 * any thread. */
void *pare_scratch_alloc(size_t n);
void pare_scratch_free(void *p, size_t n); /* NULL is allowed */

#endif
