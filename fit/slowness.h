/* fit/slowness.h - which block types are slow where */
#ifndef PARE_FIT_SLOWNESS_H
#define PARE_FIT_SLOWNESS_H

#include "quant/types.h"

typedef enum pare_fit_target { PARE_FIT_ANYWHERE, PARE_FIT_CPU } pare_fit_target;

/* Seconds that stock llama.cpp takes to multiply a weight of this type with a vector, in parts of Q4_K's, where memory
 * is fast enough not to matter: slowness.c has the table and its source. 1 for types that it lacks, and ANYWHERE. On
 * devices reading weights is what takes time, so there is no table for them: fewer bytes are faster. */
double pare_fit_slowness(pare_type type, pare_fit_target target);

/* Types beyond this are left out where speed is asked for: those of codebooks, but for IQ4_NL and IQ4_XS. */
#define PARE_FIT_SLOW 2.0

#endif
