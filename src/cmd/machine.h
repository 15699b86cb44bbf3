/* cmd/machine.h - what this program runs on: for `pare env` and for the records of evaluations */
#ifndef PARE_CMD_MACHINE_H
#define PARE_CMD_MACHINE_H

/* Static texts. */
const char *cmd_cpu_model(void);    /* "unknown" where the system does not say */
const char *cmd_cpu_features(void); /* those that matter to pare, divided by spaces */

#endif
