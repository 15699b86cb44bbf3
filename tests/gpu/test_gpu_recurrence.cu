/* Linear attention on the device against the CPU backend's: whole sequences, and parts that go on in a slot. */
#include "gpu_check.h"

#include "gpu/recurrence.h"

#include <string>

struct shape {
    uint32_t n_head_k, n_head_v, dim_k, dim_v, kernel, rows;
};

/* Odd sizes; more columns than threads of a block; a state too large for shared memory. */
static const shape shapes[] = {{1, 1, 1, 1, 2, 3}, {2, 6, 5, 7, 4, 19}, {2, 2, 16, 130, 3, 5}, {1, 2, 160, 160, 4, 3}};

static pare_tensor tensor_of(const std::vector<float> &v)
{
    pare_tensor t = {};
    t.name = "t";
    t.type = PARE_TYPE_F32;
    t.n_dims = 1;
    t.dim[0] = t.row_len = v.size();
    t.n_rows = 1;
    t.row_bytes = t.n_bytes = v.size() * sizeof(float);
    t.data = (const uint8_t *)v.data();
    return t;
}

static void check_near(const std::vector<float> &a, const std::vector<float> &b, float tolerance)
{
    CHECK(a.size() == b.size());
    for (size_t i = 0; i < a.size(); i++)
        CHECK(fabsf(a[i] - b[i]) <= tolerance);
}

/* Two whole sequences, then the same in two parts: cut says behind how many tokens; 0: whole. */
struct plan {
    std::vector<pare_attention_span> spans[2];
    std::vector<int32_t> slots;
    int n_parts;
};

static plan plan_of(uint32_t rows, uint32_t cut)
{
    plan p = {};
    p.n_parts = cut > 0 ? 2 : 1;
    for (uint32_t s = 0; s < 2; s++) {
        p.spans[0].push_back({s * rows, cut > 0 ? cut : rows, 0, 0});
        p.spans[1].push_back({s * rows + cut, rows - cut, cut, 0});
        p.slots.push_back(cut > 0 ? 1 - (int32_t)s : -1);
    }
    return p;
}

static void convolutions(void **)
{
    pare_backend *cpu = NULL;
    pare_error err = {};
    CHECK_OK(pare_backend_cpu(&cpu, &err), &err);
    for (const shape &s : shapes)
        for (uint32_t cut : {0u, 1u, s.rows - 1}) {
            pare_gpu *g = open_device(false); /* which remembers weights by their address */
            uint32_t width = 2 * s.n_head_k * s.dim_k + s.n_head_v * s.dim_v;
            size_t n = 2 * (size_t)s.rows * width, n_past = 2 * (size_t)(s.kernel - 1) * width;
            std::vector<float> x = noise(n, 1), w = noise((size_t)width * s.kernel, 2), want(n), past(n_past, NAN);
            pare_tensor weight = tensor_of(w);
            float *dx = to_device(g, x), *dy = to_device(g, std::vector<float>(n, NAN)), *dp = to_device(g, past);
            plan p = plan_of(s.rows, cut);
            for (int part = 0; part < p.n_parts; part++) {
                pare_conv c = {p.spans[part].data(), p.slots.data(), 2, width, s.kernel, x.data(), &weight,
                               past.data(),          want.data()};
                CHECK_OK(cpu->conv(cpu, &c, &err), &err);
                c.x = dx;
                c.past = dp;
                c.y = dy;
                CHECK_OK(pare_gpu_conv(g, &c, &err), &err);
            }
            check_near(from_device(g, dy, n), want, 1e-6f);
            if (cut > 0)
                check_near(from_device(g, dp, n_past), past, 0);
            pare_gpu_free(g, dx, n * sizeof(float));
            pare_gpu_free(g, dy, n * sizeof(float));
            pare_gpu_free(g, dp, n_past * sizeof(float));
            pare_gpu_close(g);
        }
    cpu->close(cpu);
}

static void delta_rule(void **)
{
    pare_backend *cpu = NULL;
    pare_error err = {};
    CHECK_OK(pare_backend_cpu(&cpu, &err), &err);
    for (const shape &s : shapes)
        for (uint32_t cut : {0u, 1u, s.rows - 1}) {
            pare_gpu *g = open_device(false); /* which remembers weights by their address */
            uint32_t width = 2 * s.n_head_k * s.dim_k + s.n_head_v * s.dim_v;
            size_t n = 2 * (size_t)s.rows * width, n_small = 2 * (size_t)s.rows * s.n_head_v, n_out = n_small * s.dim_v,
                   n_state = 2 * (size_t)s.n_head_v * s.dim_k * s.dim_v;
            std::vector<float> x = noise(n, 1), alpha = noise(n_small, 2), beta = noise(n_small, 3),
                               a = noise(s.n_head_v, 4), dt = noise(s.n_head_v, 5), want(n_out), state(n_state, NAN);
            for (float &v : a)
                v = -fabsf(v);
            pare_tensor pace = tensor_of(a), offset = tensor_of(dt);
            float *dx = to_device(g, x), *da = to_device(g, alpha), *db = to_device(g, beta),
                  *dout = to_device(g, std::vector<float>(n_out, NAN)), *ds = to_device(g, state);
            plan p = plan_of(s.rows, cut);
            for (int part = 0; part < p.n_parts; part++) {
                pare_delta d = {p.spans[part].data(),
                                p.slots.data(),
                                2,
                                s.n_head_k,
                                s.n_head_v,
                                s.dim_k,
                                s.dim_v,
                                cut == 1,
                                x.data(),
                                alpha.data(),
                                beta.data(),
                                &pace,
                                &offset,
                                state.data(),
                                want.data()};
                CHECK_OK(cpu->delta(cpu, &d, &err), &err);
                d.qkv = dx;
                d.alpha = da;
                d.beta = db;
                d.state = ds;
                d.out = dout;
                CHECK_OK(pare_gpu_delta(g, &d, &err), &err);
            }
            check_near(from_device(g, dout, n_out), want, 2e-6f);
            if (cut > 0)
                check_near(from_device(g, ds, n_state), state, 2e-6f);
            pare_gpu_free(g, dx, n * sizeof(float));
            pare_gpu_free(g, da, n_small * sizeof(float));
            pare_gpu_free(g, db, n_small * sizeof(float));
            pare_gpu_free(g, dout, n_out * sizeof(float));
            pare_gpu_free(g, ds, n_state * sizeof(float));
            pare_gpu_close(g);
        }
    pare_gpu *g = open_device(false);
    pare_delta none = {};
    pare_conv nothing = {};
    CHECK_OK(pare_gpu_delta(g, &none, &err), &err);
    CHECK_OK(pare_gpu_conv(g, &nothing, &err), &err);
    cpu->close(cpu);
    pare_gpu_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(delta_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
