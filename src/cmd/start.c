/* start.c - what happens before any library's own set-up
 *
 * OpenBLAS asks for a buffer of 128 MiB a thread before main, and asks again for ever where it gets none (0.3.21,
 * driver/others/memory.c, blas_memory_alloc): under a limit such as `ulimit -v 200000` the program would not end.
 * Whether there is room for them is found out first, by the one function that runs even earlier (the System V ABI's
 * DT_PREINIT_ARRAY). Sanitizers set themselves up at that point, so it is left out there. What products need later:
 * eval/cpu_blas.h. */
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef PARE_NO_PREINIT

enum { BUFFER_BYTES = 130 << 20, MAX_BLAS_THREADS = 64 };

/* The number behind name in the environment, 0: none. */
static long number_of(char **environment, const char *name)
{
    size_t n = strlen(name);
    long value = 0;
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=') {
            const char *digit = *environment + n + 1;
            for (; *digit >= '0' && *digit <= '9' && value < 10000; digit++)
                value = value * 10 + (*digit - '0');
            break;
        }
    return value;
}

/* How many threads OpenBLAS is going to have: the CPUs, or fewer if the environment says so. */
static size_t blas_threads(char **environment)
{
    static const char *const names[] = {"OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"};
    cpu_set_t set;
    long n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1, said = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && said <= 0; i++)
        said = number_of(environment, names[i]);
    n = said > 0 && said < n ? said : n;
    return (size_t)(n < MAX_BLAS_THREADS ? n : MAX_BLAS_THREADS);
}

/* What a program may do that early: system calls, and functions that need none of the C library's state. */
static void look_for_memory(int argc, char **argv, char **environment)
{
    static const char message[] =
        "pare: error: no memory to start with: OpenBLAS wants 128 MiB a CPU (ulimit -v, ulimit "
        "-d; OPENBLAS_NUM_THREADS=1 wants less)\n";
    const size_t bytes = blas_threads(environment) * BUFFER_BYTES;
    (void)argc, (void)argv;
    void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room != MAP_FAILED) {
        munmap(room, bytes);
        return;
    }
    ssize_t said = write(STDERR_FILENO, message, sizeof message - 1);
    (void)said; /* there is nowhere else to say it */
    _exit(6);   /* that of PARE_ERR_MEMORY */
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = look_for_memory;

#endif
