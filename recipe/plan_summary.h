/* recipe/plan_summary.h - what a plan says as a whole: the worst tensors, what was kept exactly, what was requantized
 */
#ifndef PARE_RECIPE_PLAN_SUMMARY_H
#define PARE_RECIPE_PLAN_SUMMARY_H

#include "recipe/recipe.h"

/* The n rows of the largest errors, the largest first: by weighted error where there is one, else by error. Rows that
 * lost nothing, or were not encoded yet, are not among them. Returns how many there are. */
size_t pare_plan_worst(const pare_plan *plan, const pare_plan_row **out, size_t n);

/* Tensors that became blocks of another type than they had and lie on its grid: rounded to the type that they had, the
 * values are those they were. */
size_t pare_plan_count_lossless(const pare_plan *plan);

/* Errors as in pare_plan_row, means over the weights. What a type costs is measured on normally distributed weights. */
typedef struct pare_requantized {
    uint32_t n_tensors;               /* whose source was quantized already; 0: none, and nothing else is set */
    uint32_t n_from[PARE_TYPE_COUNT]; /* of them, by type of the source */
    double source_error;              /* what the source's types cost already */
    double expected_error;            /* what the new types cost */
    double added_error;               /* what they did cost, relative to the source; NAN before they were encoded */
} pare_requantized;

/* out: the derived model that the plan is of. Errors: those of the encoders. */
pare_status pare_plan_requantized(const pare_plan *plan, const pare_model *out, pare_requantized *sum, pare_error *err);

#endif
