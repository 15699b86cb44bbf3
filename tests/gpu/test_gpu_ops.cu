/* Every operation on the device against the CPU backend's, by the same arguments. */
#include "gpu_check.h"

#include "gpu/ops.h"
#include "gpu/rows.h"

#include <string>

/* A device and the CPU backend, and how to copy between them. */
struct both {
    pare_gpu *g;
    pare_backend *cpu;
    pare_error err;
};

static both open_both(void)
{
    both b = {};
    b.g = open_device(false);
    CHECK_OK(pare_backend_cpu(&b.cpu, &b.err), &b.err);
    return b;
}

static void close_both(both *b)
{
    b->cpu->close(b->cpu);
    pare_gpu_close(b->g);
}

/* What is at d, which is freed. */
template <typename T> static std::vector<T> take(pare_gpu *g, T *d, size_t n)
{
    std::vector<T> v = from_device(g, d, n);
    pare_gpu_free(g, d, n * sizeof *d);
    return v;
}

/* Equal within `tolerance` of the larger magnitude; 0: the same numbers. */
static void check_close(const std::vector<float> &a, const std::vector<float> &b, float tolerance)
{
    CHECK(a.size() == b.size());
    for (size_t i = 0; i < a.size(); i++)
        CHECK(fabsf(a[i] - b[i]) <= tolerance * fabsf(b[i]) + (tolerance > 0 ? 1e-30f : 0));
}

static pare_tensor vector_tensor(const char *name, const std::vector<float> &v)
{
    pare_tensor t = {};
    t.name = name;
    t.type = PARE_TYPE_F32;
    t.n_dims = 1;
    t.dim[0] = t.row_len = v.size();
    t.n_rows = 1;
    t.row_bytes = t.n_bytes = v.size() * sizeof(float);
    t.data = (const uint8_t *)v.data();
    return t;
}

/* Sizes around those of blocks of threads and of words of four. */
static const size_t lengths[] = {1, 3, 4, 255, 256, 1027, 5000};

static void numbers_one_by_one(void **)
{
    both b = open_both();
    for (size_t n : lengths)
        for (size_t shift : {0, 1}) { /* 1: not aligned for words of four */
            std::vector<float> x = noise(n + shift, n), y = noise(n + shift, n + 1);
            float *dx = to_device(b.g, x), *dy = to_device(b.g, y);
            CHECK_OK(pare_gpu_scale(b.g, dx + shift, 3.1f, n, &b.err), &b.err);
            CHECK_OK(b.cpu->scale(b.cpu, x.data() + shift, 3.1f, n, &b.err), &b.err);
            CHECK_OK(pare_gpu_add(b.g, dx + shift, dy + shift, 0.3f, n, &b.err), &b.err);
            CHECK_OK(b.cpu->add(b.cpu, x.data() + shift, y.data() + shift, 0.3f, n, &b.err), &b.err);
            check_close(from_device(b.g, dx, n + shift), x, 0);
            CHECK_OK(pare_gpu_clamp(b.g, dx + shift, 0.7f, n, &b.err), &b.err);
            CHECK_OK(b.cpu->clamp(b.cpu, x.data() + shift, 0.7f, n, &b.err), &b.err);
            check_close(from_device(b.g, dx, n + shift), x, 0);
            CHECK_OK(pare_gpu_softcap(b.g, dx + shift, 1.5f, n, &b.err), &b.err);
            CHECK_OK(b.cpu->softcap(b.cpu, x.data() + shift, 1.5f, n, &b.err), &b.err);
            check_close(from_device(b.g, dx, n + shift), x, 1e-6f);
            CHECK_OK(pare_gpu_clear(b.g, dx + shift, n, &b.err), &b.err);
            for (float v : from_device(b.g, dx + shift, n))
                CHECK(v == 0);
            take(b.g, dx, n + shift);
            take(b.g, dy, n + shift);
        }
    close_both(&b);
}

/* Rows of fewer elements than a block has threads, and of more. */
static void whole_rows(void **)
{
    both b = open_both();
    enum { N = 5, WIDTHS = 3 };
    const size_t widths[WIDTHS] = {1, 33, 700};
    std::vector<float> w[WIDTHS];
    pare_tensor columns[WIDTHS]; /* the device knows them by their addresses */
    for (int i = 0; i < WIDTHS; i++) {
        const size_t width = widths[i];
        std::vector<float> x = noise(N * width, 1), y = noise(N * width, 2), k = noise(N * 7, 4);
        w[i] = noise(width, 3);
        columns[i] = vector_tensor("w", w[i]);
        float *dx = to_device(b.g, x), *dy = to_device(b.g, y), *dk = to_device(b.g, k);
        uint32_t n = (uint32_t)width;
        CHECK_OK(pare_gpu_add_weighted(b.g, dx, dy, dk + 2, 7, 1, N, n, &b.err), &b.err);
        CHECK_OK(b.cpu->add_weighted(b.cpu, x.data(), y.data(), k.data() + 2, 7, 1, N, n, &b.err), &b.err);
        CHECK_OK(pare_gpu_scale_columns(b.g, dx, &columns[i], N, n, &b.err), &b.err);
        CHECK_OK(b.cpu->scale_columns(b.cpu, x.data(), &columns[i], N, n, &b.err), &b.err);
        check_close(from_device(b.g, dx, x.size()), x, 0);
        CHECK_OK(pare_gpu_match_rms(b.g, dx, dy, 1e-5f, N, n, &b.err), &b.err);
        CHECK_OK(b.cpu->match_rms(b.cpu, x.data(), y.data(), 1e-5f, N, n, &b.err), &b.err);
        check_close(from_device(b.g, dx, x.size()), x, 1e-5f);
        CHECK_OK(pare_gpu_sparsify(b.g, dy, 0.4f, N, n, &b.err), &b.err);
        CHECK_OK(b.cpu->sparsify(b.cpu, y.data(), 0.4f, N, n, &b.err), &b.err);
        std::vector<float> got = take(b.g, dy, y.size());
        for (size_t c = 0; c < y.size(); c++)
            CHECK(fabsf(got[c] - y[c]) <= 1e-5f);
        take(b.g, dx, x.size());
        take(b.g, dk, k.size());
    }
    close_both(&b);
}

static void activations(void **)
{
    both b = open_both();
    std::vector<float> wide = noise(3000, 1);
    for (float &v : wide)
        v *= 30;
    wide[0] = 0;
    wide[1] = 80;
    wide[2] = -80;
    for (int act = PARE_ACT_SILU; act <= PARE_ACT_SIGMOID; act++)
        for (size_t n : {(size_t)1, (size_t)1027, wide.size()}) {
            std::vector<float> x(wide.begin(), wide.begin() + (long)n), up = noise(n, 2), want(n);
            float *dx = to_device(b.g, x), *du = to_device(b.g, up), *dy = to_device(b.g, std::vector<float>(n));
            CHECK_OK(pare_gpu_activate(b.g, (pare_activation)act, NULL, dx, n, dy, &b.err), &b.err);
            CHECK_OK(b.cpu->activate(b.cpu, (pare_activation)act, NULL, x.data(), n, want.data(), &b.err), &b.err);
            check_close(take(b.g, dy, n), want, 1e-6f);
            /* in place, with a gate */
            CHECK_OK(pare_gpu_activate(b.g, (pare_activation)act, dx, du, n, du, &b.err), &b.err);
            CHECK_OK(b.cpu->activate(b.cpu, (pare_activation)act, x.data(), up.data(), n, want.data(), &b.err), &b.err);
            check_close(take(b.g, du, n), want, 1e-6f);
            take(b.g, dx, n);
        }
    for (size_t n : {(size_t)1, (size_t)1027, wide.size()}) {
        std::vector<float> x(wide.begin(), wide.begin() + (long)n), up = noise(n, 3), want(n);
        for (float &v : up)
            v *= 10;
        float *dx = to_device(b.g, x), *du = to_device(b.g, up);
        const pare_clamped_glu host = {x.data(), up.data(), n, 1.702f, 7, want.data()},
                               device = {dx, du, n, 1.702f, 7, du};
        CHECK_OK(pare_gpu_clamped_glu(b.g, &device, &b.err), &b.err);
        CHECK_OK(b.cpu->clamped_glu(b.cpu, &host, &b.err), &b.err);
        check_close(take(b.g, du, n), want, 1e-6f);
        take(b.g, dx, n);
    }
    CHECK(pare_gpu_activate(b.g, (pare_activation)99, NULL, NULL, 1, NULL, &b.err) == PARE_ERR_UNSUPPORTED);
    close_both(&b);
}

static void rows_by_number(void **)
{
    const std::vector<int32_t> ids = {4, 0, 7, 2};
    const std::vector<float> weights = {0.5f, -2, 0.1f, 3};
    enum { ROWS = 8 };
    both b = open_both();
    uint32_t n = (uint32_t)ids.size();
    for (uint32_t width : {1, 30, 64, 1030}) {
        std::vector<float> x = noise(ROWS * width, width), y(n * width), few = noise(n * width, 3);
        float *dx = to_device(b.g, x), *dy = to_device(b.g, std::vector<float>(n * width)), *df = to_device(b.g, few);
        CHECK_OK(pare_gpu_gather(b.g, dx, ids.data(), n, width, dy, &b.err), &b.err);
        CHECK_OK(b.cpu->gather(b.cpu, x.data(), ids.data(), n, width, y.data(), &b.err), &b.err);
        check_close(take(b.g, dy, n * width), y, 0);
        CHECK_OK(pare_gpu_scatter_add(b.g, df, ids.data(), weights.data(), n, width, dx, &b.err), &b.err);
        CHECK_OK(b.cpu->scatter_add(b.cpu, few.data(), ids.data(), weights.data(), n, width, x.data(), &b.err), &b.err);
        check_close(take(b.g, dx, ROWS * width), x, 0);
        if (width > 7) { /* columns 3 .. width - 2 of x to 1 .. width - 4 of y, which is narrower */
            std::vector<float> z(ROWS * (width - 2), -1);
            float *dfrom = to_device(b.g, x), *dz = to_device(b.g, z);
            CHECK_OK(pare_gpu_copy_columns(b.g, dfrom, width, 3, ROWS, width - 4, dz, width - 2, 1, &b.err), &b.err);
            CHECK_OK(b.cpu->copy_columns(b.cpu, x.data(), width, 3, ROWS, width - 4, z.data(), width - 2, 1, &b.err),
                     &b.err);
            check_close(take(b.g, dz, ROWS * (width - 2)), z, 0);
            take(b.g, dfrom, ROWS * width);
        }
        take(b.g, df, n * width);
    }
    CHECK_OK(pare_gpu_gather(b.g, NULL, NULL, 0, 5, NULL, &b.err), &b.err);
    CHECK_OK(pare_gpu_copy_columns(b.g, NULL, 5, 0, 0, 5, NULL, 5, 0, &b.err), &b.err);
    CHECK_OK(pare_gpu_scatter_add(b.g, NULL, NULL, NULL, 0, 5, NULL, &b.err), &b.err);
    close_both(&b);
}

/* Rows of a table in blocks; the decoders themselves are tested by test_gpu_decode. */
static void embeds(void **)
{
    enum { ROWS = 9, LEN = 96 };
    const std::vector<int32_t> ids = {8, 1, 1, 0, 5};
    both b = open_both();
    std::vector<uint8_t> stored(ROWS * LEN / 32 * 18, 0x31);
    for (size_t i = 0; i < stored.size(); i++)
        stored[i] = (uint8_t)(i % 18 == 1 ? 0x2c : 31 * i);
    pare_tensor t = {};
    t.name = "token_embd.weight";
    t.type = PARE_TYPE_Q4_0;
    t.n_dims = 2;
    t.dim[0] = t.n_rows = ROWS;
    t.dim[1] = t.row_len = LEN;
    t.row_bytes = LEN / 32 * 18;
    t.n_bytes = stored.size();
    t.data = stored.data();
    std::vector<float> want(ids.size() * LEN);
    float *dy = to_device(b.g, std::vector<float>(want.size()));
    CHECK_OK(pare_gpu_embed(b.g, &t, ids.data(), (uint32_t)ids.size(), dy, &b.err), &b.err);
    CHECK_OK(b.cpu->embed(b.cpu, &t, ids.data(), (uint32_t)ids.size(), want.data(), &b.err), &b.err);
    check_close(take(b.g, dy, want.size()), want, 0);
    close_both(&b);
}

static void biases(void **)
{
    both b = open_both();
    std::vector<float> bias = noise(700, 4), x = noise(5 * 600, 5);
    pare_tensor t = vector_tensor("blk.0.bias", bias);
    float *dx = to_device(b.g, x);
    CHECK_OK(pare_gpu_add_row(b.g, dx, &t, 100, 5, 600, &b.err), &b.err);
    CHECK_OK(b.cpu->add_row(b.cpu, x.data(), &t, 100, 5, 600, &b.err), &b.err);
    check_close(take(b.g, dx, x.size()), x, 0);
    CHECK(pare_gpu_add_row(b.g, NULL, &t, 101, 5, 600, &b.err) == PARE_ERR_RANGE);
    CHECK(strstr(b.err.text, "blk.0.bias") != NULL);
    close_both(&b);
}

/* One norm on both, in place on the device. Each has a device of its own: a device knows a tensor by its address. */
static void check_norm(pare_norm kind, uint64_t n, uint32_t width, float offset, bool with_weight)
{
    both b = open_both();
    std::vector<float> x = noise(n * width, width + (uint64_t)kind), w = noise(width, 8), bias = noise(width, 9),
                       want(x.size());
    pare_tensor tw = vector_tensor("w", w), tb = vector_tensor("b", bias);
    for (float &v : x)
        v += offset;
    float *dx = to_device(b.g, x);
    pare_norm_op op = {kind, x.data(), n, width, NULL, NULL, 1e-5f, want.data()};
    op.weight = with_weight ? &tw : NULL;
    op.bias = with_weight && kind == PARE_NORM_LAYER ? &tb : NULL;
    CHECK_OK(b.cpu->norm(b.cpu, &op, &b.err), &b.err); /* which sums in double */
    op.x = op.y = dx;
    CHECK_OK(pare_gpu_norm(b.g, &op, &b.err), &b.err);
    std::vector<float> y = take(b.g, dx, x.size());
    double error = relative_error(y, std::vector<double>(want.begin(), want.end()));
    CHECK(error < 4e-7);
    close_both(&b);
}

static void norms(void **)
{
    for (pare_norm kind : {PARE_NORM_RMS, PARE_NORM_LAYER}) {
        for (uint32_t width : {1, 2, 31, 32, 33, 128, 511, 512, 513, 1000, 4096})
            for (uint64_t n : {1, 7, 20})
                check_norm(kind, n, width, 0, n == 7);
        check_norm(kind, 5, 600, 100, true); /* a mean far from 0 */
        check_norm(kind, 3, 96, 1000, false);
    }
}

/* Whose squares float32 cannot hold: no figure may come out of them. */
static void norms_of_huge_numbers(void **)
{
    both b = open_both();
    for (uint32_t width : {64, 600})
        for (pare_norm kind : {PARE_NORM_RMS, PARE_NORM_LAYER}) {
            std::vector<float> x = noise(2 * width, width);
            x[5] = 1e25f;
            float *dx = to_device(b.g, x);
            pare_norm_op op = {kind, dx, 2, width, NULL, NULL, 1e-5f, dx};
            CHECK_OK(pare_gpu_norm(b.g, &op, &b.err), &b.err);
            std::vector<float> y = take(b.g, dx, x.size());
            for (uint32_t i = 0; i < 2 * width; i++)
                CHECK(isnan(y[i]) == (i < width));
        }
    close_both(&b);
}

static void many_short_groups(void **)
{
    check_norm(PARE_NORM_RMS, 66000, 3, 0, true); /* more groups than a grid has blocks in y */
    both b = open_both();
    std::vector<float> equal(3 * 40, 0.3f); /* no variance at all */
    float *dx = to_device(b.g, equal);
    pare_norm_op op = {PARE_NORM_LAYER, dx, 3, 40, NULL, NULL, 1e-5f, dx};
    CHECK_OK(pare_gpu_norm(b.g, &op, &b.err), &b.err);
    for (float v : take(b.g, dx, equal.size()))
        CHECK(fabsf(v) < 1e-4f);
    op.n = 0;
    CHECK_OK(pare_gpu_norm(b.g, &op, &b.err), &b.err);
    std::vector<float> shorter = noise(39, 1);
    pare_tensor w = vector_tensor("short", shorter);
    op.weight = &w;
    CHECK(pare_gpu_norm(b.g, &op, &b.err) == PARE_ERR_RANGE);
    close_both(&b);
}

static void rotary_embedding(void **)
{
    enum { POSITIONS = 50 };
    both b = open_both();
    const std::vector<int32_t> positions = {0, 1, 7, 49, 3, 3};
    for (pare_rope_layout layout : {PARE_ROPE_INTERLEAVED, PARE_ROPE_HALVES})
        for (uint32_t n_head : {1, 3, 40})
            for (uint32_t n_rot : {2, 12, 16}) { /* of heads of 16 */
                uint32_t n = (uint32_t)positions.size();
                std::vector<float> x = noise((size_t)n * n_head * 16, n_head), turn = noise(POSITIONS * n_rot, 3);
                float *dx = to_device(b.g, x), *dt = to_device(b.g, turn);
                pare_rope r = {positions.data(), n, n_head, 16, n_rot, layout, turn.data()};
                CHECK_OK(b.cpu->rope(b.cpu, &r, x.data(), &b.err), &b.err);
                r.cos_sin = dt;
                CHECK_OK(pare_gpu_rope(b.g, &r, dx, &b.err), &b.err);
                check_close(take(b.g, dx, x.size()), x, 0);
                take(b.g, dt, turn.size());
            }
    close_both(&b);
}

static void sums_of_columns(void **)
{
    both b = open_both();
    for (uint32_t width : {1, 31, 32, 65, 300})
        for (uint32_t n : {1, 15, 16, 17, 200}) {
            std::vector<double> sum(width, 0.5), sum2(width, 2);
            double *ds = to_device(b.g, sum), *ds2 = to_device(b.g, sum2);
            for (uint64_t round = 0; round < 2; round++) {
                std::vector<float> x = noise((size_t)n * width, n + round);
                float *dx = to_device(b.g, x);
                CHECK_OK(pare_gpu_add_columns(b.g, dx, n, width, ds, ds2, &b.err), &b.err);
                CHECK_OK(b.cpu->add_columns(b.cpu, x.data(), n, width, sum.data(), sum2.data(), &b.err), &b.err);
                take(b.g, dx, x.size());
            }
            std::vector<double> s = take(b.g, ds, width), s2 = take(b.g, ds2, width);
            for (uint32_t c = 0; c < width; c++)
                CHECK(fabs(s[c] - sum[c]) <= 1e-13 * n && fabs(s2[c] - sum2[c]) <= 1e-13 * n);
        }
    CHECK_OK(pare_gpu_add_columns(b.g, NULL, 0, 5, NULL, NULL, &b.err), &b.err);
    close_both(&b);
}

/* Pinned memory is written again only when its copy has run, and device memory stays for as many calls as is said. */
static void arrays_pushed_one_behind_the_other(void **)
{
    both b = open_both();
    enum { N = 3 * PARE_GPU_RECENT, LAST = PARE_GPU_RECENT - 1 };
    std::vector<int32_t> zeros(N + LAST, 0);
    int32_t *out = to_device(b.g, zeros);
    const void *pushed[N + LAST];
    for (int32_t i = 0; i < N + LAST; i++) {
        CHECK((pushed[i] = pare_gpu_push(b.g, &i, sizeof i, &b.err)) != NULL);
        const void *oldest = i >= LAST ? pushed[i - LAST] : NULL; /* that is there */
        if (oldest != NULL)
            CHECK(cudaMemcpyAsync(out + i - LAST, oldest, sizeof i, cudaMemcpyDeviceToDevice, b.g->stream) ==
                  cudaSuccess);
    }
    std::vector<int32_t> got = take(b.g, out, N + LAST);
    for (int32_t i = 0; i < N; i++)
        CHECK(got[i] == i);
    close_both(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_one_by_one),
        cmocka_unit_test(whole_rows),
        cmocka_unit_test(activations),
        cmocka_unit_test(rows_by_number),
        cmocka_unit_test(embeds),
        cmocka_unit_test(biases),
        cmocka_unit_test(arrays_pushed_one_behind_the_other),
        cmocka_unit_test(norms),
        cmocka_unit_test(norms_of_huge_numbers),
        cmocka_unit_test(many_short_groups),
        cmocka_unit_test(rotary_embedding),
        cmocka_unit_test(sums_of_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
