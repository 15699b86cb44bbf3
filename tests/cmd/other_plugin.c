/* other_plugin.c - what pare must refuse to use as its CUDA plugin: one of an older version, and some other library */
#include "gpu/plugin.h"

#ifdef PARE_IS_OLDER
const pare_gpu_plugin *pare_gpu_plugin_entry(const pare_gpu_host *host);
const pare_gpu_plugin *pare_gpu_plugin_entry(const pare_gpu_host *host)
{
    return host->abi == PARE_GPU_ABI - 1 ? (const pare_gpu_plugin *)host : NULL;
}
#else
int something_else(void);
int something_else(void)
{
    return 1;
}
#endif
