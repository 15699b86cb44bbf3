/* cmd/fit_measure.h - fit --measure: the plan's parts on real cards, beside what was predicted (memory/occupy.h) */
#ifndef PARE_CMD_FIT_MEASURE_H
#define PARE_CMD_FIT_MEASURE_H

#include "cmd/fit_plan.h"
#include "memory/occupy.h"

#include <jansson.h>

/* Load the CUDA plugin, take what the candidate's plan has on the cards, and give it back. out: as pare_occupy.
 * Errors: PARE_ERR_USAGE (--device is the CPU, or names another number of devices than the plan has),
 * PARE_ERR_DEVICE (those of gpu/plugin.h), those of pare_occupy */
pare_status cmd_fit_measure(pare_occupied *out, const cmd_args *args, const cmd_fit_plan *p, const cmd_fit_candidate *c,
                            pare_error *err);

/* Is --measure-log a log, or absent? Errors: PARE_ERR_USAGE (something else), PARE_ERR_IO */
pare_status cmd_fit_check_log(const cmd_args *args, pare_error *err);

/* Append a line to --measure-log, if it was given. Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status cmd_fit_log(const cmd_args *args, const cmd_fit_plan *p, const cmd_fit_candidate *c, const pare_occupied *o,
                        pare_error *err);

void cmd_fit_print_measured(const cmd_fit_candidate *c, const pare_occupied *o);

/* {fits, why, devices[]}: docs/CLI.md. The caller's. */
json_t *cmd_fit_json_measured(const cmd_fit_candidate *c, const pare_occupied *o);

#endif
