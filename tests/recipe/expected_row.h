/* expected_row.h - one row as quantizing should store it, step by step through the public functions */
#ifndef PARE_TESTS_EXPECTED_ROW_H
#define PARE_TESTS_EXPECTED_ROW_H

#include "check.h"
#include "quant/importance.h"
#include "quant/registry.h"

/* n <= 256 weights of a type without importances of its own rules; column may be NULL. */
static inline void expected_row(pare_type type, const float *column, const float *x, size_t n, uint8_t *dst)
{
    float w[256], y[256];
    double energy = 0, product = 0;
    pare_error err = {0};
    CHECK(pare_importance_of_weights(pare_importance_slope(type, false), column, x, n, w));
    CHECK_OK(pare_encode_rows(type, x, 1, n, w, PARE_EFFORT_DEFAULT, dst, &err), &err);
    CHECK_OK(pare_decode_rows(type, dst, 1, n, y, &err), &err);
    for (size_t i = 0; i < n; i++) {
        double c = column != NULL ? (double)column[i] : 1;
        energy += c * (double)x[i] * (double)x[i];
        product += c * (double)x[i] * (double)y[i];
    }
    CHECK(product > 0);
    CHECK(pare_scale_blocks(type, dst, n / pare_type_get(type)->block_len, (float)(energy / product)));
}

#endif
