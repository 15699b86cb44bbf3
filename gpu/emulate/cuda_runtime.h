/* gpu/emulate/cuda_runtime.h - the part of CUDA that pare uses, on the CPU, for tests
 *
 * Takes the place of CUDA's header of that name when .cu files are compiled by the host's compiler. Semantics, where
 * CUDA leaves freedom, are the least convenient ones:
 *
 *   - Work on a stream runs when somebody waits for it, never before. What is not waited for has not happened.
 *   - Copies from pinned memory read it when they run; from ordinary memory when they are called. Copies to ordinary
 *     memory wait.
 *   - Device memory and shared memory are filled with NaNs at first.
 *   - The threads of a block run one after the other from barrier to barrier, in an order that PARE_EMULATE_ORDER
 *     turns around (up, down, mixed: at random, and some warps run ahead of others): a result that changes with it is a
 *     race.
 *   - A barrier or a shuffle that not all threads reach ends the program with a message.
 *
 * Environment, for tests of what goes wrong: PARE_EMULATE_DEVICES=2; PARE_EMULATE_MEMORY=64M (of each device);
 * PARE_EMULATE_CAPABILITY=7.0; PARE_EMULATE_DRIVER=none or old; PARE_EMULATE_LOST=1000 (launches until the device is
 * lost); PARE_EMULATE_CUBLASLT=good (gpu/emulate/cublaslt.cc is the library). */
#ifndef PARE_GPU_EMULATE_CUDA_RUNTIME_H
#define PARE_GPU_EMULATE_CUDA_RUNTIME_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#define CUDART_VERSION 13000 /* as cudaRuntimeGetVersion says */
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__
#define __constant__

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w)
{
    return float4{x, y, z, w};
}
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w)
{
    return uint4{x, y, z, w};
}

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

/* ---- inside of kernels ---- */

void *pare_emulate_shared(void);
void __syncthreads(void);
void __syncwarp(unsigned mask = 0xffffffffu);
/* Every lane gives `bytes` (at most 64) bytes and reads those of another one: from[lane]. */
void pare_emulate_exchange(const void *give, size_t bytes, int from, void *take);

template <typename T> static inline T __shfl_sync(unsigned, T v, int lane, int width = 32)
{
    T r;
    int me = (int)(threadIdx.x % 32);
    pare_emulate_exchange(&v, sizeof v, (me & ~(width - 1)) | (lane & (width - 1)), &r);
    return r;
}
template <typename T> static inline T __shfl_xor_sync(unsigned, T v, int mask, int = 32)
{
    T r;
    pare_emulate_exchange(&v, sizeof v, (int)(threadIdx.x % 32) ^ mask, &r);
    return r;
}
template <typename T> static inline T __shfl_down_sync(unsigned, T v, unsigned delta, int width = 32)
{
    T r;
    int me = (int)(threadIdx.x % 32), to = me + (int)delta;
    pare_emulate_exchange(&v, sizeof v, to / width == me / width ? to : me, &r);
    return r;
}
unsigned __ballot_sync(unsigned mask, int predicate);
static inline int __any_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) != 0;
}
static inline int __all_sync(unsigned mask, int predicate)
{
    return __ballot_sync(mask, predicate) == 0xffffffffu;
}

static inline unsigned atomicAdd(unsigned *p, unsigned v)
{
    unsigned old = *p;
    *p = old + v;
    return old;
}
static inline int atomicMin(int *p, int v)
{
    int old = *p;
    *p = v < old ? v : old;
    return old;
}
static inline int atomicMax(int *p, int v)
{
    int old = *p;
    *p = v > old ? v : old;
    return old;
}
static inline unsigned atomicMin(unsigned *p, unsigned v)
{
    unsigned old = *p;
    *p = v < old ? v : old;
    return old;
}

#define __expf expf
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
static inline float __fdividef(float a, float b)
{
    return a / b;
}
static inline float __int_as_float(int v)
{
    float r;
    memcpy(&r, &v, sizeof r);
    return r;
}
static inline int __float_as_int(float v)
{
    int r;
    memcpy(&r, &v, sizeof r);
    return r;
}
static inline unsigned __float_as_uint(float v)
{
    unsigned r;
    memcpy(&r, &v, sizeof r);
    return r;
}
static inline float __uint_as_float(unsigned v)
{
    float r;
    memcpy(&r, &v, sizeof r);
    return r;
}
template <typename T> static inline T __ldg(const T *p)
{
    return *p;
}
template <typename T> static inline T min(T a, T b)
{
    return b < a ? b : a;
}
template <typename T> static inline T max(T a, T b)
{
    return a < b ? b : a;
}

void pare_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]);
uint32_t pare_round_bf16_pair(float low, float high);
void pare_load_matrices(uint32_t r[4], const void *row);
void pare_load_matrices_transposed(uint32_t r[4], const void *row);
void pare_copy_async(void *shared, const void *global, int n); /* done when it is waited for */
void pare_copy_async_commit(void);
void pare_emulate_copy_async_wait(int pending);
template <int pending> static inline void pare_copy_async_wait(void)
{
    pare_emulate_copy_async_wait(pending);
}

/* ---- launches, memory, streams ---- */

typedef enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorHostMemoryAlreadyRegistered = 712,
    cudaErrorLaunchFailure = 719,
    cudaErrorNotReady = 600,
    cudaErrorDevicesUnavailable = 46
} cudaError_t;
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum {
    cudaStreamNonBlocking = 1,
    cudaEventDisableTiming = 2,
    cudaEventDefault = 0,
    cudaEventBlockingSync = 1,
    cudaHostAllocDefault = 0,
    cudaHostAllocPortable = 1
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

typedef struct pare_emulate_stream *cudaStream_t;
typedef struct pare_emulate_event *cudaEvent_t;

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlockOptin, sharedMemPerBlock;
    int major, minor, multiProcessorCount, l2CacheSize, pciBusID, pciDeviceID, pciDomainID;
};

const char *cudaGetErrorString(cudaError_t code);
const char *cudaGetErrorName(cudaError_t code);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaDriverGetVersion(int *v);
cudaError_t cudaRuntimeGetVersion(int *v);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t pare_emulate_malloc(void **p, size_t bytes);
template <typename T> static inline cudaError_t cudaMalloc(T **p, size_t bytes)
{
    return pare_emulate_malloc((void **)p, bytes);
}
cudaError_t cudaFree(void *p);
cudaError_t pare_emulate_malloc_host(void **p, size_t bytes);
template <typename T> static inline cudaError_t cudaMallocHost(T **p, size_t bytes)
{
    return pare_emulate_malloc_host((void **)p, bytes);
}
template <typename T> static inline cudaError_t cudaHostAlloc(T **p, size_t bytes, unsigned)
{
    return pare_emulate_malloc_host((void **)p, bytes);
}
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpy(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream = 0);
cudaError_t cudaMemcpy2DAsync(void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream = 0);
cudaError_t cudaMemsetAsync(void *dst, int value, size_t bytes, cudaStream_t stream = 0);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventCreate(cudaEvent_t *e);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s = 0);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end);
cudaError_t pare_emulate_set_shared(const void *kernel, int bytes);
template <typename F> static inline cudaError_t cudaFuncSetAttribute(F *kernel, cudaFuncAttribute, int bytes)
{
    return pare_emulate_set_shared((const void *)kernel, bytes);
}

/* A kernel with its arguments, which are evaluated now and not when the grid runs, as in CUDA. */
template <typename... P>
static inline std::function<void()> pare_emulate_call(void (*kernel)(P...), std::common_type_t<P>... arguments)
{
    return [=]() { kernel(arguments...); };
}

/* A launch: `thread` is the kernel with its arguments, for one thread. */
void pare_emulate_launch(dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, const void *kernel,
                         const char *name, std::function<void()> thread);

#endif
