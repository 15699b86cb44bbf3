#include "quant/path.h"

#include <stdatomic.h>

/* One table of encoders a path (quant/encoders.c). */
extern const pare_encode_fn pare_encoders[PARE_TYPE_COUNT];
#ifdef PARE_X86_PATHS
extern const pare_encode_fn pare_encoders_avx2[PARE_TYPE_COUNT];
extern const pare_encode_fn pare_encoders_avx512[PARE_TYPE_COUNT];
#endif

static const struct {
    const char *name;
    const pare_encode_fn *encoders; /* [PARE_TYPE_COUNT]; NULL: not compiled */
} paths[PARE_PATH_COUNT] = {
    [PARE_PATH_PORTABLE] = {"portable", pare_encoders},
#ifdef PARE_X86_PATHS
    [PARE_PATH_AVX2] = {"avx2", pare_encoders_avx2},
    [PARE_PATH_AVX512] = {"avx512", pare_encoders_avx512},
#else
    [PARE_PATH_AVX2] = {"avx2", NULL},
    [PARE_PATH_AVX512] = {"avx512", NULL},
#endif
};

static bool machine_can(pare_path path)
{
#ifdef PARE_X86_PATHS
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
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
    return paths[path].encoders != NULL && machine_can(path);
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

pare_encode_fn pare_encoder(pare_type type)
{
    return paths[pare_path_current()].encoders[type];
}
