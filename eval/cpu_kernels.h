/* eval/cpu_kernels.h - the CPU backend's inner loops, compiled for several instruction sets and chosen when the program
 * starts
 *
 * Every sum runs over a fixed number of lanes which are added in a fixed order, and no contraction is allowed, so all
 * versions give the same bits. */
#ifndef PARE_EVAL_CPU_KERNELS_H
#define PARE_EVAL_CPU_KERNELS_H

#include "eval/backend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A softmax part by part: x[i] <- e^(x[i] - m) with m the largest value of this part and those before it. *max: m, at
 * first -INFINITY; *sum: of all e^(x - m), at first 0. Returns what sums over the parts before have to be multiplied
 * with. NaN reaches *sum. */
float pare_cpu_softmax_part(float *x, size_t n, float *max, float *sum);

/* y = x / sqrt(mean(x^2) + eps) * w; w NULL: 1. Sums in double. y may be x. */
void pare_cpu_rms_norm(const float *x, size_t n, const float *w, float eps, float *y);
/* y = (x - mean) / sqrt(variance + eps) * w + b */
void pare_cpu_layer_norm(const float *x, size_t n, const float *w, const float *b, float eps, float *y);

/* y[i] = x[i] / (1 + e^(-x[i])) * u[i]; u NULL: 1. y may be x or u; the same for the others. */
void pare_cpu_silu(const float *x, const float *u, size_t n, float *y);
void pare_cpu_clamped_glu(const pare_clamped_glu *op);
void pare_cpu_gelu_tanh(const float *x, const float *u, size_t n,
                        float *y); /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */

/* Pairs (x[i], x[i + half]) or (x[2i], x[2i + 1]), i < half, turned by the angle with cosine cs[2i] and sine cs[2i + 1]
 */
void pare_cpu_rope_halves(float *x, size_t half, const float *cs);
void pare_cpu_rope_pairs(float *x, size_t half, const float *cs);

/* The largest value and its index, the first one of equals. False when a value is NaN or infinite, or there is none. */
typedef struct pare_peak {
    float value;
    size_t at;
} pare_peak;
bool pare_cpu_peak(const float *x, size_t n, pare_peak *out);

/* ln sum e^x[i], in double; max: the largest x[i]. */
double pare_cpu_log_sum_exp(const float *x, size_t n, float max);

/* Two rows of logits, with their largest values, as distributions: p = e^(x - x_lse), q = e^(y - y_lse). In double, and
 * the lse as pare_cpu_log_sum_exp gives them. */
typedef struct pare_divergence {
    double x_lse, y_lse;
    double xy, yx; /* sum p (ln p - ln q); sum q (ln q - ln p); 0 for equal rows */
} pare_divergence;
pare_divergence pare_cpu_divergence(const float *x, float x_max, const float *y, float y_max, size_t n);

/* y[i] = x[i] in BF16, nearest even; NaN stays NaN. */
void pare_cpu_to_bf16(const float *x, size_t n, uint16_t *y);

#endif
