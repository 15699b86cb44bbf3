/* quant/hadamard_steps.h - the transform of quant/hadamard.h as vector code, one copy a path */
#ifndef PARE_QUANT_HADAMARD_STEPS_H
#define PARE_QUANT_HADAMARD_STEPS_H

#include "quant/hadamard.h"

#include <stdbool.h>

/* n vectors in place. flips: dim sign bits to change, before the transform or, back, behind it. */
void pare_hadamard_steps(const pare_rotation *r, const uint32_t *flips, float *x, size_t n, bool back);

#endif
