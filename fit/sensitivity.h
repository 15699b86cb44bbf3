/* fit/sensitivity.h - what an error of one tensor costs in divergence, from a few errors whose cost was measured
 *
 * For small errors the divergence is linear in the mean square of what they do to the tensor's product (HIGGS,
 * Malinovskii et al., arXiv 2411.17525, theorem 1, there for the squared norm of the error; here for its form e H e^T,
 * which quant/form.h defines and feedback makes small). For larger ones it is a power near one, which two measurements
 * give. */
#ifndef PARE_FIT_SENSITIVITY_H
#define PARE_FIT_SENSITIVITY_H

#include <stddef.h>

typedef struct pare_swap {
    double error; /* > 0 in any unit; the form */
    double kld;   /* measured with the tensor alone changed, nat a token */
} pare_swap;

enum { PARE_MAX_SWAPS = 32 };

/* The divergence that this error would cost: between two measured errors a power of it, outside of them in proportion
 * to the nearest. swaps [n], n > 0, in any order. An error of 0 costs 0.
 * Never falls as the error grows. */
double pare_sensitivity_cost(const pare_swap *swaps, size_t n, double error);

#endif
