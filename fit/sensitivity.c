#include "fit/sensitivity.h"

#include <math.h>

/* Divergences of windows run twice differ by less than that: what is below is rounding. */
static const double FLOOR = 1e-9;

/* Ascending by error, no two alike, costs that do not fall. */
static size_t arrange(const pare_swap *swaps, size_t n, pare_swap *to)
{
    size_t n_to = 0;
    for (size_t i = 0; i < n && n_to < PARE_MAX_SWAPS; i++) {
        size_t at = n_to;
        while (at > 0 && to[at - 1].error > swaps[i].error)
            at--;
        if (at > 0 && !(to[at - 1].error < swaps[i].error)) {
            to[at - 1].kld = fmax(to[at - 1].kld, swaps[i].kld);
            continue;
        }
        for (size_t k = n_to++; k > at; k--)
            to[k] = to[k - 1];
        to[at] = swaps[i];
    }
    for (size_t i = 0; i < n_to; i++) {
        to[i].kld = fmax(to[i].kld, FLOOR);
        if (i > 0)
            to[i].kld = fmax(to[i].kld, to[i - 1].kld);
    }
    return n_to;
}

double pare_sensitivity_cost(const pare_swap *swaps, size_t n, double error)
{
    pare_swap s[PARE_MAX_SWAPS];
    const size_t last = arrange(swaps, n, s) - 1;
    size_t i = 0;
    if (!(error > 0))
        return 0;
    if (error <= s[0].error)
        return s[0].kld * error / s[0].error;
    if (error >= s[last].error)
        return s[last].kld * error / s[last].error;
    while (error > s[i + 1].error)
        i++;
    const double power = log(s[i + 1].kld / s[i].kld) / log(s[i + 1].error / s[i].error);
    return s[i].kld * exp(power * log(error / s[i].error));
}
