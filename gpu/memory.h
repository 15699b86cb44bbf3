/* gpu/memory.h - device memory by itself: what the driver says is free, allocations without anything around them
 *
 * The other side of pare_memory_driver (memory/occupy.h). Errors are of PARE_ERR_DEVICE unless they are said to be
 * others.
 */
#ifndef PARE_GPU_MEMORY_H
#define PARE_GPU_MEMORY_H

#include "gpu/cuda.h"
#include "gpu/plugin.h"

/* Make the device's primary context. *context: bytes of device memory that this took, by NVML (libnvidia-ml.so.1),
 * which reads without a context; UINT64_MAX: NVML is not there. 0 where the context was there before. */
pare_status pare_gpu_memory_start(int device, char name[PARE_GPU_NAME], uint64_t *context, pare_error *err);

pare_status pare_gpu_memory_info(int device, uint64_t *bytes_free, uint64_t *total, pare_error *err);

/* PARE_ERR_MEMORY: no room, and no error stays behind */
pare_status pare_gpu_memory_allocate(int device, uint64_t bytes, void **out, pare_error *err);
void pare_gpu_memory_release(int device, void *p);

#endif
