/* core/xxh3.h - XXH3-128 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md) with the vectors of the CPU that runs
 *
 * The library's own functions are those of the machine that a distribution builds for, which on x86-64 is SSE2. Here
 * its header is compiled once an instruction set (xxh3_lanes.c); all of them give the same digest. */
#ifndef PARE_CORE_XXH3_H
#define PARE_CORE_XXH3_H

#include <stdint.h>
#include <stddef.h>

/* The functions of one instruction set. A state is theirs alone. */
typedef struct pare_xxh3 {
    const char *name;     /* "baseline", "avx2", "avx512" */
    void *(*start)(void); /* a new state; NULL: no memory */
    void (*add)(void *state, const void *data, size_t n);
    void (*finish)(const void *state, uint8_t digest[16]);        /* canonical: big-endian */
    void (*free)(void *state);                                    /* NULL is fine */
    void (*hash)(const void *data, size_t n, uint8_t digest[16]); /* all at once */
} pare_xxh3;

/* Those that were compiled and that this CPU can run: number i, the last one the fastest; NULL behind it. 0 is always
 * there. */
const pare_xxh3 *pare_xxh3_get(int i);

/* The fastest. */
const pare_xxh3 *pare_xxh3_best(void);

#endif
