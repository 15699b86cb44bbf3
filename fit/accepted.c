#include "fit/accepted.h"

#include <stdlib.h>
#include <string.h>

pare_status pare_allocate_accepted(const pare_choices *items, size_t n, uint64_t least, uint64_t most,
                                   pare_accept_fn accept, void *user, size_t *chosen, pare_allocation *out, bool *found,
                                   pare_error *err)
{
    size_t *trial = calloc(n + 1, sizeof *trial);
    uint64_t budget = most, holds = least;
    pare_allocation got;
    bool yes = false;
    pare_status st = trial != NULL ? PARE_OK : pare_fail(err, PARE_ERR_MEMORY, "no memory for a plan of %zu", n);
    *found = false;
    for (int i = 0; i <= PARE_ACCEPTED_STEPS && st == PARE_OK && budget > holds; i++) {
        if ((st = pare_allocate(items, n, budget, trial, &got, err)) == PARE_OK)
            st = accept(trial, &yes, user, err);
        if (st != PARE_OK)
            break;
        if (yes) {
            memcpy(chosen, trial, n * sizeof *trial);
            *out = got;
            *found = true;
            holds = budget;
        } else
            most = got.bytes; /* any budget from there to this one has the same choices */
        budget = most > holds ? holds + (most - holds) / 2 : holds;
    }
    free(trial);
    return st;
}
