/* Rotations of heads: fast Walsh-Hadamard transforms in registers, butterflies between lanes by shuffles, in the order
 * of quant/hadamard.h. A number is read and written once. */
#include "gpu/kv.h"

#include "quant/hadamard.h"

enum { THREADS = 256, WARPS = THREADS / PARE_WARP };
enum : uint64_t { PIECE = 1u << 30 }; /* blocks of a launch, so that 32 bits count them */

/* `count` equal blocks of a vector, from element `at` on; block i of the launch is number i % count of vector
 * i / count. Element e of lane l: e % 4 + 4 l + 4 lanes (e / 4); of blocks of 1 and 2 all are one lane's. */
typedef struct job {
    pare_rotation rotation;
    float *x;
    const float *shift; /* [n_head, dim], or NULL */
    uint32_t n_blocks, at, len, count, n_head;
    uint32_t lanes; /* of a block: a power of two */
    float scale;
    bool back, wide; /* wide: four numbers are aligned to 16 bytes */
} job;

template <int C> static __device__ __forceinline__ void load(const float *x, bool wide, float *v)
{
    if (C == 4 && wide) {
        float4 all = *(const float4 *)x;
        v[0] = all.x, v[C > 1 ? 1 : 0] = all.y, v[C > 2 ? 2 : 0] = all.z, v[C > 3 ? 3 : 0] = all.w;
        return;
    }
    PARE_UNROLL
    for (int r = 0; r < C; r++)
        v[r] = x[r];
}

template <int C> static __device__ __forceinline__ void store(const float *v, bool wide, float *x)
{
    if (C == 4 && wide) {
        *(float4 *)x = make_float4(v[0], v[C > 1 ? 1 : 0], v[C > 2 ? 2 : 0], v[C > 3 ? 3 : 0]);
        return;
    }
    PARE_UNROLL
    for (int r = 0; r < C; r++)
        x[r] = v[r];
}

/* C elements from `element` of the vector on, with the signs of the rotation. */
template <int C> static __device__ __forceinline__ void flip(const pare_rotation *r, uint32_t element, float *v)
{
    if (r->seed == 0)
        return;
    const uint32_t minus = (uint32_t)(pare_random_bits(r->seed, element / 64) >> (element % 64));
    PARE_UNROLL
    for (int i = 0; i < C; i++)
        v[i] = pare_bits_to_f32(pare_f32_to_bits(v[i]) ^ (minus >> i & 1) << 31);
}

/* Butterflies at distance h among the E numbers of a thread. */
template <int E, int h> static __device__ __forceinline__ void step_inside(float *v)
{
    PARE_UNROLL
    for (int i = 0; i < E; i++)
        if ((i & h) == 0) {
            const float a = v[i], b = v[(i + h) % E];
            v[i] = a + b;
            v[(i + h) % E] = a - b;
        }
}

template <int E> static __device__ __forceinline__ void steps(float *v, uint32_t lane, uint32_t lanes)
{
    if (E > 1)
        step_inside<E, 1>(v);
    if (E > 2)
        step_inside<E, 2>(v);
    for (uint32_t m = 1; m < lanes; m *= 2) {
        PARE_UNROLL
        for (int i = 0; i < E; i++) {
            const float other = __shfl_xor_sync(0xffffffffu, v[i], (int)m);
            v[i] = (lane & m) != 0 ? other - v[i] : v[i] + other;
        }
    }
    if (E > 4)
        step_inside<E, 4>(v);
    if (E > 8)
        step_inside<E, 8>(v);
    if (E > 16)
        step_inside<E, 16>(v);
}

template <int E> static __global__ void __launch_bounds__(THREADS) turn_kernel(job j)
{
    constexpr int C = E < 4 ? E : 4;
    const uint32_t lane = threadIdx.x % j.lanes, mine = threadIdx.x % PARE_WARP / j.lanes, a_warp = PARE_WARP / j.lanes;
    const uint32_t warp = blockIdx.x * WARPS + threadIdx.x / PARE_WARP;
    for (uint32_t first = warp * a_warp; first < j.n_blocks; first += gridDim.x * WARPS * a_warp) {
        const uint32_t block = first + mine, vector = j.count == 1 ? block : block / j.count;
        const uint32_t at = j.at + (block - vector * j.count) * j.len + C * lane;
        float *x = j.x + (uint64_t)vector * j.rotation.dim + at, v[E] = {};
        const float *shift = j.shift == NULL ? NULL : j.shift + (uint64_t)(vector % j.n_head) * j.rotation.dim + at;
        PARE_UNROLL
        for (int i = 0; i < E && block < j.n_blocks; i += C) {
            load<C>(x + i * j.lanes, j.wide, v + i);
            for (int r = 0; r < C && shift != NULL; r++)
                v[i + r] -= shift[i * j.lanes + r];
            if (!j.back)
                flip<C>(&j.rotation, at + i * j.lanes, v + i);
        }
        steps<E>(v, lane, j.lanes);
        PARE_UNROLL
        for (int i = 0; i < E; i++)
            v[i] *= j.scale;
        PARE_UNROLL
        for (int i = 0; i < E && block < j.n_blocks; i += C) {
            if (j.back)
                flip<C>(&j.rotation, at + i * j.lanes, v + i);
            store<C>(v + i, j.wide, x + i * j.lanes);
        }
    }
}

static __global__ void shift_kernel(float *x, const float *shift, uint32_t n, uint32_t width)
{
    for (uint64_t i = blockIdx.x; i < n; i += gridDim.x)
        for (uint32_t c = threadIdx.x; c < width; c += blockDim.x)
            x[i * width + c] -= shift[c];
}

/* j's blocks of n vectors, in launches of at most PIECE. */
static pare_status turn_blocks(pare_gpu *g, job j, uint64_t n, pare_error *err)
{
    typedef void (*kernel_fn)(job j);
    static const kernel_fn kernels[] = {turn_kernel<1>, turn_kernel<2>,  turn_kernel<4>,
                                        turn_kernel<8>, turn_kernel<16>, turn_kernel<32>}; /* by elements of a lane */
    const uint64_t a_launch = PIECE / ((uint64_t)j.count * j.n_head) * j.n_head;           /* vectors: whole tokens */
    int which = 0;
    j.lanes = j.len < 4 ? 1 : j.len > 4 * PARE_WARP ? (uint32_t)PARE_WARP : j.len / 4;
    j.scale = pare_rotation_scale(j.len);
    while (1u << which < j.len / j.lanes)
        which++;
    pare_status st = PARE_OK;
    for (uint64_t first = 0; first < n && st == PARE_OK; first += a_launch) {
        const uint64_t vectors = n - first < a_launch ? n - first : a_launch;
        job part = j;
        part.n_blocks = (uint32_t)(vectors * j.count);
        part.x = j.x + first * j.rotation.dim;
        PARE_LAUNCH(kernels[which], pare_gpu_blocks(part.n_blocks, THREADS / j.lanes), THREADS, 0, g->stream, part);
        st = pare_gpu_launched(g, "turn", err);
    }
    return st;
}

pare_status pare_gpu_turn(pare_gpu *g, const pare_turn *t, pare_error *err)
{
    const float *shift = t->back ? NULL : t->shift;
    const uint32_t width = t->n_head * t->head_dim;
    pare_status st = PARE_OK;
    if (t->n == 0 || width == 0)
        return PARE_OK;
    if (t->rotation.dim == 0) {
        if (shift == NULL)
            return PARE_OK;
        PARE_LAUNCH(shift_kernel, pare_gpu_blocks(t->n, 1), THREADS, 0, g->stream, t->x, shift, t->n, width);
        return pare_gpu_launched(g, "turn", err);
    }
    job j = {};
    j.rotation = t->rotation;
    j.x = t->x;
    j.shift = shift;
    j.n_head = t->n_head;
    j.back = t->back;
    j.wide = t->head_dim % 4 == 0 && (uintptr_t)t->x % 16 == 0;
    for (; j.at < t->head_dim && st == PARE_OK; j.at += j.len * j.count) {
        j.len = pare_rotation_block(&j.rotation, j.at);
        j.count = 1; /* and the equal ones behind it */
        while (j.at + j.count * j.len < t->head_dim &&
               pare_rotation_block(&j.rotation, j.at + j.count * j.len) == j.len)
            j.count++;
        st = turn_blocks(g, j, (uint64_t)t->n * t->n_head, err);
    }
    return st;
}
