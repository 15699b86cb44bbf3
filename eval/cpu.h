/* eval/cpu.h - what the sources of the CPU backend share */
#ifndef PARE_EVAL_CPU_H
#define PARE_EVAL_CPU_H

#include "eval/backend.h"

/* Rows [row, row + n_rows) of t as floats: a view of the mapped file when t holds aligned F32 there, else decoded into
 * scratch (n_rows * row_len floats). */
pare_status pare_cpu_rows(const pare_tensor *t, uint64_t row, uint64_t n_rows, float *scratch, const float **out,
                          pare_error *err);

/* Every element of a small tensor (norm weight, bias). *owned receives what the caller must free, or NULL. */
pare_status pare_cpu_vector(const pare_tensor *t, uint64_t n_min, float **owned, const float **out, pare_error *err);

pare_status pare_cpu_matmul(pare_backend *b, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                            uint32_t n, float *y, pare_error *err);
pare_status pare_cpu_attention(pare_backend *b, const pare_attention *a, pare_error *err);
pare_status pare_cpu_kv_encode(pare_backend *b, const pare_kv_codec *c, const float *x, uint64_t n, uint32_t n_head,
                               uint32_t dim, void *dst, pare_error *err);
pare_status pare_cpu_kv_decode(pare_backend *b, const pare_kv_codec *c, const void *src, uint64_t n, uint32_t n_head,
                               uint32_t dim, float *x, pare_error *err);
pare_status pare_cpu_turn(pare_backend *b, const pare_turn *t, pare_error *err);
pare_status pare_cpu_conv(pare_backend *b, const pare_conv *c, pare_error *err);
pare_status pare_cpu_delta(pare_backend *b, const pare_delta *d, pare_error *err);
pare_status pare_cpu_add_columns(pare_backend *b, const float *x, uint32_t n, uint32_t width, double *sum, double *sum2,
                                 pare_error *err);
pare_status pare_cpu_add_gram(pare_backend *b, const float *x, uint32_t n, uint32_t width, float *h, pare_error *err);

/* sum [width_a, width_b] += a^T b over n rows of both, in float over these rows; lower: of a square what is above the
 * diagonal is not needed. Errors: PARE_ERR_MEMORY */
typedef struct pare_cpu_cross {
    const float *a, *b; /* [n, width_a], [n, width_b] */
    size_t n, width_a, width_b;
    bool lower;
    double *sum;
} pare_cpu_cross;
pare_status pare_cpu_add_cross(const pare_cpu_cross *c, pare_error *err);

/* eval/cpu_rows.c */
pare_status pare_cpu_add_weighted(pare_backend *b, float *x, const float *y, const float *weights, uint32_t stride,
                                  float offset, uint32_t n, uint32_t width, pare_error *err);
pare_status pare_cpu_scale_columns(pare_backend *b, float *x, const pare_tensor *w, uint32_t n, uint32_t width,
                                   pare_error *err);
pare_status pare_cpu_match_rms(pare_backend *b, float *x, const float *like, float least, uint32_t n, uint32_t width,
                               pare_error *err);
pare_status pare_cpu_sparsify(pare_backend *b, float *x, float deviations, uint32_t n, uint32_t width, pare_error *err);

#endif
