/* gpu/recurrence.h - the operations of linear attention (eval/backend.h) on a device */
#ifndef PARE_GPU_RECURRENCE_H
#define PARE_GPU_RECURRENCE_H

#include "gpu/runtime.h"

pare_status pare_gpu_conv(pare_gpu *g, const pare_conv *c, pare_error *err);
pare_status pare_gpu_delta(pare_gpu *g, const pare_delta *d, pare_error *err);

#endif
