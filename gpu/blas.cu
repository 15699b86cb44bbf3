#include "gpu/blas.h"

void pare_gpu_blas_open(pare_gpu *)
{
}

void pare_gpu_blas_close(pare_gpu *)
{
}

const char *pare_gpu_blas_name(const pare_gpu *)
{
    return "own kernels";
}

pare_status pare_gpu_blas_gemm(pare_gpu *g, const pare_gpu_product *p, bool f32, pare_error *err)
{
    return f32 ? pare_gpu_gemm_f32_own(g, p, err) : pare_gpu_gemm_bf16_own(g, p, err);
}
