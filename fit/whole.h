/* fit/whole.h - how far the divergence of a plan is from the sum of what its swaps cost alone
 *
 * Errors of several tensors add up or cancel: whole plans that were run say how much, and what they say is taken for
 * plans of about the same sum. docs/methods/ALLOCATION.md */
#ifndef PARE_FIT_WHOLE_H
#define PARE_FIT_WHOLE_H

#include <stddef.h>

enum { PARE_MAX_WHOLE = 64 };

/* Zeroed: no plan was run. */
typedef struct pare_whole {
    struct {
        double sum, kld;    /* nat a token, of all positions */
    } plan[PARE_MAX_WHOLE]; /* [n] the smallest sum first */
    size_t n;
    double ratios; /* sum over these of the divergence of second halves in parts of that of all positions */
} pare_whole;

/* A plan with this sum was run: kld of all positions, second of second halves. Nothing is learned of a plan of the same
 * sum as another one's to 1e-3, of one without divergence, nor of more than PARE_MAX_WHOLE. */
void pare_whole_learn(pare_whole *w, double sum, double kld, double second);

/* The divergence of a plan with that sum: between plans that were run the ratio to the sum goes with the logarithm of
 * the sum, outside it stays. Without plans the sum. */
double pare_whole_predict(const pare_whole *w, double sum);

/* Of second halves in parts of all positions: the mean over the plans, 1 without. */
double pare_whole_second(const pare_whole *w);

/* How far such predictions are off: each plan predicted by the others, root of the mean square of the logarithm of
 * prediction over run. NAN of fewer than three. */
double pare_whole_spread(const pare_whole *w);

#endif
