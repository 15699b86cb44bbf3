/* quant/path.h - which instruction set the encoders use
 *
 * The sources of the encoders are compiled once a path, with that path's compiler options: nothing in them names an
 * instruction set. All paths give the same bytes: sums run over a fixed number of lanes in a fixed order
 * (quant/lanes.h) and products are not contracted. quant/path_names.h gives each path's functions their own names. */
#ifndef PARE_QUANT_PATH_H
#define PARE_QUANT_PATH_H

#include "quant/types.h"

typedef enum pare_path {
    PARE_PATH_PORTABLE, /* what the compiler emits for the platform's base line */
    PARE_PATH_AVX2,     /* x86-64 with AVX2, F16C and BMI2 */
    PARE_PATH_AVX512,   /* and AVX-512 F, BW, CD, DQ and VL */
    PARE_PATH_COUNT
} pare_path;

const char *pare_path_name(pare_path path); /* "portable", "avx2", "avx512" */

/* Whether it was compiled in and this machine can run it. */
bool pare_path_available(pare_path path);

/* The path in use: the last one that is available, unless pare_path_use chose. */
pare_path pare_path_current(void);

/* Use an available path from now on, in all threads; for tests and measurements. */
void pare_path_use(pare_path path);

#endif
