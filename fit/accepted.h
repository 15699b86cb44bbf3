/* fit/accepted.h - the best choices among those that a rule of somebody else's accepts
 *
 * A budget of bytes says what a file may take. Whether what a file is of finds room in several memories, each with
 * whole layers of it, is no sum of bytes: it is asked of one set of choices after the other. Bisection over the budget,
 * each step a run of pare_allocate and a question: no search is made again. docs/methods/ALLOCATION.md */
#ifndef PARE_FIT_ACCEPTED_H
#define PARE_FIT_ACCEPTED_H

#include "fit/allocate.h"

/* *yes: may these be chosen? chosen [n] as pare_allocate has them. An error ends the search. */
typedef pare_status (*pare_accept_fn)(const size_t *chosen, bool *yes, void *user, pare_error *err);

enum { PARE_ACCEPTED_STEPS = 14 }; /* the bytes are found to 1 in 2^14 of what lies between least and most */

/* The allocation of the largest budget from least to most whose choices are accepted, and *found; it was asked about,
 * so it is accepted whether or not less of everything is. Where no budget that was tried is: *found is false, and
 * chosen and out are as they were. least itself is not tried: the caller has choices of so many bytes, or knows that
 * there are none. Errors: those of pare_allocate and of accept */
pare_status pare_allocate_accepted(const pare_choices *items, size_t n, uint64_t least, uint64_t most,
                                   pare_accept_fn accept, void *user, size_t *chosen, pare_allocation *out, bool *found,
                                   pare_error *err);

#endif
