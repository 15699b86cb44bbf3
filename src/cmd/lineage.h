/* cmd/lineage.h - what a lock says of where its files come from: the command line, its inputs and their own locks */
#ifndef PARE_CMD_LINEAGE_H
#define PARE_CMD_LINEAGE_H

#include "cmd/options.h"
#include "formats/pin.h"

#include <jansson.h>

/* The words of the command line, verb first, in their order; what names a file or folder without the folders that it
 * lies in. NULL: no memory. */
json_t *cmd_lineage_argv(const cmd_args *args);

/* The name of the folder that the files of a model in safetensors lie in: general.name may come from it. *out stays
 * NULL for other models. Errors: PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status cmd_lineage_folder(json_t **out, const cmd_args *args, const pare_model *source, pare_error *err);

/* Does this option name a file that the output's bytes come from? */
bool cmd_lineage_names_input(const cmd_option *option);

/* "parents" of a lock: [{name, role, sha256, size, lock_sha256}] of the inputs, which were hashed. The first n_model
 * are files of the model (role "model", named relative to it where it is a folder), the others those of the options
 * that cmd_lineage_names_input tells of, in the order of the command line. lock_sha256 is of the pare.lock that lies
 * beside an input, or in the folder of the model, and lists it with this hash and size; one that lists it otherwise is
 * warned of. Errors: PARE_ERR_MEMORY; PARE_ERR_FORMAT (a warning, in strict mode) */
pare_status cmd_lineage_parents(json_t **out, const cmd_args *args, const pare_pin *inputs, size_t n_model,
                                pare_error *err);

/* The same row of what was read from standard input, whose size is not known. sha256: in hexadecimal */
json_t *cmd_lineage_stream(const char *sha256);

#endif
