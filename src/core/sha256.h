/* core/sha256.h - SHA-256 (FIPS 180-4) of one or two messages at once
 *
 * The SHA instructions of x86-64 have a latency of several cycles, and each round waits for the one before: one message
 * leaves half of the unit idle, two that are interleaved take hardly longer than one (S. Gueron and V. Krasnov,
 * "Simultaneous Hashing of Multiple Messages", Journal of Information Security 3, 2012). For CPUs without these
 * instructions core/hash.c uses libcrypto. */
#ifndef PARE_CORE_SHA256_H
#define PARE_CORE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PARE_SHA256_BLOCK = 64 };

/* A message so far. */
typedef struct pare_sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t tail[PARE_SHA256_BLOCK]; /* its last n_bytes % 64 bytes */
} pare_sha256;

/* Whether this CPU has the instructions. The functions below must not be called where it has not. */
bool pare_sha256_available(void);

void pare_sha256_start(pare_sha256 *m);
void pare_sha256_add(pare_sha256 *m, const uint8_t *data, size_t n);
void pare_sha256_finish(const pare_sha256 *m, uint8_t digest[32]);

/* Add n bytes to each of two different messages: like two calls, in little more than the time of one. */
void pare_sha256_add_two(pare_sha256 *a, const uint8_t *a_data, pare_sha256 *b, const uint8_t *b_data, size_t n);

#endif
