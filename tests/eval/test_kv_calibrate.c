/* Bases out of a text: what they are made of, and what they are for. */
#include "check.h"
#include "eval/forward_parts.h"
#include "eval/kv_calibrate.h"
#include "quant/kv_basis.h"
#include "quant/kv_unit.h"
#include "toy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 40, LEN = 64, WINDOWS = 6, DIM = 32, HEADS = 4, KV_HEADS = 2, WIDTH = KV_HEADS * DIM, LAST = 1 };

typedef struct fixture {
    pare_model m;
    pare_backend *b;
    int32_t ids[LEN * WINDOWS];
    pare_kv_text text;
} fixture;

static pare_error err;

static void open_toy(fixture *t)
{
    toy_llama_of(&t->m, VOCAB, 0, HEADS, KV_HEADS, DIM);
    CHECK_OK(pare_backend_cpu(&t->b, &err), &err);
    for (int i = 0; i < LEN * WINDOWS; i++)
        t->ids[i] = (i * i + 3 * i + i / 7) % VOCAB;
    t->text = (pare_kv_text){&t->m, t->b, t->ids, LEN * WINDOWS, -1, {.n_ctx = LEN, .n_chunks = WINDOWS}};
}

static void close_toy(fixture *t)
{
    t->b->close(t->b);
    pare_model_close(&t->m);
}

static pare_kv_form form_of(const char *k, const char *v)
{
    return (pare_kv_form){.k = k != NULL ? pare_kv_codec_find(k, PARE_KV_KEYS) : NULL,
                          .v = v != NULL ? pare_kv_codec_find(v, PARE_KV_VALUES) : NULL,
                          .turn_k = PARE_KV_TURN_FULL,
                          .turn_v = PARE_KV_TURN_FULL};
}

/* Keys before RoPE and values of the last layer, [WINDOWS, LEN, WIDTH], and what a form makes of the logits. */
typedef struct made {
    float k[WINDOWS][LEN][WIDTH], v[WINDOWS][LEN][WIDTH], logits[WINDOWS * LEN * VOCAB];
} made;

static pare_status ignore(uint32_t layer, uint32_t n, uint32_t n_head, uint32_t dim, const float *exact,
                          const float *kept, void *user, pare_error *e)
{
    (void)layer, (void)n, (void)n_head, (void)dim, (void)exact, (void)kept, (void)user, (void)e;
    return PARE_OK;
}

static void run(const fixture *t, const pare_kv_form *form, made *out)
{
    for (size_t w = 0; w < WINDOWS; w++) {
        pare_forward *f = NULL;
        CHECK_OK(pare_forward_open(&f, &t->m, t->b, LEN, 1, &err), &err);
        CHECK_OK(pare_forward_keep(f, form, &err), &err);
        CHECK_OK(pare_forward_watch(f, ignore, NULL, &err), &err);
        CHECK_OK(pare_forward_run(f, t->ids + w * LEN, 1, LEN, &err), &err);
        CHECK_OK(pare_forward_logits(f, 0, 0, LEN, out->logits + w * LEN * VOCAB, &err), &err);
        memcpy(out->v[w], f->kv.exact_v, sizeof out->v[w]);
        for (size_t i = 0; i < LEN; i++)
            for (size_t e = 0; e < WIDTH; e += 2) { /* turned back by its position */
                const double angle = (double)i * pow(10000, -(double)(e % DIM) / DIM), c = cos(angle), s = sin(angle);
                const double a = (double)f->kv.exact_k[i * WIDTH + e], b = (double)f->kv.exact_k[i * WIDTH + e + 1];
                out->k[w][i][e] = (float)(c * a + s * b);
                out->k[w][i][e + 1] = (float)(c * b - s * a);
            }
        pare_forward_close(f);
    }
}

static double error_of(const fixture *t, const pare_kv_form *form, const made *want)
{
    static made got;
    double d = 0, s = 0;
    run(t, form, &got);
    for (size_t i = 0; i < (size_t)WINDOWS * LEN * VOCAB; i++) {
        d += pow((double)got.logits[i] - (double)want->logits[i], 2);
        s += pow((double)want->logits[i], 2);
    }
    return sqrt(d / s);
}

/* Squared error of each element of head 0 behind the codec of the last layer, over its squares. */
static void errors_of_elements(const pare_kv_codec *c, const float x[WINDOWS][LEN][WIDTH], double out[DIM])
{
    static float y[LEN * WIDTH];
    uint8_t bytes[LEN * KV_HEADS * DIM];
    double all[DIM] = {0};
    memset(out, 0, DIM * sizeof *out);
    for (size_t w = 0; w < WINDOWS; w++) {
        CHECK_OK(pare_kv_encode(c, x[w][0], LEN, KV_HEADS, DIM, bytes, &err), &err);
        pare_kv_decode(c, bytes, LEN, KV_HEADS, DIM, y);
        for (size_t i = 0; i < LEN; i++)
            for (size_t e = 0; e < DIM; e++) {
                out[e] += pow((double)y[i * WIDTH + e] - (double)x[w][i][e], 2);
                all[e] += pow((double)x[w][i][e], 2);
            }
    }
    for (size_t e = 0; e < DIM; e++)
        out[e] /= all[e];
}

static double median_but(const double *x, size_t a, size_t b)
{
    double sorted[DIM];
    size_t n = 0;
    for (size_t i = 0; i < DIM; i++) {
        size_t at = n;
        if (i == a || i == b)
            continue;
        for (; at > 0 && sorted[at - 1] > x[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = x[i];
        n++;
    }
    return sorted[n / 2];
}

/* Means are those of keys before RoPE and of values, without the first tokens; elements that queries, and the output,
 * make more of come out better. */
static void made_of_keys_before_rope_and_of_what_errors_cost(void **state)
{
    (void)state;
    enum { K = 6, V = 11, N = WINDOWS * (LEN - PARE_KV_CALIBRATION_SKIP) };
    static made plain;
    const pare_kv_form floats = form_of(NULL, NULL);
    pare_kv_form form = form_of("klt3", "klt3");
    pare_kv_calibration *c = NULL;
    double error[DIM];
    fixture t;
    open_toy(&t);
    toy_add(&t.m, &(uint64_t){5}, "blk.1.attn_k.bias", 0, WIDTH, 0.4f, 0.3f);
    for (size_t row = 0; row < (size_t)HEADS * DIM; row++) {
        float *q = toy_values(&t.m, "blk.1.attn_q.weight"), *o = toy_values(&t.m, "blk.1.attn_output.weight");
        const size_t n = pare_model_find(&t.m, "blk.1.attn_q.weight")->row_len, rows = n;
        for (size_t i = 0; i < n && (row % DIM == K || row % DIM == K + 1); i++)
            q[row * n + i] *= 40;
        for (size_t i = 0; i < rows && row % DIM == V; i++)
            o[i * (HEADS * DIM) + row] *= 40;
    }
    run(&t, &floats, &plain);
    CHECK_OK(pare_kv_calibrate(&c, &t.text, &err), &err);
    CHECK_OK(pare_kv_calibration_apply(c, &form, &err), &err);
    const pare_kv_codec *k = &form.layers_k[LAST], *v = &form.layers_v[LAST];
    const pare_kv_layer last = pare_kv_layer_of(&form, &t.m, LAST);
    CHECK(last.k == k && last.v == v);
    for (size_t e = 0; e < WIDTH; e++) {
        double mean_k = 0, mean_v = 0;
        for (size_t w = 0; w < WINDOWS; w++)
            for (size_t i = PARE_KV_CALIBRATION_SKIP; i < LEN; i++) {
                mean_k += (double)plain.k[w][i][e] / N;
                mean_v += (double)plain.v[w][i][e] / N;
            }
        const size_t at = e / DIM * pare_kv_basis_floats(DIM) + e % DIM;
        CHECK(fabs((double)k->basis[at] - mean_k) < 1e-4 && fabs((double)v->basis[at] - mean_v) < 1e-4);
    }
    errors_of_elements(k, plain.k, error);
    CHECK(error[K] < 0.1 * median_but(error, K, K + 1) && error[K + 1] < 0.1 * median_but(error, K, K + 1));
    errors_of_elements(v, plain.v, error);
    CHECK(error[V] < 0.1 * median_but(error, V, V));
    pare_kv_form again = form_of("klt3", "f16"); /* made once */
    CHECK_OK(pare_kv_calibration_apply(c, &again, &err), &err);
    CHECK(again.layers_k == form.layers_k && again.layers_v == NULL);
    pare_kv_calibration_close(c);
    close_toy(&t);
}

/* What the queries of layer LAST make of its keys, by hand. */
typedef struct costs {
    double k[KV_HEADS][DIM * DIM]; /* sum of p (1 - p) R(s)^T q q^T R(s) */
    double squares[HEADS];         /* sum of p^2 */
} costs;

static pare_status add_costs(uint32_t layer, const pare_attention *a, const pare_rope *rope, void *user, pare_error *e)
{
    costs *c = user;
    (void)e, (void)rope;
    for (uint32_t j = 0; j < HEADS && layer == LAST; j++)
        for (uint32_t t = 15; t < LEN; t += 16) {
            const float *q = a->q + (t * HEADS + j) * DIM, *k = (const float *)a->k + j / 2 * DIM;
            double p[LEN], sum = 0;
            for (uint32_t s = 0; s <= t; s++) {
                double dot = 0;
                for (uint32_t i = 0; i < DIM; i++)
                    dot += (double)q[i] * (double)k[s * WIDTH + i];
                sum += p[s] = exp(dot / sqrt(DIM));
            }
            for (uint32_t s = 0; s <= t; s++) {
                double y[DIM];
                const double w = p[s] / sum * (1 - p[s] / sum);
                c->squares[j] += p[s] / sum * p[s] / sum;
                for (uint32_t i = 0; i < DIM; i += 2) {
                    const double angle = (double)s * pow(10000, -(double)i / DIM), co = cos(angle), si = sin(angle);
                    y[i] = co * (double)q[i] + si * (double)q[i + 1];
                    y[i + 1] = co * (double)q[i + 1] - si * (double)q[i];
                }
                for (uint32_t i = 0; i < DIM * DIM; i++)
                    c->k[j / 2][i] += w * y[i / DIM] * y[i % DIM];
            }
        }
    return PARE_OK;
}

static double product(const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < DIM * DIM; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Metrics are those of the header: of values exactly, of keys by keys that are drawn, whose weights add up to all. */
static void metrics_are_what_errors_cost(void **state)
{
    (void)state;
    static costs c;
    pare_kv_calibration *calibration = NULL;
    pare_forward *f = NULL;
    fixture t;
    open_toy(&t);
    float *q = toy_values(&t.m, "blk.1.attn_q.weight");
    for (size_t i = 0; i < (size_t)HEADS * DIM * pare_model_find(&t.m, "blk.1.attn_q.weight")->row_len; i++)
        q[i] *= 12; /* so that some keys count more than others */
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    pare_forward_observe_heads(f, add_costs, &c);
    for (size_t w = 0; w < WINDOWS; w++)
        CHECK_OK(pare_forward_run(f, t.ids + w * LEN, 1, LEN, &err), &err);
    pare_forward_close(f);
    CHECK_OK(pare_kv_calibrate(&calibration, &t.text, &err), &err);
    const pare_tensor *out = pare_model_find(&t.m, "blk.1.attn_output.weight");
    const float *o = toy_values(&t.m, "blk.1.attn_output.weight");
    for (uint32_t h = 0; h < KV_HEADS; h++) {
        const pare_kv_moments *k = pare_kv_calibration_moments(calibration, PARE_KV_KEYS, LAST, h),
                              *v = pare_kv_calibration_moments(calibration, PARE_KV_VALUES, LAST, h);
        double trace[2] = {0}, want[DIM * DIM] = {0};
        for (uint32_t i = 0; i < DIM; i++) {
            trace[0] += k->metric[i * DIM + i];
            trace[1] += c.k[h][i * DIM + i];
        }
        CHECK(fabs(trace[0] / trace[1] - 1) < 1e-3);
        const double alike = product(k->metric, c.k[h]) / sqrt(product(k->metric, k->metric) * product(c.k[h], c.k[h]));
        print_message("head %u: %.4f\n", h, alike);
        CHECK(alike > 0.99);
        for (uint32_t j = 2 * h; j < 2 * h + 2; j++)
            for (size_t row = 0; row < out->n_rows; row++)
                for (uint32_t i = 0; i < DIM * DIM; i++)
                    want[i] += c.squares[j] * (double)o[row * out->row_len + j * DIM + i / DIM] *
                               (double)o[row * out->row_len + j * DIM + i % DIM];
        for (uint32_t i = 0; i < DIM * DIM; i++)
            CHECK(fabs(v->metric[i] - want[i]) < 1e-3 * (fabs(want[i]) + want[0]));
    }
    CHECK(pare_kv_calibration_moments(calibration, PARE_KV_KEYS, LAST, KV_HEADS) == NULL);
    pare_kv_calibration_close(calibration);
    close_toy(&t);
}

/* Keys with a mean, values of half the rank: fewer bits cost less than in codecs that know nothing of it, by windows as
 * long as a slice and by shorter slices. */
static void what_a_text_shows_is_not_kept_again(void **state)
{
    (void)state;
    static made plain;
    const pare_kv_form floats = form_of(NULL, NULL), turbo = form_of("turbo3", "turbo3");
    pare_kv_calibration *c = NULL;
    fixture t;
    open_toy(&t);
    for (int l = 0; l < 2; l++) {
        toy_add(&t.m, &(uint64_t){5}, l == 0 ? "blk.0.attn_k.bias" : "blk.1.attn_k.bias", 0, WIDTH, 2, 1);
        const pare_tensor *v = pare_model_find(&t.m, l == 0 ? "blk.0.attn_v.weight" : "blk.1.attn_v.weight");
        float *rows = toy_values(&t.m, v->name);
        for (size_t i = 0; i < WIDTH * v->row_len; i++)
            rows[i] = i / v->row_len % DIM >= DIM / 2 ? rows[i - DIM / 2 * v->row_len] * 0.5f : rows[i];
    }
    run(&t, &floats, &plain);
    const double other = error_of(&t, &turbo, &plain);
    double error[2];
    for (int k = 0; k < 2; k++) {
        pare_kv_form form = form_of("klt2.5", "klt2.5");
        t.b->slice_tokens = k == 0 ? LEN : 24;
        CHECK_OK(pare_kv_calibrate(&c, &t.text, &err), &err);
        CHECK_OK(pare_kv_calibration_apply(c, &form, &err), &err);
        error[k] = error_of(&t, &form, &plain);
        pare_kv_calibration_close(c);
    }
    print_message("turbo3 %.5f, klt2.5 %.5f, %.5f\n", other, error[0], error[1]);
    CHECK(error[0] < 0.6 * other);
    CHECK(fabs(error[1] / error[0] - 1) < 0.05);
    close_toy(&t);
}

static void what_cannot_be_calibrated_is_said(void **state)
{
    (void)state;
    pare_kv_form form = form_of("q8_0", "klt2");
    pare_kv_calibration *c = NULL;
    fixture t;
    open_toy(&t);
    CHECK(pare_kv_wants_calibration(&form) && !pare_kv_wants_calibration(&(pare_kv_form){0}));
    CHECK(pare_kv_check(&form, &t.m, &err) == PARE_ERR_USAGE && strstr(err.text, "calibrated") != NULL);
    form.calibrates = true; /* checked for all else, and then kept without */
    CHECK_OK(pare_kv_check(&form, &t.m, &err), &err);
    pare_forward *f = NULL;
    CHECK_OK(pare_forward_open(&f, &t.m, t.b, LEN, 1, &err), &err);
    CHECK(pare_forward_keep(f, &form, &err) == PARE_ERR_USAGE && strstr(err.text, "klt2") != NULL);
    pare_forward_close(f);
    t.text.n = LEN - 1;
    CHECK(pare_kv_calibrate(&c, &t.text, &err) == PARE_ERR_USAGE && c == NULL);
    t.text.n = LEN;
    t.m.hp.both_ways = true;
    CHECK(pare_kv_calibrate(&c, &t.text, &err) == PARE_ERR_UNSUPPORTED && c == NULL);
    close_toy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_of_keys_before_rope_and_of_what_errors_cost),
        cmocka_unit_test(metrics_are_what_errors_cost),
        cmocka_unit_test(what_a_text_shows_is_not_kept_again),
        cmocka_unit_test(what_cannot_be_calibrated_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
