#include "core/scratch.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64, LARGE_BYTES = 512 << 10 };

void *pare_scratch_alloc(size_t n)
{
    if (n > SIZE_MAX - ALIGNMENT)
        return NULL;
    if (n < LARGE_BYTES)
        return aligned_alloc(ALIGNMENT, (n + ALIGNMENT) / ALIGNMENT * ALIGNMENT); /* at least one unit */
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

void pare_scratch_free(void *p, size_t n)
{
    if (p == NULL || n < LARGE_BYTES)
        free(p);
    else
        munmap(p, n);
}
