/* eval/cpu_kernels.h - the CPU backend's inner loops, compiled for several instruction sets and chosen when the program
 * starts
 *
 * Every sum runs over a fixed number of lanes which are added in a fixed order, and no contraction is allowed, so all
 * versions give the same bits. */
#ifndef PARE_EVAL_CPU_KERNELS_H
#define PARE_EVAL_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* s[i] <- softmax(s)[i] over n values; sink, if not NULL, is one more logit in the denominator. */
void pare_cpu_softmax(float *s, size_t n, const float *sink);

/* y = x / sqrt(mean(x^2) + eps) * w; w NULL: 1. Sums in double. y may be x. */
void pare_cpu_rms_norm(const float *x, size_t n, const float *w, float eps, float *y);
/* y = (x - mean) / sqrt(variance + eps) * w + b */
void pare_cpu_layer_norm(const float *x, size_t n, const float *w, const float *b, float eps, float *y);

/* y[i] = x[i] / (1 + e^(-x[i])) * u[i]; u NULL: 1. y may be x or u; the same for the others. */
void pare_cpu_silu(const float *x, const float *u, size_t n, float *y);
void pare_cpu_gelu_tanh(const float *x, const float *u, size_t n,
                        float *y); /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */

/* Pairs (x[i], x[i + half]) or (x[2i], x[2i + 1]), i < half, turned by the angle with cosine cs[2i] and sine cs[2i + 1]
 */
void pare_cpu_rope_halves(float *x, size_t half, const float *cs);
void pare_cpu_rope_pairs(float *x, size_t half, const float *cs);

/* ln sum e^x[i], in double. False when a value is NaN or infinite. */
bool pare_cpu_log_sum_exp(const float *x, size_t n, double *out);
/* sum p (ln p - ln q) with ln p = x[i] - x_lse and ln q = y[i] - y_lse, in double. */
double pare_cpu_divergence(const float *x, double x_lse, const float *y, double y_lse, size_t n);
/* y[i] = x[i] in BF16, nearest even; NaN stays NaN. */
void pare_cpu_to_bf16(const float *x, size_t n, uint16_t *y);
/* Index of the largest value, the first one of equals. */
size_t pare_cpu_argmax(const float *x, size_t n);

#endif
