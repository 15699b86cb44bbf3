/* mutate.h - mutators that know a format, for libFuzzer: what they change stays a file that a reader follows for long
 *
 * Bytes changed at random rarely get past a header of counts and lengths. These take the header apart (leniently, with
 * code of their own: a reader that is wrong must not decide what is tried), change one to four things in it - a number
 * to one at a limit, a string with its length, a member twice, away, or in another place, one that the format gives a
 * meaning - and put it together again with the tensor data where the header says. One time in eight they leave bytes
 * to libFuzzer instead. */
#ifndef PARE_TESTS_FUZZ_MUTATE_H
#define PARE_TESTS_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* data holds size bytes and has room for max; returns the new size, at most max. The same seed gives the same bytes,
 * but where libFuzzer is asked. */
size_t fuzz_mutate_gguf(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t max, unsigned seed);

/* What the two share: a growing buffer, and chance. An allocation that fails ends the program. */
typedef struct fuzz_bytes {
    uint8_t *data;
    size_t n, cap;
} fuzz_bytes;

void fuzz_splice(fuzz_bytes *b, size_t at, size_t n_away, const void *put, size_t n_put);

typedef struct fuzz_chance {
    uint64_t state;
} fuzz_chance;

uint64_t fuzz_random(fuzz_chance *c);
size_t fuzz_below(fuzz_chance *c, size_t n); /* 0 when n is 0 */

/* A number that readers may trip over: limits of 8 to 64 bits, powers of two and their neighbours, now and what is near
 * it, left (bytes that are there) and what is near it. */
uint64_t fuzz_number(fuzz_chance *c, uint64_t now, uint64_t left);

/* libFuzzer's own mutator, or a test's stand-in. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

#endif
