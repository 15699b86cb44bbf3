/* fit/allocate.h - one choice for each of several items, of least cost within a budget of bytes
 *
 * The multiple-choice knapsack problem (Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, chapter 11): its
 * linear relaxation, by the lower convex hulls of the items, gives a bound; a table over bytes gives the choice. Pure
 * arithmetic on arrays: no model, no types. docs/methods/ALLOCATION.md */
#ifndef PARE_FIT_ALLOCATE_H
#define PARE_FIT_ALLOCATE_H

#include "core/error.h"

#include <stdint.h>

typedef struct pare_choice {
    uint64_t bytes;
    double cost; /* finite; may be negative */
} pare_choice;

typedef struct pare_choices {
    const pare_choice *list; /* [n], n > 0, in any order, equal ones allowed */
    size_t n;
} pare_choices;

typedef struct pare_allocation {
    uint64_t bytes; /* of what was chosen: at most the budget */
    double cost;
    double bound; /* no choice within the budget costs less */
    bool exact;   /* none costs less than this one: the table had a cell for every sum of bytes that can be */
} pare_allocation;

/* chosen [n]: the number of the choice of each item. Of equal costs the one of fewer bytes, then the first in the list,
 * so the same input gives the same choice. Sums of bytes are exact. Where they are too many for the table (2^22 cells
 * over all items) each of its cells keeps the best sum of several: cost lies between bound and the relaxation's rounded
 * solution, and what is left of the budget is spent as long as a choice that costs less fits.
 * Errors: PARE_ERR_DIFFERENCE  the smallest choices take more than the budget: the message has both numbers, and
 *                              out->bytes the smallest possible
 *         PARE_ERR_NUMBER      a cost that is not finite
 *         PARE_ERR_RANGE       bytes that overflow; an item without choices
 *         PARE_ERR_MEMORY */
pare_status pare_allocate(const pare_choices *items, size_t n, uint64_t budget, size_t *chosen, pare_allocation *out,
                          pare_error *err);

#endif
