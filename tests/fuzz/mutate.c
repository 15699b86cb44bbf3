#include "mutate.h"

#include <stdlib.h>
#include <string.h>

void fuzz_splice(fuzz_bytes *b, size_t at, size_t n_away, const void *put, size_t n_put)
{
    size_t n = b->n - n_away + n_put;
    if (n > b->cap) {
        b->cap = 2 * n;
        if ((b->data = realloc(b->data, b->cap)) == NULL)
            abort();
    }
    if (b->n - at - n_away > 0)
        memmove(b->data + at + n_put, b->data + at + n_away, b->n - at - n_away);
    if (n_put > 0)
        memcpy(b->data + at, put, n_put);
    b->n = n;
}

/* splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 */
uint64_t fuzz_random(fuzz_chance *c)
{
    uint64_t z = c->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

size_t fuzz_below(fuzz_chance *c, size_t n)
{
    return n > 0 ? (size_t)(fuzz_random(c) % n) : 0;
}

uint64_t fuzz_number(fuzz_chance *c, uint64_t now, uint64_t left)
{
    static const uint64_t limits[] = {0,
                                      1,
                                      2,
                                      127,
                                      128,
                                      255,
                                      256,
                                      32767,
                                      32768,
                                      65535,
                                      65536,
                                      INT32_MAX,
                                      (uint64_t)INT32_MAX + 1,
                                      UINT32_MAX,
                                      (uint64_t)UINT32_MAX + 1,
                                      (uint64_t)1 << 53,
                                      INT64_MAX,
                                      (uint64_t)INT64_MAX + 1,
                                      UINT64_MAX - 7,
                                      UINT64_MAX};
    uint64_t near = fuzz_random(c) % 3 - 1; /* -1, 0, 1 */
    switch (fuzz_below(c, 6)) {
    case 0:
        return limits[fuzz_below(c, sizeof limits / sizeof *limits)];
    case 1:
        return ((uint64_t)1 << fuzz_below(c, 64)) + near;
    case 2:
        return left + near;
    case 3:
        return now + near;
    case 4:
        return fuzz_random(c) % 64;
    default:
        return now ^ (uint64_t)1 << fuzz_below(c, 64);
    }
}
