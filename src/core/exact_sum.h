/* core/exact_sum.h - a sum of numbers that does not depend on their order */
#ifndef PARE_CORE_EXACT_SUM_H
#define PARE_CORE_EXACT_SUM_H

#include <stdint.h>

/* A fixed-point number that holds every double: digit i counts 2^(32 i - 1074). Zeroed is 0. */
enum { PARE_SUM_DIGITS = 68 };
typedef struct pare_exact_sum {
    uint64_t digit[PARE_SUM_DIGITS]; /* carries are left standing */
    uint32_t n_added;                /* since they were last passed on */
} pare_exact_sum;

/* value: finite and >= 0. Up to 2^64 of them. */
void pare_exact_sum_add(pare_exact_sum *sum, double value);

/* The same for the same set of numbers, to within a few units in the last place. */
double pare_exact_sum_value(pare_exact_sum *sum);

#endif
