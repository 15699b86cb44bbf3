#include "gpu/gemm.h"

#include "core/half.h"
#include "gpu/blas.h"

enum { THREADS = 256 };

template <bool f32> static __global__ void gemm_kernel(pare_gpu_product p)
{
    uint64_t step = (uint64_t)gridDim.x * blockDim.x, total = p.n * p.m;
    for (uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x; i < total; i += step) {
        uint64_t row = i / p.m, column = i % p.m;
        float sum = 0;
        for (uint64_t k = 0; k < p.k; k++)
            if (f32)
                sum = fmaf(((const float *)p.x)[row * p.k + k], ((const float *)p.w)[column * p.k + k], sum);
            else
                sum = fmaf(pare_bf16_to_f32(((const uint16_t *)p.x)[row * p.k + k]),
                           pare_bf16_to_f32(((const uint16_t *)p.w)[column * p.k + k]), sum);
        float *y = p.y + row * p.ldy + column;
        *y = p.beta != 0 ? *y + sum : sum;
    }
}

pare_status pare_gpu_gemm_bf16_own(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    if (p->n == 0 || p->m == 0)
        return PARE_OK;
    PARE_LAUNCH(gemm_kernel<false>, pare_gpu_blocks(p->n * p->m, THREADS), THREADS, 0, g->stream, *p);
    return pare_gpu_launched(g, "product of bfloat16 matrices", err);
}

pare_status pare_gpu_gemm_f32_own(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    if (p->n == 0 || p->m == 0)
        return PARE_OK;
    PARE_LAUNCH(gemm_kernel<true>, pare_gpu_blocks(p->n * p->m, THREADS), THREADS, 0, g->stream, *p);
    return pare_gpu_launched(g, "product of float matrices", err);
}

pare_status pare_gpu_gemm_bf16(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    return g->blas != NULL ? pare_gpu_blas_gemm(g, p, false, err) : pare_gpu_gemm_bf16_own(g, p, err);
}

pare_status pare_gpu_gemm_f32(pare_gpu *g, const pare_gpu_product *p, pare_error *err)
{
    return g->blas != NULL ? pare_gpu_blas_gemm(g, p, true, err) : pare_gpu_gemm_f32_own(g, p, err);
}
