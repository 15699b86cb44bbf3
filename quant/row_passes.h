/* quant/row_passes.h - what is done to each weight of a row besides encoding it
 *
 * Compiled once a path (quant/path.h), as the encoders; callers take them from quant/path_table.h. Same results on
 * every path: sums run over a fixed number of lanes. */
#ifndef PARE_QUANT_ROW_PASSES_H
#define PARE_QUANT_ROW_PASSES_H

#include <stdbool.h>
#include <stddef.h>

/* Column of the first value that is NaN or larger than limit in magnitude; n when there is none. */
size_t pare_row_find_above(const float *x, size_t n, float limit);

/* The least and the largest of n weights of errors. bad: one is negative or not finite. */
typedef struct pare_weight_range {
    float low, high;
    bool bad;
} pare_weight_range;
pare_weight_range pare_row_weight_range(const float *w, size_t n);

/* sum (x - y)^2, sum x^2 and sum x y, and the same with weights, to about seven digits. x and y are finite; weight may
 * be NULL, and the weighted sums are 0. */
typedef struct pare_row_sums {
    double error, energy, product, weighted_error, weighted_energy, weighted_product;
} pare_row_sums;
pare_row_sums pare_row_compare(const float *x, const float *y, const float *weight, size_t n);

/* sum m (x - y) and sum m^2 (x - y)^2, to about seven digits of what is added. All finite. */
typedef struct pare_mean_sums {
    double offset, squares;
} pare_mean_sums;
pare_mean_sums pare_row_compare_means(const float *x, const float *y, const float *mean, size_t n);

/* pare_importance_of_weights, quant/importance.h */
bool pare_row_importance(float slope, const float *column, const float *x, size_t row_len, float *w);

#endif
