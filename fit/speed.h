/* fit/speed.h - which block types are slow, and where */
#ifndef PARE_FIT_SPEED_H
#define PARE_FIT_SPEED_H

#include "quant/types.h"

typedef enum pare_fit_target { PARE_FIT_ANYWHERE, PARE_FIT_CPU, PARE_FIT_GPU } pare_fit_target;

/* Seconds that a product with a vector takes with a weight of this type, in parts of what Q4_K takes, where memory is
 * fast enough not to matter: the table and its source are in speed.c. PARE_FIT_ANYWHERE: 1 for all. */
double pare_fit_slowness(pare_type type, pare_fit_target target);

/* Types beyond this are left out where speed is asked for. */
#define PARE_FIT_SLOW 1.6

#endif
