/* The quadratic form against sums in double taken here: its order, its factor, what it does with odd statistics. */
#include "check.h"

#include "core/bytes.h"
#include "core/threads.h"
#include "quant/form.h"
#include "quant/path.h"
#include "quant/rows.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 200 };

static uint8_t bytes[MAX_N * (MAX_N + 1) / 2 * 4];

static size_t place(size_t i, size_t j)
{
    return i >= j ? 4 * (i * (i + 1) / 2 + j) : place(j, i);
}

static double value(size_t i, size_t j)
{
    return (double)pare_load_f32le(bytes + place(i, j));
}

static void set_value(size_t i, size_t j, float v)
{
    pare_store_f32le(bytes + place(i, j), v);
}

static pare_gram gram_of(size_t n, double count)
{
    return (pare_gram){.name = "blk.0.x.weight", .n_columns = n, .count = count, .lower = bytes};
}

/* Sums over `count` tokens of inputs of which neighbours go together, of many sizes; every fifth pair of columns has
 * equally large inputs, and where dead is told some have none. */
static pare_gram make_gram(size_t n, int count, bool dead)
{
    static double h[MAX_N * MAX_N];
    uint32_t seed = (uint32_t)n;
    memset(h, 0, sizeof h);
    for (int t = 0; t < count; t++) {
        double x[MAX_N], last = 0;
        for (size_t i = 0; i < n; i++) {
            last = 0.8 * last + (double)unit_random(&seed) - 0.4;
            x[i] = dead && i % 7 == 3 ? 0 : last * (1 + (double)(i * 13 % 29) / 8);
            x[i] = i % 5 == 2 ? -x[i - 1] : x[i];
        }
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j <= i; j++)
                h[i * n + j] += x[i] * x[j];
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            set_value(i, j, (float)h[i * n + j]);
    return gram_of(n, count);
}

/* The ordered matrix with its damping, by positions; least: of the diagonal, for columns without inputs. */
static double expected(const pare_form *f, double count, size_t i, size_t j, double mean, double least)
{
    double v = value(f->order[i], f->order[j]) / count;
    return i != j ? v : (v == 0 ? least : v) + f->damping * mean;
}

static void check_order(const pare_form *f)
{
    bool seen[MAX_N] = {false};
    for (size_t i = 0; i < f->n; i++) {
        CHECK(f->order[i] < f->n && !seen[f->order[i]]);
        seen[f->order[i]] = true;
        if (i == 0)
            continue;
        double a = value(f->order[i - 1], f->order[i - 1]), b = value(f->order[i], f->order[i]);
        CHECK(a < b || (a == b && f->order[i - 1] > f->order[i])); /* of equal ones the first is rounded first */
    }
}

/* L D L^T, D found on the way, is the matrix again. */
static void check_form(const pare_form *f, double count)
{
    static double d[MAX_N], h[MAX_N * MAX_N];
    double mean = 0, least = HUGE_VAL;
    size_t n = f->n;
    for (size_t i = 0; i < n; i++) {
        double v = value(i, i) / count;
        mean += v / (double)n;
        least = v > 0 && v < least ? v : least;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            h[i * n + j] = expected(f, count, i, j, mean, least);
            CHECK(fabs((double)f->h[i * n + j] - h[i * n + j]) <= 2e-7 * fabs(h[i * n + j]));
        }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0;
            for (size_t k = 0; k < j; k++)
                sum += (double)f->lower[i * n + k] * d[k] * (double)f->lower[j * n + k];
            if (i == j)
                d[i] = h[i * n + i] - sum;
            CHECK(d[j] > 0);
            if (i != j)
                CHECK(fabs((double)f->lower[i * n + j] * d[j] + sum - h[i * n + j]) <=
                      1e-6 * sqrt(h[i * n + i] * h[j * n + j]));
        }
}

static void the_factor_makes_the_matrix_again(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 3, 63, 64, 65, 128, 200};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int dead = 0; dead < 2; dead++) {
            pare_form f;
            pare_error err = {0};
            pare_gram g = make_gram(sizes[s], 300, dead != 0 && sizes[s] > 3);
            CHECK_OK(pare_form_open(&f, &g, "test", 1, 0.01, &err), &err);
            CHECK(f.n == sizes[s] && f.damping == 0.01);
            check_order(&f);
            check_form(&f, 300);
            pare_form_close(&f);
            CHECK(f.order == NULL && f.h == NULL && f.lower == NULL);
            pare_form_close(&f);
        }
}

/* b times c, [8, 8] each */
static void multiply(const double *b, const double *c, double *out)
{
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) {
            out[8 * i + j] = 0;
            for (int k = 0; k < 8; k++)
                out[8 * i + j] += b[8 * i + k] * c[8 * k + j];
        }
}

/* d: the matrix that m, scaled, and the inverse are of; the halves fit both. */
static void check_square(const pare_form_square *s, double *d)
{
    double inverse[64], unit[64], mean = 0;
    for (int i = 0; i < 64; i++) {
        d[i] = (double)s->m[i];
        inverse[i] = (double)s->inverse[i];
        CHECK(s->m[i] == s->m[i % 8 * 8 + i / 8]);
    }
    multiply(d, inverse, unit);
    double scale = 1 / unit[0];
    for (int i = 0; i < 64; i++) {
        CHECK(fabs(unit[i] * scale - (i % 9 == 0)) <= 1e-4);
        mean += i % 9 == 0 ? d[i] / 8 : 0;
        d[i] *= scale;
    }
    CHECK(fabs(mean - 1) <= 1e-6);
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 16; i++) {
            double sum = 0;
            for (int k = 0; k < 4; k++)
                sum += (double)s->half[h][i / 4 * 4 + k] * inverse[(4 * h + k) * 8 + 4 * h + i % 4] * scale;
            CHECK(fabs(sum - (i % 5 == 0)) <= 1e-4);
        }
}

static double unit_size(const uint32_t *order)
{
    double sum = 0;
    for (int i = 0; i < 8; i++) {
        CHECK(order[i] == order[0] + (uint32_t)i && order[0] % 8 == 0);
        sum += value(order[i], order[i]);
    }
    return sum;
}

/* L D L^T with D of squares is the matrix, whose own squares are those of `again`. */
static void units_make_the_matrix_again(void **state)
{
    (void)state;
    static double l[MAX_N * MAX_N], ld[MAX_N * MAX_N];
    pare_form f;
    pare_error err = {0};
    size_t n = 200;
    pare_gram g = make_gram(n, 300, true);
    CHECK_OK(pare_form_open(&f, &g, "test", PARE_FORM_UNIT, 0.01, &err), &err);
    CHECK(f.unit == PARE_FORM_UNIT);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            l[i * n + j] = i / 8 > j / 8 ? (double)f.lower[i * n + j] : i == j;
    for (size_t k = 0; k < n; k += 8) {
        double d[64];
        CHECK(k == 0 || unit_size(f.order + k - 8) < unit_size(f.order + k));
        check_square(&f.again[k / 8], d);
        for (size_t i = 0; i < 64; i++)
            CHECK(fabs(d[i] - (double)f.h[(k + i / 8) * n + k + i % 8]) <= 1e-4 * fabs(d[0]));
        check_square(&f.first[k / 8], d);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < 8; j++) {
                ld[i * n + k + j] = 0;
                for (size_t m = 0; m < 8; m++)
                    ld[i * n + k + j] += l[i * n + k + m] * d[8 * m + j];
            }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t k = 0; k < n; k++)
                sum += ld[i * n + k] * l[j * n + k];
            CHECK(fabs(sum - (double)f.h[i * n + j]) <= 1e-4 * sqrt((double)f.h[i * n + i] * (double)f.h[j * n + j]));
        }
    pare_form_close(&f);
    CHECK(f.first == NULL && f.again == NULL);
    g.n_columns = 199;
    CHECK(pare_form_open(&f, &g, "some.file", PARE_FORM_UNIT, 0.01, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "some.file: tensor 'blk.0.x.weight': 199 columns are no units of 8") != NULL);
}

static void copy_form(const pare_form *f, float *out)
{
    size_t n = f->n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            *out++ = i > j ? f->lower[i * n + j] : f->h[i * n + j];
}

static void paths_and_threads_do_not_matter(void **state)
{
    (void)state;
    static const int threads[] = {1, 2, 7};
    static float first[MAX_N * MAX_N], other[MAX_N * MAX_N];
    pare_path best = pare_path_current();
    pare_gram g = make_gram(MAX_N, 250, true);
    for (int p = 0; p < PARE_PATH_COUNT; p++)
        for (int t = 0; t < 3; t++) {
            pare_form f;
            pare_error err = {0};
            if (!pare_path_available((pare_path)p))
                continue;
            pare_path_use((pare_path)p);
            pare_set_threads(threads[t]);
            CHECK_OK(pare_form_open(&f, &g, "test", 1, 0.03, &err), &err);
            copy_form(&f, p == 0 && t == 0 ? first : other);
            CHECK((p == 0 && t == 0) || memcmp(first, other, sizeof first) == 0);
            pare_form_close(&f);
        }
    pare_path_use(best);
    pare_set_threads(0);
}

/* Two columns that go together more than they can: more is added to the diagonal until there is a factor. */
static void damping_grows_until_there_is_a_factor(void **state)
{
    (void)state;
    static const struct {
        float product;
        double damping, used; /* used 0: none helps */
    } cases[] = {{0.5f, 0.001, 0.001}, {1, 0.03, 0.03}, {1.05f, 0.001, 0.1}, {1.05f, 0.03, 0.3}, {1.2f, 0.03, 0.3},
                 {1.2f, 0.0003, 0.3},  {1.5f, 0.03, 0}, {2, 0.5, 0},         {1.05f, 0, 0},      {0.5f, 0, HUGE_VAL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_form f;
        pare_error err = {0};
        set_value(0, 0, 4);
        set_value(1, 0, 4 * cases[i].product);
        set_value(1, 1, 4);
        pare_gram g = gram_of(2, 4);
        pare_status st = pare_form_open(&f, &g, "some.file", 1, cases[i].damping, &err);
        if (cases[i].used > 0) {
            double used = isinf(cases[i].used) ? 0 : cases[i].used;
            CHECK_OK(st, &err);
            CHECK(fabs(f.damping - used) <= 1e-9);
            CHECK(fabs((double)f.h[0] - 1 - used) <= 1e-6 &&
                  fabs((double)f.lower[2] * (1 + used) - (double)cases[i].product) <= 1e-6);
            pare_form_close(&f);
            continue;
        }
        CHECK(st == PARE_ERR_RANGE && f.h == NULL && f.order == NULL);
        CHECK(strstr(err.text, "some.file: tensor 'blk.0.x.weight'") != NULL &&
              strstr(err.text, "no Cholesky factor") != NULL);
    }
}

/* n columns, right but for one value. */
static void refuses(size_t n, size_t i, size_t j, float v, const char *part)
{
    pare_form f;
    pare_error err = {0};
    pare_gram g = make_gram(n, 100, false);
    set_value(i, j, v);
    CHECK(pare_form_open(&f, &g, "some.file", 1, 0.03, &err) == PARE_ERR_NUMBER);
    if (strstr(err.text, part) == NULL || strstr(err.text, "some.file: tensor 'blk.0.x.weight'") == NULL)
        fail_msg("%s", err.text);
    CHECK(f.order == NULL && f.h == NULL && f.lower == NULL);
}

static void odd_statistics_are_errors(void **state)
{
    (void)state;
    refuses(1, 0, 0, NAN, "columns 0 and 0 is nan; it must be finite and not negative");
    refuses(70, 65, 65, NAN, "columns 65 and 65 is nan; it must be finite and not negative");
    refuses(70, 69, 69, INFINITY, "columns 69 and 69 is inf");
    refuses(70, 3, 3, -1, "columns 3 and 3 is -0.01; it must be finite and not negative");
    refuses(1, 0, 0, -FLT_MAX, "columns 0 and 0 is -3.4");
    refuses(70, 66, 2, NAN, "columns 66 and 2 is nan; it must be finite");
    refuses(70, 66, 2, -INFINITY, "columns 66 and 2 is -inf; it must be finite");
    pare_form f;
    pare_error err = {0};
    pare_gram g = gram_of(9, 100);
    memset(bytes, 0, sizeof bytes);
    CHECK(pare_form_open(&f, &g, "some.file", 1, 0.03, &err) == PARE_ERR_RANGE);
    CHECK(strstr(err.text, "some.file: tensor 'blk.0.x.weight': all products of its inputs are zero") != NULL);
    g.n_columns = (uint64_t)1 << 40;
    CHECK(pare_form_open(&f, &g, "some.file", 1, 0.03, &err) == PARE_ERR_MEMORY);
    CHECK(strstr(err.text, "1099511627776 columns") != NULL && f.order == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_factor_makes_the_matrix_again), cmocka_unit_test(units_make_the_matrix_again),
        cmocka_unit_test(paths_and_threads_do_not_matter),   cmocka_unit_test(damping_grows_until_there_is_a_factor),
        cmocka_unit_test(odd_statistics_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
