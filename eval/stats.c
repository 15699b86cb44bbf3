#include "eval/stats.h"

#include <math.h>
#include <stdlib.h>

void pare_moments_add(pare_moments *m, double x)
{
    m->n++;
    m->sum += x;
    m->sum_squares += x * x;
}

pare_estimate pare_mean(const pare_moments *m)
{
    if (m->n == 0)
        return (pare_estimate){NAN, NAN};
    double n = (double)m->n, mean = m->sum / n, variance = m->sum_squares / n - mean * mean;
    if (m->n < 2)
        return (pare_estimate){mean, NAN};
    return (pare_estimate){mean, variance > 0 ? sqrt(variance / (n - 1)) : 0};
}

pare_estimate pare_root_mean(const pare_moments *squares)
{
    pare_estimate mean = pare_mean(squares);
    double root = sqrt(mean.value);
    return (pare_estimate){root, root > 0 ? 0.5 / root * mean.stderr_ : mean.stderr_};
}

pare_estimate pare_exp_estimate(pare_estimate x)
{
    double e = exp(x.value);
    return (pare_estimate){e, e * x.stderr_};
}

/* The value at a fractional rank in [0, n - 1]. */
static double at_rank(const double *ascending, size_t n, double rank)
{
    size_t below = (size_t)rank;
    if (below + 1 >= n)
        return ascending[n - 1];
    return ascending[below] + (rank - (double)below) * (ascending[below + 1] - ascending[below]);
}

pare_estimate pare_quantile(const double *ascending, size_t n, double f)
{
    if (n == 0)
        return (pare_estimate){NAN, NAN};
    double last = (double)(n - 1), rank = f * last, deviation = sqrt((double)n * f * (1 - f));
    pare_estimate q = {at_rank(ascending, n, rank), NAN};
    if (rank - deviation >= 0 && rank + deviation <= last)
        q.stderr_ = (at_rank(ascending, n, rank + deviation) - at_rank(ascending, n, rank - deviation)) / 2;
    return q;
}

static int ascending_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void pare_sort(double *x, size_t n)
{
    qsort(x, n, sizeof *x, ascending_order);
}
