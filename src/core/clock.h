/* core/clock.h - how long something took */
#ifndef PARE_CORE_CLOCK_H
#define PARE_CORE_CLOCK_H

#include <time.h>

/* Seconds since some moment; only differences mean something. No change of the system's time moves it. */
static inline double pare_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
