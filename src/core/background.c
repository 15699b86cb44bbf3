#include "core/background.h"

#include <signal.h>

static _Thread_local pare_background *mine;

bool pare_is_background(void)
{
    return mine != NULL;
}

bool pare_background_stopped(void)
{
    return mine != NULL && atomic_load_explicit(&mine->stop, memory_order_relaxed);
}

static void *run(void *user)
{
    mine = user;
    mine->status = mine->fn(mine->ctx, &mine->err);
    return NULL;
}

pare_status pare_background_start(pare_background *b, pare_status (*fn)(void *ctx, pare_error *err), void *ctx,
                                  pare_error *err)
{
    sigset_t all, before;
    *b = (pare_background){.fn = fn, .ctx = ctx};
    sigfillset(&all); /* signals are for the threads that were there */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    b->running = pthread_create(&b->thread, NULL, run, b) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return b->running ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "cannot start a thread");
}

pare_status pare_background_join(pare_background *b, pare_error *err)
{
    if (!b->running)
        return PARE_OK;
    pthread_join(b->thread, NULL);
    b->running = false;
    if (b->status != PARE_OK && err != NULL)
        *err = b->err;
    return b->status;
}

void pare_background_stop(pare_background *b)
{
    atomic_store(&b->stop, true);
    pare_background_join(b, NULL);
}
