/* cmd/sources.h - is what a command read still what it was when the command began?
 *
 * Before a verb runs it is noted which files its operands and options name: device, inode, size and times
 * (core/guard.h). Of a folder, and of a .safetensors file, whose folder is read too, these are config.json and the
 * other files beside weights that a model is read from; its weight files, and all parts of a set, are those that the
 * model opened. The verb has them compared when its result is about to appear: what was made of a file that changed
 * meanwhile is of neither the old nor the new one, and a hash that is taken of it says nothing of what was read. */
#ifndef PARE_CMD_SOURCES_H
#define PARE_CMD_SOURCES_H

#include "cmd/options.h"
#include "model/model.h"

/* Note the files in args, which owns the list. What cannot be looked at is left to the reader. Errors: PARE_ERR_MEMORY
 */
pare_status cmd_sources_note(cmd_args *args, pare_error *err);
void cmd_sources_close(cmd_args *args);

/* Are they, and the files of m and of what it was derived from, as they were? m may be NULL.
 * Errors: PARE_ERR_IO: one changed, or is gone */
pare_status cmd_sources_check(const cmd_args *args, const pare_model *m, pare_error *err);

#endif
