/* compat_start.c - the start of a program
 *
 * Since glibc 2.34 the C library runs a program's constructors itself, and crt1.o passes no function that does; before,
 * the program ran them. Destructors are run by the dynamic linker, in every version. */
#include <stddef.h>

#define HIDDEN __attribute__((visibility("hidden")))

typedef void (*function)(int argc, char **argv, char **envp);
extern function __preinit_array_start[] HIDDEN, __preinit_array_end[] HIDDEN;
extern function __init_array_start[] HIDDEN, __init_array_end[] HIDDEN;
extern void _init(void);

static void run_constructors(int argc, char **argv, char **envp)
{
    for (function *f = __preinit_array_start; f < __preinit_array_end; f++)
        (*f)(argc, argv, envp);
    _init();
    for (function *f = __init_array_start; f < __init_array_end; f++)
        (*f)(argc, argv, envp);
}

typedef int (*program)(int argc, char **argv, char **envp);
typedef void (*plain)(void);
extern int libc_start_main(program main, int argc, char **argv, function init, plain fini, plain rtld_fini,
                           void *stack_end);
__asm__(".symver libc_start_main, __libc_start_main@GLIBC_2.2.5");

/* crt1.o calls this one. */
HIDDEN int __libc_start_main(program main, int argc, char **argv, function init, plain fini, plain rtld_fini,
                             void *stack_end)
{
    return libc_start_main(main, argc, argv, init != NULL ? init : run_constructors, fini, rtld_fini, stack_end);
}
