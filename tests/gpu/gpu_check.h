/* gpu_check.h - a device for the tests of gpu/: the emulated one, with pare's own functions behind it */
#ifndef PARE_TESTS_GPU_CHECK_H
#define PARE_TESTS_GPU_CHECK_H

#include "gpu/runtime.h"

extern "C" {
#include "check.h"
}

#include <vector>

/* A device; failing is a failure of the test. */
static inline pare_gpu *open_device(bool f32)
{
    static const pare_gpu_host host = {PARE_GPU_ABI,     pare_fail,           pare_check_interrupt,
                                       pare_tensor_read, pare_tensor_release, pare_tensor_matrices,
                                       pare_kv_refuse};
    pare_gpu_calls = &host;
    pare_gpu_options options = {};
    options.f32 = f32;
    pare_gpu *g = NULL;
    pare_error err = {};
    CHECK_OK(pare_gpu_open(&g, &options, &err), &err);
    return g;
}

/* Device memory with a copy of v; freed by give_back. */
template <typename T> static inline T *to_device(pare_gpu *g, const std::vector<T> &v)
{
    pare_error err = {};
    T *p = (T *)pare_gpu_alloc(g, v.size() * sizeof(T), "a test", &err);
    CHECK(p != NULL);
    CHECK_OK(pare_gpu_upload(g, p, v.data(), v.size() * sizeof(T), &err), &err);
    return p;
}

template <typename T> static inline std::vector<T> from_device(pare_gpu *g, const T *p, size_t n)
{
    pare_error err = {};
    std::vector<T> v(n);
    CHECK_OK(pare_gpu_download(g, v.data(), p, n * sizeof(T), &err), &err);
    return v;
}

/* Numbers in -1 .. 1, the same for the same seed. */
static inline std::vector<float> noise(size_t n, uint64_t seed)
{
    std::vector<float> v(n);
    for (float &x : v) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x = (float)((double)(seed >> 33) / (double)(1u << 30) - 1.0);
    }
    return v;
}

/* |a - b| / |b| in double; NaNs never pass. */
static inline double relative_error(const std::vector<float> &a, const std::vector<double> &b)
{
    double miss = 0, all = 0;
    CHECK(a.size() == b.size());
    for (size_t i = 0; i < a.size(); i++) {
        miss += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += b[i] * b[i];
    }
    return sqrt(miss / (all > 0 ? all : 1));
}

#endif
