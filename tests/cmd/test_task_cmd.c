/* pare eval --task as a user runs it. */
#include "cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copy_tasks(void)
{
    cli_expect(0, "cp %s/*.csv %s/*.jsonl .", source_path("tests/data/tasks"), source_path("tests/data/tasks"));
}

static double real(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    if (!json_is_number(v))
        fail_msg("'%s' is no number", key);
    return json_number_value(v);
}

static void documents_hold_figures_and_items(void **state)
{
    (void)state;
    copy_tasks();
    cli_result r =
        cli_expect(0, "$PARE eval $DEMO --task civics_test.csv --task lambada_test.jsonl --task-items --json");
    json_t *doc = cli_json(&r);
    const json_t *tasks = json_object_get(doc, "tasks"), *mmlu = json_array_get(tasks, 0);
    CHECK(json_array_size(tasks) == 2 && json_object_get(doc, "perplexity") == NULL);
    CHECK(strcmp(json_string_value(json_object_get(mmlu, "name")), "mmlu_civics") == 0);
    CHECK(strcmp(json_string_value(json_object_get(mmlu, "format")), "mmlu") == 0);
    CHECK(strlen(json_string_value(json_object_get(mmlu, "sha256"))) == 64);
    CHECK(real(mmlu, "n") == 4 && real(mmlu, "n_in_file") == 4 && real(mmlu, "n_too_long") == 0);
    CHECK(real(mmlu, "accuracy") == real(mmlu, "acc") && real(mmlu, "stderr") == real(mmlu, "acc_stderr"));
    double p = real(mmlu, "acc"); /* the sample's deviation over the root of n */
    CHECK(fabs(real(mmlu, "stderr") - sqrt(p * (1 - p) / 3)) < 1e-12);
    const json_t *items = json_object_get(mmlu, "items"), *item;
    size_t i, n_right = 0;
    json_array_foreach(items, i, item)
    {
        const json_t *choices = json_object_get(item, "choices");
        size_t pick = 0;
        for (size_t k = 1; k < json_array_size(choices); k++)
            if (real(json_array_get(choices, k), "loglik") > real(json_array_get(choices, pick), "loglik"))
                pick = k;
        CHECK(json_integer_value(json_array_get(json_object_get(item, "picks"), 0)) == (json_int_t)pick);
        n_right += json_is_true(json_object_get(json_array_get(choices, pick), "right"));
    }
    CHECK(json_array_size(items) == 4 && fabs((double)n_right / 4 - p) < 1e-15);
    const json_t *lambada = json_array_get(tasks, 1);
    CHECK(real(lambada, "perplexity") > 1 && real(lambada, "perplexity_stderr") > 0);
    json_decref(doc);
}

static void texts_and_tasks_together(void **state)
{
    (void)state;
    copy_tasks();
    cli_result r =
        cli_expect(0, "$PARE eval $DEMO -f $TEXT -c 64 --chunks 2 --task piqa_val.jsonl --task arc_test.jsonl");
    CHECK(cli_contains(r.out, "perplexity") && cli_contains(r.out, "piqa: 2 items, 0-shot:  acc 0.00 %"));
    CHECK(cli_contains(r.out, "acc_norm") && cli_contains(r.out, "mean of 2 tasks: "));
}

static void examples_and_limits(void **state)
{
    (void)state;
    copy_tasks();
    cli_result r =
        cli_expect(0, "$PARE eval $DEMO --task civics_test.csv --shots civics_test.csv --n-shot 2 --limit 1 --json");
    json_t *doc = cli_json(&r);
    const json_t *task = json_array_get(json_object_get(doc, "tasks"), 0);
    CHECK(real(task, "n_shot") == 2 && real(task, "n") == 1 && real(task, "n_in_file") == 4);
    CHECK(strcmp(json_string_value(json_object_get(task, "sha256")),
                 json_string_value(json_object_get(task, "shots_sha256"))) == 0);
    json_decref(doc);
    r = cli_expect(0, "$PARE eval $DEMO --task lambada_test.jsonl --task-ctx 2049");
    CHECK(cli_contains(r.err, "prompts of up to 2049 tokens, the model was trained for 2048"));
    r = cli_expect(0, "$PARE eval $DEMO --task lambada_test.jsonl --task-ctx 20");
    CHECK(cli_contains(r.err, "1 of 3 items are longer than 20 tokens") && cli_contains(r.out, "2 items"));
    CHECK(cli_contains(r.out, "(1 too long)"));
    r = cli_expect(0, "$PARE eval $DEMO --task lambada_test.jsonl --task-ctx 20 --task-items --json");
    doc = cli_json(&r);
    task = json_array_get(json_object_get(doc, "tasks"), 0);
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(json_object_get(task, "items"), i);
        size_t n = json_array_size(json_object_get(item, "choices"));
        CHECK(n == (json_is_true(json_object_get(item, "too_long")) ? 0 : 1));
    }
    json_decref(doc);
    r = cli_expect(0, "$PARE eval $DEMO --task lambada_test.jsonl --task-ctx 1");
    CHECK(cli_contains(r.out, "lambada: 0 items, 0-shot  (3 too long)\n"));
}

/* One item has no standard error, and so has no mean that it is in. */
static void errors_that_are_not_known(void **state)
{
    (void)state;
    copy_tasks();
    cli_result r = cli_expect(0, "$PARE eval $DEMO --task piqa_val.jsonl --task arc_test.jsonl --limit 1");
    CHECK(cli_contains(r.out, "piqa: 1 item, 0-shot:"));
    CHECK(cli_contains(r.out, "mean of 2 tasks: ") && cli_contains(r.out, "of their 2 items: "));
    CHECK(!cli_contains(r.out, "nan") && !cli_contains(r.out, "+/-"));
    r = cli_expect(0, "$PARE eval $DEMO --task lambada_test.jsonl --task civics_test.csv --task-ctx 20");
    CHECK(cli_contains(r.out, "mmlu_civics: 0 items, 0-shot  (4 too long)\n"));
    CHECK(!cli_contains(r.out, "mean of") && !cli_contains(r.out, "nan")); /* of one task there is none */
}

/* A mean in which tasks count the same, and one in which items do. */
static void means_of_tasks(void **state)
{
    (void)state;
    copy_tasks();
    cli_result r = cli_expect(0, "$PARE eval $DEMO --task civics_test.csv --task piqa_val.jsonl");
    CHECK(cli_contains(r.out, "mmlu_civics: 4 items, 0-shot:  acc 25.00 %"));
    CHECK(cli_contains(r.out, "piqa: 2 items, 0-shot:  acc 0.00 %"));
    CHECK(cli_contains(r.out, "mean of 2 tasks: 12.50 % +/- 12.50; of their 6 items: 16.67 % +/- 16.67\n"));
}

static void long_groups_are_not_repeated(void **state)
{
    (void)state;
    for (int n = 200; n <= 201; n++) {
        cli_expect(0,
                   "printf '{\"query\":\"The\",\"choices\":[\"state\",\"fish\"],\"gold\":0,\"group\":\"%%0%dd\"}' 0 "
                   ">long.jsonl",
                   n);
        cli_result r = cli_expect(0, "$PARE eval $DEMO --task long.jsonl --task-items --json");
        CHECK(cli_contains(r.out, "\"group\": \"000") == (n == 200));
    }
}

static void groups_make_a_second_error(void **state)
{
    (void)state;
    cli_expect(0, "for g in a a b b c; do echo '{\"query\":\"The\",\"choices\":[\"state\",\"fish\"],\"gold\":0,"
                  "\"group\":\"'$g'\"}'; done >g.jsonl; echo "
                  "'{\"query\":\"The\",\"choices\":[\"fish\",\"state\"],\"gold\":0,\"group\":\"c\"}' >>g.jsonl");
    cli_result r = cli_expect(0, "$PARE eval $DEMO --task g.jsonl");
    CHECK(cli_contains(r.out, "(by groups "));
}

static void misuse(void **state)
{
    (void)state;
    copy_tasks();
    CHECK(cli_contains(cli_expect(2, "$PARE eval $DEMO").err, "--file TEXT or --task FILE is needed"));
    CHECK(cli_contains(cli_expect(2, "$PARE eval $DEMO -f $TEXT --limit 3").err, "--limit needs --task"));
    CHECK(cli_contains(cli_expect(2, "$PARE eval $DEMO --task piqa_val.jsonl --n-shot 2").err, "no file of them"));
    CHECK(cli_contains(cli_expect(2, "$PARE eval $DEMO --task piqa_val.jsonl --curve").err, "--curve needs --file"));
    CHECK(cli_contains(cli_expect(4, "$PARE eval $DEMO --task piqa_val.jsonl --task-format mmlu_").err, "mmlu, "));
    CHECK(cli_contains(cli_expect(3, "$PARE eval $DEMO --task absent.csv").err, "absent.csv"));
    cli_expect(0, "printf 'question,A,B,C,D,answer\\n\"a \"b\" c\",x,y,z,v,2\\n' >stray.csv");
    CHECK(cli_contains(cli_expect(0, "$PARE eval $DEMO --task stray.csv").err, "1 record, the first at line 2"));
    CHECK(cli_contains(cli_expect(3, "$PARE eval $DEMO --task stray.csv --strict").err, "not doubled"));
    cli_expect(0, "printf 'question,A,B,C,D,answer\\nq,x,y,z,v,9\\n' >bad.csv");
    cli_result r = cli_expect(3, "$PARE eval absent-model --task bad.csv"); /* the file is looked at first */
    CHECK(cli_contains(r.err, "bad.csv: line 2: field 'answer' is '9', allowed 0 to 3, or A to D"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_hold_figures_and_items),
        cmocka_unit_test(texts_and_tasks_together),
        cmocka_unit_test(examples_and_limits),
        cmocka_unit_test(errors_that_are_not_known),
        cmocka_unit_test(means_of_tasks),
        cmocka_unit_test(long_groups_are_not_repeated),
        cmocka_unit_test(groups_make_a_second_error),
        cmocka_unit_test(misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
