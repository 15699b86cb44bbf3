/* recipe/refit.h - the gains of the first norm, fitted to what became of the weights around it
 *
 * Codes are fixed by then; gains are floats that cost no bytes. Method and measurements: docs/methods/REFIT.md. */
#ifndef PARE_RECIPE_REFIT_H
#define PARE_RECIPE_REFIT_H

#include "recipe/recipe.h"

/* Change the gains of layer 0's attention norm in out, whose token embedding was encoded by pare_refine, so that the
 * matrices behind the norm say of each token what they said before, as nearly as they can. The norm's row of the plan
 * says by how much it moved. *why: NULL, or why nothing is changed: something else is between the embedding and these
 * matrices, they are others than are known here, or were not encoded ahead; a part of a sentence.
 * Errors: PARE_ERR_MEMORY, those of reading, PARE_ERR_INTERRUPTED */
pare_status pare_refit(pare_model *out, pare_plan *plan, const char **why, pare_error *err);

#endif
