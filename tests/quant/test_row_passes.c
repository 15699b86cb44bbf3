/* Passes over rows: right for every length and place, and the same on every path. */
#include "check.h"

#include "core/bytes.h"
#include "quant/path.h"
#include "quant/path_table.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { N = 200 };

static float x[N], y[N], w[N];

static void fill(void)
{
    uint32_t state = 1;
    for (int i = 0; i < N; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = ldexpf((float)(int32_t)state, -20 - (int)(state >> 7) % 30);
        y[i] = x[i] * (1 + (float)(i % 5) / 64);
        w[i] = (float)(state >> 12) + 1;
    }
}

/* One that is not there is the one before once more. */
static void use_path(int path)
{
    if (pare_path_available((pare_path)path))
        pare_path_use((pare_path)path);
}

static void use_default_path(void)
{
    int path = PARE_PATH_COUNT - 1;
    while (!pare_path_available((pare_path)path))
        path--;
    pare_path_use((pare_path)path);
}

static void finds_the_first_above(void **state)
{
    (void)state;
    static const float odd[] = {NAN, -NAN, INFINITY, -INFINITY, FLT_MAX, -3};
    for (int p = 0; p < PARE_PATH_COUNT; p++) {
        use_path(p);
        memset(x, 0, sizeof x);
        for (size_t n = 0; n <= N; n++)
            CHECK(pare_path_now()->find_above(x, n, 2) == n);
        for (size_t at = 0; at < N; at++) {
            x[at] = odd[at % 6];
            x[N - 1] = at < N - 1 ? NAN : x[N - 1];
            CHECK(pare_path_now()->find_above(x, N, 2) == at);
            CHECK(pare_path_now()->find_above(x, at, 2) == at);
            x[at] = x[N - 1] = -2; /* the limit itself is fine */
        }
        x[N / 2] = FLT_MAX;
        CHECK(pare_path_now()->find_above(x, N, FLT_MAX) == N);
    }
    use_default_path();
}

static void ranges_of_weights(void **state)
{
    (void)state;
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY, -FLT_TRUE_MIN, -1};
    for (int p = 0; p < PARE_PATH_COUNT; p++) {
        use_path(p);
        fill();
        for (size_t n = 1; n <= N; n++) {
            pare_weight_range range = pare_path_now()->weight_range(w, n);
            float low = w[0], high = w[0];
            for (size_t i = 1; i < n; i++) {
                low = fminf(low, w[i]);
                high = fmaxf(high, w[i]);
            }
            CHECK(!range.bad && range.low == low && range.high == high);
        }
        for (size_t at = 0; at < N; at++) {
            float kept = w[at];
            w[at] = bad[at % 6];
            CHECK(pare_path_now()->weight_range(w, N).bad);
            w[at] = at % 2 == 0 ? 0.0f : -0.0f;
            CHECK(!pare_path_now()->weight_range(w, N).bad && pare_path_now()->weight_range(w, N).low == 0);
            w[at] = kept;
        }
        memset(w, 0, sizeof w);
        CHECK(!pare_path_now()->weight_range(w, N).bad && pare_path_now()->weight_range(w, N).high == 0);
    }
    use_default_path();
}

static void near(double got, double want, double size)
{
    CHECK(fabs(got - want) <= 1e-6 * size);
}

/* Of ordinary rows, and of such that squares in binary32 would be lost at one end of its range or the other. */
static void sums_of_squares(void **state)
{
    (void)state;
    static const int exponents[] = {0, -80, 90};
    static pare_row_sums first[N + 1];
    for (size_t e = 0; e < sizeof exponents / sizeof *exponents; e++)
        for (int p = 0; p < PARE_PATH_COUNT; p++) {
            use_path(p);
            fill();
            for (int i = 0; i < N; i++) {
                x[i] = ldexpf(x[i], exponents[e]);
                y[i] = ldexpf(y[i], exponents[e]);
            }
            pare_row_sums want = {0};
            for (size_t n = 0; n <= N; n++) {
                pare_row_sums got = pare_path_now()->compare(x, y, w, n);
                pare_row_sums plain = pare_path_now()->compare(x, y, NULL, n);
                near(got.error, want.error, want.error);
                near(got.energy, want.energy, want.energy);
                near(got.product, want.product, want.energy);
                near(got.weighted_error, want.weighted_error, want.weighted_error);
                near(got.weighted_energy, want.weighted_energy, want.weighted_energy);
                near(got.weighted_product, want.weighted_product, want.weighted_energy);
                near(plain.error, want.error, want.error);
                near(plain.energy, want.energy, want.energy);
                near(plain.product, want.product, want.energy);
                CHECK(plain.weighted_error == 0 && plain.weighted_energy == 0 && plain.weighted_product == 0);
                if (p == PARE_PATH_PORTABLE)
                    first[n] = got;
                CHECK(memcmp(&got, &first[n], sizeof got) == 0);
                if (n == N)
                    break;
                double a = (double)x[n], b = (double)y[n], c = (double)w[n];
                want.error += (a - b) * (a - b);
                want.energy += a * a;
                want.product += a * b;
                want.weighted_error += (a - b) * (a - b) * c;
                want.weighted_energy += a * a * c;
                want.weighted_product += a * b * c;
            }
        }
    use_default_path();
}

/* The bits of every binary16 and bfloat16, on every path. */
static void halves_decode_alike(void **state)
{
    (void)state;
    static const pare_type types[] = {PARE_TYPE_F16, PARE_TYPE_BF16};
    enum { ALL = 1 << 16 };
    static uint8_t halves[2 * ALL];
    static float out[ALL], want[ALL];
    for (uint32_t i = 0; i < ALL; i++)
        pare_store_u16le(halves + 2 * i, (uint16_t)i);
    for (size_t t = 0; t < 2; t++)
        for (int p = 0; p < PARE_PATH_COUNT; p++) {
            use_path(p);
            pare_path_now()->decode[types[t]](halves, out, ALL);
            if (p == PARE_PATH_PORTABLE)
                memcpy(want, out, sizeof want);
            CHECK(memcmp(out, want, sizeof out) == 0);
        }
    use_default_path();
}

static void products_with_means(void **state)
{
    (void)state;
    static pare_mean_sums first[N + 1];
    for (int p = 0; p < PARE_PATH_COUNT; p++) {
        use_path(p);
        fill();
        double offset = 0, size = 0, squares = 0;
        for (size_t n = 0; n <= N; n++) {
            pare_mean_sums got = pare_path_now()->compare_means(x, y, w, n);
            near(got.offset, offset, size);
            near(got.squares, squares, squares);
            if (p == PARE_PATH_PORTABLE)
                first[n] = got;
            CHECK(memcmp(&got, &first[n], sizeof got) == 0);
            if (n == N)
                break;
            double part = ((double)x[n] - (double)y[n]) * (double)w[n];
            offset += part;
            size += fabs(part);
            squares += part * part;
        }
    }
    use_default_path();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_first_above), cmocka_unit_test(ranges_of_weights),
        cmocka_unit_test(sums_of_squares),       cmocka_unit_test(products_with_means),
        cmocka_unit_test(halves_decode_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
