#include "core/progress.h"
#include "core/background.h"

#include <stddef.h>

static pare_progress_fn progress_fn;
static void *progress_user;

void pare_set_progress(pare_progress_fn fn, void *user)
{
    progress_fn = fn;
    progress_user = user;
}

void pare_progress(const char *unit, uint64_t done, uint64_t total, const char *what)
{
    if (progress_fn != NULL && !pare_is_background())
        progress_fn(unit, done, total, what, progress_user);
}
