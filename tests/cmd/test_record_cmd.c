#include "cli.h"

#include <string.h>

#define EVAL "$PARE eval demo.gguf -f text.txt -c 32 --chunks 6 --reference $DEMO -q "

static int make_model(void **state)
{
    (void)state;
    cli_expect(0, "$PARE quantize $DEMO -t q4_k_m -o demo.gguf -q && cp $TEXT text.txt");
    return 0;
}

static void a_record_is_written_and_verified(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, EVAL "--record a.json >a.txt && $PARE verify a.json");
    CHECK(cli_contains(r.out, "record: ok") &&
          cli_contains(r.out, "figures: ok (computed again from 90 positions of 6"));
    CHECK(cli_contains(r.out, "files: ok (3 compared, 0 not there)"));
    CHECK(cli_contains(cli_expect(2, EVAL "--record a.json").err, "a.json"));
    cli_expect(0, EVAL "--record a.json --force");
    /* a record that overwrites what is measured */
    cli_expect(2, EVAL "--record text.txt --force");
    cli_expect(2, EVAL "--record demo.gguf --force");
    cli_expect(
        0,
        "t=$(printf 'x\\377.txt') && cp text.txt $t && $PARE eval demo.gguf -f $t -c 32 --chunks 2 -q --record u.json");
    CHECK(
        cli_contains(cli_expect(0, "$PARE verify u.json").out, "1 not there")); /* the name stands there as x\xff.txt */
    CHECK(cli_count_temporaries() == 0);
    r = cli_expect(0, "$PARE verify a.json --json");
    json_t *doc = cli_json(&r);
    CHECK(strcmp(json_string_value(json_object_get(doc, "figures")), "ok") == 0);
    CHECK(json_integer_value(json_object_get(doc, "n_positions")) == 90);
    CHECK(json_array_size(json_object_get(doc, "findings")) == 0);
    json_decref(doc);
}

static void figures_equal_those_of_eval(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, EVAL "--json --record f.json --force");
    json_t *doc = cli_json(&r);
    r = cli_expect(0, "cat f.json");
    json_error_t why;
    json_t *record = json_loads(r.out, 0, &why), *average = json_object_get(record, "average");
    const char *key;
    json_t *value;
    CHECK(json_object_size(average) > 20);
    json_object_foreach(average, key, value) CHECK(json_equal(value, json_object_get(doc, key)));
    CHECK(json_equal(json_object_get(json_object_get(record, "model"), "tokenizer_sha256"),
                     json_object_get(json_object_get(record, "reference"), "tokenizer_sha256")));
    json_decref(record);
    json_decref(doc);
}

static void an_edit_is_named_and_ends_with_1(void **state)
{
    (void)state;
    cli_expect(0, EVAL "--record e.json --force");
    cli_result r = cli_expect(1, "sed 's/\"n_ctx\": 32/\"n_ctx\": 33/' e.json >e2.json; cp e.jsonl e2.jsonl; "
                                 "$PARE verify e2.json");
    CHECK(cli_contains(r.out, "settings.n_ctx") && cli_contains(r.out, "record: different"));
    r = cli_expect(1, "cp e.json e3.json; sed -i 's/\"first\":16/\"first\":15/' e.jsonl; $PARE verify e3.json");
    CHECK(cli_contains(r.out, "items.sha256"));
    CHECK(cli_contains(cli_expect(3, "$PARE report e2.json -o e.html").err, "pare verify says where"));
}

static void other_files_are_found(void **state)
{
    (void)state;
    cli_expect(0, EVAL "--record o.json --force && mkdir -p other && cp o.json o.jsonl demo.gguf other");
    CHECK(cli_contains(cli_expect(0, "cd other && $PARE verify o.json").out, "text.txt: not there"));
    CHECK(cli_contains(cli_expect(1, "cd other && echo more | cat $TEXT - >text.txt && $PARE verify o.json").out,
                       "texts[0].sha256"));
    CHECK(cli_contains(cli_expect(1, "cd other && cp $TEXT text.txt && $PARE quantize $DEMO -t q5_k_m -o demo.gguf -q "
                                     "--force && $PARE verify o.json")
                           .out,
                       "model.sha256"));
    CHECK(
        cli_contains(cli_expect(1, "cd other && echo junk >demo.gguf && $PARE verify o.json").out, "files: different"));
}

static void parts_merge_into_the_whole(void **state)
{
    (void)state;
    cli_expect(0, EVAL "--record whole.json");
    cli_expect(0, EVAL "--chunk-range 0:4 --record p1.json && " EVAL "--chunk-range 4:6 --record p2.json");
    cli_expect(0, "$PARE report p2.json p1.json --merge m.json -q && cmp m.jsonl whole.jsonl && $PARE verify m.json");
    cli_result r = cli_expect(0, "$PARE report p1.json --merge part.json --json");
    json_t *doc = cli_json(&r);
    CHECK(json_integer_value(json_object_get(doc, "n_missing")) == 2);
    json_decref(doc);
    CHECK(cli_contains(cli_expect(2, "$PARE report p1.json whole.json --merge n.json").err, "stands in both"));
    cli_expect(0, EVAL "--seed 2 --chunk-range 4:6 --record p3.json");
    CHECK(cli_contains(cli_expect(2, "$PARE report p1.json p3.json --merge n.json").err, "settings"));
    cli_expect(1, "test -e n.json -o -e n.jsonl");
    CHECK(cli_count_temporaries() == 0);
}

/* Files that --force must not replace, since they are read. */
static void inputs_are_never_replaced(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "eval demo.gguf -f text.txt -c 32 --chunks 4 --logits i.lgt --record i.lgt --force",
        "eval demo.gguf -f text.txt -c 32 --chunks 4 --logits i.jsonl --record i.json --force",
        "eval demo.gguf -f text.txt -c 32 --chunks 4 --record j.json --save-logits j.jsonl --force",
        "eval demo.gguf --task i_test.csv --record i_test.csv --force",
        "eval demo.gguf --task i_test.csv --shots i_dev.csv --n-shot 1 --record i_dev.csv --force",
        "report i1.json --merge i1 --force", /* the items of i1.json are i1.jsonl */
        "report i1.json --merge i1.jsonl --force"};
    cli_expect(0, EVAL "--record i1.json --chunk-range 0:4 --save-logits i.lgt && cp i.lgt i.jsonl && "
                       "printf 'Who?,me,you,he,she,A\\n' >i_test.csv && printf 'What?,a,b,c,d,B\\n' >i_dev.csv && "
                       "mkdir -p kept && cp i* kept && touch before && ls >before");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cli_expect(2, "$PARE %s", wrong[i]);
    cli_expect(0, "ls | cmp - before && for f in kept/*; do cmp $f $(basename $f) || exit 1; done");
}

static void answers_are_recorded(void **state)
{
    (void)state;
    cli_expect(0,
               "printf 'Is it so?,yes,no,never,always,B\\nWhat is it?,this,that,it,none,C\\nWho?,me,you,he,she,A\\n' "
               ">astronomy_test.csv");
    cli_expect(0, "$PARE eval demo.gguf --task astronomy_test.csv --record t.json -q");
    CHECK(cli_contains(cli_expect(0, "$PARE verify t.json").out, "and 3 answered items)"));
    cli_expect(0, "$PARE report t.json -o t.md && grep -q 'acc, %%' t.md");
    /* another answer was right */
    cli_expect(0,
               "cp t.jsonl t0.jsonl && sed -i '1s/\"right\":\"0100\"/\"right\":\"1000\"/' t.jsonl && ! cmp -s t.jsonl "
               "t0.jsonl");
    cli_result r = cli_expect(1, "$PARE verify t.json");
    CHECK(cli_contains(r.out, "items.sha256"));
    cli_expect(0, "cp t0.jsonl t.jsonl && sed -i 's/\"n_shot\": 0/\"n_shot\": 5/' t.json");
    CHECK(cli_contains(cli_expect(1, "$PARE verify t.json").out, "tasks[0].n_shot"));
}

static void pages_are_written(void **state)
{
    (void)state;
    cli_expect(0, EVAL "--record r1.json && " EVAL "--sample 3 --record r2.json");
    cli_expect(0, "$PARE quantize $DEMO -t q2_k -o q2.gguf -q --json >q2.json");
    cli_expect(0, "$PARE report r1.json r2.json --quantize q2.json -o page.html --title 'A & B'");
    cli_expect(0, "grep -q '<h1>A &amp; B</h1>' page.html && grep -q 'Error of the weights by layer' page.html");
    cli_expect(0, "grep -q 'did not read the same tokens' page.html || grep -q 'different settings' page.html");
    cli_expect(1, "grep -E '<script|https?://|src=' page.html");
    cli_expect(2, "$PARE report r1.json -o page.html");
    cli_expect(0, "$PARE report r1.json -o page.md && grep -q '^## Figures' page.md");
    cli_expect(2, "$PARE report r1.json -o page.pdf");
    cli_expect(2, "$PARE report r1.json");
    cli_expect(2, "$PARE report -o x.html");
    cli_expect(2, "$PARE report r1.json --merge r1.json --force");
    cli_expect(3, "$PARE report text.txt -o x.html");
    cli_expect(3, "$PARE report absent.json -o x.html");
    cli_expect(1, "test -e x.html");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_written_and_verified),
        cmocka_unit_test(figures_equal_those_of_eval),
        cmocka_unit_test(an_edit_is_named_and_ends_with_1),
        cmocka_unit_test(other_files_are_found),
        cmocka_unit_test(parts_merge_into_the_whole),
        cmocka_unit_test(inputs_are_never_replaced),
        cmocka_unit_test(answers_are_recorded),
        cmocka_unit_test(pages_are_written),
    };
    return cmocka_run_group_tests(tests, make_model, NULL);
}
