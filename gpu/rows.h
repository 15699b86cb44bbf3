/* gpu/rows.h - the operations of pare_backend (eval/backend.h) on whole rows, on a device */
#ifndef PARE_GPU_ROWS_H
#define PARE_GPU_ROWS_H

#include "gpu/runtime.h"

pare_status pare_gpu_add_weighted(pare_gpu *g, float *x, const float *y, const float *weights, uint32_t stride,
                                  float offset, uint32_t n, uint32_t width, pare_error *err);
pare_status pare_gpu_scale_columns(pare_gpu *g, float *x, const pare_tensor *w, uint32_t n, uint32_t width,
                                   pare_error *err);
pare_status pare_gpu_match_rms(pare_gpu *g, float *x, const float *like, float least, uint32_t n, uint32_t width,
                               pare_error *err);
pare_status pare_gpu_sparsify(pare_gpu *g, float *x, float deviations, uint32_t n, uint32_t width, pare_error *err);

#endif
