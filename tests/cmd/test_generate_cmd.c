/* pare generate as a user runs it. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define PROMPT "'The king said to his'"

static const char *text_of(const json_t *doc, size_t i)
{
    return json_string_value(json_object_get(json_array_get(json_object_get(doc, "texts"), i), "text"));
}

static void continues_prompts(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE generate $DEMO -p " PROMPT " -n 12 --json");
    json_t *one = cli_json(&r);
    const json_t *row = json_array_get(json_object_get(one, "texts"), 0);
    CHECK(json_array_size(json_object_get(row, "ids")) == 12 && json_array_size(json_object_get(row, "leads")) == 12);
    CHECK(strcmp(json_string_value(json_object_get(row, "ending")), "count") == 0);
    CHECK(strlen(text_of(one, 0)) > 0);
    char *text = strdup(text_of(one, 0));
    CHECK(text != NULL);
    r = cli_expect(0, "$PARE generate $DEMO -p " PROMPT " -n 12");
    CHECK(strlen(r.out) == strlen(text) + 1 && strncmp(r.out, text, strlen(text)) == 0); /* the text alone */
    r = cli_expect(0, "printf %%s " PROMPT " | $PARE generate $DEMO -f - -n 12");
    CHECK(strncmp(r.out, text, strlen(text)) == 0);
    r = cli_expect(0, "$PARE generate $DEMO -p 'In the year' -p " PROMPT " -n 12 --json");
    json_t *two = cli_json(&r);
    CHECK(strcmp(text_of(two, 1), text) == 0);
    json_decref(two);
    char stop[3] = {text[4], text[5], '\0'};
    r = cli_expect(0, "$PARE generate $DEMO -p " PROMPT " -n 12 --stop '%s' --json", stop);
    two = cli_json(&r);
    CHECK(strlen(text_of(two, 0)) <= 4 && strncmp(text_of(two, 0), text, strlen(text_of(two, 0))) == 0);
    json_decref(two);
    json_decref(one);
    free(text);
}

static void draws_by_seed(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "for s in 1 1 2; do $PARE generate $DEMO -p " PROMPT
                                 " -n 30 --temperature 1 --seed $s >text$s-$((i = i + 1)); done; "
                                 "cmp text1-1 text1-2 && ! cmp text1-1 text2-3 && echo fine");
    CHECK(cli_contains(r.out, "fine"));
}

static void shows_where_a_reference_differs(void **state)
{
    (void)state;
    CHECK(cli_contains(cli_expect(0, "$PARE generate $DEMO --reference $DEMO -p " PROMPT " -n 8").out,
                       "reference: the same 8 tokens"));
    cli_expect(0, "$PARE quantize $DEMO -t q2_k --pure -o q.gguf -q --force");
    cli_result r = cli_expect(0, "$PARE generate q.gguf --reference $DEMO -p " PROMPT " -n 60");
    CHECK(cli_contains(r.out, "reference: first differs at token ") && cli_contains(r.out, "(leads by "));
    r = cli_expect(0, "$PARE generate q.gguf --reference $DEMO -p " PROMPT " -n 60 --json");
    json_t *doc = cli_json(&r);
    const json_t *row = json_array_get(json_object_get(doc, "texts"), 0);
    const json_t *ours = json_object_get(row, "ids"),
                 *theirs = json_object_get(json_object_get(row, "reference"), "ids");
    size_t at = (size_t)json_integer_value(json_object_get(row, "first_difference"));
    for (size_t i = 0; i < at; i++)
        CHECK(json_equal(json_array_get(ours, i), json_array_get(theirs, i)));
    CHECK(!json_equal(json_array_get(ours, at), json_array_get(theirs, at)));
    json_decref(doc);
}

/* The model's keys and values as the options say, the reference's as floats. */
static void keeps_its_cache_as_asked(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        int recent;
        bool differs; /* from F16, in 220 tokens */
    } rows[] = {{"--cache-k f16 --cache-v f16", 0, false},
                {"--cache-k kivi2 --cache-v kivi2", 128, true},
                {"--cache-k channel2 --cache-v kivi2 --cache-sinks 40", 128, true},
                {"--cache-k q4_0 --cache-v q4_0 --cache-recent 40 --cache-rotate off", 40, true},
                {"--cache-k q4_0 --cache-v q4_0 --cache-recent 230 --cache-rotate off", 230, false},
                {"--cache-k klt1.5 --cache-v klt1.5 --cache-recent 6 --cache-text some.txt", 6, true}};
    json_t *want = NULL;
    cli_expect(0, "head -c 9000 $TEXT >some.txt");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_result r = cli_expect(0, "$PARE generate $DEMO -p " PROMPT " -n 215 -c 220 --json %s", rows[i].options);
        json_t *doc = cli_json(&r), *cache = json_object_get(doc, "cache"), *texts = json_object_get(doc, "texts");
        const bool calibrated = strstr(rows[i].options, "klt") != NULL;
        CHECK(json_integer_value(json_object_get(cache, "recent_tokens_f16")) == rows[i].recent);
        CHECK(json_is_true(json_object_get(cache, "research")) == (i > 0));
        CHECK((json_object_get(doc, "cache_text") != NULL) == calibrated);
        if (i == 0)
            want = json_incref(texts);
        const json_t *row = json_array_get(texts, 0), *same = json_array_get(want, 0);
        CHECK(json_array_size(json_object_get(row, "ids")) > 200);
        if (rows[i].differs)
            CHECK(!json_equal(json_object_get(row, "leads"), json_object_get(same, "leads")));
        else
            CHECK(json_equal(json_object_get(row, "ids"), json_object_get(same, "ids")));
        json_decref(doc);
    }
    json_decref(want);
    CHECK(cli_contains(cli_expect(2, "$PARE generate $DEMO -p a --cache-k klt4").err, "--cache-text"));
    CHECK(cli_contains(cli_expect(2, "$PARE generate $DEMO -p a --cache-k q4_0 --cache-text $TEXT").err,
                       "is for calibrated types"));
    CHECK(cli_contains(cli_expect(2, "$PARE generate $DEMO -f - --cache-k klt4 --cache-text - </dev/null").err,
                       "both read standard input"));
    CHECK(cli_contains(cli_expect(2, "$PARE generate $DEMO -p a --cache-recent 4").err, "needs --cache-k"));
}

static void says_what_was_cut(void **state)
{
    (void)state;
    CHECK(cli_contains(cli_expect(0, "$PARE generate $DEMO -p " PROMPT " -c 12 -n 40").err,
                       "1 of 1 texts end because the context is full"));
    CHECK(cli_contains(cli_expect(0, "$PARE generate $DEMO -p " PROMPT " -p a -c 4 -n 1").err,
                       "1 of 2 prompts are as long as the context or longer"));
    cli_expect(2, "$PARE generate $DEMO -n 4");
    cli_expect(2, "$PARE generate $DEMO -p a --stop ''");
    cli_expect(2, "$PARE generate $DEMO -p a --temperature -1");
    cli_expect(3, "$PARE generate $DEMO -f absent.txt");
}

static void tasks_are_answered_in_words(void **state)
{
    (void)state;
    cli_expect(0,
               "printf '%%s\\n' '{\"question\": \"How much is one and one?\", \"answer\": \"#### 2\"}' >gsm8k.jsonl; "
               "printf '%%s\\n' '{\"task_id\": \"HumanEval/7\", \"prompt\": \"def f():\", \"entry_point\": \"f\"}' "
               ">he.jsonl");
    cli_result r = cli_expect(0, "$PARE eval $DEMO --task gsm8k.jsonl --task-items --task-ctx 60 --json");
    json_t *doc = cli_json(&r);
    const json_t *task = json_array_get(json_object_get(doc, "tasks"), 0),
                 *item = json_array_get(json_object_get(task, "items"), 0);
    CHECK(json_is_real(json_object_get(task, "exact_strict")) && json_is_real(json_object_get(task, "exact_flexible")));
    CHECK(json_is_string(json_object_get(item, "text")));
    CHECK(strcmp(json_string_value(json_object_get(item, "target")), "2") == 0);
    CHECK(json_is_boolean(json_object_get(json_object_get(item, "strict"), "right")));
    json_decref(doc);
    r = cli_expect(0, "$PARE eval $DEMO --task he.jsonl --task-ctx 40 --completions c.jsonl && cat c.jsonl");
    CHECK(cli_contains(r.out, "{\"task_id\":\"HumanEval/7\",\"completion\":\""));
    CHECK(cli_contains(r.out, "1 item, 0-shot; its own tool scores the texts"));
    cli_expect(2, "$PARE eval $DEMO --task he.jsonl --task-ctx 40 --completions c.jsonl");
    cli_expect(2, "$PARE eval $DEMO --task he.jsonl --completions he.jsonl --force");
    cli_expect(2, "$PARE eval $DEMO --task he.jsonl --task gsm8k.jsonl --completions d.jsonl");
    cli_expect(2, "$PARE eval $DEMO -f $TEXT --completions d.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(continues_prompts),
        cmocka_unit_test(draws_by_seed),
        cmocka_unit_test(shows_where_a_reference_differs),
        cmocka_unit_test(keeps_its_cache_as_asked),
        cmocka_unit_test(says_what_was_cut),
        cmocka_unit_test(tasks_are_answered_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
