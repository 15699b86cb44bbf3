/* eval/cpu_blas.h - the buffers of OpenBLAS, which waits for ever where it gets none
 *
 * Each thread in a product holds a buffer, which OpenBLAS asks the system for when one more is needed than ever before,
 * again and again until it gets it (0.3.21, driver/others/memory.c, blas_memory_alloc). Under a limit such as
 * `ulimit -v` that is never. */
#ifndef PARE_EVAL_CPU_BLAS_H
#define PARE_EVAL_CPU_BLAS_H

#include "core/error.h"

/* Let OpenBLAS have buffers for products on n threads at once; they stay until the process ends. Memory is taken by
 * those that are used. Errors: PARE_ERR_MEMORY */
pare_status pare_blas_reserve(int n, pare_error *err);

#endif
