#include "quant/path.h"
#include "quant/path_table.h"

#include <stdatomic.h>
#ifdef PARE_X86_PATHS
#include <cpuid.h>
#endif

/* One table a path (quant/path_table.c). */
extern const pare_path_table pare_table;
#ifdef PARE_X86_PATHS
extern const pare_path_table pare_table_avx2, pare_table_avx512;
#endif

static const struct {
    const char *name;
    const pare_path_table *table; /* NULL: not compiled */
} paths[PARE_PATH_COUNT] = {
    [PARE_PATH_PORTABLE] = {"portable", &pare_table},
#ifdef PARE_X86_PATHS
    [PARE_PATH_AVX2] = {"avx2", &pare_table_avx2},
    [PARE_PATH_AVX512] = {"avx512", &pare_table_avx512},
#else
    [PARE_PATH_AVX2] = {"avx2", NULL},
    [PARE_PATH_AVX512] = {"avx512", NULL},
#endif
};

#ifdef PARE_X86_PATHS
/* Not every compiler's __builtin_cpu_supports knows it. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

static bool machine_can(pare_path path)
{
#ifdef PARE_X86_PATHS
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && has_f16c();
    if (path == PARE_PATH_AVX2)
        return avx2;
    if (path == PARE_PATH_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
#endif
    return path == PARE_PATH_PORTABLE;
}

const char *pare_path_name(pare_path path)
{
    return paths[path].name;
}

bool pare_path_available(pare_path path)
{
    return paths[path].table != NULL && machine_can(path);
}

static atomic_int chosen = PARE_PATH_COUNT; /* PARE_PATH_COUNT: not yet */

pare_path pare_path_current(void)
{
    int path = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (path != PARE_PATH_COUNT)
        return (pare_path)path;
    for (path = PARE_PATH_COUNT - 1; path > 0 && !pare_path_available((pare_path)path); path--)
        continue;
    atomic_store_explicit(&chosen, path, memory_order_relaxed);
    return (pare_path)path;
}

void pare_path_use(pare_path path)
{
    atomic_store_explicit(&chosen, (int)path, memory_order_relaxed);
}

const pare_path_table *pare_path_now(void)
{
    return paths[pare_path_current()].table;
}

pare_encode_fn pare_encoder(pare_type type)
{
    return pare_path_now()->encode[type];
}
