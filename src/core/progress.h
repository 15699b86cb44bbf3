/* core/progress.h - how far a long job is; the program decides whether and how to show it */
#ifndef PARE_CORE_PROGRESS_H
#define PARE_CORE_PROGRESS_H

#include <stdint.h>

/* done of total units ("bytes", "chunks", ...; "": parts of all work that say nothing to a reader); what is the current
 * item (a tensor's name), as it came from a file. Called often, from one thread at a time. */
typedef void (*pare_progress_fn)(const char *unit, uint64_t done, uint64_t total, const char *what, void *user);

void pare_set_progress(pare_progress_fn fn, void *user); /* NULL: silence, the start value */
void pare_progress(const char *unit, uint64_t done, uint64_t total, const char *what);

#endif
