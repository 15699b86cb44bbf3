/* cmd/recipe_check.h - do the members of a recipe say the same as its command line?
 *
 * Only the command line is ever run. What else a recipe says is for readers, and must not tell them of another run. */
#ifndef PARE_CMD_RECIPE_CHECK_H
#define PARE_CMD_RECIPE_CHECK_H

#include "cmd/recipe_file.h"

/* "options", "inputs" (against "parents", which is held to the command line where the inputs are looked for),
 * "outputs", "threads" and "device" of a recipe whose command line was parsed. A member that is not there contradicts
 * nothing. Errors: PARE_ERR_FORMAT with the member and both values; PARE_ERR_MEMORY */
pare_status cmd_recipe_check(const cmd_recipe *r, pare_error *err);

#endif
