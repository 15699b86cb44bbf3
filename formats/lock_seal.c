#include "formats/lock_seal.h"
#include "core/hash.h"

#include <string.h>

enum { N_DIGITS = 64 };

pare_status pare_lock_seal(const char *text, size_t len, size_t digits, uint8_t sha256[32], pare_error *err)
{
    pare_hasher h;
    pare_digest digest;
    pare_status st = pare_hasher_open(&h, PARE_HASH_SHA256, err);
    if (st == PARE_OK && (st = pare_hasher_add(&h, text, digits, err)) == PARE_OK &&
        (st = pare_hasher_add(&h, PARE_LOCK_OPEN_SEAL, N_DIGITS, err)) == PARE_OK &&
        (st = pare_hasher_add(&h, text + digits + N_DIGITS, len - digits - N_DIGITS, err)) == PARE_OK &&
        (st = pare_hasher_finish(&h, &digest, err)) == PARE_OK)
        memcpy(sha256, digest.sha256, 32);
    pare_hasher_close(&h);
    return st;
}
