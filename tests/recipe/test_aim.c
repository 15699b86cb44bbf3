/* What matrices aim at, against normal equations solved here. */
#include "check.h"

#include "core/threads.h"
#include "recipe/aim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 37, ROWS = 21, TOKENS = 400 };

/* What the formula in docs/methods/SEQUENTIAL.md says, with half of it taken and 0.01 of the mean on the diagonal. */
typedef struct text {
    double inputs[TOKENS][N], copy[TOKENS][N], stream[TOKENS][ROWS];
} text;

static double next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 33) / 4294967296.0 - 0.25;
}

static void make_text(text *t)
{
    uint64_t state = 7;
    for (int k = 0; k < TOKENS; k++) {
        for (int i = 0; i < N; i++) {
            t->inputs[k][i] = next(&state) * (1 + i % 5);
            t->copy[k][i] = t->inputs[k][i] * 0.8 + (i > 0 ? 0.3 * t->inputs[k][i - 1] : 0) + 0.2 * next(&state);
        }
        for (int i = 0; i < ROWS; i++)
            t->stream[k][i] = 0.5 * t->copy[k][i] - 0.1 * t->copy[k][(2 * i + 3) % N];
    }
}

static double *zeros(size_t n)
{
    double *x = check_malloc(n * sizeof *x);
    memset(x, 0, n * sizeof *x);
    return x;
}

static pare_prefix_sums sums_of(const text *t, bool stream)
{
    pare_prefix_sums s = {.count = TOKENS,
                          .own = zeros((size_t)N * N),
                          .cross = zeros((size_t)N * N),
                          .stream = stream ? zeros((size_t)ROWS * N) : NULL};
    for (int k = 0; k < TOKENS; k++)
        for (int j = 0; j < N; j++) {
            for (int i = 0; i < N; i++) {
                if (j <= i)
                    s.own[i * N + j] += t->copy[k][i] * t->copy[k][j];
                s.cross[i * N + j] += (t->inputs[k][i] - t->copy[k][i]) * t->copy[k][j];
            }
            for (int i = 0; i < ROWS && stream; i++)
                s.stream[i * N + j] += t->stream[k][i] * t->copy[k][j];
        }
    return s;
}

static void free_sums(pare_prefix_sums *s)
{
    free(s->own);
    free(s->cross);
    free(s->stream);
}

/* x A = b for A = E[x^ x^^T] + damping, by elimination. */
static void solve(const text *t, double *b)
{
    static double a[N][N + 1];
    double mean = 0;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = 0;
            for (int k = 0; k < TOKENS; k++)
                a[i][j] += t->copy[k][i] * t->copy[k][j] / TOKENS;
            mean += i == j ? a[i][j] / N : 0;
        }
    for (int i = 0; i < N; i++) {
        a[i][i] += 0.01 * mean;
        a[i][N] = b[i];
    }
    for (int p = 0; p < N; p++)
        for (int i = 0; i < N; i++) {
            double times = i == p ? 0 : a[i][p] / a[p][p];
            for (int j = p; j <= N && i != p; j++)
                a[i][j] -= times * a[p][j];
        }
    for (int i = 0; i < N; i++)
        b[i] = a[i][N] / a[i][i];
}

/* Row r of W~ for the row w of W. */
static void expected(const text *t, const float *w, int r, bool stream, double *out)
{
    double b[N] = {0};
    for (int k = 0; k < TOKENS; k++) {
        double wrong = stream ? t->stream[k][r] : 0;
        for (int i = 0; i < N; i++)
            wrong += (double)w[i] * (t->inputs[k][i] - t->copy[k][i]);
        for (int j = 0; j < N; j++)
            b[j] += wrong * t->copy[k][j] / TOKENS;
    }
    solve(t, b);
    for (int i = 0; i < N; i++)
        out[i] = (double)w[i] + 0.5 * b[i];
}

static void fill(float *x)
{
    uint64_t state = 11;
    for (int i = 0; i < ROWS * N; i++)
        x[i] = (float)next(&state);
}

static void rows_solve_the_normal_equations(void **state)
{
    (void)state;
    static text t;
    make_text(&t);
    for (int stream = 0; stream < 2; stream++) {
        float w[ROWS * N], x[ROWS * N], part[ROWS * N];
        double want[N];
        pare_error err = {0};
        pare_aim a;
        pare_prefix_sums s = sums_of(&t, stream);
        fill(w);
        memcpy(x, w, sizeof x);
        memcpy(part, w, sizeof part);
        CHECK_OK(pare_aim_open(&a, &s, N, ROWS, "w", &err), &err);
        CHECK_OK(pare_aim_rows(&a, 0, ROWS, x, &err), &err);
        for (int r = 0; r < ROWS; r++) {
            expected(&t, w + r * N, r, stream, want);
            for (int i = 0; i < N; i++)
                CHECK(fabs((double)x[r * N + i] - want[i]) < 1e-5);
        }
        CHECK_OK(pare_aim_rows(&a, 5, 3, part + 5 * N, &err), &err); /* the same in other pieces */
        CHECK(memcmp(part + 5 * N, x + 5 * N, 3 * N * sizeof *x) == 0);
        pare_aim_close(&a);
        free_sums(&s);
    }
}

/* A copy with the same inputs: the weights themselves. */
static void nothing_wrong_is_nothing_to_take_back(void **state)
{
    (void)state;
    static text t;
    float w[ROWS * N], x[ROWS * N];
    pare_error err = {0};
    pare_aim a;
    make_text(&t);
    memcpy(t.copy, t.inputs, sizeof t.copy);
    memset(t.stream, 0, sizeof t.stream);
    pare_prefix_sums s = sums_of(&t, true);
    fill(w);
    memcpy(x, w, sizeof x);
    CHECK_OK(pare_aim_open(&a, &s, N, ROWS, "w", &err), &err);
    CHECK_OK(pare_aim_rows(&a, 0, ROWS, x, &err), &err);
    CHECK(memcmp(w, x, sizeof x) == 0);
    pare_aim_close(&a);
    free_sums(&s);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    static text t;
    static const int threads[] = {1, 2, 5};
    pare_aim a[3];
    make_text(&t);
    for (int i = 0; i < 3; i++) {
        pare_error err = {0};
        pare_prefix_sums s = sums_of(&t, true);
        pare_set_threads(threads[i]);
        CHECK_OK(pare_aim_open(&a[i], &s, N, ROWS, "w", &err), &err);
        CHECK(memcmp(a[i].turn, a[0].turn, (size_t)N * N * sizeof(float)) == 0);
        CHECK(memcmp(a[i].shift, a[0].shift, (size_t)ROWS * N * sizeof(float)) == 0);
        free_sums(&s);
    }
    pare_set_threads(0);
    for (int i = 0; i < 3; i++)
        pare_aim_close(&a[i]);
}

static void odd_sums_are_refused(void **state)
{
    (void)state;
    static text t;
    make_text(&t);
    for (int i = 0; i < 4; i++) {
        pare_error err = {0};
        pare_aim a;
        pare_prefix_sums s = sums_of(&t, true);
        double *at[] = {&s.own[5 * N + 2], &s.cross[3], &s.stream[N + 1], &s.own[0]};
        *at[i] = i < 3 ? (double)NAN : -1e9;
        CHECK(pare_aim_open(&a, &s, N, ROWS, "blk.0.w", &err) == PARE_ERR_NUMBER);
        CHECK(strstr(err.text, "blk.0.w") != NULL);
        pare_aim_close(&a);
        free_sums(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_solve_the_normal_equations),
        cmocka_unit_test(nothing_wrong_is_nothing_to_take_back),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(odd_sums_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
