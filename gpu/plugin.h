/* gpu/plugin.h - what pare and its CUDA plugin know of each other
 *
 * The evaluator on a GPU is a shared object of its own, pare-cuda.so, which is looked for when a device is asked for:
 * one program serves machines with and without a GPU. The plugin calls nothing of pare by name; it gets a table of
 * functions, and gives one. Both sides are of one build: the version is checked. */
#ifndef PARE_GPU_PLUGIN_H
#define PARE_GPU_PLUGIN_H

#ifdef __cplusplus
#include <math.h>
#include <string.h>
extern "C" {
#endif
#include "eval/backend.h"

enum { PARE_GPU_ABI = 8, PARE_GPU_NAME = 128 };

/* What the plugin may call. */
typedef struct pare_gpu_host {
    uint32_t abi;
    pare_status (*fail)(pare_error *err, pare_status status, const char *fmt, ...);
    pare_status (*check_interrupt)(pare_error *err);
    pare_status (*tensor_read)(const pare_tensor *t, uint64_t row, uint64_t n_rows, void *dst, pare_error *err);
    void (*tensor_release)(const pare_tensor *t, uint64_t row, uint64_t n_rows);
    uint64_t (*tensor_matrices)(const pare_tensor *t);
    pare_status (*kv_refuse)(const pare_kv_codec *c, const float *x, size_t stride, size_t token, size_t head,
                             uint32_t dim, pare_error *err);
} pare_gpu_host;

typedef struct pare_gpu_device {
    char name[PARE_GPU_NAME];
    char pci[32];     /* "0000:3b:00.0" */
    int major, minor; /* compute capability */
    bool usable;      /* the plugin has code for it */
    int n_multiprocessors;
    uint64_t bytes, bytes_free; /* of its memory, now */
} pare_gpu_device;

typedef struct pare_gpu_options {
    int device;         /* 0 .. count - 1 */
    bool f32;           /* products of float32 factors instead of BF16 */
    bool no_blas;       /* never cuBLASLt, always pare's own kernels */
    uint64_t max_bytes; /* use no more device memory than this; 0: what is free, less a reserve */
} pare_gpu_options;

typedef struct pare_gpu_plugin {
    uint32_t abi;
    const char *architectures; /* that it has code for: "80 86 89 90 100 120 ptx120" */
    const char *toolkit;       /* "CUDA 13.0" */

    /* Devices that the driver shows, at most `room` of them described. Errors: PARE_ERR_DEVICE (no driver, too old a
     * driver, no device: said in words that tell what to do) */
    pare_status (*list)(pare_gpu_device *out, int room, int *n, pare_error *err);

    /* A backend on one device. Errors: PARE_ERR_DEVICE (as list; no such device; an architecture that the plugin has no
     * code for), PARE_ERR_MEMORY */
    pare_status (*open)(pare_backend **out, const pare_gpu_options *options, pare_error *err);

    /* "cuBLASLt 13.1.0.3", or "own kernels": what computes products on b, a backend of this plugin */
    const char *(*products)(const pare_backend *b);

    /* Device memory by itself (gpu/memory.h), as pare_memory_driver of memory/occupy.h has it. */
    pare_status (*memory_start)(int device, char name[PARE_GPU_NAME], uint64_t *context, pare_error *err);
    pare_status (*memory_info)(int device, uint64_t *bytes_free, uint64_t *total, pare_error *err);
    pare_status (*memory_allocate)(int device, uint64_t bytes, void **out, pare_error *err);
    void (*memory_release)(int device, void *p);
} pare_gpu_plugin;

/* The one symbol of the plugin. NULL: host->abi is not PARE_GPU_ABI. */
typedef const pare_gpu_plugin *(*pare_gpu_entry)(const pare_gpu_host *host);
#define PARE_GPU_ENTRY "pare_gpu_plugin_entry"

/* The plugin, loaded once a process: from $PARE_CUDA_PLUGIN, else pare-cuda.so beside the program, in ../lib/pare or in
 * the folder it was installed to. The first of these that is there counts. Thread-safe. Errors: PARE_ERR_DEVICE
 * (absent: where it was looked for; not loadable: why; of another version) */
pare_status pare_gpu_load(const pare_gpu_plugin **out, pare_error *err);
bool pare_gpu_present(void);     /* is there a plugin to load, good or bad? */
const char *pare_gpu_path(void); /* of the plugin that was loaded; "" before */

#ifdef __cplusplus
}
#endif

#endif
