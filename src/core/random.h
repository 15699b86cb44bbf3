/* core/random.h - numbers that look random and depend on a seed and an index alone: the same on every machine, in any
 * order, from any thread */
#ifndef PARE_CORE_RANDOM_H
#define PARE_CORE_RANDOM_H

#include <stdint.h>

/* Number i of the sequence that seed names: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
 * Generators", OOPSLA 2014, figure 16). */
static inline uint64_t pare_random(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The same scaled to [0, n), n >= 1; for n below 2^32 each value is as likely to within 2^-32. */
static inline uint64_t pare_random_below(uint64_t seed, uint64_t i, uint64_t n)
{
    return ((pare_random(seed, i) >> 32) * n) >> 32;
}

#endif
