/* gpu/matmul.h - the products of the backend's table: activations by a stored weight, and by themselves */
#ifndef PARE_GPU_MATMUL_H
#define PARE_GPU_MATMUL_H

#include "gpu/runtime.h"

/* y = x W^T for rows [row, row + n_rows) of a weight: from its blocks, decoded a tile of rows at a time. exact: factors
 * stay float. ldy 0: n_rows. This is pare_backend.matmul. */
pare_status pare_gpu_matmul(pare_gpu *g, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                            uint32_t n, float *y, uint64_t ldy, bool exact, pare_error *err);

/* h[width, width] += x^T x of x [n, width]: the upper and the lower half. BF16 factors unless g->f32; sums in float. */
pare_status pare_gpu_gram(pare_gpu *g, const float *x, uint32_t n, uint32_t width, float *h, pare_error *err);

#endif
