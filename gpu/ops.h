/* gpu/ops.h - the operations of pare_backend (eval/backend.h) on a device, but for products and attention
 *
 * Arguments are those of the operation; ids, positions and spans lie in host memory, activations on the device. */
#ifndef PARE_GPU_OPS_H
#define PARE_GPU_OPS_H

#include "gpu/runtime.h"

pare_status pare_gpu_embed(pare_gpu *g, const pare_tensor *w, const int32_t *ids, uint32_t n, float *y,
                           pare_error *err);
pare_status pare_gpu_gather(pare_gpu *g, const float *x, const int32_t *ids, uint32_t n, uint32_t width, float *y,
                            pare_error *err);
pare_status pare_gpu_copy_columns(pare_gpu *g, const float *x, uint32_t x_width, uint32_t from, uint32_t n,
                                  uint32_t width, float *y, uint32_t y_width, uint32_t to, pare_error *err);
pare_status pare_gpu_scatter_add(pare_gpu *g, const float *x, const int32_t *ids, const float *weights, uint32_t n,
                                 uint32_t width, float *y, pare_error *err);
pare_status pare_gpu_clear(pare_gpu *g, float *y, size_t n, pare_error *err);
pare_status pare_gpu_norm(pare_gpu *g, const pare_norm_op *op, pare_error *err);
pare_status pare_gpu_rope(pare_gpu *g, const pare_rope *r, float *x, pare_error *err);
pare_status pare_gpu_activate(pare_gpu *g, pare_activation act, const float *gate, const float *up, size_t n, float *y,
                              pare_error *err);
pare_status pare_gpu_clamped_glu(pare_gpu *g, const pare_clamped_glu *op, pare_error *err);
pare_status pare_gpu_add(pare_gpu *g, float *x, const float *y, float y_scale, size_t n, pare_error *err);
pare_status pare_gpu_add_row(pare_gpu *g, float *x, const pare_tensor *bias, uint64_t first, uint32_t n, uint32_t width,
                             pare_error *err);
pare_status pare_gpu_scale(pare_gpu *g, float *x, float factor, size_t n, pare_error *err);
pare_status pare_gpu_clamp(pare_gpu *g, float *x, float limit, size_t n, pare_error *err);
pare_status pare_gpu_softcap(pare_gpu *g, float *x, float cap, size_t n, pare_error *err);

/* sum[c] += x[t][c], sum2[c] += x[t][c]^2 over n rows in their order, in double; x [n, width] */
pare_status pare_gpu_add_columns(pare_gpu *g, const float *x, uint32_t n, uint32_t width, double *sum, double *sum2,
                                 pare_error *err);

/* The elements of a small tensor on the device: at least n_min, else PARE_ERR_RANGE. */
pare_status pare_gpu_vector_of(pare_gpu *g, const pare_tensor *t, uint64_t n_min, const float **out, pare_error *err);

/* A small host array on the device: pare_gpu_push with a status. */
pare_status pare_gpu_pushed(pare_gpu *g, const void *src, size_t bytes, const void **out, pare_error *err);

#endif
