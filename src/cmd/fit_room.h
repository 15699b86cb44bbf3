/* cmd/fit_room.h - do these types of a model find room in the memory that was asked about? */
#ifndef PARE_CMD_FIT_ROOM_H
#define PARE_CMD_FIT_ROOM_H

#include "cmd/fit_plan.h"

/* Zeroed is closed. */
typedef struct cmd_fit_room {
    const cmd_fit_request *request; /* borrowed */
    pare_memory_model m;            /* of the model, in the types that were asked about last */
} cmd_fit_room;

pare_status cmd_fit_room_open(cmd_fit_room *r, const cmd_fit_request *request, const pare_model *m, pare_error *err);
void cmd_fit_room_close(cmd_fit_room *r);

/* Is there a placement of the model in types [n_tensors], by the request's rules: cards, RAM, experts and layers there?
 * It is the one that pare_place finds for it. Errors: those of pare_place but PARE_ERR_DIFFERENCE */
pare_status cmd_fit_room_has(cmd_fit_room *r, const pare_type *types, bool *yes, pare_error *err);

/* The same, with PARE_ERR_DIFFERENCE and what it would take where there is none. */
pare_status cmd_fit_room_check(cmd_fit_room *r, const pare_type *types, pare_error *err);

#endif
