/* quant/lanes.h - sums in one order, and the largest magnitude
 *
 * Sums run over 8 lanes, weight i in lane i % 8, then over the lanes in the order below: compilers may use vectors of
 * any width and cannot change a bit. */
#ifndef PARE_QUANT_LANES_H
#define PARE_QUANT_LANES_H

enum { PARE_LANES = 8 };

static inline float pare_add_lanes(const float *v)
{
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
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
