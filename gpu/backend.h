/* gpu/backend.h - pare_backend (eval/backend.h) over a device */
#ifndef PARE_GPU_BACKEND_H
#define PARE_GPU_BACKEND_H

#include "gpu/runtime.h"

/* Owns g from here on, also on failure. */
pare_status pare_gpu_backend(pare_backend **out, pare_gpu *g, pare_error *err);

/* Of a backend that pare_gpu_backend made. */
pare_gpu *pare_gpu_of(const pare_backend *b);

#endif
