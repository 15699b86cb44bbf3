/* quant/lanes.h - sums in one order, and the largest magnitude
 *
 * Sums run over 8 lanes, weight i in lane i % 8, then over the lanes in the order below: compilers may use vectors of
 * any width and cannot change a bit. */
#ifndef PARE_QUANT_LANES_H
#define PARE_QUANT_LANES_H

#include <stddef.h>

enum { PARE_LANES = 8 };

/* How many floats the vectors of the path hold, for code whose result does not depend on it. */
#if defined(__AVX512F__)
enum { PARE_VECTOR_FLOATS = 16 };
#elif defined(__AVX2__)
enum { PARE_VECTOR_FLOATS = 8 };
#else
enum { PARE_VECTOR_FLOATS = 4 };
#endif

static inline float pare_add_lanes(const float *v)
{
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* The weights of the errors first .. first + n - 1 of a row; all are 1 where weight is NULL. */
static inline void pare_take_weights(const float *weight, size_t first, size_t n, float *w)
{
    for (size_t i = 0; i < n; i++)
        w[i] = weight != NULL ? weight[first + i] : 1;
}

/* The value of largest magnitude, with its sign; the first one on ties. */
static inline float pare_peak(const float *x, int n)
{
    float peak = 0;
    for (int i = 0; i < n; i++)
        peak = (x[i] < 0 ? -x[i] : x[i]) > (peak < 0 ? -peak : peak) ? x[i] : peak;
    return peak;
}

#endif
