/* cmd/comparison_report.h - --report of `pare compare` before any model runs */
#ifndef PARE_CMD_COMPARISON_REPORT_H
#define PARE_CMD_COMPARISON_REPORT_H

#include "cmd/comparison.h"

/* Can the file that --report names be written? Errors: PARE_ERR_USAGE (it exists, is an input, or its name says nothing
 * of its format) */
pare_status cmd_check_report(const cmd_comparison *c, pare_error *err);

#endif
