#include "gpu_check.h"

#include "gpu/attention.h"

extern "C" {
#include "quant/registry.h"
}

#include <math.h>
#include <string.h>

#include <algorithm>
#include <map>

/* A case: shapes, and what q, k, v and the sinks are. Sizes in the struct that the operation takes; its pointers come
 * from here. */
typedef struct attention_case {
    pare_attention a;
    std::vector<pare_attention_span> spans;
    std::vector<float> q, k, v, sinks;
    size_t rows, kv_rows;
} attention_case;

static pare_attention shape(uint32_t n_head, uint32_t n_head_kv, uint32_t dim_k, uint32_t dim_v)
{
    pare_attention a = {};
    a.n_head = n_head;
    a.n_head_kv = n_head_kv;
    a.head_dim_k = dim_k;
    a.head_dim_v = dim_v;
    a.causal = true;
    a.scale = 1 / sqrtf((float)dim_k);
    return a;
}

/* Logits of so many heads, which the device keeps: the tensor must be there as long as the device. */
static const pare_tensor *sinks_of(uint32_t n_head)
{
    static std::map<uint32_t, std::vector<float>> values;
    static std::map<uint32_t, pare_tensor> tensors;
    pare_tensor &t = tensors[n_head];
    if (t.data == NULL) {
        pare_error err = {};
        values[n_head] = noise(n_head, 7);
        values[n_head][0] = 4;
        t.name = "sinks";
        t.type = PARE_TYPE_F32;
        t.n_dims = 1;
        t.dim[0] = n_head;
        t.data = (const uint8_t *)values[n_head].data();
        CHECK_OK(pare_tensor_set_shape(&t, "a test", &err), &err);
    }
    return &t;
}

static attention_case make_case(const pare_attention &a, const std::vector<pare_attention_span> &spans, float size)
{
    attention_case c = {};
    c.a = a;
    c.spans = spans;
    for (const pare_attention_span &s : spans) {
        c.rows = std::max(c.rows, (size_t)s.row + s.n);
        c.kv_rows = std::max(c.kv_rows, s.kv_row + s.n_past + s.n);
    }
    c.q = noise(c.rows * a.n_head * a.head_dim_k, 1 + c.rows);
    c.k = noise(c.kv_rows * a.n_head_kv * a.head_dim_k, 2 + c.rows);
    c.v = noise(c.kv_rows * a.n_head_kv * a.head_dim_v, 3 + c.rows);
    for (float &x : c.q)
        x *= size;
    return c;
}

/* Query i of a span, head h, in double as the definition says. */
static void attend_slowly(const attention_case &c, const pare_attention_span &s, uint32_t i, uint32_t h, double *out)
{
    const pare_attention &a = c.a;
    uint32_t kv = h / (a.n_head / a.n_head_kv), n = s.n_past + s.n, at = s.n_past + i;
    double max = c.sinks.empty() ? -INFINITY : (double)c.sinks[h], sum = 0;
    std::vector<double> w(n, -INFINITY);
    for (uint32_t j = 0; j < n; j++) {
        if ((a.causal && j > at) || (a.window != 0 && (int64_t)at - (int64_t)j >= (int64_t)a.window))
            continue;
        const float *q = &c.q[((s.row + i) * (size_t)a.n_head + h) * a.head_dim_k];
        const float *k = &c.k[((s.kv_row + j) * a.n_head_kv + kv) * a.head_dim_k];
        w[j] = 0;
        for (uint32_t d = 0; d < a.head_dim_k; d++)
            w[j] += (double)q[d] * (double)k[d];
        w[j] *= (double)a.scale;
        if (a.softcap != 0)
            w[j] = (double)a.softcap * tanh(w[j] / (double)a.softcap);
        if (a.alibi != 0) /* of six heads: 2^-2, 2^-4, 2^-6, 2^-8, then 2^-1, 2^-3 */
            w[j] += pow(2, -(h < 4 ? 2.0 * (h + 1) : 2.0 * (h - 4) + 1)) * ((double)j - (double)at);
        max = fmax(max, w[j]);
    }
    for (double &x : w)
        sum += x = exp(x - max);
    if (!c.sinks.empty())
        sum += exp((double)c.sinks[h] - max);
    for (uint32_t d = 0; d < a.head_dim_v; d++) {
        out[d] = 0;
        for (uint32_t j = 0; j < n; j++)
            out[d] += w[j] / sum * (double)c.v[((s.kv_row + j) * a.n_head_kv + kv) * a.head_dim_v + d];
    }
}

static std::vector<double> expected(const attention_case &c)
{
    const pare_attention &a = c.a;
    std::vector<double> out(c.rows * a.n_head * a.head_dim_v, NAN);
    for (const pare_attention_span &s : c.spans)
        for (uint32_t i = 0; i < s.n; i++)
            for (uint32_t h = 0; h < a.n_head; h++)
                attend_slowly(c, s, i, h, &out[((s.row + i) * (size_t)a.n_head + h) * a.head_dim_v]);
    return out;
}

/* The device's output; k and v as they are stored, in type_k and type_v. */
static std::vector<float> attend(pare_gpu *g, const attention_case &c, const std::vector<uint8_t> &k,
                                 const std::vector<uint8_t> &v)
{
    pare_error err = {};
    pare_attention a = c.a;
    std::vector<float> out(c.rows * a.n_head * a.head_dim_v, NAN);
    a.spans = c.spans.data();
    a.n_spans = (uint32_t)c.spans.size();
    float *q = to_device(g, c.q), *o = to_device(g, out);
    uint8_t *dk = to_device(g, k), *dv = to_device(g, v);
    a.q = q;
    a.k = dk;
    a.v = dv;
    a.out = o;
    a.sinks = c.sinks.empty() ? NULL : sinks_of(a.n_head);
    CHECK_OK(pare_gpu_attention(g, &a, &err), &err);
    out = from_device(g, o, out.size());
    pare_gpu_free(g, q, c.q.size() * sizeof *q);
    pare_gpu_free(g, o, out.size() * sizeof *o);
    pare_gpu_free(g, dk, k.size());
    pare_gpu_free(g, dv, v.size());
    return out;
}

static std::vector<uint8_t> bytes_of(const std::vector<float> &x)
{
    std::vector<uint8_t> b(x.size() * sizeof(float));
    memcpy(b.data(), x.data(), b.size());
    return b;
}

static void check_case(pare_gpu *g, const attention_case &c)
{
    double limit = g->f32 ? 2e-6 : 1e-5;
    std::vector<float> out = attend(g, c, bytes_of(c.k), bytes_of(c.v));
    double miss = relative_error(out, expected(c));
    if (!(miss < limit))
        printf("heads %u/%u of %u, %u; window %u, causal %d, softcap %g, sinks %zu: error %.3g\n", c.a.n_head,
               c.a.n_head_kv, c.a.head_dim_k, c.a.head_dim_v, c.a.window, c.a.causal, (double)c.a.softcap,
               c.sinks.size(), miss);
    CHECK(miss < limit);
}

/* Every variant of one shape. */
static void check_variants(pare_gpu *g, const pare_attention &a, const std::vector<pare_attention_span> &spans)
{
    for (int variant = 0; variant < 16; variant++) {
        attention_case c = make_case(a, spans, 3);
        c.a.causal = (variant & 1) == 0;
        c.a.softcap = (variant & 2) != 0 ? 2.0f : 0.0f;
        c.a.window = (variant & 4) != 0 ? 37 : 0;
        if ((variant & 8) != 0) {
            const float *values = (const float *)(const void *)sinks_of(a.n_head)->data;
            c.sinks.assign(values, values + a.n_head);
        }
        check_case(g, c);
    }
}

/* Sequences of different lengths, in another order than their keys, which have gaps between them. */
static const std::vector<pare_attention_span> mixed = {
    {0, 1, 0, 200}, {1, 1, 70, 3}, {2, 45, 20, 80}, {47, 3, 64, 210}};

static void variants_in_floats(void **)
{
    pare_gpu *g = open_device(true);
    check_variants(g, shape(4, 2, 12, 8), mixed);
    check_variants(g, shape(3, 1, 33, 70), mixed);
    pare_gpu_close(g);
}

static void variants_on_tensor_cores(void **)
{
    pare_gpu *g = open_device(false);
    check_variants(g, shape(4, 2, 64, 64), mixed);
    check_variants(g, shape(3, 1, 33, 70), mixed);
    pare_gpu_close(g);
}

/* Each form of the kernel, and head dims that fill it in part. */
static void head_dims_on_tensor_cores(void **)
{
    pare_gpu *g = open_device(false);
    static const uint32_t dims[][2] = {{80, 80}, {96, 96}, {128, 128}, {112, 128}, {192, 128}, {256, 256}, {160, 160}};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        check_case(g, make_case(shape(4, 1, dims[i][0], dims[i][1]), mixed, 3));
    attention_case c = make_case(shape(4, 2, 256, 256), mixed, 3); /* warps that share rows, at their edges */
    c.a.window = 19;
    c.a.softcap = 1.5f;
    check_case(g, c);
    pare_gpu_close(g);
}

/* Heads that like what is near, the more the smaller their number, of a number that is no power of two. */
static void heads_with_alibi(void **)
{
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        attention_case c = make_case(shape(6, 2, 64, 64), mixed, 3);
        c.a.alibi = 8;
        check_case(g, c);
        pare_gpu_close(g);
    }
}

/* Latent attention has one head of keys, wider than its values; a part of the values' columns a block beyond 512. */
static void large_heads_in_floats(void **)
{
    static const std::vector<pare_attention_span> spans = {{0, 5, 60, 0}, {5, 1, 9, 70}};
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        g->f32 = true; /* the limits of floats: no form holds these heads */
        check_case(g, make_case(shape(16, 1, 576, 512), spans, 3));
        check_case(g, make_case(shape(2, 2, 40, 530), spans, 3));
        pare_gpu_close(g);
    }
}

/* Numbers of rows and of keys one below, at and one above the sizes of tiles. */
static void edges_of_tiles(void **)
{
    static const uint32_t rows[] = {1, 15, 16, 17, 31, 32, 33, 127, 128, 129, 130},
                          past[] = {0, 1, 30, 31, 32, 33, 63, 64};
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        for (uint32_t n : rows)
            check_case(g, make_case(shape(1, 1, 16, 16), {{0, n, 0, 0}}, 3));
        for (uint32_t n_past : past)
            for (uint32_t window : {0, 1, 2, 31, 32, 33}) {
                attention_case c = make_case(shape(5, 1, 8, 8), {{0, 7, n_past, 1}}, 3);
                c.a.window = window;
                check_case(g, c);
                c.a.causal = false;
                check_case(g, c);
            }
        pare_gpu_close(g);
    }
}

/* Spans whose keys and values do not find room at once are taken in turn. */
static void many_sequences(void **)
{
    std::vector<pare_attention_span> spans;
    for (uint32_t i = 0; i < 23; i++)
        spans.push_back({3 * i, 3, i * 5 % 41, (size_t)(22 - i) * 44});
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        g->max_bytes = 4 << 20;
        attention_case c = make_case(shape(4, 2, 64, 64), spans, 3);
        check_case(g, c);
        c.a.window = 9;
        check_case(g, c);
        pare_gpu_close(g);
    }
}

/* Whole numbers up to 100, whose products and sums are exact in any arithmetic: scores in the thousands, which leave
 * one key nearly alone, and weights that reach 0; then equal scores, so that the output is the mean of the values. */
static void extreme_scores(void **)
{
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        for (float size : {100.0f, 10.0f, 1.0f, 0.0f}) {
            attention_case c = make_case(shape(2, 1, 32, 32), mixed, 1);
            for (float &x : c.q)
                x = roundf(x * size);
            for (float &x : c.k)
                x = roundf(x * size);
            c.a.scale = 0.5f;
            check_case(g, c);
        }
        attention_case c = make_case(shape(2, 1, 32, 32), mixed, 1); /* all far below 0 */
        std::fill(c.q.begin(), c.q.end(), -64.0f);
        std::fill(c.k.begin(), c.k.end(), 512.0f);
        c.a.scale = 1;
        check_case(g, c);
        pare_gpu_close(g);
    }
}

/* What is not a number stays in the rows that see it. */
static void nan_reaches_its_rows(void **)
{
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        attention_case c = make_case(shape(2, 1, 16, 16), {{0, 70, 0, 0}}, 1);
        c.q[(50 * 2 + 1) * 16 + 3] = NAN;
        std::vector<float> out = attend(g, c, bytes_of(c.k), bytes_of(c.v));
        for (size_t i = 0; i < out.size(); i++)
            CHECK(std::isnan(out[i]) == (i / 16 == 50 * 2 + 1));
        c.q[(50 * 2 + 1) * 16 + 3] = 1;
        c.k[66 * 16 + 5] = INFINITY;
        out = attend(g, c, bytes_of(c.k), bytes_of(c.v));
        for (size_t i = 0; i < out.size(); i++)
            CHECK(std::isfinite(out[i]) || i / 32 >= 66);
        CHECK(std::isnan(out[69 * 32]));
        pare_gpu_close(g);
    }
}

/* The bytes of n rows of x in a type; x becomes what they stand for. */
static std::vector<uint8_t> store(pare_type type, std::vector<float> *x, size_t row_len)
{
    pare_error err = {};
    size_t n_rows = x->size() / row_len;
    uint64_t row_bytes = 0;
    CHECK(pare_row_bytes(type, row_len, &row_bytes));
    std::vector<uint8_t> bytes(n_rows * row_bytes);
    CHECK_OK(pare_encode_rows(type, x->data(), n_rows, row_len, NULL, PARE_EFFORT_RTN, bytes.data(), &err), &err);
    CHECK_OK(pare_decode_rows(type, bytes.data(), n_rows, row_len, x->data(), &err), &err);
    return bytes;
}

static void stored_keys_and_values(void **)
{
    static const pare_type types[][2] = {{PARE_TYPE_Q8_0, PARE_TYPE_Q8_0}, {PARE_TYPE_Q4_0, PARE_TYPE_F16},
                                         {PARE_TYPE_F32, PARE_TYPE_Q4_0},  {PARE_TYPE_BF16, PARE_TYPE_F32},
                                         {PARE_TYPE_F16, PARE_TYPE_BF16},  {PARE_TYPE_Q4_K, PARE_TYPE_Q5_1}};
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            attention_case c = make_case(shape(4, 2, 128, 80), mixed, 3);
            std::vector<uint8_t> k = store(types[i][0], &c.k, 256), v = store(types[i][1], &c.v, 160);
            c.a.window = i % 2 != 0 ? 37 : 0;
            c.a.type_k = types[i][0];
            c.a.type_v = types[i][1];
            CHECK(relative_error(attend(g, c, k, v), expected(c)) < (f32 ? 2e-6 : 1e-5));
            /* the bits of attention over the floats that the blocks stand for */
            std::vector<float> stored = attend(g, c, k, v);
            c.a.type_k = c.a.type_v = PARE_TYPE_F32;
            std::vector<float> floats = attend(g, c, bytes_of(c.k), bytes_of(c.v));
            CHECK(memcmp(stored.data(), floats.data(), floats.size() * sizeof(float)) == 0);
        }
        pare_gpu_close(g);
    }
}

/* The CPU backend is what everything is measured against. */
static void as_on_the_cpu(void **)
{
    pare_backend *cpu = NULL;
    pare_error err = {};
    CHECK_OK(pare_backend_cpu(&cpu, &err), &err);
    for (bool f32 : {false, true}) {
        pare_gpu *g = open_device(f32);
        attention_case c = make_case(shape(8, 2, 128, 128), {{0, 40, 50, 7}, {40, 33, 0, 100}}, 5);
        c.a.softcap = 20;
        std::vector<float> device = attend(g, c, bytes_of(c.k), bytes_of(c.v)), host(device.size());
        pare_attention a = c.a;
        a.spans = c.spans.data();
        a.n_spans = (uint32_t)c.spans.size();
        a.q = c.q.data();
        a.k = c.k.data();
        a.v = c.v.data();
        a.out = host.data();
        CHECK_OK(cpu->attention(cpu, &a, &err), &err);
        double miss = relative_error(device, std::vector<double>(host.begin(), host.end()));
        CHECK(miss < (f32 ? 2e-6 : 1e-5));
        pare_gpu_close(g);
    }
    cpu->close(cpu);
}

static void no_whole_blocks_are_an_error(void **)
{
    pare_gpu *g = open_device(false);
    pare_error err = {};
    pare_attention a = shape(1, 1, 33, 33);
    pare_attention_span span = {0, 1, 0, 0};
    a.spans = &span;
    a.n_spans = 1;
    a.type_k = PARE_TYPE_Q8_0;
    CHECK(pare_gpu_attention(g, &a, &err) == PARE_ERR_RANGE);
    pare_gpu_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_in_floats),
        cmocka_unit_test(variants_on_tensor_cores),
        cmocka_unit_test(head_dims_on_tensor_cores), cmocka_unit_test(heads_with_alibi),
        cmocka_unit_test(large_heads_in_floats),
        cmocka_unit_test(edges_of_tiles),
        cmocka_unit_test(many_sequences),
        cmocka_unit_test(extreme_scores),
        cmocka_unit_test(nan_reaches_its_rows),
        cmocka_unit_test(stored_keys_and_values),
        cmocka_unit_test(as_on_the_cpu),
        cmocka_unit_test(no_whole_blocks_are_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
