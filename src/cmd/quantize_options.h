/* cmd/quantize_options.h - the options of quantize that say what becomes of the tensors and the metadata */
#ifndef PARE_CMD_QUANTIZE_OPTIONS_H
#define PARE_CMD_QUANTIZE_OPTIONS_H

#include "cmd/options.h"
#include "recipe/recipe.h"

/* Zeroed is closed. options points into the rest. */
typedef struct cmd_quantize_options {
    pare_quantize_options options; /* without the imatrix */
    pare_type_override *overrides; /* owned, as the patterns in it */
    pare_meta_edit *edits;         /* owned */
    bool feedback;                 /* error feedback where there are statistics for it */
} cmd_quantize_options;

pare_effort cmd_effort(const cmd_args *args); /* --effort */

/* Errors: PARE_ERR_USAGE, PARE_ERR_MEMORY; to be closed then too. */
pare_status cmd_quantize_options_parse(cmd_quantize_options *q, const cmd_args *args, pare_error *err);
void cmd_quantize_options_close(cmd_quantize_options *q);

#endif
