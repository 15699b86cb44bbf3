/* gpu/runtime.h - one device: its stream, its memory, and errors in pare's terms
 *
 * Every function that can fail says what was asked of the device and what came back: PARE_ERR_MEMORY with the bytes
 * needed and free, PARE_ERR_DEVICE for everything else. After an error of the device itself (a kernel that trapped, a
 * card that fell off the bus) nothing can be done on it any more, and every call says so. */
#ifndef PARE_GPU_RUNTIME_H
#define PARE_GPU_RUNTIME_H

#include "gpu/cuda.h"
#include "gpu/plugin.h"

typedef struct pare_gpu pare_gpu;

/* What all files of the plugin see of a device. Filled by pare_gpu_open. */
struct pare_gpu {
    int device;
    cudaDeviceProp properties;
    cudaStream_t stream; /* everything but the copies of streamed weights */
    bool f32, no_blas;
    bool lost;                                  /* the device gives errors to everything from now on */
    uint64_t max_bytes, used_bytes, peak_bytes; /* of device memory; max: the budget */
    uint64_t tile_bytes;                        /* of a weight that are decoded at once, at most */
    uint64_t n_calls;                           /* of the device, those that were checked; atomic */
    struct pare_gpu_scratch *scratch;
    struct pare_gpu_staging *staging;
    struct pare_gpu_weights *weights; /* gpu/weights.h */
    struct pare_gpu_blas *blas;       /* gpu/blas.h; NULL: own kernels */
    struct {
        const float *x;
        uint64_t n, n_calls; /* x is what it was if the device still counts so many calls */
    } rounded;               /* whose copy PARE_GPU_INPUT_BF16 holds; gpu/matmul.h */
};

extern const pare_gpu_host *pare_gpu_calls; /* set once, when the plugin is loaded */

/* `code` as an error of `what`, e.g. "attention: launch"; PARE_OK for cudaSuccess. */
pare_status pare_gpu_check(pare_gpu *g, cudaError_t code, const char *what, pare_error *err);

/* What a launch just before left behind: wrong arguments now, or what earlier ones trapped on. */
pare_status pare_gpu_launched(pare_gpu *g, const char *kernel, pare_error *err);

pare_status pare_gpu_open(pare_gpu **out, const pare_gpu_options *options, pare_error *err);
void pare_gpu_close(pare_gpu *g); /* NULL is allowed */

/* Device memory, aligned to 256. NULL and err: "device memory: N bytes needed for WHAT, M free of T", and the option
 * that would make it fit. Weights that stay on the device make room, the one that is in use excepted. */
void *pare_gpu_alloc(pare_gpu *g, size_t bytes, const char *what, pare_error *err);
/* Of what is left now: weights that stay are not given back for it. NULL: there is no room, without an error. */
void *pare_gpu_alloc_spare(pare_gpu *g, size_t bytes);
uint64_t pare_gpu_room(const pare_gpu *g);              /* bytes left of the budget, and on the device */
void pare_gpu_free(pare_gpu *g, void *p, size_t bytes); /* NULL is allowed; waits for the device */

/* Scratch memory by purpose, which grows and is kept: its bytes are undefined at each call, and valid until the next
 * call for the same purpose. Only for what is used in stream order. */
typedef enum pare_gpu_purpose {
    PARE_GPU_INPUT_BF16,  /* activations as factors of a product */
    PARE_GPU_WEIGHT_TILE, /* decoded rows of a weight */
    PARE_GPU_LOGITS,      /* a vocabulary tile of logits */
    PARE_GPU_LOGITS_REFERENCE,
    PARE_GPU_SCORES, /* running statistics of positions */
    PARE_GPU_KEYS,   /* keys, values as the attention kernel wants them */
    PARE_GPU_VALUES,
    PARE_GPU_DECODED,  /* stored keys or values as floats */
    PARE_GPU_BAD_UNIT, /* number of one that cannot be encoded */
    PARE_GPU_SIGNS,    /* of a projection */
    PARE_GPU_SMALL,    /* indices, positions, spans */
    PARE_GPU_BLAS,
    PARE_GPU_N_PURPOSES
} pare_gpu_purpose;
void *pare_gpu_scratch_of(pare_gpu *g, pare_gpu_purpose purpose, size_t bytes, pare_error *err);

/* Small host arrays (ids, positions, spans) to device memory in stream order, through pinned memory that is not written
 * again before the copy is done: src may be changed at once after the call. The device bytes stay valid until
 * PARE_GPU_RECENT further calls. */
enum { PARE_GPU_RECENT = 8 };
const void *pare_gpu_push(pare_gpu *g, const void *src, size_t bytes, pare_error *err);

/* Between any two memories of host and device, behind what is in the stream; download has arrived on return. */
pare_status pare_gpu_upload(pare_gpu *g, void *dst, const void *src, size_t bytes, pare_error *err);
pare_status pare_gpu_download(pare_gpu *g, void *dst, const void *src, size_t bytes, pare_error *err);

/* A grid of enough blocks for n pieces of work; the kernel strides by the grid where that is capped. */
static inline unsigned pare_gpu_blocks(uint64_t n, unsigned per_block)
{
    uint64_t blocks = (n + per_block - 1) / per_block;
    return blocks < 1 ? 1u : blocks > 1u << 20 ? 1u << 20 : (unsigned)blocks;
}

#endif
