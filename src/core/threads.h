/* core/threads.h - work shared over OpenMP threads */
#ifndef PARE_CORE_THREADS_H
#define PARE_CORE_THREADS_H

#include "core/error.h"

/* How many threads pare uses: what pare_set_threads said, else OMP_NUM_THREADS, else the CPUs that the affinity mask
 * and the cgroup quota leave. At least 1. */
int pare_threads(void);
void pare_set_threads(int n); /* 0: back to the default */

/* Call fn(i, thread, ctx) for every i in [0, n), in any order, on pare_threads() threads; thread is below that number.
 * A call that returns an error stops the hand-out of further indices; the error of the smallest failed index comes
 * back. fn fills its own err (one a thread); this function copies it. Inside a parallel region, and on a
 * thread of core/background.h, it runs serially. */
typedef pare_status (*pare_work_fn)(size_t i, int thread, void *ctx, pare_error *err);
pare_status pare_parallel(size_t n, pare_work_fn fn, void *ctx, pare_error *err);

#endif
