#include "gpu/memory.h"

#include "gpu/runtime.h"

#include <dlfcn.h>
#include <stdio.h>

static pare_status failed(int device, cudaError_t code, const char *what, pare_error *err)
{
    cudaGetLastError();
    return pare_gpu_calls->fail(err, code == cudaErrorMemoryAllocation ? PARE_ERR_MEMORY : PARE_ERR_DEVICE,
                                "device %d: %s: %s (%s)", device, what, cudaGetErrorString(code),
                                cudaGetErrorName(code));
}

/* NVML by its documented names and layouts (NVML API Reference Guide: nvmlMemory_t is total, free, used). */
struct nvml_memory {
    unsigned long long total, free, used;
};

/* Bytes in use on the device with that PCI address, by whomever; UINT64_MAX: nobody tells. */
static uint64_t used_bytes(const char *pci)
{
    uint64_t used = UINT64_MAX;
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL), *handle = NULL;
    if (library == NULL)
        return used;
    int (*init)(void), (*shut)(void), (*find)(const char *, void **), (*read)(void *, nvml_memory *);
    *(void **)&init = dlsym(library, "nvmlInit_v2");
    *(void **)&shut = dlsym(library, "nvmlShutdown");
    *(void **)&find = dlsym(library, "nvmlDeviceGetHandleByPciBusId_v2");
    *(void **)&read = dlsym(library, "nvmlDeviceGetMemoryInfo");
    if (init != NULL && shut != NULL && find != NULL && read != NULL && init() == 0) {
        nvml_memory m = {0, 0, 0};
        if (find(pci, &handle) == 0 && read(handle, &m) == 0)
            used = m.used;
        shut();
    }
    dlclose(library);
    return used;
}

pare_status pare_gpu_memory_start(int device, char name[PARE_GPU_NAME], uint64_t *context, pare_error *err)
{
    cudaDeviceProp p;
    char pci[32];
    *context = UINT64_MAX;
    cudaError_t code = cudaGetDeviceProperties(&p, device);
    if (code != cudaSuccess)
        return failed(device, code, "its properties", err);
    snprintf(name, PARE_GPU_NAME, "%.*s", PARE_GPU_NAME - 1, p.name);
    snprintf(pci, sizeof pci, "%08x:%02x:%02x.0", (unsigned)p.pciDomainID, (unsigned)p.pciBusID,
             (unsigned)p.pciDeviceID);
    const uint64_t before = used_bytes(pci);
    code = cudaSetDevice(device);
    if (code == cudaSuccess)
        code = cudaFree(NULL); /* makes the context */
    if (code != cudaSuccess)
        return failed(device, code, "a context", err);
    const uint64_t after = before != UINT64_MAX ? used_bytes(pci) : UINT64_MAX;
    if (after != UINT64_MAX)
        *context = after > before ? after - before : 0;
    return PARE_OK;
}

pare_status pare_gpu_memory_info(int device, uint64_t *bytes_free, uint64_t *total, pare_error *err)
{
    size_t is_free = 0, all = 0;
    cudaError_t code = cudaSetDevice(device);
    if (code == cudaSuccess)
        code = cudaMemGetInfo(&is_free, &all);
    if (code != cudaSuccess)
        return failed(device, code, "free memory", err);
    *bytes_free = is_free;
    *total = all;
    return PARE_OK;
}

pare_status pare_gpu_memory_allocate(int device, uint64_t bytes, void **out, pare_error *err)
{
    *out = NULL;
    cudaError_t code = cudaSetDevice(device);
    if (code == cudaSuccess)
        code = bytes <= SIZE_MAX ? cudaMalloc(out, (size_t)bytes) : cudaErrorMemoryAllocation;
    return code == cudaSuccess ? PARE_OK : failed(device, code, "an allocation", err);
}

void pare_gpu_memory_release(int device, void *p)
{
    if (cudaSetDevice(device) == cudaSuccess)
        cudaFree(p);
    cudaGetLastError();
}
