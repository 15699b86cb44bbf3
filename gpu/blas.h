/* gpu/blas.h - cuBLASLt, looked for at run time: the plugin works without it
 *
 * libcublasLt is half a gigabyte and belongs to the CUDA toolkit or to the Python packages that carry it. It is opened
 * by name (libcublasLt.so.13, .12; $PARE_CUBLASLT names another) when the backend is. */
#ifndef PARE_GPU_BLAS_H
#define PARE_GPU_BLAS_H

#include "gpu/gemm.h"

/* g->blas, or NULL when there is none, without an error. */
void pare_gpu_blas_open(pare_gpu *g);
void pare_gpu_blas_close(pare_gpu *g);

/* "cuBLASLt 13.0.2", or "own kernels" */
const char *pare_gpu_blas_name(const pare_gpu *g);

/* g->blas is not NULL. f32: factors are floats, computed without TF32. */
pare_status pare_gpu_blas_gemm(pare_gpu *g, const pare_gpu_product *p, bool f32, pare_error *err);

#endif
