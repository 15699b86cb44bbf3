/* formats/lock_seal.h - the hash that a lock holds of itself, so that an edited digit of it is found
 *
 * It protects against accidents and careless edits, not against somebody who computes it anew: that is what a signature
 * is for (formats/bundle.h). */
#ifndef PARE_FORMATS_LOCK_SEAL_H
#define PARE_FORMATS_LOCK_SEAL_H

#include "core/error.h"

#include <stdint.h>

/* What stands for the digits while they are not known. */
#define PARE_LOCK_OPEN_SEAL "0000000000000000000000000000000000000000000000000000000000000000"

/* SHA-256 of text[0..len) with the 64 bytes at digits taken as zeros (0x30). */
pare_status pare_lock_seal(const char *text, size_t len, size_t digits, uint8_t sha256[32], pare_error *err);

#endif
