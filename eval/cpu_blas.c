#include "eval/cpu_blas.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { BUFFER_BYTES = 129 << 20 }; /* a little more than there is in a buffer */

/* Not in its header, and not in builds with a list of buffers for each thread (USE_TLS). */
extern void *blas_memory_alloc(int where) __attribute__((weak));
extern void blas_memory_free(void *buffer) __attribute__((weak));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int n_reserved;

static pare_status reserve(int n, pare_error *err)
{
    const size_t bytes = (size_t)(n - n_reserved) * BUFFER_BYTES;
    void **buffers = calloc((size_t)n, sizeof *buffers),
         *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room != MAP_FAILED)
        munmap(room, bytes);
    if (buffers == NULL || room == MAP_FAILED) {
        free(buffers);
        return pare_fail(err, PARE_ERR_MEMORY,
                         "no memory for the %d buffers of 128 MiB that OpenBLAS needs for %d threads: fewer need less "
                         "(--threads)",
                         n - n_reserved, n - 1);
    }
    for (int i = 0; i < n; i++) /* all at once, or it would give the first one again */
        buffers[i] = blas_memory_alloc(0);
    for (int i = 0; i < n; i++)
        blas_memory_free(buffers[i]);
    free(buffers);
    n_reserved = n;
    return PARE_OK;
}

pare_status pare_blas_reserve(int n, pare_error *err)
{
    pare_status st = PARE_OK;
    pthread_mutex_lock(&lock);
    if (blas_memory_alloc != NULL && blas_memory_free != NULL && n > n_reserved)
        st = reserve(n, err);
    pthread_mutex_unlock(&lock);
    return st;
}
