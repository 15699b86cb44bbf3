/* The search of units against all that a type can hold: every entry under every sign pattern. */
#include "check.h"

#include "core/bytes.h"
#include "quant/path.h"
#include "quant/path_table.h"
#include "quant/rows.h"
#include "quant/unit_search.h"

#include <math.h>
#include <string.h>

enum { UNIT = PARE_FORM_UNIT, LANES = 16, N_FORMS = 4 };

static const pare_grid_shape *shape;
static pare_unit_book book; /* of the shape */
static pare_form_square square;
static float target[UNIT * LANES], level[UNIT * LANES];
static float now[UNIT * LANES]; /* levels before: their shift stays where units have one together */

static double noise(uint32_t *seed)
{
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (double)unit_random(seed) - 0.5;
    return sum * 1.7;
}

/* A form of products of inputs that go together (0: not at all), made ready as those of real statistics are. */
static void make_square(uint32_t seed, double together)
{
    double h[UNIT * UNIT] = {0};
    uint8_t lower[UNIT * (UNIT + 1) / 2 * 4], *at = lower;
    pare_form f;
    pare_error err = {0};
    for (int t = 0; t < 40; t++) {
        double x[UNIT], common = noise(&seed);
        for (int i = 0; i < UNIT; i++)
            x[i] = (together * common + (1 - together) * noise(&seed)) * (1 + i * 5 % 8 / 4.0);
        for (int i = 0; i < UNIT * UNIT; i++)
            h[i] += together == 0 && i % 9 != 0 ? 0 : x[i / UNIT] * x[i % UNIT];
    }
    for (int i = 0; i < UNIT; i++)
        for (int j = 0; j <= i; j++, at += 4)
            pare_store_f32le(at, (float)h[i * UNIT + j]);
    const pare_gram g = {.name = "x", .n_columns = UNIT, .count = 40, .lower = lower};
    CHECK_OK(pare_form_open(&f, &g, "test", UNIT, 0.01, &err), &err);
    square = f.again[0];
    pare_form_close(&f);
}

/* Targets as they come: about as large as the levels, some larger than all, some zero. */
static void make_targets(uint32_t seed)
{
    double size = book.shift != 0 ? 1 : (double)book.level[book.n_levels / 2];
    for (int l = 0; l < LANES; l++)
        for (int i = 0; i < UNIT; i++) {
            target[i * LANES + l] = l == 3 && i % 3 == 0 ? 0 : (float)(noise(&seed) * size * (l % 4 == 2 ? 5 : 1));
            now[i * LANES + l] = book.level[i % book.n_levels] + (l % 3 == 0 ? -book.shift : book.shift);
        }
}

static void search(float *found)
{
    memcpy(found, now, sizeof now);
    pare_path_now()->unit_search(&book, &square, target, found);
}

static double cost_of(const double *q, int lane)
{
    double sum = 0;
    for (int i = 0; i < UNIT; i++)
        for (int j = 0; j < UNIT; j++)
            sum += (q[i] - (double)target[i * LANES + lane]) * (double)square.m[i * UNIT + j] *
                   (q[j] - (double)target[j * LANES + lane]);
    return sum;
}

/* Whether the type can hold these levels in this lane. */
static bool is_allowed(const double *q, int lane)
{
    float plain[UNIT]; /* without signs or shift */
    int n_minus = 0;
    for (int i = 0; i < UNIT; i++) {
        plain[i] = (float)(book.shift != 0 ? rint(q[i]) : fabs(q[i]));
        n_minus += q[i] < (book.shift != 0 ? (double)plain[i] : 0);
        if (book.shift != 0 && fabs(q[i] - (double)plain[i]) != (double)book.shift)
            return false;
    }
    if (book.shift != 0 && n_minus % UNIT != 0)
        return false;
    if (book.one_shift && (n_minus > 0) != (now[lane] < rintf(now[lane])))
        return false;
    if (book.even && n_minus % 2 != 0)
        return false;
    for (int i = 0; i < UNIT; i += book.entry_len) {
        unsigned entry = shape->grid(pare_unit_book_find(&book, plain + i));
        for (int j = 0; j < book.entry_len; j++)
            if ((float)shape->level(entry, j) != plain[i + j])
                return false;
    }
    return true;
}

/* m = r^T r, r upper triangular. */
static void factor(double r[UNIT][UNIT])
{
    for (int i = 0; i < UNIT; i++)
        for (int j = i; j < UNIT; j++) {
            double sum = (double)square.m[i * UNIT + j];
            for (int k = 0; k < i; k++)
                sum -= r[k][i] * r[k][j];
            r[i][j] = i == j ? sqrt(sum) : sum / r[i][i];
        }
}

/* The least cost below `least` of levels that agree with q from weight i + 1 on, which cost `so_far`: all are tried
 * whose first terms do not cost as much already. */
static double least_cost(double r[UNIT][UNIT], double *q, int i, int lane, double so_far, double least)
{
    if (i < 0)
        return is_allowed(q, lane) ? so_far : least;
    double rest = 0;
    for (int j = i + 1; j < UNIT; j++)
        rest += r[i][j] * (q[j] - (double)target[j * LANES + lane]);
    for (int k = 0; k < 2 * book.n_levels; k++) {
        double plain = (double)book.level[k / 2], shift = (double)book.shift;
        q[i] = k % 2 == 0 ? plain + shift : shift != 0 ? plain - shift : -plain;
        double term = r[i][i] * (q[i] - (double)target[i * LANES + lane]) + rest, cost = so_far + term * term;
        if (cost < least)
            least = least_cost(r, q, i - 1, lane, cost, least);
    }
    return least;
}

/* What the levels of a lane cost; best: what the best ones would, or NULL. */
static double check_lane(int lane, double *best)
{
    double q[UNIT], other[UNIT], r[UNIT][UNIT] = {{0}};
    for (int i = 0; i < UNIT; i++)
        q[i] = (double)level[i * LANES + lane];
    CHECK(is_allowed(q, lane));
    double cost = cost_of(q, lane);
    if (best != NULL) {
        factor(r);
        *best = least_cost(r, other, UNIT - 1, lane, 0, cost);
        CHECK(*best > 0);
    }
    return cost;
}

/* Given all else that was chosen, no other entry is better. */
static void check_entries(int lane, double cost)
{
    for (int at = 0; at < UNIT; at += book.entry_len)
        for (int e = 0; e < book.first[book.n_heads]; e++) {
            double q[UNIT];
            for (int i = 0; i < UNIT; i++) {
                q[i] = (double)level[i * LANES + lane];
                double value =
                    i >= at && i < at + book.entry_len ? (double)book.value[e * book.entry_len + i - at] : NAN;
                if (!isnan(value))
                    q[i] = book.shift != 0 ? value + q[i] - rint(q[i]) : copysign(value, q[i]);
            }
            CHECK(cost_of(q, lane) >= cost - 1e-4 * cost);
        }
}

/* What the search leaves, in parts of the least that there is, in the mean over forms. */
static double check_shape(double together)
{
    double sum = 0;
    for (uint32_t n = 0; n < N_FORMS; n++) {
        make_square(n + 1, together);
        make_targets(n + 100);
        search(level);
        for (int l = 0; l < LANES; l++) {
            double least = 0, cost = check_lane(l, l % 4 == 2 ? NULL : &least); /* far targets: too much to try */
            check_entries(l, cost);
            sum += l % 4 == 2 ? 0 : cost / least;
        }
    }
    return sum / (N_FORMS * LANES * 3 / 4);
}

/* The best there is where columns have nothing to do with each other and any signs will do, and of entries with their
 * signs in them. */
static void the_search_finds_nearly_the_best(void **state)
{
    (void)state;
    static const double limits[] = {1.04, 1.04, 1.12};
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        if ((shape = pare_unit_shape((pare_type)t)) == NULL)
            continue;
        pare_unit_book_init(&book, shape);
        for (int i = 0; i < 3; i++) {
            bool exact = (i == 0 && !shape->even) || shape->shift != 0;
            double found = check_shape(i * 0.25), limit = exact ? 1 + 1e-5 : limits[i];
            if (!(found <= limit))
                fail_msg("%s, form %d: %.6f of the best", pare_type_get((pare_type)t)->name, i, found);
        }
    }
}

static void paths_do_not_matter(void **state)
{
    (void)state;
    static float first[UNIT * LANES];
    pare_path best = pare_path_current();
    for (int t = 0; t < PARE_TYPE_COUNT; t++) {
        if ((shape = pare_unit_shape((pare_type)t)) == NULL)
            continue;
        pare_unit_book_init(&book, shape);
        for (uint32_t n = 0; n < 40; n++) {
            make_square(n + 50, n % 4 * 0.2);
            make_targets(n + 500);
            for (int p = 0; p < PARE_PATH_COUNT; p++) {
                if (!pare_path_available((pare_path)p))
                    continue;
                pare_path_use((pare_path)p);
                search(p == PARE_PATH_PORTABLE ? first : level);
                CHECK(p == PARE_PATH_PORTABLE || memcmp(first, level, sizeof first) == 0);
            }
        }
    }
    pare_path_use(best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_search_finds_nearly_the_best),
        cmocka_unit_test(paths_do_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
