/* rows.h - what the tests of encoders share: rows to encode, round trips, errors */
#ifndef PARE_TESTS_QUANT_ROWS_H
#define PARE_TESTS_QUANT_ROWS_H

#include "check.h"
#include "quant/registry.h"

/* In [0, 1), the same on every machine; *seed moves on. */
float unit_random(uint32_t *seed);

/* About n(0, 1), made with sums that are exact. */
void fill_row(float *x, size_t n, uint32_t seed);

/* Importances over four decades, some zero. */
void fill_importances(float *w, size_t n);

/* Encode n_rows rows under weights of errors (NULL: all alike, also in types that the library refuses to encode
 * without importances). The bytes are the caller's to free. */
uint8_t *encode_rows(pare_type type, const float *x, size_t n_rows, size_t row_len, const float *weight,
                     pare_effort effort, size_t *n_bytes);

/* Encode with the default effort and decode again. */
void round_trip(pare_type type, const float *x, size_t n_rows, size_t row_len, const float *weight, float *out);

/* sum w (x - y)^2 / sum w; weight NULL: 1 */
double error_of_row(const float *x, const float *y, const float *weight, size_t n);

#endif
