#include "gpu/runtime.h"

#include "gpu/blas.h"
#include "gpu/weights.h"

#include <stdio.h>
#include <stdlib.h>

const pare_gpu_host *pare_gpu_calls;

enum : size_t {
    MIB = 1 << 20,
    RESERVE = 256 * MIB, /* of free device memory left to others, and to kernels' own needs */
    TILE = 256 * MIB,    /* of a decoded weight: one of an 8B model, whole */
    ALIGNMENT = 256
};

struct pare_gpu_scratch {
    void *p[PARE_GPU_N_PURPOSES];
    size_t bytes[PARE_GPU_N_PURPOSES];
};

/* Small arrays on their way to the device, in turn: each has its place in pinned and in device memory, and an event
 * behind its copy. */
struct pare_gpu_staging {
    struct {
        void *host, *device;
        size_t bytes;
        cudaEvent_t copied;
    } slot[PARE_GPU_RECENT];
    unsigned next;
};

pare_status pare_gpu_check(pare_gpu *g, cudaError_t code, const char *what, pare_error *err)
{
    __atomic_fetch_add(&g->n_calls, 1, __ATOMIC_RELAXED);
    if (code == cudaSuccess)
        return PARE_OK;
    cudaGetLastError(); /* or the next launch would find it */
    if (code == cudaErrorMemoryAllocation)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "device %d (%s): no memory: %s", g->device,
                                    g->properties.name, what);
    size_t free_bytes, total;
    if (g->stream != NULL && cudaMemGetInfo(&free_bytes, &total) != cudaSuccess)
        g->lost = true; /* an error that stays is the device's */
    cudaGetLastError();
    return pare_gpu_calls->fail(err, PARE_ERR_DEVICE, "device %d (%s): %s: %s (%s)%s", g->device, g->properties.name,
                                what, cudaGetErrorString(code), cudaGetErrorName(code),
                                g->lost ? "; the device is lost" : "");
}

pare_status pare_gpu_launched(pare_gpu *g, const char *kernel, pare_error *err)
{
    return pare_gpu_check(g, cudaGetLastError(), kernel, err);
}

uint64_t pare_gpu_room(const pare_gpu *g)
{
    size_t free_bytes = 0, total = 0;
    if (cudaMemGetInfo(&free_bytes, &total) != cudaSuccess)
        return 0;
    uint64_t left = g->max_bytes > g->used_bytes ? g->max_bytes - g->used_bytes : 0;
    return free_bytes < left ? free_bytes : left;
}

/* A number of bytes for people, in dst: "17.9 MiB" */
static const char *in_words(uint64_t bytes, char dst[24])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB"};
    double value = (double)bytes;
    int i = 0;
    for (; i < 3 && value >= 1024; i++)
        value /= 1024;
    snprintf(dst, 24, i > 0 ? "%.1f %s" : "%.0f %s", value, unit[i]);
    return dst;
}

static pare_status no_room(const pare_gpu *g, size_t bytes, const char *what, pare_error *err)
{
    char needed[24], left[24], all[24], held[24], most[24];
    return pare_gpu_calls->fail(err, PARE_ERR_MEMORY,
                                "device %d (%s): %s of device memory needed for %s, %s free of %s (pare holds %s of at "
                                "most %s); fewer tokens at "
                                "once (--batch), a smaller --ctx or a larger --device-memory would fit",
                                g->device, g->properties.name, in_words(bytes, needed), what,
                                in_words(pare_gpu_room(g), left), in_words(g->properties.totalGlobalMem, all),
                                in_words(g->used_bytes, held), in_words(g->max_bytes, most));
}

/* cudaMalloc within the budget; no room is cudaErrorMemoryAllocation, and leaves no error behind. */
static cudaError_t allocate(pare_gpu *g, size_t bytes, void **p)
{
    size_t free_bytes = 0, total = 0;
    *p = NULL;
    cudaError_t code = cudaMemGetInfo(&free_bytes, &total); /* of a lost device: that it is */
    if (code != cudaSuccess)
        return code;
    if (bytes > SIZE_MAX - ALIGNMENT || pare_gpu_room(g) < bytes)
        return cudaErrorMemoryAllocation;
    code = cudaMalloc(p, bytes > 0 ? bytes : 1);
    if (code == cudaErrorMemoryAllocation)
        cudaGetLastError();
    if (code != cudaSuccess)
        return code;
    g->used_bytes += bytes;
    g->peak_bytes = g->used_bytes > g->peak_bytes ? g->used_bytes : g->peak_bytes;
    return cudaSuccess;
}

void *pare_gpu_alloc(pare_gpu *g, size_t bytes, const char *what, pare_error *err)
{
    void *p = NULL;
    uint64_t left = pare_gpu_room(g);
    cudaError_t code = allocate(g, bytes, &p);
    if (code == cudaErrorMemoryAllocation && g->weights != NULL) {
        pare_gpu_weights_give_back(g, left < bytes ? bytes - left : bytes); /* the latter: free memory in small parts */
        code = allocate(g, bytes, &p);
    }
    if (code == cudaErrorMemoryAllocation) {
        no_room(g, bytes, what, err);
        return NULL;
    }
    return pare_gpu_check(g, code, what, err) == PARE_OK ? p : NULL;
}

void *pare_gpu_alloc_spare(pare_gpu *g, size_t bytes)
{
    void *p = NULL;
    return allocate(g, bytes, &p) == cudaSuccess ? p : NULL;
}

void pare_gpu_free(pare_gpu *g, void *p, size_t bytes)
{
    if (p == NULL)
        return;
    cudaFree(p);
    g->used_bytes -= bytes;
}

void *pare_gpu_scratch_of(pare_gpu *g, pare_gpu_purpose purpose, size_t bytes, pare_error *err)
{
    struct pare_gpu_scratch *s = g->scratch;
    if (bytes <= s->bytes[purpose] && s->p[purpose] != NULL)
        return s->p[purpose];
    pare_gpu_free(g, s->p[purpose], s->bytes[purpose]);
    s->p[purpose] = NULL;
    s->bytes[purpose] = 0;
    if ((s->p[purpose] = pare_gpu_alloc(g, bytes, "scratch memory", err)) != NULL)
        s->bytes[purpose] = bytes;
    return s->p[purpose];
}

/* Make a slot hold so many bytes. */
static pare_status grow_slot(pare_gpu *g, unsigned i, size_t bytes, pare_error *err)
{
    auto *s = &g->staging->slot[i];
    size_t want = 4096;
    if (bytes <= s->bytes)
        return PARE_OK;
    while (want < bytes) /* experts have another number of tokens each time */
        want *= 2;
    if (s->host != NULL)
        cudaFreeHost(s->host);
    pare_gpu_free(g, s->device, s->bytes);
    s->host = s->device = NULL;
    s->bytes = 0;
    pare_status st = pare_gpu_check(g, cudaMallocHost(&s->host, want), "pinned host memory", err);
    if (st == PARE_OK && (s->device = pare_gpu_alloc(g, want, "indices", err)) == NULL)
        st = PARE_ERR_MEMORY;
    if (st == PARE_OK)
        s->bytes = want;
    return st;
}

const void *pare_gpu_push(pare_gpu *g, const void *src, size_t bytes, pare_error *err)
{
    unsigned i = g->staging->next;
    auto *s = &g->staging->slot[i];
    if (pare_gpu_check(g, cudaEventSynchronize(s->copied), "copy of indices", err) != PARE_OK ||
        grow_slot(g, i, bytes, err) != PARE_OK)
        return NULL;
    memcpy(s->host, src, bytes);
    cudaError_t code = cudaMemcpyAsync(s->device, s->host, bytes, cudaMemcpyHostToDevice, g->stream);
    if (code == cudaSuccess)
        code = cudaEventRecord(s->copied, g->stream);
    if (pare_gpu_check(g, code, "copy of indices", err) != PARE_OK)
        return NULL;
    g->staging->next = (i + 1) % PARE_GPU_RECENT;
    return s->device;
}

pare_status pare_gpu_upload(pare_gpu *g, void *dst, const void *src, size_t bytes, pare_error *err)
{
    return pare_gpu_check(g, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, g->stream), "upload", err);
}

pare_status pare_gpu_download(pare_gpu *g, void *dst, const void *src, size_t bytes, pare_error *err)
{
    cudaError_t code = cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, g->stream);
    if (code == cudaSuccess)
        code = cudaStreamSynchronize(g->stream);
    return pare_gpu_check(g, code, "download", err);
}

static pare_status open_staging(pare_gpu *g, pare_error *err)
{
    g->scratch = (struct pare_gpu_scratch *)calloc(1, sizeof *g->scratch);
    g->staging = (struct pare_gpu_staging *)calloc(1, sizeof *g->staging);
    if (g->scratch == NULL || g->staging == NULL)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a device");
    cudaError_t code = cudaSuccess;
    for (unsigned i = 0; i < PARE_GPU_RECENT && code == cudaSuccess; i++)
        code = cudaEventCreateWithFlags(&g->staging->slot[i].copied, cudaEventDisableTiming);
    return pare_gpu_check(g, code, "events", err);
}

static void close_staging(pare_gpu *g)
{
    for (int i = 0; g->scratch != NULL && i < PARE_GPU_N_PURPOSES; i++)
        pare_gpu_free(g, g->scratch->p[i], g->scratch->bytes[i]);
    for (unsigned i = 0; g->staging != NULL && i < PARE_GPU_RECENT; i++) {
        auto *s = &g->staging->slot[i];
        if (s->host != NULL)
            cudaFreeHost(s->host);
        pare_gpu_free(g, s->device, s->bytes);
        if (s->copied != NULL)
            cudaEventDestroy(s->copied);
    }
    free(g->scratch);
    free(g->staging);
}

pare_status pare_gpu_open(pare_gpu **out, const pare_gpu_options *options, pare_error *err)
{
    pare_gpu *g = (pare_gpu *)calloc(1, sizeof *g);
    if (g == NULL)
        return pare_gpu_calls->fail(err, PARE_ERR_MEMORY, "no memory for a device");
    g->device = options->device;
    g->f32 = options->f32;
    g->no_blas = options->no_blas;
    size_t free_bytes = 0, total = 0;
    cudaError_t code = cudaSetDevice(g->device);
    if (code == cudaSuccess)
        code = cudaGetDeviceProperties(&g->properties, g->device);
    if (code == cudaSuccess)
        code = cudaMemGetInfo(&free_bytes, &total);
    if (code == cudaSuccess)
        code = cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking);
    pare_status st = pare_gpu_check(g, code, "open", err);
    g->max_bytes = free_bytes > 4 * RESERVE ? free_bytes - RESERVE : free_bytes - free_bytes / 8;
    if (options->max_bytes != 0 && options->max_bytes < g->max_bytes)
        g->max_bytes = options->max_bytes;
    g->tile_bytes = g->max_bytes / 32 < TILE ? g->max_bytes / 32 : TILE;
    if (st == PARE_OK)
        st = open_staging(g, err);
    if (st == PARE_OK)
        st = pare_gpu_weights_open(g, err);
    if (st != PARE_OK) {
        pare_gpu_close(g);
        return st;
    }
    if (!g->no_blas)
        pare_gpu_blas_open(g);
    *out = g;
    return PARE_OK;
}

void pare_gpu_close(pare_gpu *g)
{
    if (g == NULL)
        return;
    cudaSetDevice(g->device);
    if (g->stream != NULL)
        cudaStreamSynchronize(g->stream);
    if (g->weights != NULL)
        pare_gpu_weights_close(g);
    pare_gpu_blas_close(g);
    close_staging(g);
    if (g->stream != NULL)
        cudaStreamDestroy(g->stream);
    free(g);
}
