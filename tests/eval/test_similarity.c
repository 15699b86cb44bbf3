#include "check.h"
#include "eval/similarity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void cosines_and_correlations(void **state)
{
    (void)state;
    const float x[] = {1, 2, 3}, twice[] = {2, 4, 6}, across[] = {3, 0, -1}, none[] = {0, 0, 0};
    CHECK(pare_cosine(x, twice, 3) == 1 && fabs(pare_cosine(x, across, 3)) < 1e-15);
    CHECK(isnan(pare_cosine(x, none, 3)));
    const double a[] = {1, 2, 3, 4, 5}, b[] = {2, 4, 6, 8, 10}, down[] = {5, 4, 3, 2, 1}, flat[] = {1, 1, 1, 1, 1};
    CHECK(fabs(pare_pearson(a, b, 5) - 1) < 1e-15 && fabs(pare_pearson(a, down, 5) + 1) < 1e-15);
    CHECK(isnan(pare_pearson(a, flat, 5)) && isnan(pare_pearson(a, b, 1)));
}

/* Values that share ranks: ranks 0 1.5 1.5 3 4.5 4.5 and 3 0 1.5 1.5 5 4 */
static void ranks_are_shared(void **state)
{
    (void)state;
    pare_error err = {0};
    const double x[] = {1, 2, 2, 4, 9, 9}, y[] = {3, 1, 2, 2, 8, 7}, cubes[] = {1, 8, 8, 64, 729, 729};
    double r = 0;
    CHECK_OK(pare_spearman(x, y, 6, &r, &err), &err);
    CHECK(fabs(r - 0.5821543981758688) < 1e-12);
    CHECK_OK(pare_spearman(x, cubes, 6, &r, &err), &err);
    CHECK(fabs(r - 1) < 1e-12);
}

static void measures_drift(void **state)
{
    (void)state;
    pare_error err = {0};
    /* four directions in the plane, and the same turned by 0.1 radians but for text 2, which is turned by 0.5 */
    const double angle[] = {0, 0.4, 1.1, 2.5};
    float before[8], after[8], wide[12];
    for (int i = 0; i < 4; i++) {
        double turned = angle[i] + (i == 2 ? 0.5 : 0.1);
        before[2 * i] = (float)cos(angle[i]), before[2 * i + 1] = (float)sin(angle[i]);
        after[2 * i] = (float)(3 * cos(turned)), after[2 * i + 1] = (float)(3 * sin(turned));
        wide[3 * i] = before[2 * i], wide[3 * i + 1] = before[2 * i + 1], wide[3 * i + 2] = 0;
    }
    const pare_text_pair pairs[] = {{0, 1, 5}, {0, 2, NAN}, {0, 3, 0}, {1, 2, 3}, {1, 3, 1}, {2, 3, 2}};
    const pare_vectors a = {before, 4, 2}, b = {after, 4, 2}, c = {wide, 4, 3};
    pare_embedding_drift d;
    CHECK_OK(pare_embedding_drift_measure(&a, &b, pairs, 6, &d, &err), &err);
    CHECK(d.n_texts == 4 && d.n_pairs == 6 && d.n_scored == 5 && d.same_width);
    CHECK(fabs(d.cosine.value - (3 * cos(0.1) + cos(0.5)) / 4) < 1e-6 && fabs(d.cosine_min - cos(0.5)) < 1e-6);
    CHECK(d.worst_text == 2 && fabs(d.change_max - (cos(1.1) - cos(1.5))) < 1e-6 && d.worst_pair == 1);
    CHECK(d.spearman < 1 && d.spearman > 0 && d.pearson < 1 && d.reference_score_spearman > d.score_spearman);
    CHECK_OK(pare_embedding_drift_measure(&a, &c, pairs, 6, &d, &err), &err);
    CHECK(!d.same_width && isnan(d.cosine.value) && fabs(d.spearman - 1) < 1e-12 && d.change_max < 1e-6);
    memset(after + 4, 0, 2 * sizeof *after);
    CHECK(pare_embedding_drift_measure(&a, &b, pairs, 6, &d, &err) == PARE_ERR_NUMBER);
    CHECK(strstr(err.text, "text 2") != NULL && strstr(err.text, "model") != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cosines_and_correlations),
        cmocka_unit_test(ranks_are_shared),
        cmocka_unit_test(measures_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
