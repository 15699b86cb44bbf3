/* start.c - what happens before any library's own set-up
 *
 * OpenBLAS asks for its buffers, two of 128 MiB, before main, and asks again for ever where they cannot be had (0.3.21,
 * driver/others/memory.c, blas_memory_alloc): under a limit such as `ulimit -v 200000` the program would not end.
 * Whether there is room for them is found out first, by the one function that runs even earlier (the System V ABI's
 * DT_PREINIT_ARRAY). Sanitizers set themselves up at that point, so it is left out there. */
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef PARE_NO_PREINIT

enum { BLAS_BUFFERS_BYTES = 260 << 20 };

/* What a program may do that early: system calls. */
static void look_for_memory(void)
{
    static const char message[] =
        "pare: error: no memory to start with: 260 MiB cannot be had (ulimit -v, ulimit -d, or "
        "the system has no more)\n";
    void *room = mmap(NULL, BLAS_BUFFERS_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room != MAP_FAILED) {
        munmap(room, BLAS_BUFFERS_BYTES);
        return;
    }
    ssize_t said = write(STDERR_FILENO, message, sizeof message - 1);
    (void)said; /* there is nowhere else to say it */
    _exit(6);   /* that of PARE_ERR_MEMORY */
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = look_for_memory;

#endif
