#include "fit/whole.h"

#include <math.h>
#include <stdint.h>

void pare_whole_learn(pare_whole *w, double sum, double kld, double second)
{
    size_t at = w->n;
    for (size_t i = 0; i < w->n; i++)
        if (fabs(w->plan[i].sum - sum) < 1e-3 * sum)
            return;
    if (!(sum > 0) || !(kld > 0) || w->n == PARE_MAX_WHOLE)
        return;
    for (; at > 0 && w->plan[at - 1].sum > sum; at--)
        w->plan[at] = w->plan[at - 1];
    w->plan[at].sum = sum;
    w->plan[at].kld = kld;
    w->ratios += second / kld;
    w->n++;
}

/* As if plan `without` had not been run; SIZE_MAX: with all. */
static double predict(const pare_whole *w, double sum, size_t without)
{
    size_t below = SIZE_MAX, above = SIZE_MAX;
    for (size_t i = 0; i < w->n; i++) {
        if (i == without)
            continue;
        if (w->plan[i].sum <= sum)
            below = i;
        else if (above == SIZE_MAX)
            above = i;
    }
    if (below == SIZE_MAX && above == SIZE_MAX)
        return sum;
    if (below == SIZE_MAX || above == SIZE_MAX) {
        const size_t k = below == SIZE_MAX ? above : below;
        return sum * w->plan[k].kld / w->plan[k].sum;
    }
    const double a = w->plan[below].kld / w->plan[below].sum, b = w->plan[above].kld / w->plan[above].sum;
    return sum * (a + (b - a) * log(sum / w->plan[below].sum) / log(w->plan[above].sum / w->plan[below].sum));
}

double pare_whole_predict(const pare_whole *w, double sum)
{
    return sum > 0 ? predict(w, sum, SIZE_MAX) : sum;
}

double pare_whole_second(const pare_whole *w)
{
    return w->n > 0 ? w->ratios / (double)w->n : 1;
}

double pare_whole_spread(const pare_whole *w)
{
    double squares = 0;
    for (size_t i = 0; i < w->n; i++) {
        const double off = log(predict(w, w->plan[i].sum, i) / w->plan[i].kld);
        squares += off * off;
    }
    return w->n > 2 ? sqrt(squares / (double)w->n) : NAN;
}
