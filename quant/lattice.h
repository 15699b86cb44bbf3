/* quant/lattice.h - blocks that already are integers times a scale, as checkpoints trained or packed for few bits hold
 *
 * Such a block comes back without loss: docs/methods/BLOCK32.md. */
#ifndef PARE_QUANT_LATTICE_H
#define PARE_QUANT_LATTICE_H

#include "quant/vec.h"

#include <stddef.h>

/* How far the quotient of a weight and a step may be from an integer, as a share, when both were rounded to bfloat16:
 * 2^-8 each, and a little. */
#define PARE_LATTICE_SLACK (1.01f / 128)

/* Whether v, the quotient of a weight and a step, may be an integer. */
PARE_INLINE pare_mask pare_lattice_near(pare_vec v)
{
    return pare_vec_abs(v - pare_vec_nearest(v)) <= PARE_LATTICE_SLACK * pare_vec_abs(v);
}

/* The nearest integer. */
float pare_lattice_whole(float v);

/* A binary16, as a float, near to step, whose products with levels in low..high are the n weights: exactly, or when
 * rounded to bfloat16 or to binary16 as the weights were. 0 if there is none. nearest: the level nearest to v. */
float pare_lattice_scale(const float *x, size_t n, float step, float (*nearest)(float v), float low, float high);

/* The same for weights d * code + m with codes 0..top, d near to step. The lowest weight, low, gets a code up to
 * `room`: what m a binary16 holds exactly may be an integer times d below it. False, and d and m as they were, if there
 * are none. */
bool pare_lattice_line(const float *x, size_t n, float step, float low, int room, float top, float *d, float *m);

#endif
