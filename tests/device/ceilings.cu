/* ceilings.cu - what the card itself can do: copies from pinned memory, copies in its memory, and a large product by
 * cuBLASLt, for the figures of pare to be held against
 *
 *   nvcc -O2 -arch=native tests/device/ceilings.cu -lcublasLt -o ceilings && ./ceilings     without cuBLASLt: -DNO_BLAS
 *
 * Random factors: products of zeros draw less power and run faster than any real ones. */
#include <cuda_runtime.h>
#ifndef NO_BLAS
#include <cublasLt.h>
#endif

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        int code_ = (int)(call);                                                                                       \
        if (code_ != 0) {                                                                                              \
            fprintf(stderr, "ceilings: %s: error %d\n", #call, code_);                                                 \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { BATCHES = 9 };

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Median seconds of one of `times` calls of run. */
static double seconds_of(void (*run)(void *), void *arg, int times)
{
    cudaEvent_t start, stop;
    float each[BATCHES];
    MUST(cudaEventCreate(&start));
    MUST(cudaEventCreate(&stop));
    for (int i = 0; i < 3; i++)
        run(arg);
    for (int i = 0; i < BATCHES; i++) {
        MUST(cudaEventRecord(start, 0));
        for (int j = 0; j < times; j++)
            run(arg);
        MUST(cudaEventRecord(stop, 0));
        MUST(cudaEventSynchronize(stop));
        MUST(cudaEventElapsedTime(&each[i], start, stop));
    }
    qsort(each, BATCHES, sizeof *each, ascending);
    return (double)each[BATCHES / 2] / 1e3 / times;
}

typedef struct copy {
    void *to;
    const void *from;
    size_t bytes;
    cudaMemcpyKind kind;
} copy;

static void run_copy(void *arg)
{
    const copy *c = (const copy *)arg;
    MUST(cudaMemcpyAsync(c->to, c->from, c->bytes, c->kind, 0));
}

static void measure_copies(void)
{
    const size_t bytes = (size_t)1 << 30;
    void *host, *a, *b;
    MUST(cudaMallocHost(&host, bytes));
    MUST(cudaMalloc(&a, bytes));
    MUST(cudaMalloc(&b, bytes));
    for (size_t i = 0; i < bytes / 8; i++)
        ((uint64_t *)host)[i] = i * 0x9e3779b97f4a7c15u;
    copy to_device = {a, host, bytes, cudaMemcpyHostToDevice}, within = {b, a, bytes, cudaMemcpyDeviceToDevice};
    printf("ceiling: host to device %.1f GB/s\n", (double)bytes / 1e9 / seconds_of(run_copy, &to_device, 2));
    printf("ceiling: device to device %.1f GB/s\n", 2.0 * (double)bytes / 1e9 / seconds_of(run_copy, &within, 8));
    MUST(cudaFreeHost(host));
    MUST(cudaFree(a));
    MUST(cudaFree(b));
}

#ifndef NO_BLAS
__global__ static void fill_kernel(uint16_t *x, size_t n)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
        uint64_t h = (i + 1) * 0x9e3779b97f4a7c15u;
        h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
        x[i] = (uint16_t)((h >> 63) << 15 | (uint64_t)(0x3e80 + ((h >> 20) & 0xff))); /* 0.25 to 1, both signs */
    }
}

typedef struct product {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t factor, result;
    cublasLtMatmulHeuristicResult_t choice;
    void *a, *b, *d, *workspace;
    size_t workspace_bytes;
} product;

static void run_product(void *arg)
{
    const product *p = (const product *)arg;
    const float one = 1, zero = 0;
    MUST(cublasLtMatmul(p->handle, p->operation, &one, p->a, p->factor, p->b, p->factor, &zero, p->d, p->result, p->d,
                        p->result, &p->choice.algo, p->workspace, p->workspace_bytes, 0));
}

/* D = A^T B, all of 8192 x 8192, bfloat16, sums in float. */
static void measure_product(void)
{
    const int n = 8192;
    const size_t bytes = (size_t)n * n * 2;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    product p = {};
    cublasLtMatmulPreference_t preference;
    int found = 0;
    p.workspace_bytes = (size_t)64 << 20;
    MUST(cudaMalloc(&p.a, bytes));
    MUST(cudaMalloc(&p.b, bytes));
    MUST(cudaMalloc(&p.d, bytes));
    MUST(cudaMalloc(&p.workspace, p.workspace_bytes));
    fill_kernel<<<1024, 256>>>((uint16_t *)p.a, bytes / 2);
    fill_kernel<<<1024, 256>>>((uint16_t *)p.b, bytes / 2);
    MUST(cudaGetLastError());
    MUST(cublasLtCreate(&p.handle));
    MUST(cublasLtMatmulDescCreate(&p.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    MUST(cublasLtMatmulDescSetAttribute(p.operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed));
    MUST(cublasLtMatrixLayoutCreate(&p.factor, CUDA_R_16BF, n, n, n));
    MUST(cublasLtMatrixLayoutCreate(&p.result, CUDA_R_16BF, n, n, n));
    MUST(cublasLtMatmulPreferenceCreate(&preference));
    MUST(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &p.workspace_bytes,
                                              sizeof p.workspace_bytes));
    MUST(cublasLtMatmulAlgoGetHeuristic(p.handle, p.operation, p.factor, p.factor, p.result, p.result, preference, 1,
                                        &p.choice, &found));
    if (found == 0) {
        fprintf(stderr, "ceilings: cuBLASLt has no algorithm\n");
        exit(1);
    }
    printf("ceiling: cuBLASLt bf16 8192 x 8192 x 8192 %.1f TFLOP/s\n",
           2.0 * n * n * n / 1e12 / seconds_of(run_product, &p, 20));
}
#endif

int main(void)
{
    cudaDeviceProp d;
    MUST(cudaGetDeviceProperties(&d, 0));
    printf("ceiling: card %s\n", d.name);
    measure_copies();
#ifndef NO_BLAS
    measure_product();
#endif
    return 0;
}
