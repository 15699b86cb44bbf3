#include "gpu/ops.h"

enum { THREADS = 256 };

static __global__ void scale_kernel(float *x, float factor, size_t n)
{
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        x[i] *= factor;
}

pare_status pare_gpu_scale(pare_gpu *g, float *x, float factor, size_t n, pare_error *err)
{
    if (n == 0)
        return PARE_OK;
    PARE_LAUNCH(scale_kernel, pare_gpu_blocks(n, THREADS), THREADS, 0, g->stream, x, factor, n);
    return pare_gpu_launched(g, "scale", err);
}
