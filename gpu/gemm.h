/* gpu/gemm.h - products of matrices on the device
 *
 * y[n, ldy] (the first m columns of each row are written) = x[n, k] W^T with W [m, k]; everything row-major in device
 * memory, sums in float. k may be any number. beta 1 adds to what y holds; beta 0 overwrites it, whatever it held. */
#ifndef PARE_GPU_GEMM_H
#define PARE_GPU_GEMM_H

#include "gpu/runtime.h"

typedef struct pare_gpu_product {
    const void *x, *w; /* bfloat16 (uint16_t), or float */
    float *y;
    uint32_t n;
    uint64_t m, k, ldy;
    float beta; /* 0 or 1 */
} pare_gpu_product;

/* Of bfloat16 factors: by cuBLASLt where it is loaded, else by pare_gpu_gemm_bf16_own. */
pare_status pare_gpu_gemm_bf16(pare_gpu *g, const pare_gpu_product *p, pare_error *err);
/* Of float factors, which are never rounded to less. */
pare_status pare_gpu_gemm_f32(pare_gpu *g, const pare_gpu_product *p, pare_error *err);

/* The kernels of pare: tensor cores through mma.sync; plain float. */
pare_status pare_gpu_gemm_bf16_own(pare_gpu *g, const pare_gpu_product *p, pare_error *err);
pare_status pare_gpu_gemm_f32_own(pare_gpu *g, const pare_gpu_product *p, pare_error *err);

#endif
