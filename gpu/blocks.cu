/* gpu/blocks.cu - every block decoder as device code, out of the same headers that the CPU uses
 *
 * One kernel a type, grown from the type table: thread i decodes block i. What the build proves is that each header is
 * CUDA C++ for the device; the evaluator's fused kernels are to include the same headers. */
#include "quant/blocks.h"
#include "quant/types.h"

#define pare_c64_decode(src, dst, n) ((void)0) /* a complex number is no float */

#define DECODE_KERNEL(id, gguf, len, stem, ...)                                                                        \
    extern "C" __global__ void pare_##stem##_decode_kernel(const pare_##stem *src, float *dst, size_t n_blocks)        \
    {                                                                                                                  \
        size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;                                                      \
        if (i < n_blocks)                                                                                              \
            pare_##stem##_decode(src + i, dst + i * len, 1);                                                           \
    }
PARE_TYPES(DECODE_KERNEL)
