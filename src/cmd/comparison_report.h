/* cmd/comparison_report.h - --report of `pare compare`: what was measured in a file, as a page or as JSON */
#ifndef PARE_CMD_COMPARISON_REPORT_H
#define PARE_CMD_COMPARISON_REPORT_H

#include "cmd/comparison.h"

/* Can the file that --report names be written? Before any model runs. Errors: PARE_ERR_USAGE (it exists, is an input,
 * or its name says nothing of its format) */
pare_status cmd_check_report(const cmd_comparison *c, pare_error *err);

/* Write doc (cmd_json_comparison) to it, if one was asked for. Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status cmd_write_comparison(const cmd_args *args, json_t *doc, pare_error *err);

#endif
