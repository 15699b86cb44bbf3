#include "gpu_check.h"

#include "gpu/statistics.h"
#include "gpu/weights.h"

#include <algorithm>
#include <vector>

typedef std::vector<float> floats;

/* One side: logits that are wanted before bias, scale and softcap, [k, n_vocab]; position i has row i % k of them. x
 * are rows of the unit matrix and w the logits turned round, so that the products are these logits. */
struct side {
    uint32_t n, k, n_vocab;
    floats logits, bias, w;
    float scale = 1, softcap = 0;
    float *x = nullptr;
    pare_tensor weight = {}, bias_tensor = {};
};

static pare_tensor tensor_over(const char *name, const floats &v, uint64_t n_rows, uint64_t row_len)
{
    pare_tensor t = {};
    pare_error err = {};
    t.name = name;
    t.type = PARE_TYPE_F32;
    t.n_dims = 2;
    t.dim[0] = n_rows;
    t.dim[1] = row_len;
    CHECK_OK(pare_tensor_set_shape(&t, "a test", &err), &err);
    t.data = (const uint8_t *)v.data();
    return t;
}

static pare_score_side on_device(pare_gpu *g, side *s)
{
    floats unit((size_t)s->n * s->k);
    s->w.resize((size_t)s->n_vocab * s->k);
    for (uint32_t i = 0; i < s->n; i++)
        unit[(size_t)i * s->k + i % s->k] = 1;
    for (uint32_t i = 0; i < s->k; i++)
        for (uint32_t v = 0; v < s->n_vocab; v++)
            s->w[(size_t)v * s->k + i] = s->logits[(size_t)i * s->n_vocab + v];
    s->x = to_device(g, unit);
    s->weight = tensor_over("output.weight", s->w, s->n_vocab, s->k);
    if (!s->bias.empty())
        s->bias_tensor = tensor_over("output.bias", s->bias, 1, s->n_vocab);
    pare_score_side out = {s->x, &s->weight, s->bias.empty() ? NULL : &s->bias_tensor, s->scale, s->softcap};
    return out;
}

static side make_side(uint32_t n, uint32_t n_vocab, float spread, uint64_t seed, uint32_t most = 4)
{
    side s;
    s.n = n;
    s.k = n < most ? n : most;
    s.n_vocab = n_vocab;
    s.logits = noise((size_t)s.k * n_vocab, seed);
    for (float &x : s.logits)
        x *= spread;
    return s;
}

static float logit(const side &s, uint32_t i, uint32_t v)
{
    float x = s.logits[(size_t)(i % s.k) * s.n_vocab + v];
    x = s.bias.empty() ? x : x + s.bias[v];
    x *= s.scale;
    return s.softcap != 0 ? s.softcap * tanhf(x / s.softcap) : x;
}

struct row {
    std::vector<double> x;
    double lse;
    int32_t top, bad;
};

static row row_of(const side &s, uint32_t i)
{
    row r = {std::vector<double>(s.n_vocab), 0, 0, -1};
    for (uint32_t v = 0; v < s.n_vocab; v++) {
        r.x[v] = (double)logit(s, i, v);
        if (r.bad < 0 && !std::isfinite(r.x[v]))
            r.bad = (int32_t)v;
        r.top = r.x[v] > r.x[(size_t)r.top] ? (int32_t)v : r.top;
    }
    double sum = 0;
    for (double x : r.x)
        sum += exp(x - r.x[(size_t)r.top]);
    r.lse = r.x[(size_t)r.top] + log(sum);
    return r;
}

static double divergence(const row &p, const row &q)
{
    double sum = 0;
    for (size_t v = 0; v < p.x.size(); v++)
        sum += exp(p.x[v] - p.lse) * (p.x[v] - p.lse - (q.x[v] - q.lse));
    return sum;
}

static bool near_to(double a, double b)
{
    return fabs(a - b) <= 1e-11 * (1 + fabs(b));
}

static void check_score(const pare_position_score &s, const side &model, const side *reference, uint32_t i,
                        int32_t target)
{
    row q = row_of(model, i);
    CHECK(s.bad == q.bad);
    if (reference == NULL) {
        CHECK(s.ref_bad == -1 && s.ref_nll == 0 && s.kld == 0 && s.kld_reverse == 0 && s.ref_top == 0);
        if (q.bad < 0)
            CHECK(s.top == q.top && near_to(s.nll, q.lse - q.x[(size_t)target]));
        else
            CHECK(std::isnan(s.nll) == std::isnan(q.x[(size_t)q.bad]) && !std::isfinite(s.nll));
        return;
    }
    row p = row_of(*reference, i);
    CHECK(s.ref_bad == p.bad);
    if (p.bad >= 0)
        CHECK(std::isnan(s.ref_nll) == std::isnan(p.x[(size_t)p.bad]) && !std::isfinite(s.ref_nll));
    if (q.bad >= 0 || p.bad >= 0)
        return;
    CHECK(s.top == q.top && near_to(s.nll, q.lse - q.x[(size_t)target]));
    CHECK(s.ref_top == p.top && near_to(s.ref_nll, p.lse - p.x[(size_t)target]));
    CHECK(near_to(s.kld, divergence(p, q)) && near_to(s.kld_reverse, divergence(q, p)));
}

/* Scores of all sides but the first, which is the reference where with_reference is set, against the definition.
 * Returns the bytes of output matrices that were streamed. */
static uint64_t check_scores(std::vector<side> sides, bool with_reference, uint64_t max_bytes)
{
    pare_gpu *g = open_device(true);
    pare_error err = {};
    uint32_t n = sides[0].n, n_vocab = sides[0].n_vocab;
    std::vector<pare_score_side> on;
    std::vector<int32_t> targets(n);
    for (side &s : sides)
        on.push_back(on_device(g, &s));
    for (uint32_t i = 0; i < n; i++) /* the first and the last token among them */
        targets[i] = i == 0 ? 0 : i == 1 ? (int32_t)n_vocab - 1 : (int32_t)(i * 7919u % n_vocab);
    g->max_bytes = max_bytes != 0 ? max_bytes : g->max_bytes;
    size_t n_models = sides.size() - with_reference;
    std::vector<pare_position_score> out(n_models * n);
    CHECK_OK(pare_gpu_score(g, on.data() + with_reference, n_models, with_reference ? &on[0] : NULL, targets.data(), n,
                            out.data(), &err),
             &err);
    for (size_t k = 0; k < n_models; k++)
        for (uint32_t i = 0; i < n; i++)
            check_score(out[k * n + i], sides[k + with_reference], with_reference ? &sides[0] : NULL, i, targets[i]);
    for (side &s : sides)
        pare_gpu_free(g, s.x, (size_t)n * s.k * sizeof(float));
    pare_gpu_traffic traffic;
    pare_gpu_weights_traffic(g, &traffic);
    pare_gpu_close(g);
    return traffic.streamed_bytes;
}

enum : uint64_t { NARROW = 1 << 20 }; /* of device memory: some thousand logits at once */

static void agrees_with_the_definition(void **)
{
    for (uint32_t n_vocab : {1, 3, 31, 32, 1000, 1027}) {
        check_scores({make_side(3, n_vocab, 8, n_vocab)}, false, 0);
        check_scores({make_side(3, n_vocab, 8, 1), make_side(3, n_vocab, 8, 2)}, true, 0);
    }
}

static void tiles_and_chunks_do_not_matter(void **)
{
    check_scores({make_side(20, 40000, 5, 1), make_side(20, 40000, 5, 2)}, true, 24 << 20);
    check_scores({make_side(20, 9000, 5, 3)}, false, 2 << 20);
    check_scores({make_side(300, 1030, 5, 3), make_side(300, 1030, 6, 4)}, true, 16 << 20);
}

static void extreme_logits_stay_exact(void **)
{
    std::vector<side> s = {make_side(4, 1000, 1e4f, 1), make_side(4, 1000, 1e4f, 2), make_side(4, 1000, 1, 3)};
    for (int v = 0; v < 1000; v++)
        s[2].logits[v] += 1e4f, s[2].logits[1000 + v] -= 1e4f; /* one side far from the other as a whole */
    check_scores(s, true, 0);
    check_scores({s[0]}, false, 0);
}

static void bias_scale_and_softcap_apply_in_turn(void **)
{
    side a = make_side(3, 5000, 20, 1), b = make_side(3, 5000, 20, 2);
    a.bias = noise(5000, 3);
    a.scale = 1.5f;
    b.scale = 0.0625f;
    b.softcap = 30;
    check_scores({a, b}, true, NARROW);
    a.softcap = 10;
    check_scores({a}, false, NARROW);
}

static void the_first_of_equals_is_the_top(void **)
{
    side a = make_side(4, 9000, 1, 1), b = make_side(4, 9000, 1, 2);
    for (int v : {8999, 8200, 77, 76, 300})
        a.logits[v] = b.logits[9000 + v] = 5;
    for (int v = 0; v < 9000; v++)
        b.logits[3 * 9000 + v] = -7;
    check_scores({a, b}, true, NARROW);
    side zeros = make_side(2, 9000, 1, 1); /* of both signs, which are equal */
    zeros.scale = 1e-30f;
    for (int v = 0; v < 9000; v++)
        zeros.logits[v] = v < 9 ? -1e-30f : 1e-30f;
    check_scores({zeros}, false, 0);
}

static void several_models_share_a_reference(void **)
{
    std::vector<side> s;
    for (int k = 0; k < 4; k++)
        s.push_back(make_side(5, 3000, 6, (uint64_t)k));
    check_scores(s, true, NARROW);
    check_scores(s, false, NARROW);
}

static void names_the_first_logit_that_is_not_finite(void **)
{
    for (float value : {NAN, INFINITY, -INFINITY})
        for (uint32_t token : {0u, 3071u, 3072u, 8999u})
            for (int which = 0; which < 2; which++) {
                std::vector<side> s = {make_side(2, 9000, 3, 1), make_side(2, 9000, 3, 2)};
                s[which].bias.assign(9000, 0);
                s[which].bias[token] = value;
                s[which].bias[8999] = value; /* in a tile of its own */
                check_scores(s, true, NARROW);
                check_scores({s[which]}, false, NARROW);
            }
    side s = make_side(3, 9000, 3, 1); /* at one position only */
    s.scale = 4;
    s.logits[9000 + 4000] = 3e38f;
    check_scores({s, make_side(3, 9000, 3, 2)}, true, NARROW);
    s.softcap = 30; /* which makes it finite again */
    check_scores({s, make_side(3, 9000, 3, 2)}, true, NARROW);
}

/* What pare eval's self-check asks for; and a model alone has the likelihoods that it has beside a reference. */
static void a_distribution_does_not_differ_from_itself(void **)
{
    for (uint64_t max_bytes : {(uint64_t)0, (uint64_t)NARROW})
        for (bool f32 : {true, false}) {
            pare_gpu *g = open_device(f32);
            pare_error err = {};
            enum : uint32_t { N = 4, VOCAB = 3001 };
            side s = make_side(N, VOCAB, 9, 5);
            pare_score_side on = on_device(g, &s);
            std::vector<int32_t> targets = {0, 3000, 17, 2048};
            std::vector<pare_position_score> out(N), alone(N);
            g->max_bytes = max_bytes != 0 ? max_bytes : g->max_bytes;
            CHECK_OK(pare_gpu_score(g, &on, 1, &on, targets.data(), N, out.data(), &err), &err);
            CHECK_OK(pare_gpu_score(g, &on, 1, NULL, targets.data(), N, alone.data(), &err), &err);
            for (uint32_t i = 0; i < N; i++) {
                CHECK(out[i].kld == 0 && out[i].kld_reverse == 0 && out[i].nll == out[i].ref_nll && out[i].nll > 0);
                CHECK(out[i].top == out[i].ref_top && out[i].bad == -1 && out[i].ref_bad == -1);
                CHECK(alone[i].nll == out[i].nll && alone[i].top == out[i].top);
            }
            CHECK_OK(pare_gpu_score(g, &on, 1, &on, targets.data(), 0, out.data(), &err), &err);
            pare_gpu_free(g, s.x, N * s.k * sizeof(float));
            pare_gpu_close(g);
        }
}

/* Output matrices that do not fit pass through the ring, with whatever pieces it has. */
static void streamed_matrices_give_the_same(void **)
{
    std::vector<side> s;
    for (int k = 0; k < 3; k++)
        s.push_back(make_side(12, 3000, 6, (uint64_t)k + 40, 12));
    CHECK(check_scores({s[0], s[1]}, true, 300 << 10) > 0);
    CHECK(check_scores(s, true, 300 << 10) > 0);
    CHECK(check_scores({s[2]}, false, 100 << 10) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_definition),
        cmocka_unit_test(tiles_and_chunks_do_not_matter),
        cmocka_unit_test(extreme_logits_stay_exact),
        cmocka_unit_test(bias_scale_and_softcap_apply_in_turn),
        cmocka_unit_test(the_first_of_equals_is_the_top),
        cmocka_unit_test(several_models_share_a_reference),
        cmocka_unit_test(names_the_first_logit_that_is_not_finite),
        cmocka_unit_test(a_distribution_does_not_differ_from_itself),
        cmocka_unit_test(streamed_matrices_give_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
