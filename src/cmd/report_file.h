/* cmd/report_file.h - --report of `pare compare`, `fit` and `kv`: what was measured in a file, as a page or as JSON */
#ifndef PARE_CMD_REPORT_FILE_H
#define PARE_CMD_REPORT_FILE_H

#include "cmd/options.h"

#include <jansson.h>

/* Does the name that --report gives, if any, say its format? Errors: PARE_ERR_USAGE */
pare_status cmd_check_report_name(const cmd_args *args, pare_error *err);

/* Write doc, what --json of the verb prints, to it, if one was asked for. Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status cmd_write_report(const cmd_args *args, json_t *doc, pare_error *err);

#endif
