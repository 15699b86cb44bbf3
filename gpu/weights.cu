#include "gpu/weights.h"

pare_status pare_gpu_weights_open(pare_gpu *, pare_error *)
{
    return PARE_OK;
}

void pare_gpu_weights_close(pare_gpu *)
{
}
