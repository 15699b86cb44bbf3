/* core/background.h - a piece of work beside the caller's, which does not wait for it */
#ifndef PARE_CORE_BACKGROUND_H
#define PARE_CORE_BACKGROUND_H

#include "core/error.h"

#include <pthread.h>
#include <stdatomic.h>

/* One thread of its own, on which pare_parallel runs serially and pare_progress says nothing. Zeroed is none; it must
 * stay where it is in memory while it runs. */
typedef struct pare_background {
    bool running;
    pthread_t thread;
    atomic_bool stop;
    pare_status (*fn)(void *ctx, pare_error *err);
    void *ctx;
    pare_status status;
    pare_error err;
} pare_background;

/* Start fn(ctx, err). Errors: PARE_ERR_MEMORY (no further thread) */
pare_status pare_background_start(pare_background *b, pare_status (*fn)(void *ctx, pare_error *err), void *ctx,
                                  pare_error *err);

/* Wait for it: its status and error. PARE_OK when there is none. */
pare_status pare_background_join(pare_background *b, pare_error *err);

/* The result is not wanted any more: interrupt it (pare_check_interrupt fails there) and wait. */
void pare_background_stop(pare_background *b);

/* Whether the calling thread is such a one; whether it was stopped. */
bool pare_is_background(void);
bool pare_background_stopped(void);

#endif
