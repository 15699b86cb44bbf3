/* quant/f8_fit.h - weights as F8_E4M3 (quant/minifloat.h) times one scale, a float */
#ifndef PARE_QUANT_F8_FIT_H
#define PARE_QUANT_F8_FIT_H

#include <stddef.h>
#include <stdint.h>

/* The nearest code, ties to the even one; beyond 448 that of 448. v is finite. */
uint8_t pare_f8_e4m3_nearest(float v);

/* Find the n codes of the finite x, and return their scale: one with which code * scale, rounded to float, are the very
 * x, where there is one; else the largest magnitude over 448, the usual rule. 1 when all are 0. */
float pare_f8_e4m3_fit(const float *x, size_t n, uint8_t *codes);

#endif
