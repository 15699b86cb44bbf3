/* cmd/outputs.h - the files that a run will write: checked before any work, described after it */
#ifndef PARE_CMD_OUTPUTS_H
#define PARE_CMD_OUTPUTS_H

#include "cmd/options.h"
#include "cmd/device.h"
#include "cmd/signing.h"
#include "core/background.h"
#include "core/output_set.h"
#include "formats/pin.h"

#include <jansson.h>

enum { CMD_MAX_OUTPUTS = 8 };

typedef struct cmd_outputs {
    struct {
        const char *option; /* "--output": for messages */
        const char *path;   /* borrowed */
    } item[CMD_MAX_OUTPUTS];
    size_t n;
    const char *const *inputs; /* [n_inputs] further files that must not be overwritten, borrowed */
    size_t n_inputs;
} cmd_outputs;

void cmd_outputs_add(cmd_outputs *outputs, const char *option, const char *path); /* path NULL: nothing is added */

/* Each output has a name of its own, is no input and, without force, does not exist.
 *   input  may be NULL: a model whose files must not be overwritten
 * Errors: PARE_ERR_USAGE */
pare_status cmd_outputs_check(const cmd_outputs *outputs, const pare_model *input, bool force, pare_error *err);

/* None of the outputs is a file that the pin covers, unless what lies there is an older lock or checksum file.
 * Errors: PARE_ERR_USAGE */
pare_status cmd_outputs_check_pinned(const cmd_outputs *outputs, const pare_pin *pin, pare_error *err);

/* The name without its folder: what files that are written say of files that were read. */
const char *cmd_base_name(const char *path);

/* Bytes that are free for the user where path would be written; 0 when that cannot be found out. */
uint64_t cmd_free_bytes(const char *path);

/* Does this command line make a folder, as convert to safetensors does, and not a file or a set of files? */
bool cmd_output_is_folder(const cmd_args *args);

/* "options" of a recipe, [[name, value]]: those that change the output's bytes; those that say where to write, or how
 * to talk, are left out. A new reference. */
json_t *cmd_recipe_options(const cmd_args *args);

/* The checksum file that goes with a lock: what --sums names, else SHA256SUMS in the lock's folder. Owned by the
 * caller. Errors: PARE_ERR_MEMORY */
pare_status cmd_sums_beside(char **out, const cmd_args *args, const char *lock, pare_error *err);

/* The lock, the checksum file and, with --sign, the signature of --pin. Zeroed is closed. */
typedef struct cmd_pinning {
    bool wanted;
    char *lock, *sums; /* owned */
    cmd_signing signing;
    pare_background hashing; /* of the inputs */
    pare_pin read;           /* these, the first n_source of them the model's */
    size_t n_source;
    json_t *inputs;                       /* [{name, sha256}] */
    json_t *parents;                      /* cmd_lineage_parents */
    json_t *folder;                       /* the name of the folder that the model's files lie in, if that counts */
    char standard_input[PARE_SHA256_HEX]; /* of what was read as "-", set by who read it */
    const cmd_devices *devices;           /* what the verb computes on, set by it; NULL: the CPU */
    char plan[PARE_SHA256_HEX];           /* set by a verb that found out which type each tensor has; or "" */
} cmd_pinning;

/* Names from --lock and --sums, else pare.lock and SHA256SUMS beside output, or in it when it is a folder; the key of
 * --sign. Errors: PARE_ERR_USAGE (--lock or --sign without --pin; the key would be overwritten), those of
 * cmd_signing_open, PARE_ERR_MEMORY. */
pare_status cmd_pinning_open(cmd_pinning *pinning, const cmd_args *args, const char *output, bool is_folder,
                             pare_error *err);
/* Add the files that pinning writes to those that are checked before any work. */
void cmd_pinning_outputs(const cmd_pinning *pinning, cmd_outputs *outputs);
/* Begin to hash what the bytes come from: the source's files and those named by options (an imatrix). It goes on beside
 * the work until cmd_pinning_add waits for it, whose error is then that of a source that could not be read. */
pare_status cmd_pinning_hash_inputs(cmd_pinning *pinning, const cmd_args *args, const pare_model *source,
                                    pare_error *err);
/* Add lock, checksums and signature to the set. The recipe is what docs/formats/LOCK.md says. */
pare_status cmd_pinning_add(cmd_pinning *pinning, const cmd_args *args, pare_pin *pin, pare_output_set *set,
                            pare_error *err);
/* Are all of them to lie in that folder itself, by the names that were given? */
bool cmd_pinning_lies_in(const cmd_pinning *pinning, const char *folder);
/* Then: write them into a folder that lies at stored_at, and so do the files of pin, and will be called `folder`.
 * Errors: those of cmd_pinning_add; PARE_ERR_USAGE: one is called as a file that is there */
pare_status cmd_pinning_write_into(cmd_pinning *pinning, const cmd_args *args, pare_pin *pin, const char *folder,
                                   const char *stored_at, pare_error *err);
void cmd_pinning_close(cmd_pinning *pinning);

/* "files": [{name, bytes, sha256}] of pin, and "sha256" when it is one file. */
void cmd_json_files(json_t *doc, const pare_pin *pin);
uint64_t cmd_pin_bytes(const pare_pin *pin);

#endif
