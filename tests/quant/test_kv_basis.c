/* Bases of calibrated codecs: coordinates that know nothing of each other, bits where they take off most, and the cost
 * that comes of it. */
#include "check.h"
#include "quant/kv_basis.h"
#include "quant/kv_unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 32, N = 4096 };

static pare_error err;

/* A normal number, about: twelve uniform ones. */
static double normal(uint64_t seed, uint64_t i)
{
    double sum = -6;
    for (uint64_t k = 0; k < 12; k++)
        sum += (double)(pare_random_bits(seed, 12 * i + k) >> 11) * 0x1p-53;
    return sum;
}

/* Vectors mean + A z, A of columns that shrink, and a metric B B^T, both mixed. */
typedef struct sample {
    float x[N][DIM];
    double sum[DIM], square[DIM * DIM], metric[DIM * DIM];
    pare_kv_moments of;
} sample;

static void draw(sample *s, double shrink)
{
    double a[DIM][DIM], b[DIM][DIM];
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < DIM; i++)
        for (size_t j = 0; j < DIM; j++) {
            a[i][j] = normal(1, i * DIM + j) * pow(shrink, (double)j);
            b[i][j] = normal(2, i * DIM + j) * pow(0.9, (double)j);
        }
    for (size_t i = 0; i < DIM; i++)
        for (size_t j = 0; j < DIM; j++)
            for (size_t k = 0; k < DIM; k++)
                s->metric[i * DIM + j] += b[i][k] * b[j][k];
    for (size_t t = 0; t < N; t++) {
        for (size_t i = 0; i < DIM; i++) {
            double v = i == 3 ? 25 : -1;
            for (size_t k = 0; k < DIM; k++)
                v += a[i][k] * normal(3, t * DIM + k);
            s->x[t][i] = (float)v;
        }
        for (size_t i = 0; i < DIM; i++) {
            s->sum[i] += (double)s->x[t][i];
            for (size_t j = 0; j < DIM; j++)
                s->square[i * DIM + j] += (double)s->x[t][i] * (double)s->x[t][j];
        }
    }
    s->of = (pare_kv_moments){.sum = s->sum, .square = s->square, .metric = s->metric, .n = N, .dim = DIM};
}

/* e^T M e */
static double cost(const sample *s, const double *e)
{
    double sum = 0;
    for (size_t i = 0; i < DIM; i++)
        for (size_t j = 0; j < DIM; j++)
            sum += e[i] * s->metric[i * DIM + j] * e[j];
    return sum;
}

static double cost_of_row(const sample *s, const float *row)
{
    double e[DIM];
    for (size_t i = 0; i < DIM; i++)
        e[i] = (double)row[i];
    return cost(s, e);
}

/* Mean cost of what a codec loses of the sample. */
static double loss(const sample *s, const pare_kv_codec *c)
{
    uint8_t *bytes = check_malloc(N * pare_kv_unit_bytes(c, DIM));
    float *y = check_malloc(sizeof s->x);
    double sum = 0;
    CHECK_OK(pare_kv_encode(c, s->x[0], N, 1, DIM, bytes, &err), &err);
    pare_kv_decode(c, bytes, N, 1, DIM, y);
    for (size_t t = 0; t < N; t++) {
        double e[DIM];
        for (size_t i = 0; i < DIM; i++)
            e[i] = (double)y[t * DIM + i] - (double)s->x[t][i];
        sum += cost(s, e);
    }
    free(bytes);
    free(y);
    return sum / N;
}

static pare_kv_codec with_basis(const sample *s, const char *name, float *basis)
{
    pare_kv_codec c = *pare_kv_codec_find(name, PARE_KV_VALUES);
    CHECK_OK(pare_kv_basis_make(&s->of, &c, basis, &err), &err);
    c.basis = basis;
    return c;
}

static void coordinates_are_uncorrelated_and_lead_back(void **state)
{
    (void)state;
    static sample s;
    static float basis[DIM * (2 * DIM + 3)];
    double c[DIM][DIM] = {{0}}, worst = 0;
    draw(&s, 0.85);
    with_basis(&s, "klt4", basis);
    for (size_t i = 0; i < DIM; i++)
        CHECK(fabs((double)basis[i] - s.sum[i] / N) < 1e-5);
    for (size_t t = 0; t < N; t++) {
        double y[DIM], back[DIM];
        for (uint32_t i = 0; i < DIM; i++) {
            y[i] = 0;
            back[i] = (double)basis[i];
            for (size_t e = 0; e < DIM; e++)
                y[i] += (double)pare_kv_basis_row(basis, DIM, i)[e] * ((double)s.x[t][e] - (double)basis[e]);
        }
        for (uint32_t i = 0; i < DIM; i++)
            for (size_t e = 0; e < DIM; e++) {
                back[e] += y[i] * (double)pare_kv_basis_column(basis, DIM, i)[e];
                c[i][e] += y[i] * y[e] / N;
            }
        for (size_t e = 0; e < DIM; e++)
            CHECK(fabs(back[e] - (double)s.x[t][e]) < 1e-4 * 30);
    }
    for (size_t i = 0; i < DIM; i++)
        for (size_t j = 0; j < DIM; j++)
            worst = fmax(worst, fabs(c[i][j] - (i == j)));
    CHECK(worst < 1e-3);
}

/* Errors of single coordinates cost v_i, and nothing together; bits are those of least cost. */
static void bits_go_where_they_take_off_most(void **state)
{
    (void)state;
    static const double d[] = {1,          0.363380228,   0.117481848,   0.0345477608,  0.00950100801, 0.002504668,
                               0.00064424, 0.00016347823, 4.11850829e-5, 1.03368311e-5, 2.58937584e-6};
    static const char *const names[] = {"klt1.5", "klt2.5", "klt4"};
    static sample s;
    static float basis[DIM * (2 * DIM + 3)];
    draw(&s, 0.8);
    for (size_t n = 0; n < 3; n++) {
        const pare_kv_codec c = with_basis(&s, names[n], basis);
        const float *bits = basis + (1 + 2 * DIM) * DIM;
        double v[DIM], sum = 0, want = 0, both[DIM];
        for (uint32_t i = 0; i < DIM; i++) {
            v[i] = cost_of_row(&s, pare_kv_basis_column(basis, DIM, i));
            CHECK(i == 0 || (v[i] <= v[i - 1] * (1 + 1e-4) && bits[i] <= bits[i - 1]));
            sum += (double)bits[i];
            want += v[i] * d[(int)bits[i]];
        }
        for (uint32_t i = 0; i < DIM; i++)
            CHECK(fabs((double)pare_kv_basis_cost(basis, DIM, i) - (bits[i] > 0 ? v[i] / v[0] : 0)) < 1e-4);
        assert_int_equal((int)sum, (int)(8 * pare_kv_unit_bytes(&c, DIM) - 16));
        for (size_t e = 0; e < DIM; e++)
            both[e] = (double)pare_kv_basis_column(basis, DIM, 0)[e] + (double)pare_kv_basis_column(basis, DIM, 5)[e];
        CHECK(fabs(cost(&s, both) - v[0] - v[5]) < 1e-3 * v[5]);
        for (uint32_t i = 0; i < DIM; i++) /* no bit is better at another place */
            for (uint32_t k = 0; k < DIM; k++)
                if (i != k && bits[i] > 0 && bits[k] < 10)
                    CHECK(v[i] * (d[(int)bits[i] - 1] - d[(int)bits[i]]) >=
                          v[k] * (d[(int)bits[k]] - d[(int)bits[k] + 1]) * (1 - 1e-4));
        const double got = loss(&s, &c);
        print_message("%s: cost %.5g, by variances %.5g\n", names[n], got, want);
        CHECK(got < 1.25 * want && got > 0.75 * want);
    }
}

/* A vector that is nearly one coordinate, ten times as far out as others are: its length is not the root of its mean
 * square, whose levels would end before it. */
static void a_vector_of_one_coordinate_is_not_cut(void **state)
{
    (void)state;
    static sample s;
    static float basis[DIM * (2 * DIM + 3)];
    draw(&s, 0.97);
    const pare_kv_codec c = with_basis(&s, "klt2.5", basis);
    for (uint32_t i = 0; i < 3; i++) {
        uint8_t bytes[2 * DIM];
        float x[DIM], y[DIM];
        double error[DIM], all[DIM];
        for (size_t e = 0; e < DIM; e++)
            x[e] = basis[e] + 10 * pare_kv_basis_column(basis, DIM, i)[e];
        CHECK_OK(pare_kv_encode(&c, x, 1, 1, DIM, bytes, &err), &err);
        pare_kv_decode(&c, bytes, 1, 1, DIM, y);
        for (size_t e = 0; e < DIM; e++) {
            error[e] = (double)y[e] - (double)x[e];
            all[e] = (double)x[e] - (double)basis[e];
        }
        CHECK(cost(&s, error) < 0.015 * cost(&s, all)); /* 0.022 and more by that root */
    }
}

/* What it is for: vectors of few directions, against codecs of more bits that know nothing of them. */
static void few_directions_cost_less_than_in_any_other_codec(void **state)
{
    (void)state;
    static sample s;
    static float basis[DIM * (2 * DIM + 3)];
    draw(&s, 0.7);
    const pare_kv_codec c = with_basis(&s, "klt2.5", basis);
    CHECK(loss(&s, &c) < 0.05 * loss(&s, pare_kv_codec_find("q4_0", PARE_KV_VALUES)));
    CHECK(loss(&s, &c) < 0.05 * loss(&s, pare_kv_codec_find("turbo4", PARE_KV_VALUES)));
}

static void little_is_enough_and_what_is_not_is_an_error(void **state)
{
    (void)state;
    static sample s;
    static float basis[DIM * (2 * DIM + 3)];
    const pare_kv_codec *c = pare_kv_codec_find("klt2", PARE_KV_KEYS);
    CHECK(!pare_kv_is_ready(c));
    draw(&s, 0.8);
    memset(s.metric, 0, sizeof s.metric); /* errors cost alike */
    pare_kv_codec plain = with_basis(&s, "klt3", basis);
    double error = loss(&s, &plain);
    CHECK(error == 0); /* of that cost; */
    for (size_t i = 0; i < DIM; i++)
        s.metric[i * DIM + i] = 1;
    CHECK(loss(&s, &plain) > 0 && loss(&s, &plain) < loss(&s, pare_kv_codec_find("turbo3", PARE_KV_VALUES)));
    for (size_t t = 0; t < N; t++) /* one direction: the others have no bits, and nothing is lost of them */
        for (size_t i = 0; i < DIM; i++)
            s.x[t][i] = (float)(i + 1) * (float)((int)(t % 7) - 3);
    memset(s.sum, 0, sizeof s.sum);
    for (size_t i = 0; i < DIM * DIM; i++)
        s.square[i] = 0;
    for (size_t t = 0; t < N; t++)
        for (size_t i = 0; i < DIM; i++) {
            s.sum[i] += (double)s.x[t][i];
            for (size_t j = 0; j < DIM; j++)
                s.square[i * DIM + j] += (double)s.x[t][i] * (double)s.x[t][j];
        }
    plain = with_basis(&s, "klt2", basis);
    double bits = 0, all = 0;
    for (size_t i = 0; i < DIM; i++)
        bits += (double)basis[(1 + 2 * DIM) * DIM + i];
    CHECK(bits == 10);
    for (size_t t = 0; t < N; t++)
        for (size_t i = 0; i < DIM; i++)
            all += (double)s.x[t][i] * (double)s.x[t][i] / N;
    CHECK(loss(&s, &plain) < 1e-4 * all);
    s.square[5] = NAN;
    CHECK(pare_kv_basis_make(&s.of, c, basis, &err) == PARE_ERR_NUMBER);
    s.square[5] = 0;
    s.of.n = 0;
    CHECK(pare_kv_basis_make(&s.of, c, basis, &err) == PARE_ERR_NUMBER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coordinates_are_uncorrelated_and_lead_back),
        cmocka_unit_test(bits_go_where_they_take_off_most),
        cmocka_unit_test(a_vector_of_one_coordinate_is_not_cut),
        cmocka_unit_test(few_directions_cost_less_than_in_any_other_codec),
        cmocka_unit_test(little_is_enough_and_what_is_not_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
