/* Seconds that stock ggml's CPU kernel takes for a product of a row with a vector, by type of the row: the least of
 * many tries, in parts of Q4_K's. The table of fit/slowness.c.
 *
 *   cc -O2 -I GGML/include type_speed.c -o type_speed -L LIBS -lggml-cpu -lggml-base -lggml && ./type_speed */
#define _GNU_SOURCE
#include "ggml-cpu.h"
#include "ggml.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N = 4096, ROWS = 48, TRIES = 1500 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds_of(enum ggml_type type)
{
    const struct ggml_type_traits_cpu *cpu = ggml_get_type_traits_cpu(type);
    const size_t row = ggml_row_size(type, N), other = ggml_row_size(cpu->vec_dot_type, N);
    uint8_t *x = malloc(row * ROWS), *y = malloc(other);
    float *values = malloc(N * ROWS * sizeof *values), *weight = malloc(N * sizeof *weight), sum = 0;
    double least = 1e9;
    srand(1);
    for (size_t i = 0; i < (size_t)N * ROWS; i++)
        values[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    for (size_t i = 0; i < N; i++)
        weight[i] = 1;
    ggml_quantize_chunk(type, values, x, 0, ROWS, N, weight);
    ggml_get_type_traits_cpu(cpu->vec_dot_type)->from_float(values, y, N);
    for (int k = 0; k < TRIES; k++) {
        const double start = now();
        for (size_t r = 0; r < ROWS; r++)
            cpu->vec_dot(N, &sum, 0, x + r * row, 0, y, 0, 1);
        const double took = now() - start;
        least = took < least ? took : least;
    }
    free(x);
    free(y);
    free(values);
    free(weight);
    return least / ((double)N * ROWS);
}

int main(void)
{
    ggml_cpu_init();
    const double unit = seconds_of(GGML_TYPE_Q4_K);
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const struct ggml_type_traits_cpu *cpu = ggml_get_type_traits_cpu(t);
        if (ggml_is_quantized(t) && cpu->vec_dot != NULL && ggml_blck_size(t) > 1 && t != GGML_TYPE_Q8_K &&
            t != GGML_TYPE_Q8_1)
            printf("%s %.2f\n", ggml_type_name(t), seconds_of(t) / unit);
    }
    return 0;
}
