/* quant/sweep.h - the exact best scale of blocks with the levels -1, 0, 1 and perhaps 2
 *
 * Method: docs/methods/TERNARY.md. */
#ifndef PARE_QUANT_SWEEP_H
#define PARE_QUANT_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

enum { PARE_MAX_SWEEP = 256 };

/* Code: level + 1. */
typedef struct pare_sweep_fit {
    uint16_t d; /* binary16; negative where the type has the level 2 and that serves */
    uint8_t code[PARE_MAX_SWEEP];
} pare_sweep_fit;

/* The scale d and the levels l of least sum w (x - d l)^2. n: a multiple of 8, at most PARE_MAX_SWEEP. has_two: the
 * level 2 exists. A block that lies on such levels comes back exactly if a binary16 holds its scale; one that is too
 * large for a binary16 gets an infinite scale. */
void pare_sweep(const float *x, const float *w, int n, bool has_two, pare_sweep_fit *fit);

/* The published rule: d is the largest magnitude, the level the nearest to x / d before d is rounded to binary16. */
void pare_sweep_plain(const float *x, int n, pare_sweep_fit *fit);

#endif
