#include "check.h"

#include "eval/drift.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* 240 items in 12 groups of 20: 31 lost, 7 gained. */
static pare_pairs made_pairs(size_t per_group)
{
    pare_pairs p = {0};
    pare_error err = {0};
    for (size_t i = 0; i < 240; i++) {
        const bool reference = (i * 37) % 101 < 60;
        const size_t h = (i * 53) % 97;
        const bool model = h < 12 && !reference ? false : h < 20 ? !reference : reference;
        const pare_pair pair = {i, {reference ? 0 : 1, reference}, {model ? 0 : 1, model}, i / per_group};
        CHECK_OK(pare_pairs_add(&p, &pair, &err), &err);
    }
    return p;
}

/* scipy 1.17.1 (binomtest, t.ppf) and statsmodels 0.15.0 (OLS on a constant, cov_type "cluster" without its correction,
 * and "HC0"). */
static void measures_as_statsmodels(void **state)
{
    (void)state;
    pare_error err = {0};
    pare_drift d;
    pare_pairs p = made_pairs(20);
    CHECK_OK(pare_drift_measure(&p, &d, &err), &err);
    CHECK(d.n == 240 && d.n_groups == 12 && d.clustered);
    CHECK(d.lost == 31 && d.gained == 7 && d.both_right == 112 && d.both_wrong == 90 && d.moved == 0);
    CHECK(fabs(d.reference_accuracy - 143.0 / 240) < 1e-15 && fabs(d.accuracy - 119.0 / 240) < 1e-15);
    CHECK(fabs(d.agreement - 202.0 / 240) < 1e-15 && fabs(d.flip_rate - 38.0 / 240) < 1e-15);
    CHECK(fabs(d.difference.value + 0.1) < 1e-15 && fabs(d.difference.stderr_ - 0.018633899812498245) < 1e-12);
    CHECK(fabs(d.interval.lo + 0.141012936961943) < 1e-12 && fabs(d.interval.hi + 0.058987063038057) < 1e-12);
    CHECK(fabs(d.p / 0.00011616700794547796 - 1) < 1e-9 && fabs(d.detectable - 0.0719181633679714) < 1e-12);
    CHECK(d.verdict == PARE_DRIFT_LOSS);
    char text[256];
    CHECK(strstr(pare_drift_sentence(&d, text, sizeof text), "a loss of 10.00 points") != NULL);
    pare_pairs_close(&p);
    for (size_t per_group = 1; per_group <= 240; per_group += 239) { /* each its own group, one group of all */
        p = made_pairs(per_group);
        CHECK_OK(pare_drift_measure(&p, &d, &err), &err);
        CHECK(!d.clustered && fabs(d.difference.stderr_ - 0.02486072315029383) < 1e-12);
        CHECK(fabs(d.interval.hi + 0.1 - 1.9699394059169584 * d.difference.stderr_) < 1e-9);
        pare_pairs_close(&p);
    }
}

/* n items, of which `lost` and `gained` flip and `moved` go from one wrong answer to another. */
static pare_drift drift_of(size_t n, size_t lost, size_t gained, size_t moved, size_t per_group)
{
    pare_pairs p = {0};
    pare_error err = {0};
    pare_drift d;
    for (size_t i = 0; i < n; i++) {
        pare_answer before = {1, false}, after = {1, false};
        if (i < lost)
            before = (pare_answer){0, true};
        else if (i < lost + gained)
            after = (pare_answer){0, true};
        else if (i < lost + gained + moved)
            after.choice = 2;
        const pare_pair pair = {i, before, after, i / per_group};
        CHECK_OK(pare_pairs_add(&p, &pair, &err), &err);
    }
    CHECK_OK(pare_drift_measure(&p, &d, &err), &err);
    pare_pairs_close(&p);
    return d;
}

static void small_differences_are_not_resolved(void **state)
{
    (void)state;
    char text[256];
    pare_drift d = drift_of(1000, 60, 40, 0, 1); /* bound 2.8 sqrt(0.1 / 1000) */
    CHECK(d.verdict == PARE_DRIFT_NOT_RESOLVED);
    CHECK(strcmp(pare_drift_sentence(&d, text, sizeof text),
                 "not resolved: a change below 2.80 points cannot be told with 1000 items") == 0);
    d = drift_of(1000, 60, 36, 0, 1); /* p = 0.018, and still below the bound of 2.74 points */
    CHECK(d.p < 0.05 && d.verdict == PARE_DRIFT_NOT_RESOLVED);
    CHECK(drift_of(1000, 30, 70, 0, 1).verdict == PARE_DRIFT_GAIN);
    CHECK(drift_of(1000, 70, 30, 0, 1).verdict == PARE_DRIFT_LOSS);
    d = drift_of(1000, 0, 0, 17, 1);
    CHECK(d.moved == 17 && fabs(d.agreement - 0.983) < 1e-15 && d.flip_rate == 0 && d.p == 1);
    CHECK(d.detectable > 0.0048 && d.detectable < 0.0049 && d.verdict == PARE_DRIFT_NOT_RESOLVED); /* 3 in 1000 */
    CHECK(fabs(d.interval.lo + 0.003) < 1e-15 && fabs(d.interval.hi - 0.003) < 1e-15);
    d = drift_of(1000, 40, 0, 0, 500); /* all of it in one of two groups */
    CHECK(d.clustered && d.verdict == PARE_DRIFT_NOT_RESOLVED);
    CHECK(strstr(pare_drift_sentence(&d, text, sizeof text), "2 groups") != NULL);
    d = drift_of(6, 6, 0, 0, 1); /* all alike: the error is 0 */
    CHECK(d.verdict == PARE_DRIFT_NOT_RESOLVED && d.interval.lo == -1 && fabs(d.interval.hi + 0.5) < 1e-15);
    CHECK(strstr(pare_drift_sentence(&d, text, sizeof text), "6 items with these flips can tell no change") != NULL);
    d = drift_of(1, 1, 0, 0, 1);
    CHECK(d.verdict == PARE_DRIFT_NOT_RESOLVED && isnan(d.interval.lo));
    d = drift_of(0, 0, 0, 0, 1);
    CHECK(d.verdict == PARE_DRIFT_NO_ITEMS && isnan(d.accuracy) && isnan(d.difference.value));
    CHECK(strstr(pare_drift_sentence(&d, text, sizeof text), "no item") != NULL);
}

/* Four items of three choices in groups "a", none, "b", "a"; number 1 is right. */
typedef struct made_task {
    pare_task task;
    pare_item items[4];
    pare_choice choices[4][3];
} made_task;

static void make_task(made_task *t, pare_task_kind kind)
{
    static const char *const groups[] = {"a", "", "b", "a"};
    *t = (made_task){.task = {.name = "toy", .kind = kind, .items = t->items, .n_items = 4}};
    for (size_t i = 0; i < 4; i++) {
        t->choices[i][1].right = true;
        t->items[i] = (pare_item){.group = {groups[i], strlen(groups[i])},
                                  .choices = t->choices[i],
                                  .n_choices = kind == PARE_TASK_LAST_WORD ? 1 : 3,
                                  .answer = 1};
    }
}

static void tasks_are_paired_by_rule_and_group(void **state)
{
    (void)state;
    made_task t;
    pare_error err = {0};
    pare_pairs p = {0};
    pare_item_score left[4] = {{.pick = {1, 1, 1}}, {.pick = {1, 0, 2}}, {.pick = {2, 1, 1}}, {.pick = {0, 1, 1}}};
    pare_item_score right[4] = {{.pick = {1, 0, 1}}, {.pick = {0, 1, 1}}, {.too_long = true}, {.pick = {2, 1, 0}}};
    make_task(&t, PARE_TASK_CHOICE);
    const pare_task_scores a = {.task = &t.task, .items = left}, b = {.task = &t.task, .items = right};
    CHECK_OK(pare_pairs_add_task(&p, &a, &b, PARE_BY_SUM, &err), &err);
    CHECK(p.n == 3 && p.n_left_out == 1 && p.n_groups == 2);
    CHECK(p.pair[1].item == 1 && p.pair[2].item == 3);
    CHECK(p.pair[0].group == 0 && p.pair[1].group == 1 && p.pair[2].group == 0);
    CHECK(p.pair[0].reference.right && p.pair[0].model.right);
    CHECK(p.pair[1].reference.right && !p.pair[1].model.right && p.pair[2].model.choice == 2);
    CHECK_OK(pare_pairs_add_task(&p, &a, &b, PARE_BY_CHARS, &err), &err); /* the groups of a second task are others */
    CHECK(p.n == 6 && p.n_left_out == 2 && p.n_groups == 4 && p.pair[3].group == 2 && p.pair[5].group == 2);
    CHECK(p.pair[3].reference.right && !p.pair[3].model.right && p.pair[4].model.right);
    pare_pairs_close(&p);
    CHECK_OK(pare_pairs_add_task(&p, &b, &a, PARE_BY_SUM, &err),
             &err); /* the reference is the one that lacks an item */
    CHECK(p.n == 3 && p.n_left_out == 1 && p.pair[2].item == 3);
    pare_pairs_close(&p);
    CHECK_OK(pare_pairs_add_task(&p, &a, &b, PARE_BY_TOKENS, &err), &err);
    CHECK(p.pair[1].reference.choice == 2 && p.pair[1].model.right && p.pair[2].reference.right);
    pare_pairs_close(&p);
    made_task other;
    make_task(&other, PARE_TASK_CHOICE);
    const pare_task_scores c = {.task = &other.task, .items = right};
    CHECK(pare_pairs_add_task(&p, &a, &c, PARE_BY_SUM, &err) == PARE_ERR_USAGE);
}

static void last_words_and_masses_have_answers(void **state)
{
    (void)state;
    made_task t;
    pare_error err = {0};
    pare_pairs p = {0};
    pare_choice_score yes = {.greedy = true}, no = {.greedy = false};
    pare_item_score left[4] = {{.choices = &yes}, {.choices = &no}, {.choices = &yes}, {.choices = &no}};
    pare_item_score right[4] = {{.choices = &no}, {.choices = &no}, {.choices = &yes}, {.choices = &yes}};
    make_task(&t, PARE_TASK_LAST_WORD);
    const pare_task_scores a = {.task = &t.task, .items = left}, b = {.task = &t.task, .items = right};
    pare_drift d;
    CHECK_OK(pare_pairs_add_task(&p, &a, &b, PARE_BY_CHARS, &err), &err);
    CHECK_OK(pare_drift_measure(&p, &d, &err), &err);
    CHECK(d.lost == 1 && d.gained == 1 && d.both_right == 1 && d.both_wrong == 1 && d.moved == 0 && d.n_groups == 3);
    pare_pairs_close(&p);
    make_task(&t, PARE_TASK_MASS);
    t.choices[0][2].right = true; /* two right answers */
    left[0].pick[PARE_BY_SUM] = 1;
    right[0].pick[PARE_BY_SUM] = 2;
    CHECK_OK(pare_pairs_add_task(&p, &a, &b, PARE_BY_SUM, &err), &err);
    CHECK_OK(pare_drift_measure(&p, &d, &err), &err);
    CHECK(d.both_right == 1 && d.moved == 1 && d.lost == 0);
    pare_pairs_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_as_statsmodels), cmocka_unit_test(small_differences_are_not_resolved),
        cmocka_unit_test(tasks_are_paired_by_rule_and_group), cmocka_unit_test(last_words_and_masses_have_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
