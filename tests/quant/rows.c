#include "quant/rows.h"

#include <stdlib.h>
#include <string.h>

float unit_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) * 0x1p-24f;
}

void fill_row(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 12; k++)
            sum += unit_random(&seed);
        x[i] = sum - 6;
    }
}

void fill_importances(float *w, size_t n)
{
    uint32_t seed = 99;
    for (size_t i = 0; i < n; i++) {
        float u = unit_random(&seed);
        w[i] = i % 37 == 5 ? 0 : u * u * u * u * (i % 11 == 3 ? 50.0f : 1.0f) + 1e-3f;
    }
}

uint8_t *encode_rows(pare_type type, const float *x, size_t n_rows, size_t row_len, const float *weight,
                     pare_effort effort, size_t *n_bytes)
{
    const pare_type_info *info = pare_type_get(type);
    pare_error err = {0};
    uint64_t row_bytes = 0;
    CHECK(pare_row_bytes(type, row_len, &row_bytes));
    *n_bytes = (size_t)row_bytes * n_rows;
    uint8_t *bytes = check_malloc(*n_bytes);
    memset(bytes, 0xa5, *n_bytes);
    if (weight != NULL)
        CHECK_OK(pare_encode_rows(type, x, n_rows, row_len, weight, effort, bytes, &err), &err);
    for (size_t r = 0; weight == NULL && r < n_rows; r++)
        pare_encoder(type)(x + r * row_len, row_len, NULL, effort, bytes + r * (size_t)row_bytes);
    CHECK(pare_find_nonfinite_block(type, bytes, n_rows * row_len / info->block_len) == SIZE_MAX);
    return bytes;
}

void round_trip(pare_type type, const float *x, size_t n_rows, size_t row_len, const float *weight, float *out)
{
    size_t n_bytes = 0;
    uint8_t *bytes = encode_rows(type, x, n_rows, row_len, weight, PARE_EFFORT_DEFAULT, &n_bytes);
    pare_type_get(type)->decode(bytes, out, n_rows * row_len / pare_type_get(type)->block_len);
    free(bytes);
}

double error_of_row(const float *x, const float *y, const float *weight, size_t n)
{
    double e = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        double w = weight != NULL ? (double)weight[i] : 1, diff = (double)x[i] - (double)y[i];
        e += w * diff * diff;
        sum += w;
    }
    return e / sum;
}
