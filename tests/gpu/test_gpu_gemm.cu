#include "gpu_check.h"

#include "core/half.h"
#include "gpu/blas.h"

#include <limits>

extern "C" unsigned pare_emulate_heuristics;

typedef pare_status (*product_fn)(pare_gpu *g, const pare_gpu_product *p, pare_error *err);

enum { SPARE = 3 }; /* rows behind the result, which nobody may write */

/* What a product is computed from and into. */
struct problem {
    uint32_t n;
    uint64_t m, k, ldy;
    float beta;
    size_t shift; /* of factors and result in their memory, in elements: addresses of any alignment */
};

static std::vector<uint16_t> rounded(const std::vector<float> &v)
{
    std::vector<uint16_t> r(v.size());
    for (size_t i = 0; i < v.size(); i++)
        r[i] = pare_f32_to_bf16(v[i]);
    return r;
}

static double value(float v)
{
    return v;
}

static double value(uint16_t v)
{
    return pare_bf16_to_f32(v);
}

/* The result of p over x and w against the sums in double; what is not of the result stays as it was. */
template <typename T>
static void check_product(pare_gpu *g, product_fn product, const problem &q, const std::vector<T> &x,
                          const std::vector<T> &w)
{
    std::vector<float> y(q.shift + (q.n + SPARE) * q.ldy, 12345.0f), part;
    std::vector<double> want;
    for (uint32_t i = 0; i < q.n; i++)
        for (uint64_t j = 0; j < q.m; j++) {
            y[q.shift + i * q.ldy + j] = q.beta != 0 ? (float)(i % 7) - 3 : std::numeric_limits<float>::quiet_NaN();
            double sum = q.beta != 0 ? (double)y[q.shift + i * q.ldy + j] : 0;
            for (uint64_t c = 0; c < q.k; c++)
                sum += value(x[q.shift + i * q.k + c]) * value(w[q.shift + j * q.k + c]);
            want.push_back(sum);
        }
    T *dx = to_device(g, x), *dw = to_device(g, w);
    float *dy = to_device(g, y);
    pare_gpu_product p = {dx + q.shift, dw + q.shift, dy + q.shift, q.n, q.m, q.k, q.ldy, q.beta};
    pare_error err = {};
    CHECK_OK(product(g, &p, &err), &err);
    std::vector<float> got = from_device(g, dy, y.size());
    for (size_t i = 0; i < got.size(); i++)
        if (i >= q.shift && (i - q.shift) / q.ldy < q.n && (i - q.shift) % q.ldy < q.m)
            part.push_back(got[i]);
        else
            CHECK(got[i] == 12345.0f);
    double error = relative_error(part, want);
    if (!(error < 1e-6))
        print_message("n %u, m %u, k %u, ldy %u, beta %g: relative error %g\n", (unsigned)q.n, (unsigned)q.m,
                      (unsigned)q.k, (unsigned)q.ldy, (double)q.beta, error);
    CHECK(error < 1e-6);
    pare_gpu_free(g, dx, x.size() * sizeof(T));
    pare_gpu_free(g, dw, w.size() * sizeof(T));
    pare_gpu_free(g, dy, y.size() * sizeof(float));
}

static void check_both(pare_gpu *g, const problem &q, bool bf16, bool f32)
{
    std::vector<float> x = noise(q.shift + q.n * q.k, q.n * 1000 + q.k), w = noise(q.shift + q.m * q.k, q.m + 77);
    if (bf16)
        check_product<uint16_t>(g, pare_gpu_gemm_bf16, q, rounded(x), rounded(w));
    if (f32)
        check_product<float>(g, pare_gpu_gemm_f32, q, x, w);
}

/* Rows and columns around the edges of tiles, of warps and of matrices. */
static void tails_of_rows_and_columns(void **)
{
    pare_gpu *g = open_device(false);
    const uint32_t sizes[] = {1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 200};
    unsigned turn = 0;
    for (uint32_t n : sizes)
        for (uint64_t m : {sizes[turn % 11], sizes[(turn + 4) % 11], sizes[(turn + 7) % 11]}) {
            problem q = {n, m, 33 + 8 * (turn % 2), m + turn % 3, (float)(turn % 2), 0};
            check_both(g, q, true, true);
            turn++;
        }
    pare_gpu_close(g);
}

/* Slices of k: fewer than the ring has, as many, more; rows that are aligned to 16 bytes and rows that are not. */
static void tails_of_k(void **)
{
    pare_gpu *g = open_device(false);
    for (uint64_t k : {1, 2, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 96, 100, 104, 128, 136, 160, 193, 264}) {
        check_both(g, problem{19, 21, k, 21, 0, 0}, true, true);
        check_both(g, problem{5, 70, k, 72, 1, 0}, true, true);
    }
    check_both(g, problem{5, 6, 0, 6, 0, 0}, true, true); /* sums of nothing */
    check_both(g, problem{5, 6, 0, 6, 1, 0}, true, true);
    pare_gpu_close(g);
}

static void factors_anywhere(void **)
{
    pare_gpu *g = open_device(false);
    for (size_t shift : {1, 2, 4, 8})
        check_both(g, problem{33, 20, 40, 24 + shift / 8, 0, shift}, true, true);
    pare_gpu_close(g);
}

/* More rows of tiles than are worked on together, and tiles of both widths. */
static void many_tiles(void **)
{
    pare_gpu *g = open_device(false);
    check_both(g, problem{128 * 17 + 1, 129, 8, 129, 0, 0}, true, true);
    check_both(g, problem{3, 256 * 3 + 1, 16, 256 * 3 + 1, 0, 0}, true, true);
    g->properties.multiProcessorCount = 1; /* fewer, wider tiles: they cost less each */
    check_both(g, problem{130, 300, 40, 301, 1, 0}, true, true);
    g->properties.multiProcessorCount = 1000;
    check_both(g, problem{130, 300, 40, 300, 0, 0}, true, true);
    pare_gpu_close(g);
}

static void refuses_what_it_cannot(void **)
{
    pare_gpu *g = open_device(false);
    pare_error err = {};
    pare_gpu_product p = {NULL, NULL, NULL, 2, 8, 8, 7, 0};
    CHECK(pare_gpu_gemm_bf16_own(g, &p, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "2 rows by 8 x 8 weights, into rows of 7") != NULL);
    p.m = p.ldy = 1ull << 31;
    CHECK(pare_gpu_gemm_f32_own(g, &p, &err) == PARE_ERR_RANGE);
    p.n = 0; /* nothing to do */
    CHECK_OK(pare_gpu_gemm_bf16_own(g, &p, &err), &err);
    pare_gpu_close(g);
}

static pare_gpu *open_with_library(void)
{
    CHECK(setenv("PARE_EMULATE_CUBLASLT", "good", 1) == 0);
    pare_gpu *g = open_device(false);
    CHECK(unsetenv("PARE_EMULATE_CUBLASLT") == 0);
    return g;
}

static void products_of_the_library(void **)
{
    pare_gpu *g = open_device(false);
    CHECK(strcmp(pare_gpu_blas_name(g), "own kernels") == 0);
    pare_gpu_close(g);
    g = open_with_library();
    CHECK(strcmp(pare_gpu_blas_name(g), "cuBLASLt 13.2.99") == 0);
    for (uint64_t k : {0, 8, 13, 32, 72}) /* of 13 it knows none */
        for (float beta : {0.0f, 1.0f}) {
            check_both(g, problem{17, 20, k, 20, beta, 0}, true, true);
            check_both(g, problem{3, 40, k, 45, beta, 1}, true, true);
        }
    pare_gpu_product p = {NULL, NULL, NULL, 2, 8, 8, 7, 0};
    pare_error err = {};
    CHECK(pare_gpu_gemm_bf16(g, &p, &err) == PARE_ERR_RANGE);
    pare_gpu_close(g);
}

/* A shape is asked for once, also when the library knows nothing, and again after very many others. */
static void plans_are_kept(void **)
{
    pare_gpu *g = open_with_library();
    unsigned before = pare_emulate_heuristics;
    for (int turn = 0; turn < 3; turn++)
        for (uint64_t k : {8, 9})
            for (uint32_t n : {1, 2, 3})
                check_both(g, problem{n, 4, k, 4, 0, 0}, true, true);
    CHECK(pare_emulate_heuristics - before == 12);
    float *memory = to_device(g, std::vector<float>(8 * 6000));
    for (uint32_t n = 1; n <= 6000; n++) { /* more than are kept */
        pare_gpu_product p = {memory, memory, memory, n, 1, 8, 1, 0};
        pare_error err = {};
        CHECK_OK(pare_gpu_gemm_bf16(g, &p, &err), &err);
    }
    pare_gpu_free(g, memory, 8 * 6000 * sizeof *memory);
    before = pare_emulate_heuristics;
    check_both(g, problem{2, 4, 8, 4, 0, 0}, true, true);
    CHECK(pare_emulate_heuristics - before == 2);
    pare_gpu_close(g);
}

static void says_what_the_library_said(void **)
{
    pare_gpu *g = open_with_library();
    uint16_t *x = to_device(g, std::vector<uint16_t>(64));
    float *y = to_device(g, std::vector<float>(64));
    pare_error err = {};
    pare_gpu_product p = {x, x, y, 3, 5, 8, 7, 0};
    CHECK_OK(pare_gpu_gemm_bf16(g, &p, &err), &err);
    CHECK(setenv("PARE_EMULATE_CUBLASLT", "broken", 1) == 0);
    CHECK(pare_gpu_gemm_bf16(g, &p, &err) == PARE_ERR_DEVICE);
    CHECK(unsetenv("PARE_EMULATE_CUBLASLT") == 0);
    CHECK(strstr(err.text, "bfloat16 factors, 3 x 8 by 5 x 8, rows of the result 7 apart") != NULL);
    CHECK(strstr(err.text, "an invalid value (status 7)") != NULL);
    pare_gpu_free(g, x, 64 * sizeof *x);
    pare_gpu_free(g, y, 64 * sizeof *y);
    pare_gpu_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tails_of_rows_and_columns),
        cmocka_unit_test(tails_of_k),
        cmocka_unit_test(factors_anywhere),
        cmocka_unit_test(many_tiles),
        cmocka_unit_test(refuses_what_it_cannot),
        cmocka_unit_test(products_of_the_library),
        cmocka_unit_test(plans_are_kept),
        cmocka_unit_test(says_what_the_library_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
