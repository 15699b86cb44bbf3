/* core/hash.h - SHA-256 (core/sha256.h where the CPU has its instructions, else libcrypto) and XXH3-128, streamed
 * together */
#ifndef PARE_CORE_HASH_H
#define PARE_CORE_HASH_H

#include "core/error.h"
#include "core/sha256.h"

enum { PARE_SHA256_HEX = 65, PARE_XXH3_HEX = 33 }; /* lower-case hexadecimal with the terminator */

typedef struct pare_digest {
    uint64_t n_bytes;
    uint8_t sha256[32];
    uint8_t xxh3_128[16]; /* canonical (big-endian) form, as xxhsum -H128 prints it */
} pare_digest;

/* Which hashes a hasher computes. XXH3 alone is fast and not tamper-proof. */
typedef enum pare_hash_kind { PARE_HASH_SHA256 = 1, PARE_HASH_XXH3 = 2, PARE_HASH_BOTH = 3 } pare_hash_kind;

/* Zeroed is closed. Not thread-safe; use one a thread. */
typedef struct pare_hasher {
    pare_hash_kind kind; /* 0: closed */
    void *evp;           /* libcrypto's state; NULL: sha is the one that is used */
    void *xxh;
    pare_sha256 sha;
    uint64_t n_bytes;
} pare_hasher;

pare_status pare_hasher_open(pare_hasher *h, pare_hash_kind kind, pare_error *err);
pare_status pare_hasher_add(pare_hasher *h, const void *data, size_t n, pare_error *err);
/* n bytes to each of two hashers: as two calls, but their SHA-256 takes hardly longer than one. */
pare_status pare_hasher_add_two(pare_hasher *a, const void *a_data, pare_hasher *b, const void *b_data, size_t n,
                                pare_error *err);
/* Finish into *out (hashes that were not asked for are zero); the hasher can then only be closed. */
pare_status pare_hasher_finish(pare_hasher *h, pare_digest *out, pare_error *err);
void pare_hasher_close(pare_hasher *h);

/* All at once. */
pare_status pare_hash_bytes(const void *data, size_t n, pare_hash_kind kind, pare_digest *out, pare_error *err);

void pare_hex(char *dst, const uint8_t *bytes, size_t n); /* 2 n + 1 characters */
/* Exactly 2 n lower-case hexadecimal digits and then the end of the string; false otherwise. */
bool pare_unhex(uint8_t *dst, size_t n, const char *text);

#endif
