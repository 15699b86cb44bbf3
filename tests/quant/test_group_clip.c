/* What errors cost in panels of H, and the clip search, against their definitions in double; the same on all paths. */
#include "check.h"

#include "core/half.h"
#include "quant/group_clip.h"
#include "quant/output_error.h"
#include "quant/path.h"
#include "quant/path_table.h"
#include "quant/rows.h"

#include <math.h>
#include <string.h>

enum { N = 64, GROUPS = 24 };

static double h[N * N];
static float panels[N * N];

/* Products of inputs of unlike sizes that go together; panels beyond pare_panel_floats stay zero. */
static int make_products(void **state)
{
    (void)state;
    CHECK(pare_panel_floats(N) <= sizeof panels / sizeof *panels);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++) {
            double size = (1 + (double)(i * 5 % 7)) * (1 + (double)(j * 5 % 7));
            h[i * N + j] = h[j * N + i] = size * pow(-0.8, (double)(i - j));
            pare_panel_put(panels, i, j, (float)h[i * N + j]);
        }
    return 0;
}

static double cost_of(const float *e)
{
    double sum = 0;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++)
            sum += (double)e[i] * h[i * N + j] * (double)e[j];
    return sum;
}

static void panels_hold_the_form(void **state)
{
    (void)state;
    float e[PARE_ERROR_ROWS * N], out[PARE_ERROR_ROWS], first[PARE_ERROR_ROWS];
    fill_row(e, PARE_ERROR_ROWS * N, 3);
    for (int path = 0; path < PARE_PATH_COUNT; path++) {
        if (!pare_path_available((pare_path)path))
            continue;
        pare_path_use((pare_path)path);
        for (size_t n = 1; n <= PARE_ERROR_ROWS; n++) {
            pare_path_now()->output_error(panels, N, e, n, out);
            for (size_t r = 0; r < n; r++)
                CHECK(fabs((double)out[r] / cost_of(e + r * N) - 1) < 1e-5);
        }
        if (path == 0)
            memcpy(first, out, sizeof first);
        CHECK(memcmp(first, out, sizeof out) == 0);
    }
}

/* What x costs rounded behind bounds that give way by so many steps of a twentieth. */
static double clipped(const pare_group_shape *shape, const float *x, int low, int high)
{
    pare_group g;
    uint8_t codes[N];
    float y[N], most = 0;
    for (int i = 0; i < N; i++)
        most = fmaxf(most, fabsf(x[i]));
    for (int i = 0; i < N; i++)
        y[i] = fminf(fmaxf(x[i], -most * (1 - (float)low / 20)), most * (1 - (float)high / 20));
    CHECK(pare_path_now()->group_round(shape, y, N, &g, codes));
    for (int i = 0; i < N; i++)
        y[i] = pare_f16_to_f32(g.d) * (float)((int)codes[i] - g.zero) - x[i];
    return cost_of(y);
}

static void the_best_bounds_are_found(void **state)
{
    (void)state;
    static float x[GROUPS * N], scratch[12 * N];
    static const pare_group_shape free_zero = {4, 0, 15}, middle = {4, 8, 8};
    int n_clipped = 0;
    CHECK(pare_group_clip_scratch(N) <= sizeof scratch);
    fill_row(x, GROUPS * N, 8);
    for (size_t k = 0; k < GROUPS; k++) {
        float *w = x + k * N;
        w[k] *= 3; /* something to clip */
        for (int s = 0; s < 2; s++) {
            const pare_group_shape *shape = s == 0 ? &free_zero : &middle;
            pare_group g;
            uint8_t codes[N];
            int low = 0, high = 0;
            float e[N];
            for (int t = 0; t < 10; t++)
                low = clipped(shape, w, t, t) < clipped(shape, w, low, low) * (1 - 1e-5) ? t : low;
            high = low;
            for (int t = 0; t < 10 && s == 0; t++)
                low = clipped(shape, w, t, high) < clipped(shape, w, low, high) * (1 - 1e-5) ? t : low;
            for (int t = 0; t < 10 && s == 0; t++)
                high = clipped(shape, w, low, t) < clipped(shape, w, low, high) * (1 - 1e-5) ? t : high;
            CHECK(pare_group_clip(shape, w, panels, N, scratch, &g, codes));
            for (int i = 0; i < N; i++)
                e[i] = pare_f16_to_f32(g.d) * (float)((int)codes[i] - g.zero) - w[i];
            CHECK(fabs(cost_of(e) / clipped(shape, w, low, high) - 1) < 1e-4);
            n_clipped += cost_of(e) < 0.9 * clipped(shape, w, 0, 0);
        }
    }
    CHECK(n_clipped > GROUPS / 2);
}

static void too_large_is_refused(void **state)
{
    (void)state;
    static float x[N] = {3e38f}, scratch[12 * N];
    pare_group g;
    uint8_t codes[N];
    CHECK(!pare_group_clip(&(const pare_group_shape){4, 0, 15}, x, panels, N, scratch, &g, codes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(panels_hold_the_form),
        cmocka_unit_test(the_best_bounds_are_found),
        cmocka_unit_test(too_large_is_refused),
    };
    return cmocka_run_group_tests(tests, make_products, NULL);
}
