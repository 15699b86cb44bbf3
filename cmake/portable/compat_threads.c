/* compat_threads.c - glibc 2.32: libstdc++ counts references without atomics while this is not 0 */
__attribute__((visibility("hidden"))) char __libc_single_threaded = 0;
