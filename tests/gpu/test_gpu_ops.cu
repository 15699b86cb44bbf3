#include "gpu_check.h"

#include "gpu/ops.h"

static void scale_multiplies(void **)
{
    pare_gpu *g = open_device(false);
    pare_error err = {};
    for (size_t n : {1, 255, 256, 1000}) {
        std::vector<float> x = noise(n, n);
        float *d = to_device(g, x);
        CHECK_OK(pare_gpu_scale(g, d, 3, n, &err), &err);
        std::vector<float> y = from_device(g, d, n);
        for (size_t i = 0; i < n; i++)
            CHECK(y[i] == x[i] * 3);
        pare_gpu_free(g, d, n * sizeof *d);
    }
    pare_gpu_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scale_multiplies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
