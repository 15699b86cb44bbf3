/* cmd/model_diff.h - inspect --diff: what two models differ in */
#ifndef PARE_CMD_MODEL_DIFF_H
#define PARE_CMD_MODEL_DIFF_H

#include "model/model.h"

#include <jansson.h>

/* Append one {kind: "metadata" | "tensor", name, text} to list for each key or tensor that only one of them has, or
 * that has another value, type, shape or content. Errors: PARE_ERR_MEMORY, PARE_ERR_INTERRUPTED. */
pare_status cmd_model_diff(const pare_model *a, const pare_model *b, json_t *list, pare_error *err);

#endif
