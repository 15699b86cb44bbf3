#include "eval/backend.h"

/* In place of cpu_bf16.c in a build without oneDNN. */
pare_status pare_backend_cpu_bf16(pare_backend **out, pare_error *err)
{
    *out = NULL;
    return pare_fail(err, PARE_ERR_UNSUPPORTED,
                     "this build of pare has no BF16 products: it was made without oneDNN (Debian: libdnnl-dev)");
}

const char *pare_cpu_bf16_library(void)
{
    return "none";
}
