/* gpu/cuda.h - the dialect that kernels are written in: CUDA C, and C++ for the host in tests
 *
 * Every .cu file here is compiled twice: by nvcc, and by the host's compiler with gpu/emulate/cuda_runtime.h in the
 * place of CUDA's. The emulator runs grids on the CPU, thread by thread, so indices, tails, barriers and the order of
 * copies are tested on machines without a GPU. For that:
 *
 *   launches          PARE_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...)
 *   shared memory     PARE_SHARED(type, name): all of a block's dynamic shared memory; no static __shared__
 *   warps             all 32 lanes take part in shuffles and products of matrices
 *   products          pare_mma_bf16 and pare_load_matrices below
 *   copies            pare_copy_async and what follows it, asynchronous
 *   loops             PARE_UNROLL in front of one whose counter indexes registers, PARE_ROLLED before one that is rare
 *
 * bfloat16 and binary16 are uint16_t, converted by core/half.h. nvcc runs with --fmad=false: products are contracted
 * where fmaf says so, and nowhere else, so decoders give the CPU's bits. No sum goes through floating-point atomics:
 * the same input gives the same bits in every run on the same device. */
#ifndef PARE_GPU_CUDA_H
#define PARE_GPU_CUDA_H

#include <cuda_runtime.h> /* of the toolkit, or gpu/emulate's */

#include <stdint.h>

#ifdef __CUDACC__
#define PARE_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                    \
    kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
#define PARE_SHARED(type, name)                                                                                        \
    extern __shared__ __align__(16) unsigned char pare_shared_bytes[];                                                 \
    type *name = (type *)pare_shared_bytes
#define PARE_UNROLL _Pragma("unroll")
#define PARE_ROLLED _Pragma("unroll 1")
#else
#define PARE_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                    \
    pare_emulate_launch((grid), (block), (shared_bytes), (stream), (const void *)(kernel), #kernel,                    \
                        pare_emulate_call((kernel), __VA_ARGS__))
#define PARE_SHARED(type, name) type *name = (type *)pare_emulate_shared()
#define PARE_UNROLL
#define PARE_ROLLED
#endif

enum { PARE_WARP = 32 };

/* d += a b for a warp: a is 16 x 16, b 16 x 8, d 16 x 8; PTX mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32, whose
 * documentation draws which lane holds what: with g = lane / 4 and t = lane % 4,
 *
 *   a[0] = A[g][2t, 2t+1]   a[1] = A[g+8][2t, 2t+1]   a[2] = A[g][2t+8, 2t+9]   a[3] = A[g+8][2t+8, 2t+9]
 *   b[0] = B[2t, 2t+1][g]   b[1] = B[2t+8, 2t+9][g]
 *   d[0] = D[g][2t]  d[1] = D[g][2t+1]  d[2] = D[g+8][2t]  d[3] = D[g+8][2t+1]
 *
 * the lower index of a pair in the lower 16 bits. Compute capability 8.0 and up. */
#ifdef __CUDACC__
static __device__ __forceinline__ void pare_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* (low, high) rounded to bfloat16, nearest even, `low` in the lower 16 bits; NaN stays NaN. */
static __device__ __forceinline__ uint32_t pare_round_bf16_pair(float low, float high)
{
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

/* Four matrices of 8 x 8 16-bit elements from shared memory; PTX ldmatrix.sync.aligned.m8n8.x4.shared.b16. Lane 8 i + r
 * gives the address of row r of matrix i: 8 elements, aligned to 16 bytes. Lane 4 g + t gets elements [g][2t, 2t+1] of
 * matrix i as r[i]; transposed: elements [2t][g] and [2t+1][g]. */
static __device__ __forceinline__ void pare_load_matrices(uint32_t r[4], const void *row)
{
    unsigned from = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

static __device__ __forceinline__ void pare_load_matrices_transposed(uint32_t r[4], const void *row)
{
    unsigned from = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

/* Copy 16 bytes, both addresses aligned to 16, from global to shared memory; bytes beyond n (0 to 16) become zero.
 * Complete for this thread after pare_copy_async_wait of its group, for others behind a barrier after that. */
static __device__ __forceinline__ void pare_copy_async(void *shared, const void *global, int n)
{
    unsigned to = (unsigned)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(n) : "memory");
}

static __device__ __forceinline__ void pare_copy_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Wait until at most `pending` of this thread's groups are not complete. */
template <int pending> static __device__ __forceinline__ void pare_copy_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}
#endif

#endif
