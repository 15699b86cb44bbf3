#include "gpu/plugin.h"

#include "gpu/backend.h"
#include "gpu/blas.h"
#include "gpu/memory.h"

#include <stdio.h>
#include <stdlib.h>

/* One number for a capability: 8.6 is 86. */
static int number_of(const cudaDeviceProp *p)
{
    return 10 * p->major + p->minor;
}

/* Whether there is code, by the list of architectures: "86" is machine code, for capabilities of the same major number
 * and no lower a minor one; "ptx120" is PTX, for any that is no lower. */
static bool has_code_for(int capability)
{
    bool has = false;
    for (const char *at = PARE_GPU_ARCHITECTURES; *at != '\0' && !has; at += *at == ' ') {
        bool is_ptx = strncmp(at, "ptx", 3) == 0;
        char *end;
        int built = (int)strtol(is_ptx ? at + 3 : at, &end, 10);
        has = built > 0 && built <= capability && (is_ptx || built / 10 == capability / 10);
        at = end + strcspn(end, " "); /* "90a" */
    }
    return has;
}

/* The number of devices, or in words why there is none. */
static pare_status count_devices(int *n, pare_error *err)
{
    int driver = 0;
    cudaError_t code = cudaGetDeviceCount(n);
    cudaGetLastError();
    if (code == cudaSuccess && *n > 0)
        return PARE_OK;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return pare_gpu_calls->fail(err, PARE_ERR_DEVICE,
                                    "no CUDA driver is installed (libcuda.so.1 was not found): "
                                    "--device cuda needs NVIDIA's driver for CUDA %d.%d or newer",
                                    CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (code == cudaErrorInsufficientDriver)
        return pare_gpu_calls->fail(err, PARE_ERR_DEVICE,
                                    "the installed driver supports CUDA %d.%d, and pare's plugin was built with CUDA "
                                    "%d.%d: --device cuda needs a newer driver",
                                    driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                                    CUDART_VERSION % 1000 / 10);
    if (code == cudaErrorNoDevice || code == cudaSuccess)
        return pare_gpu_calls->fail(err, PARE_ERR_DEVICE, "the CUDA driver shows no device%s",
                                    getenv("CUDA_VISIBLE_DEVICES") != NULL ? " (CUDA_VISIBLE_DEVICES is set)" : "");
    return pare_gpu_calls->fail(err, PARE_ERR_DEVICE, "the CUDA driver does not answer: %s (%s)",
                                cudaGetErrorString(code), cudaGetErrorName(code));
}

static pare_status describe(int i, pare_gpu_device *out, pare_error *err)
{
    cudaDeviceProp p;
    size_t free_bytes = 0, total = 0;
    memset(out, 0, sizeof *out);
    cudaError_t code = cudaGetDeviceProperties(&p, i);
    if (code != cudaSuccess)
        return pare_gpu_calls->fail(err, PARE_ERR_DEVICE, "device %d: %s (%s)", i, cudaGetErrorString(code),
                                    cudaGetErrorName(code));
    snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof out->name - 1, p.name);
    snprintf(out->pci, sizeof out->pci, "%04x:%02x:%02x.0", (unsigned)p.pciDomainID, (unsigned)p.pciBusID,
             (unsigned)p.pciDeviceID);
    out->major = p.major;
    out->minor = p.minor;
    out->usable = has_code_for(number_of(&p));
    out->n_multiprocessors = p.multiProcessorCount;
    out->bytes = p.totalGlobalMem;
    if (cudaSetDevice(i) == cudaSuccess && cudaMemGetInfo(&free_bytes, &total) == cudaSuccess)
        out->bytes_free = free_bytes;
    cudaGetLastError();
    return PARE_OK;
}

static pare_status list_devices(pare_gpu_device *out, int room, int *n, pare_error *err)
{
    *n = 0;
    pare_status st = count_devices(n, err);
    for (int i = 0; i < *n && i < room && st == PARE_OK; i++)
        st = describe(i, &out[i], err);
    return st;
}

static pare_status open_device(pare_backend **out, const pare_gpu_options *options, pare_error *err)
{
    int n = 0;
    pare_gpu_device device;
    pare_gpu *g = NULL;
    pare_status st = count_devices(&n, err);
    if (st == PARE_OK && (options->device < 0 || options->device >= n))
        st = pare_gpu_calls->fail(err, PARE_ERR_DEVICE, "there is no device %d: the driver shows %d, counted from 0",
                                  options->device, n);
    if (st == PARE_OK)
        st = describe(options->device, &device, err);
    if (st == PARE_OK && !device.usable)
        st = pare_gpu_calls->fail(err, PARE_ERR_DEVICE,
                                  "device %d (%s) has compute capability %d.%d; the plugin has code for %s",
                                  options->device, device.name, device.major, device.minor, PARE_GPU_ARCHITECTURES);
    if (st == PARE_OK)
        st = pare_gpu_open(&g, options, err);
    return st == PARE_OK ? pare_gpu_backend(out, g, err) : st;
}

static const char *products(const pare_backend *b)
{
    return pare_gpu_blas_name(pare_gpu_of(b));
}

static pare_status start_memory(int device, char name[PARE_GPU_NAME], uint64_t *context, pare_error *err)
{
    int n = 0;
    pare_status st = count_devices(&n, err);
    if (st == PARE_OK && (device < 0 || device >= n))
        st = pare_gpu_calls->fail(err, PARE_ERR_DEVICE, "there is no device %d: the driver shows %d, counted from 0",
                                  device, n);
    return st == PARE_OK ? pare_gpu_memory_start(device, name, context, err) : st;
}

extern "C" __attribute__((visibility("default"))) const pare_gpu_plugin *
pare_gpu_plugin_entry(const pare_gpu_host *host)
{
    static char toolkit[32];
    static const pare_gpu_plugin plugin = {PARE_GPU_ABI,
                                           PARE_GPU_ARCHITECTURES,
                                           toolkit,
                                           list_devices,
                                           open_device,
                                           products,
                                           start_memory,
                                           pare_gpu_memory_info,
                                           pare_gpu_memory_allocate,
                                           pare_gpu_memory_release};
    if (host->abi != PARE_GPU_ABI)
        return NULL;
    pare_gpu_calls = host;
    snprintf(toolkit, sizeof toolkit, "CUDA %d.%d", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    return &plugin;
}
