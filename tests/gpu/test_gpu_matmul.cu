#include "gpu_check.h"

#include "gpu/matmul.h"
#include "gpu/ops.h"

extern "C" {
#include "core/half.h"
#include "quant/registry.h"
}

#include <limits>

/* A weight of noise, stored as `type`; `row` of the range that is multiplied lies anywhere in it. */
struct weight {
    pare_tensor t;
    std::vector<uint8_t> bytes;
    std::vector<float> floats; /* decoded */
};

static void make_weight(weight *w, pare_type type, uint64_t n_rows, uint64_t row_len)
{
    pare_error err = {};
    std::vector<float> values = noise(n_rows * row_len, type * 100 + row_len);
    w->t = {};
    w->t.name = "a weight";
    w->t.type = type;
    w->t.n_dims = 2;
    w->t.dim[0] = n_rows;
    w->t.dim[1] = row_len;
    CHECK_OK(pare_tensor_set_shape(&w->t, "a test", &err), &err);
    w->bytes.resize(w->t.n_bytes);
    w->floats.resize(n_rows * row_len);
    CHECK_OK(pare_encode_rows(type, values.data(), n_rows, row_len, NULL, PARE_EFFORT_RTN, w->bytes.data(), &err),
             &err);
    CHECK_OK(pare_decode_rows(type, w->bytes.data(), n_rows, row_len, w->floats.data(), &err), &err);
    w->t.data = w->bytes.data();
}

static double as_factor(float v, bool exact)
{
    return exact ? v : pare_bf16_to_f32(pare_f32_to_bf16(v));
}

static void check_matmul(pare_gpu *g, const weight *w, uint64_t row, uint64_t n_rows, uint32_t n, uint64_t ldy,
                         bool exact)
{
    uint64_t k = w->t.row_len, pitch = ldy != 0 ? ldy : n_rows;
    std::vector<float> x = noise(n * k, n + k), y(n * pitch, 7.0f), part;
    std::vector<double> want;
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < n_rows; j++) {
            double sum = 0;
            for (uint64_t c = 0; c < k; c++)
                sum +=
                    as_factor(x[i * k + c], exact || g->f32) * as_factor(w->floats[(row + j) * k + c], exact || g->f32);
            want.push_back(sum);
        }
    float *dx = to_device(g, x), *dy = to_device(g, y);
    pare_error err = {};
    CHECK_OK(pare_gpu_matmul(g, &w->t, row, n_rows, dx, n, dy, ldy, exact, &err), &err);
    std::vector<float> got = from_device(g, dy, y.size());
    for (size_t i = 0; i < got.size(); i++)
        if (i % pitch < n_rows)
            part.push_back(got[i]);
        else
            CHECK(got[i] == 7.0f);
    CHECK(relative_error(part, want) < 1e-6);
    pare_gpu_free(g, dx, x.size() * sizeof *dx);
    pare_gpu_free(g, dy, y.size() * sizeof *dy);
}

static void types_and_ranges_of_rows(void **)
{
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        weight w[8];
        size_t i = 0;
        for (pare_type type : {PARE_TYPE_F32, PARE_TYPE_F16, PARE_TYPE_BF16, PARE_TYPE_Q4_0, PARE_TYPE_Q8_0})
            make_weight(&w[i++], type, 70, 96);
        make_weight(&w[i++], PARE_TYPE_Q6_K, 9, 256);
        make_weight(&w[i++], PARE_TYPE_BF16, 21, 13); /* rows that begin at odd places */
        make_weight(&w[i++], PARE_TYPE_F32, 21, 13);
        for (const weight &each : w)
            for (bool exact : {false, true}) {
                check_matmul(g, &each, 0, each.t.n_rows, 17, 0, exact);
                check_matmul(g, &each, 3, each.t.n_rows - 5, 5, each.t.n_rows, exact);
            }
        pare_gpu_close(g);
    }
}

/* A weight that is decoded in three tiles of rows, in one product after the other. */
static void tiles_of_rows(void **)
{
    pare_gpu *g = open_device(false);
    weight w;
    make_weight(&w, PARE_TYPE_Q8_0, 600, 32);
    for (uint64_t bytes : {300 * 32 * 2, 1, 256 * 32 * 4}) {
        g->tile_bytes = bytes;
        check_matmul(g, &w, 0, 600, 3, 0, false);
        check_matmul(g, &w, 1, 520, 3, 601, true);
    }
    pare_gpu_close(g);
}

/* The same x for several weights is rounded once, and again after it has changed. */
static void inputs_that_change(void **)
{
    pare_gpu *g = open_device(false);
    weight a, b;
    make_weight(&a, PARE_TYPE_Q8_0, 5, 32);
    make_weight(&b, PARE_TYPE_BF16, 5, 32);
    std::vector<float> x = noise(3 * 32, 1), z = noise(3 * 32, 2);
    float *dx = to_device(g, x), *other = to_device(g, x), *dy = to_device(g, std::vector<float>(5 * 15));
    pare_error err = {};
    CHECK_OK(pare_gpu_matmul(g, &a.t, 0, 5, dx, 3, dy, 0, false, &err), &err);
    CHECK_OK(pare_gpu_matmul(g, &b.t, 0, 5, dx, 3, dy, 0, false, &err), &err);
    uint64_t before = g->n_calls;
    CHECK_OK(pare_gpu_matmul(g, &b.t, 0, 5, dx, 3, dy, 0, false, &err), &err);
    uint64_t calls_again = g->n_calls - before;
    CHECK_OK(pare_gpu_upload(g, dx, z.data(), z.size() * sizeof(float), &err), &err);
    before = g->n_calls;
    CHECK_OK(pare_gpu_matmul(g, &b.t, 0, 5, dx, 3, dy + 15, 0, false, &err), &err);
    CHECK(g->n_calls - before == calls_again + 1);                                  /* the rounding */
    CHECK_OK(pare_gpu_matmul(g, &b.t, 0, 5, dx, 2, dy + 30, 0, false, &err), &err); /* fewer rows */
    CHECK_OK(pare_gpu_matmul(g, &b.t, 0, 5, dx + 32, 2, dy + 45, 0, false, &err), &err);
    CHECK_OK(pare_gpu_matmul(g, &b.t, 0, 5, other, 3, dy + 60, 0, false, &err), &err);
    CHECK_OK(pare_gpu_matmul(g, &b.t, 0, 5, dx, 2, dy + 60, 0, false, &err), &err);
    CHECK_OK(pare_gpu_matmul(g, &b.t, 0, 5, dx, 3, dy + 60, 0, false, &err), &err); /* more rows */
    std::vector<float> y = from_device(g, dy, 75), first(y.begin(), y.begin() + 15),
                       second(y.begin() + 15, y.begin() + 30);
    std::vector<double> want[2];
    for (int i = 0; i < 15; i++) {
        double sum = 0, sum_z = 0;
        for (int c = 0; c < 32; c++) {
            sum += as_factor(x[i / 5 * 32 + c], false) * (double)b.floats[i % 5 * 32 + c];
            sum_z += as_factor(z[i / 5 * 32 + c], false) * (double)b.floats[i % 5 * 32 + c];
        }
        want[0].push_back(sum);
        want[1].push_back(sum_z);
    }
    CHECK(relative_error(first, want[0]) < 1e-6);
    CHECK(relative_error(second, want[1]) < 1e-6);
    for (int i = 0; i < 15; i++)
        CHECK(y[60 + i] == y[15 + i]);
    for (int i = 0; i < 10; i++)
        CHECK(y[30 + i] == y[15 + i] && y[45 + i] == y[20 + i]);
    pare_gpu_free(g, dx, x.size() * sizeof *dx);
    pare_gpu_free(g, other, x.size() * sizeof *other);
    pare_gpu_free(g, dy, 75 * sizeof *dy);
    pare_gpu_close(g);
}

/* Products that are added to what is there, one tile of the weight after the other. */
static void products_that_add(void **)
{
    for (bool f32 : {false, true})
        for (pare_type type : {PARE_TYPE_Q8_0, PARE_TYPE_BF16}) {
            pare_gpu *g = open_device(f32);
            weight w;
            pare_error err = {};
            make_weight(&w, type, 600, 32);
            g->tile_bytes = 1;
            std::vector<float> x = noise(3 * 32, 1), y = noise(3 * 520, 2);
            std::vector<double> want(y.begin(), y.end());
            for (size_t i = 0; i < want.size(); i++)
                for (size_t c = 0; c < 32; c++)
                    want[i] += as_factor(x[i / 520 * 32 + c], f32) * as_factor(w.floats[(7 + i % 520) * 32 + c], f32);
            float *dx = to_device(g, x), *dy = to_device(g, y);
            CHECK_OK(pare_gpu_matmul_add(g, &w.t, 7, 520, dx, 3, dy, &err), &err);
            CHECK(relative_error(from_device(g, dy, y.size()), want) < 1e-6);
            pare_gpu_free(g, dx, x.size() * sizeof *dx);
            pare_gpu_free(g, dy, y.size() * sizeof *dy);
            pare_gpu_close(g);
        }
}

/* What a norm or an activation leaves rounded for the products that follow, and what makes it forgotten. */
struct left_rounded {
    pare_gpu *g;
    weight w; /* [5, width] */
    float *x, *y, *other, *out;
    uint64_t n, least; /* least: calls of the device for a product whose input is rounded already */
};

/* The calls of the device for a product of `in`. */
static uint64_t count_calls(const left_rounded *r, const float *in)
{
    pare_error err = {};
    uint64_t before = r->g->n_calls;
    CHECK_OK(pare_gpu_matmul(r->g, &r->w.t, 0, 5, in, 3, r->out, 0, false, &err), &err);
    return r->g->n_calls - before;
}

/* A product of y takes so many calls more than the least, and gives what the same numbers elsewhere give. */
static void check_product_of_y(const left_rounded *r, uint64_t more)
{
    pare_error err = {};
    CHECK(count_calls(r, r->y) == r->least + more);
    std::vector<float> got = from_device(r->g, r->out, 15), numbers = from_device(r->g, r->y, r->n);
    CHECK_OK(pare_gpu_upload(r->g, r->other, numbers.data(), r->n * sizeof(float), &err), &err);
    CHECK(count_calls(r, r->other) == r->least + 1);
    CHECK(from_device(r->g, r->out, 15) == got);
}

static void check_left_rounded(const left_rounded *r)
{
    pare_error err = {};
    uint32_t width = (uint32_t)(r->n / 3);
    const pare_norm_op norm = {PARE_NORM_RMS, r->x, 3, width, NULL, NULL, 1e-5f, r->y};
    pare_norm_op in_place = {PARE_NORM_LAYER, r->other, 3, width, NULL, NULL, 1e-5f, r->other};
    int32_t positions[3] = {0, 0, 0};
    std::vector<float> quarter = {0, 1};
    float *cos_sin = to_device(r->g, quarter);
    const pare_rope rope = {positions, 3, 1, width, 2, PARE_ROPE_HALVES, cos_sin};
    CHECK_OK(pare_gpu_norm(r->g, &norm, &err), &err);
    check_product_of_y(r, 0);
    CHECK_OK(pare_gpu_norm(r->g, &norm, &err), &err); /* keys get their norm, bias and places elsewhere */
    CHECK_OK(pare_gpu_norm(r->g, &in_place, &err), &err);
    CHECK_OK(pare_gpu_add_row(r->g, r->other, &r->w.t, 0, 3, width, &err), &err);
    CHECK_OK(pare_gpu_rope(r->g, &rope, r->other, &err), &err);
    check_product_of_y(r, 0);
    in_place.x = in_place.y = r->y;
    for (int change = 0; change < 4; change++) { /* what is written to y makes it forgotten, the last row, too */
        CHECK_OK(pare_gpu_norm(r->g, &norm, &err), &err);
        if (change == 0)
            CHECK_OK(pare_gpu_norm(r->g, &in_place, &err), &err);
        if (change == 1)
            CHECK_OK(pare_gpu_add_row(r->g, r->y + 2 * width, &r->w.t, 0, 1, width, &err), &err);
        if (change == 2)
            CHECK_OK(pare_gpu_rope(r->g, &rope, r->y, &err), &err);
        if (change == 3)
            CHECK_OK(pare_gpu_scale(r->g, r->y, 3, 1, &err), &err);
        check_product_of_y(r, 1);
    }
    CHECK_OK(pare_gpu_activate(r->g, PARE_ACT_SILU, r->x, r->y, r->n, r->y, &err), &err);
    check_product_of_y(r, 0);
    pare_gpu_free(r->g, cos_sin, sizeof(float) * 2);
}

static void inputs_left_rounded(void **)
{
    for (uint32_t width : {33, 36, 600}) { /* with odd rows, with whole words, for a block of threads */
        left_rounded r = {};
        r.g = open_device(false);
        r.n = 3 * width;
        make_weight(&r.w, PARE_TYPE_BF16, 5, width);
        r.x = to_device(r.g, noise(r.n, 1));
        r.y = to_device(r.g, noise(r.n, 2));
        r.other = to_device(r.g, noise(r.n, 3));
        r.out = to_device(r.g, std::vector<float>(15));
        count_calls(&r, r.x);
        r.least = count_calls(&r, r.x);
        check_left_rounded(&r);
        for (float *p : {r.x, r.y, r.other})
            pare_gpu_free(r.g, p, r.n * sizeof *p);
        pare_gpu_free(r.g, r.out, 15 * sizeof(float));
        pare_gpu_close(r.g);
    }
}

/* h twice x^T x, against double: symmetric to the bit. */
static void check_gram(pare_gpu *g, uint32_t n, uint32_t width)
{
    std::vector<float> x = noise((uint64_t)n * width, n * 7 + width);
    std::vector<double> want((uint64_t)width * width);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < width; i++)
            for (uint32_t j = 0; j < width; j++)
                want[(uint64_t)i * width + j] +=
                    2 * as_factor(x[(uint64_t)t * width + i], g->f32) * as_factor(x[(uint64_t)t * width + j], g->f32);
    std::vector<float> before(want.size()); /* above the diagonal nothing is read */
    for (uint32_t i = 0; i < width; i++)
        for (uint32_t j = i + 1; j < width; j++)
            before[(uint64_t)i * width + j] = std::numeric_limits<float>::quiet_NaN();
    float *dx = to_device(g, x), *h = to_device(g, before);
    pare_error err = {};
    for (int turn = 0; turn < 2; turn++)
        CHECK_OK(pare_gpu_gram(g, dx, n, width, h, &err), &err);
    std::vector<float> got = from_device(g, h, want.size());
    CHECK(relative_error(got, want) < 1e-6);
    for (uint32_t i = 0; i < width; i++)
        for (uint32_t j = 0; j < i; j++)
            CHECK(got[(uint64_t)i * width + j] == got[(uint64_t)j * width + i]);
    pare_gpu_free(g, dx, x.size() * sizeof *dx);
    pare_gpu_free(g, h, got.size() * sizeof *h);
}

static void gram_is_symmetric(void **)
{
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        for (uint32_t width : {1, 31, 32, 33, 64, 130})
            for (uint32_t n : {1, 8, 33, 70})
                check_gram(g, n, width);
        check_gram(g, 9, 1030); /* more than a panel of rows */
        pare_gpu_close(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_ranges_of_rows), cmocka_unit_test(tiles_of_rows),
        cmocka_unit_test(inputs_that_change),       cmocka_unit_test(inputs_left_rounded),
        cmocka_unit_test(products_that_add),        cmocka_unit_test(gram_is_symmetric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
