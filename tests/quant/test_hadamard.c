/* The rotation: its matrix, its inverse, and bytes that no path may change. */
#include "check.h"
#include "quant/hadamard.h"
#include "quant/path.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX = PARE_ROTATION_MAX_DIM };

static const pare_rotation rotations[] = {
    {1, 64, 5},   {2, 1024, 0},   {3, 4, 9},      {6, 8, 1},       {64, 64, 0},      {64, 1024, 3},
    {80, 64, 7},  {96, 128, 11},  {112, 64, 2},   {128, 128, 0},   {128, 128, 17},   {128, 64, 17},
    {192, 64, 1}, {192, 1024, 8}, {256, 256, 99}, {256, 32, 0},    {512, 1024, 123}, {576, 512, 4},
    {576, 64, 1}, {24, 16, 77},   {1000, 16, 1},  {1024, 1024, 6}, {1023, 1024, 6},  {8, 8, 1},
};
enum { N_ROTATIONS = sizeof rotations / sizeof *rotations };

/* Integers of up to 9 bits: sums of 1024 of them are exact in a float. */
static void fill_whole(float *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((int)(pare_random_bits(seed, i) % 1023) - 511);
}

/* R x by the definition of the matrix: element i of block row is the sum over j of (-1)^popcount(i & j) s_j x_j. */
static void rotate_by_definition(const pare_rotation *r, const float *x, double *y)
{
    for (uint32_t at = 0, len; at < r->dim; at += len) {
        len = pare_rotation_block(r, at);
        for (uint32_t i = 0; i < len; i++) {
            double sum = 0;
            for (uint32_t j = 0; j < len; j++) {
                double v = (double)(x[at + j] * pare_rotation_sign(r, at + j));
                sum += __builtin_popcount(i & j) % 2 != 0 ? -v : v;
            }
            y[at + i] = sum / sqrt((double)len);
        }
    }
}

static void blocks_are_powers_of_two_and_fill_the_vector(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_ROTATIONS; k++) {
        const pare_rotation *r = &rotations[k];
        uint32_t at = 0, last = MAX;
        while (at < r->dim) {
            uint32_t n = pare_rotation_block(r, at);
            CHECK(n >= 1 && (n & (n - 1)) == 0 && n <= r->largest && n <= last && at + n <= r->dim);
            CHECK(n == r->largest || 2 * n > r->dim - at); /* the largest that there is room for */
            at += n;
            last = n;
        }
    }
    pare_rotation r = {80, 64, 0};
    CHECK(pare_rotation_block(&r, 0) == 64 && pare_rotation_block(&r, 64) == 16);
}

/* Of integers the sums are exact, so what is left is the last product: exact where the length is a power of four, else
 * two roundings. */
static void elements_are_those_of_the_matrix(void **state)
{
    (void)state;
    static float x[MAX], y[MAX];
    static double want[MAX];
    for (size_t k = 0; k < N_ROTATIONS; k++) {
        const pare_rotation *r = &rotations[k];
        fill_whole(x, r->dim, k + 1);
        rotate_by_definition(r, x, want);
        memcpy(y, x, sizeof y);
        pare_rotate(r, y, 1);
        for (uint32_t at = 0, len; at < r->dim; at += len) {
            len = pare_rotation_block(r, at);
            double slack = __builtin_ctz(len) % 2 == 0 ? 1e-12 : 0x1.2p-23;
            for (uint32_t i = at; i < at + len; i++)
                if (fabs((double)y[i] - want[i]) > slack * fabs(want[i]) + 1e-12)
                    fail_msg("dim %u, largest %u, element %u: %.9g, not %.17g", r->dim, r->largest, i, (double)y[i],
                             want[i]);
        }
    }
}

/* The columns of R, from unit vectors: orthonormal to 1e-12 once the entries are taken for what they stand for. */
static void matrix_is_orthogonal(void **state)
{
    (void)state;
    static float column[96 * 96];
    pare_rotation r = {96, 64, 21};
    memset(column, 0, sizeof column);
    for (uint32_t i = 0; i < r.dim; i++)
        column[i * r.dim + i] = 1;
    pare_rotate(&r, column, r.dim);
    for (uint32_t i = 0; i < r.dim; i++)
        for (uint32_t j = 0; j < r.dim; j++) {
            double sum = 0;
            for (uint32_t k = 0; k < r.dim; k++) {
                double n = sqrt((double)(k < 64 ? 64 : 32));
                double a = round((double)column[i * r.dim + k] * n), b = round((double)column[j * r.dim + k] * n);
                CHECK(fabs((double)column[i * r.dim + k] - a / n) <= 0x1p-24);
                sum += a * b / (n * n);
            }
            CHECK(fabs(sum - (i == j)) < 1e-12);
        }
}

static void back_is_the_inverse(void **state)
{
    (void)state;
    enum { N = 3 };
    static float x[N * MAX], y[N * MAX];
    for (size_t k = 0; k < N_ROTATIONS; k++) {
        const pare_rotation *r = &rotations[k];
        size_t n = N * r->dim;
        for (size_t i = 0; i < n; i++)
            x[i] = (float)((double)(int64_t)pare_random_bits(k, i) * 0x1p-63);
        memcpy(y, x, sizeof y);
        pare_rotate(r, y, N);
        CHECK(r->dim < 16 || memcmp(x, y, n * sizeof *x) != 0);
        pare_rotate_back(r, y, N);
        for (size_t i = 0; i < n; i++)
            if (fabsf(x[i] - y[i]) > 0x1p-21f) /* the norm is up to sqrt(dim / 3) */
                fail_msg("dim %u, largest %u: %.9g became %.9g", r->dim, r->largest, (double)x[i], (double)y[i]);
        if (r->dim == 64 || (r->dim == 256 && r->largest == 256)) { /* powers of four: nothing is rounded */
            fill_whole(x, n, k);
            memcpy(y, x, sizeof y);
            pare_rotate(r, y, N);
            pare_rotate_back(r, y, N);
            for (size_t i = 0; i < n; i++)
                CHECK(x[i] == y[i]);
        }
    }
}

/* Both sides of a product turn: q.k stays, and a single large element is spread over its block. */
static void products_stay_and_outliers_spread(void **state)
{
    (void)state;
    pare_rotation r = {128, 128, 42};
    float q[128], k[128];
    double before = 0, after = 0, largest = 0;
    for (size_t i = 0; i < 128; i++) {
        q[i] = (float)((double)(int64_t)pare_random_bits(1, i) * 0x1p-63);
        k[i] = i == 37 ? 100 : (float)((double)(int64_t)pare_random_bits(2, i) * 0x1p-63);
        before += (double)q[i] * (double)k[i];
    }
    pare_rotate(&r, q, 1);
    pare_rotate(&r, k, 1);
    for (size_t i = 0; i < 128; i++) {
        after += (double)q[i] * (double)k[i];
        largest = fmax(largest, fabs((double)k[i]));
    }
    CHECK(fabs(before - after) < 1e-4);
    CHECK(largest < 100 / sqrt(128.0) + 4);
}

static void signs_are_about_half_and_change_with_the_seed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        pare_rotation r = {1024, 64, seed}, other = {1024, 64, seed + 1};
        int minus = 0, same = 0;
        for (uint32_t i = 0; i < 1024; i++) {
            minus += pare_rotation_sign(&r, i) < 0;
            same += pare_rotation_sign(&r, i) == pare_rotation_sign(&other, i);
        }
        CHECK(minus > 448 && minus < 576); /* 4 standard deviations */
        CHECK(same > 448 && same < 576);
    }
}

/* The order of the sums is part of the contract: written down once more, one by one. */
static void bytes_are_those_of_the_steps_on_every_path(void **state)
{
    (void)state;
    enum { N = 3 };
    static float x[N * MAX], want[N * MAX], got[N * MAX];
    pare_path before = pare_path_current();
    for (size_t k = 0; k < N_ROTATIONS; k++) {
        const pare_rotation *r = &rotations[k];
        for (size_t i = 0; i < N * r->dim; i++)
            x[i] = (float)((double)(int64_t)pare_random_bits(k, i) * 0x1p-60);
        memcpy(want, x, sizeof want);
        for (float *v = want; v < want + N * r->dim; v += r->dim)
            for (uint32_t at = 0, len; at < r->dim; at += len) {
                len = pare_rotation_block(r, at);
                for (uint32_t i = at; i < at + len; i++)
                    v[i] *= pare_rotation_sign(r, i);
                for (uint32_t h = 1; h < len; h *= 2)
                    for (uint32_t i = 0; i < len; i++)
                        if ((i & h) == 0) {
                            float a = v[at + i], b = v[at + i + h];
                            v[at + i] = a + b;
                            v[at + i + h] = a - b;
                        }
                for (uint32_t i = at; i < at + len; i++)
                    v[i] *= pare_rotation_scale(len);
            }
        for (int p = 0; p < PARE_PATH_COUNT; p++) {
            if (!pare_path_available((pare_path)p))
                continue;
            pare_path_use((pare_path)p);
            memcpy(got, x, sizeof got);
            pare_rotate(r, got, N);
            if (memcmp(got, want, N * r->dim * sizeof *got) != 0)
                fail_msg("%s: dim %u, largest %u: other bytes", pare_path_name((pare_path)p), r->dim, r->largest);
        }
        pare_path_use(before);
    }
}

/* No trap and no word outside of the vectors, whatever the numbers are; a NaN stays in its block. */
static void hostile_numbers_stay_where_they_are(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, 1e-45f, -0.0f, 0};
    float x[2 + 80];
    pare_rotation r = {80, 64, 3};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        for (size_t i = 0; i < 82; i++)
            x[i] = k > 2 ? bad[k] : 1;
        x[1 + 70] = bad[k];
        pare_rotate(&r, x + 1, 1);
        for (size_t i = 0; i < 64 && k < 3; i++)
            CHECK(isfinite(x[1 + i]));
        CHECK(k > 2 || !isfinite(x[1 + 70]));
        CHECK((k > 2 ? bad[k] : 1) == x[0] && x[0] == x[81]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_powers_of_two_and_fill_the_vector),
        cmocka_unit_test(elements_are_those_of_the_matrix),
        cmocka_unit_test(matrix_is_orthogonal),
        cmocka_unit_test(back_is_the_inverse),
        cmocka_unit_test(products_stay_and_outliers_spread),
        cmocka_unit_test(signs_are_about_half_and_change_with_the_seed),
        cmocka_unit_test(bytes_are_those_of_the_steps_on_every_path),
        cmocka_unit_test(hostile_numbers_stay_where_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
