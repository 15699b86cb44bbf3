/* recipe/refine_key.h - a digest of all that a tensor is encoded from */
#ifndef PARE_RECIPE_REFINE_KEY_H
#define PARE_RECIPE_REFINE_KEY_H

#include "model/imatrix.h"
#include "model/model.h"
#include "recipe/state.h"

/* Of t, one of a derived model: its source's rows and factor, its importances in im (NULL: none) and the products g, of
 * experts with the importances of the matrix that they are named after; g NULL: it is encoded without feedback. What
 * else shapes its bytes is in the text of the state. Errors: those of reading, PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED */
pare_status pare_refine_key(pare_state_key *out, const pare_tensor *t, const pare_imatrix *im, const pare_gram *g,
                            pare_error *err);

#endif
