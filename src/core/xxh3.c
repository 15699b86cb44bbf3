#include "core/xxh3.h"

extern const pare_xxh3 pare_xxh3_baseline;
#ifdef PARE_X86_PATHS
extern const pare_xxh3 pare_xxh3_avx2, pare_xxh3_avx512;
#endif

const pare_xxh3 *pare_xxh3_get(int i)
{
    const pare_xxh3 *all[3] = {&pare_xxh3_baseline};
    int n = 1;
#ifdef PARE_X86_PATHS
    if (__builtin_cpu_supports("avx2"))
        all[n++] = &pare_xxh3_avx2;
    if (__builtin_cpu_supports("avx512f"))
        all[n++] = &pare_xxh3_avx512;
#endif
    return i < n ? all[i] : NULL;
}

const pare_xxh3 *pare_xxh3_best(void)
{
    int i = 0;
    while (pare_xxh3_get(i + 1) != NULL)
        i++;
    return pare_xxh3_get(i);
}
