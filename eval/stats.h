/* eval/stats.h - means, quantiles and their standard errors */
#ifndef PARE_EVAL_STATS_H
#define PARE_EVAL_STATS_H

#include <stddef.h>

/* A value and its standard error; NAN where the sample is too small to tell. */
typedef struct pare_estimate {
    double value, stderr_;
} pare_estimate;

/* Sums of a sample, added one by one in the order of the data. Zeroed is empty. */
typedef struct pare_moments {
    size_t n;
    double sum, sum_squares;
} pare_moments;

void pare_moments_add(pare_moments *m, double x);

/* Mean with sqrt((E[x^2] - E[x]^2) / (n - 1)). */
pare_estimate pare_mean(const pare_moments *m);

/* Root of the mean square of x, from the moments of x^2; error: that of the mean square divided by twice the root. */
pare_estimate pare_root_mean(const pare_moments *squares);

/* e^x of an estimate; the error is carried over by the derivative. */
pare_estimate pare_exp_estimate(pare_estimate x);

/* Quantile f (0..1) of n ascending values: linear interpolation at rank f (n - 1). Its error is half the distance
 * between the quantiles at ranks one binomial standard deviation sqrt(n f (1 - f)) below and above, because the number
 * of values under the true quantile is binomial (David and Nagaraja, "Order Statistics", 2003, section 7.1); NAN when
 * one of these ranks lies outside of the sample. */
pare_estimate pare_quantile(const double *ascending, size_t n, double f);

/* Sort ascending; no NaN. */
void pare_sort(double *x, size_t n);

#endif
