#include "gpu/plugin.h"

pare_status pare_gpu_load(const pare_gpu_plugin **out, pare_error *err)
{
    *out = NULL;
    return pare_fail(err, PARE_ERR_DEVICE, "the CUDA plugin cannot be loaded yet");
}
