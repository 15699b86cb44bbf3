/* cmd/pack_method.h - how `convert` chooses the integers of a packed folder: --imatrix, --method, --effort */
#ifndef PARE_CMD_PACK_METHOD_H
#define PARE_CMD_PACK_METHOD_H

#include "cmd/options.h"
#include "formats/pack.h"
#include "recipe/awq.h"
#include "recipe/group.h"

/* Zeroed is closed. */
typedef struct cmd_pack_method {
    pare_pack pack; /* the format, with complete options */
    pare_group_settings settings;
    pare_imatrix imatrix;
    pare_spool spool;
    bool scales; /* by AWQ, ahead of the integers */
    pare_fold fold;
    pare_awq_report awq;
    pare_group_report report;
} cmd_pack_method;

/* Take in the options. Errors: PARE_ERR_USAGE (a format, or no format, that has nothing to choose; statistics that the
 * method needs), those of opening the statistics. */
pare_status cmd_pack_method_open(cmd_pack_method *m, const cmd_args *args, const pare_pack_format *format,
                                 const pare_pack_options *options, pare_error *err);

/* Scale the input channels of in, where the method does that: ahead of what is derived from it. */
pare_status cmd_pack_method_scale(cmd_pack_method *m, pare_model *in, pare_error *err);

void cmd_pack_method_close(cmd_pack_method *m); /* after the model that was chosen for */

/* Choose the integers of out for the folder `output`. */
pare_status cmd_pack_method_choose(cmd_pack_method *m, pare_model *out, pare_plan *plan, const char *output,
                                   pare_error *err);

#endif
