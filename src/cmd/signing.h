/* cmd/signing.h - --sign: a bundle of OpenSSF Model Signing beside a lock, published with what it signs */
#ifndef PARE_CMD_SIGNING_H
#define PARE_CMD_SIGNING_H

#include "cmd/options.h"
#include "core/output_set.h"
#include "formats/bundle.h"
#include "formats/pin.h"

#include <jansson.h>

/* Zeroed is closed, and says that nothing is signed. */
typedef struct cmd_signing {
    pare_ec_key key;
    char *beside;       /* model.sig in the folder of the lock: what is signed lies there or below */
    char *signature;    /* the bundle; NULL without --sign */
    const char *called; /* the name that that folder will have, borrowed; NULL: the one that it has */
} cmd_signing;

/* The key that --sign names, and the names of the bundle: what --signature says, else model.sig beside lock.
 * Errors: PARE_ERR_USAGE (--signature without --sign), those of pare_ec_key_load, PARE_ERR_MEMORY */
pare_status cmd_signing_open(cmd_signing *s, const cmd_args *args, const char *lock, pare_error *err);

/* Hash the item of the set that was finished last but `behind` into a new file of pin, which will lie at path. */
pare_status cmd_signing_pin_output(pare_pin *pin, const pare_output_set *set, size_t behind, const char *path,
                                   pare_error *err);

/* Add the bundle to the set: it signs the pinned files, and the lock and the checksums, which are the set's last two
 * items and will have these names. Nothing happens without --sign.
 * Errors: those of pare_bundle_add, PARE_ERR_IO, PARE_ERR_MEMORY */
pare_status cmd_signing_add(const cmd_signing *s, pare_output_set *set, const pare_pin *pin, const char *lock,
                            const char *sums, bool force, pare_error *err);

void cmd_signing_json(json_t *doc, const cmd_signing *s); /* "signature" and "key", where something is signed */
void cmd_signing_print(const cmd_signing *s);             /* a line of it */
void cmd_signing_close(cmd_signing *s);

#endif
