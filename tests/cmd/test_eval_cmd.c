/* `pare eval` as a user runs it: which windows, which errors, what is listed. */
#include "cli.h"

#include <math.h>
#include <string.h>

static double real_of(const json_t *doc, const char *key)
{
    const json_t *value = json_object_get(doc, key);
    CHECK(json_is_number(value));
    return json_number_value(value);
}

static json_t *eval_json(const char *options)
{
    cli_result r = cli_expect(0, "$PARE eval q2.gguf --reference $DEMO -f $TEXT -c 64 --json %s", options);
    return cli_json(&r);
}

static int set_up(void **state)
{
    (void)state;
    cli_expect(0, "$PARE quantize $DEMO -t q2_k -o q2.gguf -q --force");
    return 0;
}

static void quantiles_have_their_names(void **state)
{
    (void)state;
    json_t *doc = eval_json("--chunks 9"), *row;
    static const struct {
        const char *key;
        double fraction;
    } named[] = {{"kld_median", 0.5}, {"kld_p99", 0.99}, {"kld_p999", 0.999}, {"kld_max", 1}};
    size_t i, n_found = 0;
    json_array_foreach(json_object_get(doc, "kld_quantiles"), i, row)
    {
        for (size_t k = 0; k < sizeof named / sizeof named[0]; k++)
            if (real_of(row, "fraction") == named[k].fraction) {
                CHECK(real_of(row, "value") == real_of(doc, named[k].key));
                n_found++;
            }
    }
    CHECK(n_found == 4 && real_of(doc, "kld_median") < real_of(doc, "kld_p99") &&
          real_of(doc, "kld_p99") < real_of(doc, "kld_p999") && real_of(doc, "kld_p999") < real_of(doc, "kld_max"));
    CHECK(fabs(exp(real_of(doc, "ln_ratio")) - real_of(doc, "ratio")) < 1e-12);
    json_decref(doc);
}

static void intervals_enclose_the_figure(void **state)
{
    (void)state;
    json_t *doc = eval_json("--chunks 30");
    static const char *const keys[][2] = {{"kld_mean", "kld"},
                                          {"perplexity", "perplexity"},
                                          {"ln_ratio", "ln_ratio"},
                                          {"kld_reverse", "kld_reverse"},
                                          {"same_top1", "same_top1"}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        for (int method = 0; method < 2; method++) {
            char key[64];
            snprintf(key, sizeof key, "%s_%s", keys[i][1], method == 0 ? "t" : "bootstrap");
            const json_t *range = json_object_get(doc, key);
            double value = real_of(doc, keys[i][0]);
            CHECK(json_array_size(range) == 2);
            CHECK(json_number_value(json_array_get(range, 0)) < value);
            CHECK(json_number_value(json_array_get(range, 1)) > value);
        }
    CHECK(strcmp(json_string_value(json_object_get(doc, "self_check")), "ok") == 0);
    CHECK(json_array_size(json_object_get(doc, "curve")) == 16);
    CHECK(real_of(doc, "kld_reverse") > 0 && real_of(doc, "kld_reverse") != real_of(doc, "kld_mean"));
    json_decref(doc);
}

/* Two halves of the windows, weighted by their positions, are the whole. */
static void ranges_are_parts_of_the_whole(void **state)
{
    (void)state;
    json_t *all = eval_json("--chunks 12"), *a = eval_json("--chunks 12 --chunk-range 0:5"),
           *b = eval_json("--chunks 12 --chunk-range 5:12");
    CHECK(real_of(a, "n_chunks") == 5 && real_of(b, "n_chunks") == 7);
    CHECK(fabs((5 * real_of(a, "kld_mean") + 7 * real_of(b, "kld_mean")) / 12 - real_of(all, "kld_mean")) < 1e-12);
    json_decref(all);
    json_decref(a);
    json_decref(b);
}

static void a_sample_depends_on_its_seed_alone(void **state)
{
    (void)state;
    json_t *a = eval_json("--sample 6"), *b = eval_json("--sample 6 -j 1"), *c = eval_json("--sample 6 --seed 9");
    CHECK(real_of(a, "n_chunks") == 6 && real_of(a, "kld_mean") == real_of(b, "kld_mean"));
    CHECK(real_of(a, "kld_mean") != real_of(c, "kld_mean"));
    json_decref(a);
    json_decref(b);
    json_decref(c);
    json_t *strided = eval_json("--stride 10 --chunks 5");
    CHECK(real_of(strided, "n_tokens_scored") == 50);
    json_decref(strided);
}

static void the_worst_tokens_are_named(void **state)
{
    (void)state;
    json_t *doc = eval_json("--chunks 8 --worst 4"), *list = json_object_get(doc, "worst");
    double last = 1e9, most = 0;
    CHECK(json_array_size(list) == 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *row = json_array_get(list, i);
        double kld = real_of(row, "kld");
        CHECK(kld <= last && real_of(row, "position") >= 32 && real_of(row, "window") < 8);
        CHECK(strlen(json_string_value(json_object_get(row, "context"))) > 10);
        CHECK(json_is_string(json_object_get(row, "token")));
        most = i == 0 ? kld : most;
        last = kld;
    }
    CHECK(most == real_of(doc, "kld_max"));
    json_decref(doc);
    cli_result r = cli_expect(0, "$PARE eval q2.gguf --reference $DEMO -f $TEXT -c 64 --chunks 8 --worst 2 --curve");
    CHECK(cli_contains(r.out, "largest differences") && cli_contains(r.out, "positions ") &&
          cli_contains(r.out, "differs by exactly 0"));
}

static void arithmetic_is_told_and_matters(void **state)
{
    (void)state;
    json_t *f32 = eval_json("--chunks 4"), *ggml = eval_json("--chunks 4 --compute ggml");
    CHECK(strcmp(json_string_value(json_object_get(f32, "compute")), "f32") == 0);
    CHECK(strcmp(json_string_value(json_object_get(ggml, "compute")), "ggml") == 0);
    CHECK(real_of(f32, "kld_mean") != real_of(ggml, "kld_mean"));
    CHECK(fabs(real_of(ggml, "kld_mean") / real_of(f32, "kld_mean") - 1) < 0.1);
    json_decref(f32);
    json_decref(ggml);
}

static void bytes_that_are_no_utf8_are_warned_of(void **state)
{
    (void)state;
    cli_expect(0, "head -c 3000 $TEXT >a.txt && printf '\\377' >b.txt && cat a.txt b.txt a.txt >bad.txt");
    cli_result r = cli_expect(0, "$PARE eval $DEMO -f bad.txt -c 64 --chunks 2");
    CHECK(cli_contains(r.err, "warning: bad.txt: byte 3000 is not UTF-8"));
    CHECK(cli_contains(cli_expect(3, "$PARE eval $DEMO -f bad.txt -c 64 --chunks 2 --strict").err, "byte 3000"));
}

static void a_store_takes_the_place_of_the_reference(void **state)
{
    (void)state;
    cli_expect(0, "$PARE eval $DEMO -f $TEXT -c 64 --chunks 12 --save-logits ref.lgt --force");
    json_t *two = eval_json("--chunks 12");
    cli_result r = cli_expect(0, "$PARE eval q2.gguf --logits ref.lgt -f $TEXT -c 64 --chunks 12 --json");
    json_t *stored = cli_json(&r);
    CHECK(fabs(real_of(two, "kld_mean") - real_of(stored, "kld_mean")) < 1e-6);
    CHECK(fabs(real_of(two, "reference_perplexity") - real_of(stored, "reference_perplexity")) < 1e-4);
    CHECK(real_of(two, "same_top1") == real_of(stored, "same_top1"));
    json_decref(two);
    json_decref(stored);
    static const char *const wrong[][2] = {{"-c 32", "windows of 64 tokens"},
                                           {"-c 64 --stride 9", "a stride of"},
                                           {"-c 64 --chunks 13", "ref.lgt"},
                                           {"-c 64 --compute ggml", "made with --compute f32"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        r = cli_expect(3, "$PARE eval q2.gguf --logits ref.lgt -f $TEXT %s", wrong[i][0]);
        CHECK(cli_contains(r.err, wrong[i][1]) && r.out[0] == '\0');
    }
}

static void several_texts_get_a_line_each(void **state)
{
    (void)state;
    cli_expect(0, "head -c 9000 $TEXT >one.txt; tail -c 9000 $TEXT >two.txt");
    cli_result r = cli_expect(0, "$PARE eval q2.gguf --reference $DEMO -f one.txt -f two.txt -c 64 --chunks 4");
    CHECK(cli_contains(r.out, "one.txt: 4 windows"));
    CHECK(cli_contains(r.out, "\ntext                         windows"));
    CHECK(cli_contains(r.out, "\none.txt                            4 ") &&
          cli_contains(r.out, "\ntwo.txt                            4 ") &&
          cli_contains(r.out, "\nmean of the texts                  8 "));
}

static void more_context_than_trained_for_is_warned_of(void **state)
{
    (void)state;
    cli_result r = cli_expect(0, "$PARE eval $DEMO -f $TEXT -c 2049 --chunks 1");
    CHECK(cli_contains(r.err, "windows of 2049 tokens, the model was trained for 2048"));
    CHECK(!cli_contains(cli_expect(0, "$PARE eval $DEMO -f $TEXT -c 2048 --chunks 1").err, "trained for"));
}

/* Keys and values in codecs cost the model something and the reference nothing; what is said of them. */
static void a_cache_is_kept_in_codecs(void **state)
{
    (void)state;
    double last = 0;
    static const char *const rows[][3] = {{"--cache-k f32 --cache-v f32", "f32", "off"},
                                          {"--cache-k q8_0 --cache-v q8_0", "q8_0", "llama"},
                                          {"--cache-k q4_0 --cache-v q4_0 --cache-rotate full", "q4_0", "full"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_result r = cli_expect(
            0, "$PARE eval $DEMO --reference $DEMO -f $TEXT -c 64 --chunks 6 --json --record c.json --force %s",
            rows[i][0]);
        json_t *doc = cli_json(&r);
        const json_t *cache = json_object_get(doc, "cache");
        CHECK(strcmp(json_string_value(json_object_get(cache, "keys")), rows[i][1]) == 0);
        CHECK(strcmp(json_string_value(json_object_get(cache, "rotation_keys")), rows[i][2]) == 0);
        CHECK(i == 0 ? real_of(doc, "kld_mean") == 0 : real_of(doc, "kld_mean") > 2 * last);
        last = real_of(doc, "kld_mean");
        json_decref(doc);
    }
    CHECK(cli_contains(cli_expect(0, "cat c.json").out, "\"rotate\": \"full\""));
    CHECK(cli_contains(cli_expect(0, "$PARE eval $DEMO -f $TEXT -c 64 --chunks 2 --cache-k turbo3").out, "research"));
    CHECK(cli_contains(cli_expect(2, "$PARE eval $DEMO -f $TEXT --cache-k q4_2").err, "did you mean 'q4_"));
    CHECK(cli_contains(cli_expect(2, "$PARE eval $DEMO -f $TEXT --cache-v turbo3p").err, "for keys alone"));
    CHECK(cli_contains(cli_expect(2, "$PARE eval $DEMO -f $TEXT --cache-sinks 4").err, "needs --cache-k"));
}

/* What is said of a cache: how each side is turned, what it takes, and whether a program keeps it so. */
static void a_cache_is_described(void **state)
{
    (void)state;
    enum { ROW = 2 * 1024 * 2 * 64 }; /* both layers, 1,024 tokens, two heads of 64: elements of a side */
    static const struct {
        const char *options, *keys, *values;
        double bytes;
        bool research;
    } rows[] = {
        {"--cache-k f16 --cache-v q4_0", "off", "llama", ROW * 2 + ROW / 32 * 18, false},
        {"--cache-k q8_0 --cache-v f16 --cache-rotate off", "off", "off", ROW / 32 * 34 + ROW * 2, false},
        {"--cache-k q8_0 --cache-v q8_0 --cache-protect 1", "off", "off", ROW * 4, true}, /* both layers are ends */
        {"--cache-k q8_0 --cache-v q8_0 --cache-sinks 8", "llama", "llama", ROW / 32 * 34 * 2 + 8 * 2 * 2 * (256 - 136),
         true},
        {"--cache-k q8_0 --cache-v f16 --cache-recent 24", "llama", "off",
         ROW / 32 * 34 + ROW * 2 + 24 * 2 * (256 - 136), true},
        {"--cache-k midrise4 --cache-v midrise4", "full", "full", ROW / 32 * 18 * 2, false},
        {"--cache-k midrise4 --cache-v midrise4 --cache-rotate off", "off", "off", ROW / 32 * 18 * 2, true},
        {"--cache-k q8_0 --cache-v midrise4", "llama", "full", ROW / 32 * (34 + 18), true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_result r = cli_expect(0, "$PARE eval $DEMO -f $TEXT -c 64 --chunks 2 --json %s", rows[i].options);
        json_t *doc = cli_json(&r);
        const json_t *cache = json_object_get(doc, "cache");
        CHECK(strcmp(json_string_value(json_object_get(cache, "rotation_keys")), rows[i].keys) == 0);
        CHECK(strcmp(json_string_value(json_object_get(cache, "rotation_values")), rows[i].values) == 0);
        CHECK(json_number_value(json_object_get(cache, "bytes_1024_tokens")) == rows[i].bytes);
        CHECK(json_is_true(json_object_get(cache, "research")) == rows[i].research);
        json_decref(doc);
    }
    /* windows in which nothing is coded */
    static const char *const recent[] = {"--cache-k kivi2 --cache-v kivi2", "--cache-v kivi2", "--cache-k kivi4"};
    for (size_t i = 0; i < sizeof recent / sizeof recent[0]; i++)
        for (int n_ctx = 128; n_ctx <= 256; n_ctx += 128)
            CHECK(cli_contains(cli_expect(0, "$PARE eval $DEMO -f $TEXT -c %d --chunks 1 %s", n_ctx, recent[i]).err,
                               "keeps the last 128 tokens exact: windows of 128 say nothing about it") ==
                  (n_ctx == 128));
}

static void mistakes_get_one_clear_line(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"-c 64 --stride 64", "a stride of 64 tokens"},
        {"-c 64 --chunk-range 5", "expected A:B"},
        {"-c 64 --chunk-range 5:5", "expected A:B"},
        {"-c 64 --chunk-range 5:x", "expected A:B"},
        {"-c 64 --chunks 4 --chunk-range 2:5", "windows 2 to 5 out of 4"},
        {"-c 64 --chunks 4 --sample 5", "a sample of 5 windows out of 4"},
        {"-c 9999999", "two windows of 9999999 need at least 19999998"},
        {"-c 64 --compute f64", "expected one of: f32"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cli_result r = cli_expect(2, "$PARE eval $DEMO -f $TEXT %s", wrong[i][0]);
        CHECK(cli_contains(r.err, wrong[i][1]) && r.out[0] == '\0');
    }
    cli_expect(0, "printf 'Too short.' >short.txt");
    CHECK(cli_contains(cli_expect(2, "$PARE eval $DEMO -f $TEXT -f short.txt --chunks 1 -q").err,
                       "short.txt: the text has 5 tokens; two windows of 512 need at least 1024"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(quantiles_have_their_names),
                                       cmocka_unit_test(intervals_enclose_the_figure),
                                       cmocka_unit_test(ranges_are_parts_of_the_whole),
                                       cmocka_unit_test(a_sample_depends_on_its_seed_alone),
                                       cmocka_unit_test(the_worst_tokens_are_named),
                                       cmocka_unit_test(arithmetic_is_told_and_matters),
                                       cmocka_unit_test(bytes_that_are_no_utf8_are_warned_of),
                                       cmocka_unit_test(a_store_takes_the_place_of_the_reference),
                                       cmocka_unit_test(several_texts_get_a_line_each),
                                       cmocka_unit_test(more_context_than_trained_for_is_warned_of),
                                       cmocka_unit_test(a_cache_is_kept_in_codecs),
                                       cmocka_unit_test(a_cache_is_described),
                                       cmocka_unit_test(mistakes_get_one_clear_line)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
