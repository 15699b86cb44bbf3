/* gpu/matmul.h - the products of the backend's table: activations by a stored weight, and by themselves */
#ifndef PARE_GPU_MATMUL_H
#define PARE_GPU_MATMUL_H

#include "gpu/runtime.h"

/* y = x W^T for rows [row, row + n_rows) of a weight: from its blocks, decoded a tile of rows at a time. exact: factors
 * stay float. ldy 0: n_rows. This is pare_backend.matmul. */
pare_status pare_gpu_matmul(pare_gpu *g, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                            uint32_t n, float *y, uint64_t ldy, bool exact, pare_error *err);

/* y += x W^T; y: [n, n_rows]. This is pare_backend.matmul_add. */
pare_status pare_gpu_matmul_add(pare_gpu *g, const pare_tensor *w, uint64_t row, uint64_t n_rows, const float *x,
                                uint32_t n, float *y, pare_error *err);

/* Inputs of products as bfloat16, in PARE_GPU_INPUT_BF16. An operation in front of a product may leave its result there
 * as it writes it, so that nobody reads it again to round it: `place` is where n numbers go (NULL: the device computes
 * with floats, or has no room), and behind all that the operation asks of the device, `note` says that they are those
 * of y. Each call of the device makes what is there forgotten, but for operations that write elsewhere: `held` before
 * all they do, `keep` behind it, with what they wrote. */
uint16_t *pare_gpu_rounded_place(pare_gpu *g, uint64_t n);
void pare_gpu_rounded_note(pare_gpu *g, const float *y, uint64_t n);
bool pare_gpu_rounded_held(const pare_gpu *g);
void pare_gpu_rounded_keep(pare_gpu *g, bool held, const float *written, uint64_t n);

/* h[width, width] += x^T x of x [n, width]: the upper and the lower half. BF16 factors unless g->f32; sums in float. */
pare_status pare_gpu_gram(pare_gpu *g, const float *x, uint32_t n, uint32_t width, float *h, pare_error *err);

#endif
