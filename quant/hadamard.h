/* quant/hadamard.h - the fast Walsh-Hadamard transform of short vectors, exactly undone
 *
 * A rotation R of vectors of dim elements:  R x = H (s x)    R^-1 y = s (H y)
 *
 *   s   signs of the elements, chosen by a seed (0: all +)
 *   H   block by block the Hadamard matrix of 2^m rows times 2^(-m/2), which is symmetric and orthogonal
 *
 *     dim 128, largest 128    | 128                      |
 *     dim 128, largest  64    | 64         | 64          |
 *     dim  80, largest  64    | 64         | 16 |            what a power of two leaves is cut into smaller ones
 *
 * q.k does not change when both turn (Ashkboos et al., QuaRot, arXiv 2404.00456), and a rotated vector's elements are
 * all of about one size, which blocks with one scale want.
 *
 * Same bytes on every path (quant/path.h) and device: m steps, h = 1, 2 .. 2^(m-1), after each of which element i is
 * the sum a + b of the old elements i and i + h where bit h of i is 0, and a - b of i - h and i where it is 1; then one
 * product. Nothing is added across a block, so the order is that of the steps alone. */
#ifndef PARE_QUANT_HADAMARD_H
#define PARE_QUANT_HADAMARD_H

#include "core/bytes.h"

#include <stddef.h>

enum { PARE_ROTATION_MAX_DIM = 1024 };

typedef struct pare_rotation {
    uint32_t dim;     /* 1 to PARE_ROTATION_MAX_DIM */
    uint32_t largest; /* block, a power of two */
    uint64_t seed;    /* of the signs; 0: none are changed */
} pare_rotation;

/* The block that begins at element `at` < dim: the largest power of two that is no larger than r->largest and the rest.
 */
PARE_HD uint32_t pare_rotation_block(const pare_rotation *r, uint32_t at)
{
    uint32_t n = r->largest;
    while (n > r->dim - at)
        n /= 2;
    return n;
}

/* The product at the end: 2^(-m/2) for a block of 2^m. Half of them are exact. */
PARE_HD float pare_rotation_scale(uint32_t block)
{
    uint32_t m = 0;
    while (block >> m > 1)
        m++;
    float root = pare_bits_to_f32((127 - m / 2) << 23);
    return m % 2 != 0 ? root * 0.70710678118654752f : root;
}

/* Bit n % 64 of 64 random ones, chosen by a seed and n / 64: splitmix64 (Steele, Lea, Flood: Fast splittable
 * pseudorandom number generators, OOPSLA 2014). */
PARE_HD uint64_t pare_random_bits(uint64_t seed, uint64_t word)
{
    uint64_t z = seed + (word + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* -1 or 1 */
PARE_HD float pare_rotation_sign(const pare_rotation *r, uint32_t i)
{
    return r->seed != 0 && (pare_random_bits(r->seed, i / 64) >> (i % 64) & 1) != 0 ? -1.0f : 1.0f;
}

/* n vectors, one behind the other, in place; back: R^-1. The calling thread only. Vectors that are not finite, or so
 * large that sums overflow, give elements that are not finite, in their block alone. */
void pare_rotate(const pare_rotation *r, float *x, size_t n);
void pare_rotate_back(const pare_rotation *r, float *x, size_t n);

#endif
