#include "gpu/blas.h"

void pare_gpu_blas_open(pare_gpu *)
{
}

void pare_gpu_blas_close(pare_gpu *)
{
}
